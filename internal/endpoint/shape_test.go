package endpoint

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

func request(t *testing.T, path string) *http.Request {
	t.Helper()
	return httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, http.NoBody)
}

func TestShape(t *testing.T) {
	for path, want := range map[string]llm.API{
		"/v1/chat/completions":      llm.OpenAI,
		"/v1/messages":              llm.Anthropic,
		"/messages":                 llm.Anthropic,
		"/v1/messages/count_tokens": llm.Anthropic,
		"/v1/messages/batches":      llm.Anthropic,
		"/anthropic/v1/complete":    llm.Anthropic,
		"/v1/projects/p/locations/l/publishers/anthropic/models/m:predict": llm.Anthropic,
		"/v1beta/models/gemini-2.5:generateContent":                        llm.Gemini,
		"/v1beta/models/gemini-2.5:streamGenerateContent":                  llm.Gemini,
		"/v1beta/models":                llm.Gemini,
		"/v1beta/files":                 llm.Gemini,
		"/gemini/v1beta/cachedContents": llm.Gemini,
		"/v1beta1/projects/p/locations/l/publishers/google/models/m:predict": llm.Gemini,
		"/model/anthropic.claude/converse":                                   llm.Bedrock,
		"/model/a/invoke-with-response-stream":                               llm.Bedrock,
		"/bedrock/model/a/converse":                                          llm.Bedrock,
		"/model/a/other":                                                     llm.OpenAI,
		"/v2/chat":                                                           llm.Cohere,
		"/v2/tokenize":                                                       llm.Cohere,
		"/cohere/v2/rerank":                                                  llm.Cohere,
		"/api/chat":                                                          llm.Ollama,
		"/api/pull":                                                          llm.Ollama,
		"/v1/rerank":                                                         llm.OpenAI,
		"/v1/models":                                                         llm.OpenAI,
		"/":                                                                  llm.OpenAI,
		"/key/generate":                                                      llm.OpenAI,
	} {
		require.Equal(t, want, Shape(request(t, path)), path)
	}
	for path, want := range map[string]llm.API{"/v1/models": llm.Anthropic, "/v1/files": llm.Anthropic, "/v1/chat/completions": llm.OpenAI} {
		r := request(t, path)
		r.Header.Set("Anthropic-Version", "2023-06-01")
		require.Equal(t, want, Shape(r), path)
	}
}

// TestRefuse holds what SDKs read of a refusal: whether to repeat the call, and its id.
func TestRefuse(t *testing.T) {
	for path, member := range map[string]string{"/v1/messages": "request_id", "/v1/chat/completions": "", "/v1beta/models/m:generateContent": ""} {
		for status, retried := range map[int]string{
			400: "false", 401: "false", 402: "false", 403: "false", 404: "false", 405: "false", 413: "false", 415: "false", 422: "false",
			408: "", 409: "", 426: "", 429: "", 499: "", 500: "", 502: "", 503: "", 504: "",
		} {
			r := request(t, path)
			ctx, call := llm.Ensure(r.Context())
			w := httptest.NewRecorder()
			require.NoError(t, Refuse(w, r.WithContext(ctx), &llm.Error{Status: status, Message: "no"}))
			require.Equal(t, status, w.Code)
			require.Equal(t, retried, w.Header().Get("X-Should-Retry"), status)
			for _, name := range []string{"X-Request-Id", "Request-Id", llm.CallIDHeader} {
				require.Equal(t, call.ID, w.Header().Get(name))
			}
			var answer map[string]any
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer))
			if member != "" {
				require.Equal(t, call.ID, answer[member])
			}
		}
	}
}
