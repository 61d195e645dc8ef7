package llmroute

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

// TestLookup holds the table of paths: which endpoint, and which model where the path names it.
func TestLookup(t *testing.T) {
	for path, want := range map[string][2]string{
		"/v1/chat/completions":                   {"chat/completions"},
		"/rerank":                                {"rerank"},
		"/v2/chat":                               {"v2/chat"},
		"/v2/embed":                              {"v2/embed"},
		"/v2/rerank":                             {"v2/rerank"},
		"/v1/models":                             {"models"},
		"/models/a/b:c":                          {"models", "a/b:c"},
		"/openai/deployments/d/chat/completions": {"chat/completions", "d"},
		"/openai/deployments/a/b/images/edits":   {"images/edits", "a/b"},
		"/openai/deployments/a%2Fb/embeddings":   {"embeddings", "a/b"},
		"/v1beta/models/gemini-2.5-pro:generateContent":                   {"generateContent", "gemini-2.5-pro"},
		"/v1/models/gemini-2.5-pro:streamGenerateContent":                 {"streamGenerateContent", "gemini-2.5-pro"},
		"/v1beta/models/a:b:generateContent":                              {"generateContent", "a:b"},
		"/model/anthropic.claude-v1%3A0/converse":                         {"converse", "anthropic.claude-v1:0"},
		"/model/anthropic.claude-v1:0/converse-stream":                    {"converse-stream", "anthropic.claude-v1:0"},
		"/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aprofile%2Fx/invoke": {"invoke", "arn:aws:bedrock:us-east-1:1:profile/x"},
		"/model/arn:aws:bedrock:us-east-1:1:profile/x/invoke":             {"invoke", "arn:aws:bedrock:us-east-1:1:profile/x"},
		"/model/m/invoke-with-response-stream":                            {"invoke-with-response-stream", "m"},

		"/v1/v2/chat":                                   {},
		"/v1/chat":                                      {},
		"/v1beta/models/m:countTokens":                  {},
		"/v1beta/models/:generateContent":               {},
		"/v1beta/models/m":                              {},
		"/v1beta/chat/completions":                      {},
		"/model/m/count-tokens":                         {},
		"/model//converse":                              {},
		"/model/converse":                               {},
		"/v1/model/m/converse":                          {},
		"/openai/deployments/d/messages":                {},
		"/openai/deployments/chat/completions":          {"completions", "chat"},
		"/openai/deployments//chat/completions":         {},
		"/openai/deployments/d/chat/completions/":       {},
		"/openai/deployments/d/extensions/completions2": {},
		"/v1/batches":                                   {},
		"/v1/realtime":                                  {},
		"/v1/files":                                     {},
		"/":                                             {},
	} {
		u, err := url.Parse(path)
		require.NoError(t, err)
		ep, name := lookup(u)
		got := [2]string{"", name}
		if ep != nil {
			got[0] = ep.Name
		}
		require.Equal(t, want, got, path)
	}
}

// TestPathModels refuses what a path may not name, in the shape of the API that is called.
func TestPathModels(t *testing.T) {
	g := start(t, `llmroute {
		model gem {
			backend gemini http://localhost:1 {
				api_key x
			}
		}
		model rock* {
			backend bedrock http://localhost:1 {
				api_key x
			}
		}
		model co {
			backend cohere http://localhost:1 {
				api_key x
			}
		}
		model oa* {
			backend azure http://localhost:1 {
				api_key x
			}
		}
	}`)
	long := "/model/rock" + strings.Repeat("0", 252) + "/converse"
	for _, tt := range []struct {
		path, body string
		status     int
		shape      llm.API
		message    string
	}{
		{"/v1beta/models/nope:generateContent", `{}`, 404, llm.Gemini, "the model nope does not exist"},
		{"/v1beta/models/gem:generateContent", `{"model":"other"}`, 400, llm.Gemini, "another model than the path"},
		{"/v1beta/models/gem:generateContent", `{"generationConfig":{},"generationConfig":{}}`, 400, llm.Gemini, "stands twice"},
		{"/v1beta/models/gem:generateContent", `{"contents":[],}`, 400, llm.Gemini, "trailing comma"},
		{"/v1beta/models/rock:streamGenerateContent", `{}`, 400, llm.Gemini, "none of its backends speaks that API"},
		{"/model/nope/converse", `{}`, 404, llm.Bedrock, "the model nope does not exist"},
		{"/model/rock/converse", `{"model":"rock","model":"rock"}`, 400, llm.Bedrock, "stands twice"},
		{"/model/rock%0a/invoke", `{}`, 400, llm.Bedrock, "control character"},
		{"/model/rock%ff/invoke", `{}`, 400, llm.Bedrock, "control character"},
		{"/model/rock%2F..%2Fx/invoke", `{}`, 400, llm.Bedrock, ". or .. between its slashes"},
		{long, `{}`, 400, llm.Bedrock, "more than 255 bytes"},
		{"/model/gem/converse", `{}`, 400, llm.Bedrock, "none of its backends speaks that API"},
		{"/v2/chat", `{"model":"nope"}`, 404, llm.Cohere, "the model nope does not exist"},
		{"/v2/rerank", `{}`, 400, llm.Cohere, "names no model"},
		{"/openai/deployments/nope/embeddings", `{}`, 404, llm.OpenAI, "the model nope does not exist"},
		{"/openai/deployments/../embeddings", `{}`, 400, llm.OpenAI, ". or .. between its slashes"},
		{"/v1/embeddings", `{"model":"oa/../x"}`, 400, llm.OpenAI, ". or .. between its slashes"},
	} {
		resp, text := g.post(t, tt.path, tt.body)
		require.Equal(t, tt.status, resp.StatusCode, text)
		require.Contains(t, text, tt.message)
		switch tt.shape {
		case llm.Gemini:
			require.Contains(t, text, `"status":"`)
			require.Contains(t, text, `{"error":{"code":`)
		case llm.Bedrock:
			require.NotEmpty(t, resp.Header.Get("X-Amzn-Errortype"))
			require.Contains(t, text, `{"message":"`)
		case llm.Cohere:
			require.Empty(t, resp.Header.Get("X-Amzn-Errortype"))
			require.Contains(t, text, `{"message":"`)
		default:
			require.Contains(t, text, `"type":"`)
		}
	}
	for _, path := range []string{"/v1beta/models/gem:generateContent", "/model/rock/converse", "/v2/chat", "/openai/deployments/oa/embeddings"} {
		resp, _ := g.do(t, "OPTIONS", path, "", "Origin", "https://app.example", "Access-Control-Request-Method", "POST")
		require.Equal(t, 204, resp.StatusCode)
		require.Contains(t, resp.Header.Get("Access-Control-Allow-Headers"), "X-Goog-Api-Key")
		resp, _ = g.do(t, "GET", path, "")
		require.Equal(t, 405, resp.StatusCode, path)
	}
}

// TestEscape shows that a model's name is one segment of a path, whatever it holds.
func TestEscape(t *testing.T) {
	for name, want := range map[string]string{
		"gpt-4o": "gpt-4o", "claude@1": "claude@1", "a/b": "a%2Fb", "a:b?c#d%2F": "a%3Ab%3Fc%23d%252F", "ä": "%C3%A4",
	} {
		require.Equal(t, want, escape(name))
		plain, err := url.PathUnescape(want)
		require.NoError(t, err)
		require.Equal(t, name, plain)
	}
}
