package translate

import "net/http"

// responsesCode is the code of a failed answer of the Responses API. Codex acts on some of them.
func responsesCode(f failure) string {
	_, code := openAICode(f)
	switch {
	case code == "context_length_exceeded", code == "insufficient_quota", code == "rate_limit_exceeded":
		return code
	case f.status >= http.StatusBadRequest && f.status < http.StatusInternalServerError:
		return "invalid_prompt"
	}
	return "server_error"
}
