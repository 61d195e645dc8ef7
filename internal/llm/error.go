package llm

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// API is the wire format of a caller or a backend: requests, answers and errors.
type API string

// The supported APIs.
const (
	OpenAI    API = "openai"
	Anthropic API = "anthropic"
	Gemini    API = "gemini"
	Bedrock   API = "bedrock"
	Cohere    API = "cohere"
	Ollama    API = "ollama"
)

// Error is a refusal by the gateway itself, written in the caller's format.
type Error struct {
	Status     int           // HTTP status
	Type       string        // machine-readable type, as LiteLLM and OpenAI name it: invalid_request_error, auth_error, ...
	Param      string        // the member or header at fault; empty if none
	Message    string        // tells the caller what to do; never holds a secret
	RetryAfter time.Duration // sets Retry-After when positive
	Final      bool          // retrying does not help, although the status suggests it
	Details    []Detail      // further members of the error's object
	Allow      string        // sets Allow unless empty: the allowed method, for a 405
	Upgrade    string        // sets Upgrade unless empty: the accepted protocols, for a 426
	Err        error         // the cause, for the log; never sent to the client
}

// Detail is an additional member of the error object.
type Detail struct {
	Name  string
	Value any // encoded as JSON
}

// Error returns the message and the cause.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// StatusClientGone is the status that nginx and Caddy's reverse proxy log when the client hung up.
const StatusClientGone = 499

// ClientGone is the refusal of a call whose client hung up.
func ClientGone() *Error {
	return &Error{Status: StatusClientGone, Type: "client_closed_request", Message: "the client closed the connection"}
}

// WriteError writes e as the whole response in the format of the given API. OpenAI's format is LiteLLM's envelope, whose
// `code` is the status as a string. id is the call's id; empty if there is none.
func WriteError(w http.ResponseWriter, api API, id string, e *Error) error {
	var body any
	switch api {
	case Anthropic:
		answer := map[string]any{"type": "error", "error": e.with(map[string]any{"type": anthropicType(e), "message": e.Message})}
		if id != "" {
			answer["request_id"] = id
		}
		body = answer
	case Gemini:
		body = map[string]any{"error": e.with(map[string]any{"code": e.Status, "message": e.Message, "status": geminiStatus(e.Status)})}
	case Ollama:
		body = e.with(map[string]any{"error": e.Message})
	case Bedrock, Cohere:
		body = e.with(map[string]any{"message": e.Message})
	default:
		var param any
		if e.Param != "" {
			param = e.Param
		}
		body = map[string]any{"error": e.with(map[string]any{
			"message": e.Message, "type": e.Type, "param": param, "code": strconv.Itoa(e.Status),
		})}
	}
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	if api == Bedrock {
		h.Set("X-Amzn-Errortype", bedrockType(e.Status))
	}
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((e.RetryAfter+time.Second-1)/time.Second)))
	}
	if e.Allow != "" {
		h.Set("Allow", e.Allow)
	}
	if e.Upgrade != "" {
		h.Set("Upgrade", e.Upgrade)
		h.Set("Connection", "Upgrade")
	}
	if id != "" {
		h[CallIDHeader] = []string{id}
		h["X-Request-Id"] = []string{id}
		h["Request-Id"] = []string{id}
	}
	if final(e.Status) || e.Final {
		h.Set("X-Should-Retry", "false")
	}
	w.WriteHeader(e.Status)
	_, err = w.Write(b)
	return err
}

// with adds the error's details to an object.
func (e *Error) with(object map[string]any) map[string]any {
	for _, d := range e.Details {
		object[d.Name] = d.Value
	}
	return object
}

// final reports whether retrying cannot change a refusal with this status. The SDKs of OpenAI and Anthropic honour
// x-should-retry; without it they would retry some of these for minutes.
func final(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusNotFound,
		http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// anthropicType maps a status to an error type of Anthropic's API reference.
func anthropicType(e *Error) string {
	switch e.Status {
	case http.StatusUnauthorized:
		return "authentication_error"
	case http.StatusForbidden:
		return "permission_error"
	case http.StatusNotFound:
		return "not_found_error"
	case http.StatusRequestEntityTooLarge:
		return "request_too_large"
	case http.StatusTooManyRequests:
		return "rate_limit_error"
	case http.StatusServiceUnavailable, 529:
		return "overloaded_error"
	}
	if e.Status >= 500 {
		return "api_error"
	}
	return "invalid_request_error"
}

// geminiStatus maps a status to the google.rpc.Code name that Google's APIs use.
func geminiStatus(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "UNAUTHENTICATED"
	case http.StatusForbidden:
		return "PERMISSION_DENIED"
	case http.StatusNotFound:
		return "NOT_FOUND"
	case http.StatusTooManyRequests:
		return "RESOURCE_EXHAUSTED"
	case http.StatusServiceUnavailable:
		return "UNAVAILABLE"
	case http.StatusGatewayTimeout:
		return "DEADLINE_EXCEEDED"
	}
	if status >= 500 {
		return "INTERNAL"
	}
	return "INVALID_ARGUMENT"
}

// bedrockType maps a status to an exception name of Bedrock's runtime API.
func bedrockType(status int) string {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return "AccessDeniedException"
	case http.StatusNotFound:
		return "ResourceNotFoundException"
	case http.StatusTooManyRequests:
		return "ThrottlingException"
	case http.StatusServiceUnavailable:
		return "ServiceUnavailableException"
	}
	if status >= 500 {
		return "InternalServerException"
	}
	return "ValidationException"
}
