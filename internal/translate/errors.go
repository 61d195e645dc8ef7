package translate

import (
	"bytes"
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// statusOverloaded is what Anthropic's API answers where others answer 503.
const statusOverloaded = 529

const (
	// maxErrorText bounds the message of an error, in bytes.
	maxErrorText = 8 << 10
	brokenOff    = "the backend's answer broke off before its end"
)

var errBrokenOff = failure{status: http.StatusBadGateway, message: brokenOff}

// Error returns the message.
func (f failure) Error() string { return f.message }

// translateError returns an error of the upstream in the caller's API.
func translateError(p Pair, status int, body []byte) (int, []byte) {
	f := readFailure(status, body)
	switch {
	case p.Caller == Messages && status == http.StatusServiceUnavailable:
		f.status = statusOverloaded
	case p.Caller != Messages && status == statusOverloaded:
		f.status = http.StatusServiceUnavailable
	case status == http.StatusRequestTimeout: // Bedrock, of its model
		f.status = http.StatusGatewayTimeout
	case status == http.StatusFailedDependency: // the same
		f.status = http.StatusBadGateway
	}
	return f.status, appendFailure(nil, p.Caller, f)
}

// readFailure reads an error of either API, or what stands in its place: text, a list, HTML. Where status is 0 it is found from the
// error's type.
func readFailure(status int, body []byte) failure {
	f := failure{status: status}
	kind := ""
	if value := gjson.ParseBytes(body); gjson.ValidBytes(body) {
		if value.IsArray() { // as Gemini's compatible endpoint answers
			value = value.Get("0")
		}
		e := value.Get("error")
		if !e.IsObject() {
			if e.Type == gjson.String {
				f.message = e.Str
			}
			e = value
		}
		kind = e.Get("type").String()
		if code := e.Get("code"); code.Type == gjson.String {
			f.code = code.Str
		}
		for _, name := range []string{"message", "Message", "detail"} {
			if m := e.Get(name); f.message == "" && m.Type == gjson.String {
				f.message = m.Str
			}
		}
	} else if text := bytes.TrimSpace(body); len(text) > 0 && text[0] != '<' && text[0] != '{' && utf8.Valid(text) {
		f.message = string(text)
	}
	if f.status == 0 {
		f.status = statusOf(kind)
	}
	if f.code == "" {
		f.code = kind
	}
	if len(f.message) > maxErrorText {
		f.message = strings.ToValidUTF8(f.message[:maxErrorText], "")
	}
	if text := operators[f.status]; text != "" && !refusesPrompt(&f) {
		f.message = text
	}
	if f.message == "" {
		f.message = strings.ToLower(cmp.Or(http.StatusText(f.status), "the backend failed"))
	}
	return f
}

// operators are the texts for errors of the gateway's own account at the provider. The provider's text names identities, projects and parts
// of keys, which are not the caller's to know.
var operators = map[int]string{
	http.StatusUnauthorized: "the backend refused the gateway's credentials: this is for the gateway's operator to solve",
	http.StatusForbidden:    "the backend does not permit the gateway this call: this is for the gateway's operator to solve",
}

// refusesPrompt reports whether an error of status 403 is about the prompt, as of moderation.
func refusesPrompt(f *failure) bool {
	message := strings.ToLower(f.message)
	return f.status == http.StatusForbidden && slices.ContainsFunc(promptWords, func(word string) bool { return strings.Contains(message, word) })
}

var promptWords = []string{"moderation", "flagged", "usage guidelines", "usage policy", "content policy", "safety"}

// messagesTypes are the types of errors that the SDKs of Messages know, by the status that goes with each.
var messagesTypes = map[int]string{
	http.StatusBadRequest: "invalid_request_error", http.StatusUnauthorized: "authentication_error", http.StatusPaymentRequired: "billing_error",
	http.StatusForbidden: "permission_error", http.StatusNotFound: "not_found_error", http.StatusConflict: "conflict_error",
	http.StatusRequestEntityTooLarge: "request_too_large", http.StatusTooManyRequests: "rate_limit_error",
	http.StatusInternalServerError: "api_error", http.StatusGatewayTimeout: "timeout_error", statusOverloaded: "overloaded_error",
}

// statusOf returns the status of an error that came in a stream, by its type.
func statusOf(kind string) int {
	for status, name := range messagesTypes {
		if name == kind {
			return status
		}
	}
	switch kind {
	case "rate_limit_exceeded", "insufficient_quota", "tokens", "requests":
		return http.StatusTooManyRequests
	case "server_error":
		return http.StatusInternalServerError
	}
	return http.StatusBadGateway
}

// messagesType returns the type of an error of Messages.
func messagesType(f failure) string {
	switch name := messagesTypes[f.status]; {
	case name != "":
		return name
	case f.status == http.StatusServiceUnavailable:
		return "overloaded_error"
	case f.status >= http.StatusInternalServerError:
		return "api_error"
	}
	return "invalid_request_error"
}

// openAICode returns the type and the code of an error of OpenAI's APIs; an empty code is null.
func openAICode(f failure) (kind, code string) {
	message := strings.ToLower(f.message)
	switch {
	case f.status == http.StatusUnauthorized:
		return "invalid_request_error", "invalid_api_key"
	case f.status == http.StatusPaymentRequired, f.status == http.StatusTooManyRequests && (f.code == "insufficient_quota" || f.code == "billing_error"):
		return "insufficient_quota", "insufficient_quota"
	case f.status == http.StatusNotFound:
		return "invalid_request_error", "model_not_found"
	case f.status == http.StatusTooManyRequests:
		return "rate_limit_exceeded", "rate_limit_exceeded"
	case f.status >= http.StatusInternalServerError:
		return "server_error", "server_error"
	case f.code == "context_length_exceeded", f.status == http.StatusRequestEntityTooLarge,
		strings.Contains(message, "prompt is too long"), strings.Contains(message, "exceed context limit"),
		strings.Contains(message, "input is too long for requested model"), strings.Contains(message, "too many input tokens"): // Bedrock
		return "invalid_request_error", "context_length_exceeded"
	}
	return "invalid_request_error", ""
}

// appendFailure appends the body of an error in the caller's API.
func appendFailure(dst []byte, caller API, f failure) []byte {
	if caller == Messages {
		dst = append(dst, `{"type":"error","error":{"type":"`...)
		dst = append(append(dst, messagesType(f)...), `","message":`...)
		return append(appendString(dst, f.message), `}}`...)
	}
	kind, code := openAICode(f)
	dst = append(appendString(append(dst, `{"error":{"message":`...), f.message), `,"type":"`...)
	dst = append(append(dst, kind...), `","param":null,"code":`...)
	if code == "" {
		return append(dst, `null}}`...)
	}
	return append(appendString(dst, code), `}}`...)
}

// failureOf returns what the caller is told of a stream that broke off. The text of an error that is none of the upstream's own may
// name addresses and is not shown.
func failureOf(cause error) failure {
	if f, ok := errors.AsType[failure](cause); ok {
		return f
	}
	return errBrokenOff
}
