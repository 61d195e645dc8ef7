package translate

import "net/http"

// responsesCode is the code of a failed answer of the Responses API. Codex acts on these.
func responsesCode(f failure) string {
	switch f.code {
	case "context_length_exceeded", "insufficient_quota", "usage_not_included", "rate_limit_exceeded", "invalid_prompt", "server_error":
		return f.code
	}
	switch f.status {
	case http.StatusTooManyRequests:
		return "rate_limit_exceeded"
	case http.StatusPaymentRequired:
		return "insufficient_quota"
	case http.StatusBadRequest:
		return "invalid_prompt"
	}
	return "server_error"
}
