package llmroute

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/llmroute/provider"
)

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
		{"/v1beta/models/gem:batchEmbedContents", `{"requests":[{"model":"models/gem"},{"model":"models/dearer"}]}`, 400, llm.Gemini, "another model than the path"},
		{"/v1beta/models/gem:batchEmbedContents", `{"requests":[{"model":"models/gem","model":"models/gem"}]}`, 400, llm.Gemini, "must stand once"},
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
		require.Equal(t, want, provider.Escape(name))
		plain, err := url.PathUnescape(want)
		require.NoError(t, err)
		require.Equal(t, name, plain)
	}
}

// TestClientForms holds what a provider gets of calls in the forms that clients have for them: by prefixes of their base URLs,
// and by the paths of Vertex AI.
func TestClientForms(t *testing.T) {
	u := newUpstream(t, respond(200, answered))
	g := start(t, strings.ReplaceAll(`llmroute {
		model gpt {
			backend openai URL/v1 {
				model up
			}
		}
		model claude {
			backend anthropic URL {
				model up
			}
		}
		model gem {
			backend gemini URL {
				model up
			}
		}
		model co {
			backend cohere URL {
				model up
			}
		}
		model own {
			backend ollama URL/v1 {
				model up
			}
		}
		model gpu {
			backend vllm URL/v1 {
				model up
			}
		}
		model omni-moderation-latest dall-e-2 {
			backend openai URL/v1
		}
	}`, "URL", u.URL))
	for _, tt := range [][4]string{
		{"/openai/v1/chat/completions", `{"model":"gpt"}`, "/v1/chat/completions", `{"model":"up"}`},
		{"/openai/responses?api-version=2025-04-01-preview", `{"model":"gpt"}`, "/v1/responses", `{"model":"up"}`},
		{"/engines/gpt/completions/", `{"prompt":"x"}`, "/v1/completions", `{"model":"up","prompt":"x"}`},
		{"//v1//embeddings", `{"model":"gpt"}`, "/v1/embeddings", `{"model":"up"}`},
		{"/anthropic/v1/messages", `{"model":"claude"}`, "/v1/messages", `{"model":"up"}`},
		{"/v1/projects/p/locations/l/publishers/anthropic/models/claude:rawPredict", `{"anthropic_version":"vertex-2023-10-16","max_tokens":1}`, "/v1/messages", `{"model":"up","max_tokens":1}`},
		{"/v1/projects/p/locations/l/publishers/anthropic/models/claude:streamRawPredict", `{"stream":true, "anthropic_version":"x"}`, "/v1/messages", `{"stream":true, "model":"up"}`},
		{"/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict", `{"model":"claude"}`, "/v1/messages/count_tokens", `{"model":"up"}`},
		{"/v1beta/models/gem:countTokens", `{"contents":[]}`, "/v1beta/models/up:countTokens", `{"contents":[]}`},
		{"/gemini/v1beta/models/gem:embedContent", `{"model":"models/gem"}`, "/v1beta/models/up:embedContent", `{"model":"models/up"}`},
		{"/v1beta/models/gem:batchEmbedContents", `{"requests":[{"model":"models/gem","content":{}},{"content":{"model":"x"}},{"content":{}, "model":"models\/gem"}]}`, "/v1beta/models/up:batchEmbedContents", `{"requests":[{"model":"models/up","content":{}},{"content":{"model":"x"}},{"content":{}, "model":"models/up"}]}`},
		{"/v1beta1/projects/p/locations/l/publishers/google/models/gem:streamGenerateContent?alt=sse", `{}`, "/v1beta/models/up:streamGenerateContent?alt=sse", `{}`},
		{"/cohere/v2/chat", `{"model":"co"}`, "/v2/chat", `{"model":"up"}`},
		{"/v1/messages", `{"model":"own"}`, "/v1/messages", `{"model":"up"}`},
		{"/v1/chat/completions", `{"model":"own"}`, "/v1/chat/completions", `{"model":"up"}`},
		{"/api/chat", `{"model":"own"}`, "/api/chat", `{"model":"up"}`},
		{"/api/embed", `{"model":"own"}`, "/api/embed", `{"model":"up"}`},
		{"/v1/messages", `{"model":"gpu"}`, "/v1/messages", `{"model":"up"}`},
		{"/anthropic/v1/messages/count_tokens", `{"model":"gpu"}`, "/v1/messages/count_tokens", `{"model":"up"}`},
		{"/v1/responses", `{"model":"gpu"}`, "/v1/responses", `{"model":"up"}`},
		{"/v1/fim/completions", `{"model":"gpt"}`, "/v1/fim/completions", `{"model":"up"}`},
		{"/v1/ocr", `{"model":"gpt"}`, "/v1/ocr", `{"model":"up"}`},
		{"/v1/moderations", `{"input":"x"}`, "/v1/moderations", `{"model":"omni-moderation-latest","input":"x"}`},
		{"/v1/images/generations", `{"prompt":"x"}`, "/v1/images/generations", `{"model":"dall-e-2","prompt":"x"}`},
	} {
		u.got = nil
		resp, text := g.post(t, tt[0], tt[1])
		require.Equal(t, 200, resp.StatusCode, "%s: %s", tt[0], text)
		require.Equal(t, tt[2], u.only(t).uri)
		require.Equal(t, tt[3], u.only(t).body, tt[0])
	}
}

// TestOllamaShapes holds refusals and the list of models as Ollama's own clients read them.
func TestOllamaShapes(t *testing.T) {
	g := start(t, `llmroute {
		model own {
			backend ollama
		}
		model gpt {
			backend openai http://localhost:1/v1
		}
	}`)
	_, text := g.do(t, http.MethodGet, "/api/tags", "")
	require.Equal(t, `["own"]`, gjson.Get(text, "models.#.model").Raw)
	resp, text := g.post(t, "/api/chat", `{"model":"gpt"}`)
	require.Equal(t, 400, resp.StatusCode)
	require.Contains(t, gjson.Get(text, "error").String(), "none of its backends speaks that API")
	resp, text = g.post(t, "/api/pull", `{"model":"own"}`)
	require.Equal(t, 404, resp.StatusCode)
	require.Contains(t, text, `{"error":"`)
}

// TestRouteHeaders holds what answers say of their way: which backend, which model, and how many attempts came before.
func TestRouteHeaders(t *testing.T) {
	down := newUpstream(t, respond(503, `{}`))
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Litellm-Model-Id", "of the gateway behind")
		w.Header().Set("X-Tollgate-Backend", "of the gateway behind")
		respond(200, answered)(w, r)
	})
	for _, hide := range []string{"", "hide_route"} {
		g := start(t, strings.NewReplacer("DOWN", down.URL, "UP", up.URL, "HIDE", hide).Replace(`llmroute {
			HIDE
			model first {
				backend openai DOWN/v1
				backend openai DOWN/v1
				fallback second/*
			}
			model second/* {
				backend groq UP/openai/v1
			}
			alias best second/x
		}`))
		g.handler.pause = 0
		for model, want := range map[string][5]string{
			"first":    {"groq", "second/*/groq", "second/*", "1", "1"},
			"second/y": {"groq", "second/*/groq", "second/y", "0", "0"},
			"best":     {"groq", "second/*/groq", "second/x", "0", "0"},
		} {
			resp, text := g.post(t, "/v1/chat/completions", `{"model":"`+model+`"}`)
			require.Equal(t, 200, resp.StatusCode, text)
			for i, name := range []string{"X-Tollgate-Backend", "X-Litellm-Model-Id", "X-Litellm-Model-Group", "X-Litellm-Attempted-Retries", "X-Litellm-Attempted-Fallbacks"} {
				if hide != "" {
					require.Empty(t, resp.Header.Values(name))
				} else {
					require.Equal(t, []string{want[i]}, resp.Header.Values(name), "%s of %s", name, model)
				}
			}
		}
	}
}
