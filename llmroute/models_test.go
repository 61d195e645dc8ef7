package llmroute

import (
	"cmp"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

const catalogText = `llmroute {
	model gpt-4o gpt-4o-mini {
		backend openai http://localhost:1/v1
	}
	model claude {
		backend anthropic http://localhost:1
	}
	model gem {
		backend gemini http://localhost:1
	}
	model openai/* {
		backend mock {
			model *
		}
	}
	model openai/ft:* {
		backend openai http://localhost:1/v1 {
			model tuned-*-x
		}
	}
	model * {
		backend mock
	}
	alias gpt-4 gpt-4o
}`

func TestResolve(t *testing.T) {
	h, err := provision(t, catalogText)
	require.NoError(t, err)
	id := &llm.Identity{Aliases: map[string]string{"mine": "gpt-4", "gpt-4o-mini": "claude"}}
	for _, tt := range []struct {
		asked             string
		id                *llm.Identity
		pattern, upstream string
	}{
		{"gpt-4o", nil, "gpt-4o", "gpt-4o"},
		{"gpt-4o-mini", nil, "gpt-4o-mini", "gpt-4o-mini"},
		{"gpt-4o-mini", id, "claude", "claude"},
		{"gpt-4", nil, "gpt-4o", "gpt-4o"},
		{"mine", id, "gpt-4o", "gpt-4o"},
		{"mine", nil, "*", "mine"},
		{"openai/o3", nil, "openai/*", "o3"},
		{"openai/ft:a", nil, "openai/ft:*", "tuned-a-x"},
		{"anything", nil, "*", "anything"},
	} {
		name, e := h.catalog.resolve(tt.asked, tt.id)
		require.Equal(t, tt.pattern, e.pattern, tt.asked)
		target := e.target(0, name)
		require.Equal(t, tt.upstream, target.Upstream, tt.asked)
		require.Equal(t, tt.pattern, target.Model, "a label is never the client's text")
	}
	name, e := h.catalog.resolve("gpt-4o", nil)
	require.Same(t, e.target(0, name), e.target(0, name), "the target of a name is made once")
}

func TestListOfModels(t *testing.T) {
	g := start(t, catalogText)
	list := func(path string, identity *llm.Identity, headers ...string) (int, gjson.Result) {
		g.prepare = func(c *llm.Call) { c.Keyed, c.Identity = true, identity }
		resp, body := g.do(t, http.MethodGet, path, "", headers...)
		return resp.StatusCode, gjson.Parse(body)
	}
	ids := func(r gjson.Result) string { return r.Get("data.#.id").String() }

	status, all := list("/v1/models", nil)
	require.Equal(t, 200, status)
	require.Equal(t, `["gpt-4","gpt-4o","gpt-4o-mini"]`, ids(all), "what OpenAI's API can call; what a mock or an unknown address has is not known")
	require.Equal(t, "list", all.Get("object").String())
	require.Equal(t, "model", all.Get("data.0.object").String())

	key := &llm.Identity{Models: []string{"gpt-4o", "openai/*", "fast"}, Aliases: map[string]string{"fast": "gpt-4o-mini"}}
	_, own := list("/models", key)
	require.Equal(t, `["fast","gpt-4","gpt-4o"]`, ids(own))

	_, anthropic := list("/v1/models", nil, "Anthropic-Version", "2023-06-01")
	require.Equal(t, `["claude"]`, ids(anthropic))
	require.False(t, anthropic.Get("has_more").Bool())
	require.Equal(t, "claude", anthropic.Get("first_id").String())

	status, google := list("/v1beta/models", nil)
	require.Equal(t, 200, status)
	require.Equal(t, `["models/gem"]`, google.Get("models.#.name").Raw, "the models that Gemini's API can call")
	status, google = list("/v1beta/models/gem", nil)
	require.Equal(t, 200, status)
	require.Equal(t, "models/gem", google.Get("name").String())
	resp, text := g.do(t, http.MethodHead, "/v1/models", "")
	require.Equal(t, 200, resp.StatusCode)
	require.Empty(t, text)

	for path, want := range map[string]int{
		"/v1/models/gpt-4o": 200, "/v1/models/gpt-4": 200, "/v1/models/openai/o3": 200, "/v1/models/openai%2Fo3": 200,
		"/v1/models/claude": 404, "/v1/models/unknown": 404, "/v1beta/models/gpt-4o": 404,
	} {
		status, one := list(path, key)
		require.Equal(t, want, status, path)
		require.Equal(t, want == 200, one.Get("id").Exists(), path)
	}
}

// TestPagesOfModels reads lists in pages, as the official SDKs of Anthropic, Google and Cohere follow them.
func TestPagesOfModels(t *testing.T) {
	g := start(t, `llmroute {
		model a b c d e {
			backend anthropic http://localhost:1
			backend gemini http://localhost:1
			backend cohere http://localhost:1
		}
	}`)
	g.prepare = func(c *llm.Call) { c.Keyed = true }
	for _, tt := range []struct {
		path, header    string
		names           string
		more, parameter string // where the answer names the next page, and the parameter that takes it there
		pages           []string
	}{
		{"/v1/models?limit=2", "Anthropic-Version", "data.#.id", "last_id", "after_id", []string{`["a","b"]`, `["c","d"]`, `["e"]`}},
		{"/v1/models?limit=5", "Anthropic-Version", "data.#.id", "last_id", "after_id", []string{`["a","b","c","d","e"]`}},
		{"/v1/models?limit=2&before_id=e", "Anthropic-Version", "data.#.id", "first_id", "before_id", []string{`["c","d"]`, `["a","b"]`}},
		{"/v1/models?limit=2&after_id=bb", "Anthropic-Version", "data.#.id", "last_id", "after_id", []string{`["c","d"]`, `["e"]`}},
		{"/v1/models", "Anthropic-Version", "data.#.id", "last_id", "after_id", []string{`["a","b","c","d","e"]`}},
		{"/v1beta/models?pageSize=3", "", "models.#.baseModelId", "nextPageToken", "pageToken", []string{`["a","b","c"]`, `["d","e"]`}},
		{"/v1beta/models", "", "models.#.baseModelId", "nextPageToken", "pageToken", []string{`["a","b","c","d","e"]`}},
		{"/cohere/v1/models?page_size=4&endpoint=chat", "", "models.#.name", "next_page_token", "page_token", []string{`["a","b","c","d"]`, `["e"]`}},
	} {
		u, err := url.Parse(tt.path)
		require.NoError(t, err)
		query := u.Query()
		for i, want := range tt.pages {
			u.RawQuery = query.Encode()
			resp, text := g.do(t, http.MethodGet, u.String(), "", cmp.Or(tt.header, "Accept"), "2023-06-01")
			require.Equal(t, 200, resp.StatusCode, text)
			answer := gjson.Parse(text)
			require.Equal(t, want, answer.Get(tt.names).Raw, u)
			last := i == len(tt.pages)-1
			if has := answer.Get("has_more"); has.Exists() {
				require.Equal(t, !last, has.Bool(), u)
			} else {
				require.Equal(t, last, answer.Get(tt.more).String() == "", u)
			}
			query.Set(tt.parameter, answer.Get(tt.more).String())
		}
	}
	for path, param := range map[string]string{
		"/v1/models?limit=0": "limit", "/v1/models?limit=1001": "limit", "/v1/models?limit=two": "limit", "/v1/models?after_id=a&before_id=b": "after_id",
		"/v1beta/models?pageSize=-1": "pageSize", "/v1beta/models?pageToken=%21": "pageToken",
	} {
		resp, text := g.do(t, http.MethodGet, path, "", "Anthropic-Version", "2023-06-01")
		require.Equal(t, 400, resp.StatusCode, path)
		require.Contains(t, text, param)
	}
	_, text := g.do(t, http.MethodGet, "/v1/models?limit=2&after_id=e", "", "Anthropic-Version", "2023-06-01")
	require.JSONEq(t, `{"data":[],"has_more":false,"first_id":null,"last_id":null}`, text)
}

const known = `llmroute {
	model * {
		backend openai http://localhost:1/v1
	}
	model openai/* {
		backend openai {
			api_key secret-of-the-operator
			model *
		}
	}
	model openai/o3 {
		backend openai {
			api_key secret-of-the-operator
			model o3
			price input 1.50
			price output 1234567.5
		}
		backend azure https://secret-address.example {
			api_key secret-of-the-operator
			model deployed
		}
	}
	model gpt-4o* {
		backend openai http://localhost:1/v1
	}
	model claude-* {
		backend anthropic {
			api_key secret-of-the-operator
		}
		backend vertex {
			project p
		}
	}
	model gemini-* {
		backend gemini {
			api_key secret-of-the-operator
		}
	}
	model command-* embed-* rerank-* {
		backend cohere {
			api_key secret-of-the-operator
		}
	}
	model mistral/* {
		backend mistral {
			api_key secret-of-the-operator
			model *
		}
	}
	model llama* {
		backend ollama
	}
	alias best openai/gpt-4o
}`

// TestKnownModels holds the lists of models in the shapes of the SDKs: what patterns match, what is known of each, and that
// nothing is secret in it.
func TestKnownModels(t *testing.T) {
	g := start(t, known)
	g.prepare = func(c *llm.Call) { c.Keyed = true }
	get := func(path string, headers ...string) gjson.Result {
		resp, body := g.do(t, http.MethodGet, path, "", headers...)
		require.Equal(t, 200, resp.StatusCode, "%s: %s", path, body)
		require.NotContains(t, body, "secret")
		return gjson.Parse(body)
	}

	all := get("/v1/models")
	one := func(id string) gjson.Result { return all.Get(`data.#(id=="` + id + `")`) }
	gpt := one("openai/gpt-4o")
	require.Equal(t, int64(128000), gpt.Get("context_length").Int())
	require.Equal(t, int64(16384), gpt.Get("max_completion_tokens").Int())
	require.Equal(t, "0.0000025", gpt.Get("pricing.prompt").String())
	require.Equal(t, "0.00001", gpt.Get("pricing.completion").String())
	require.Contains(t, gpt.Get("architecture.input_modalities").String(), "image")
	require.Equal(t, "0.0000015", one("openai/o3").Get("pricing.prompt").String(), "what the operator wrote")
	require.Equal(t, "1.2345675", one("openai/o3").Get("pricing.completion").String())
	require.True(t, one("best").Exists())
	require.Equal(t, int64(128000), one("best").Get("context_window").Int())
	require.True(t, one("gpt-4o-mini").Exists(), "a pattern with text before its star means OpenAI's models at any address")
	require.False(t, one("gpt-4.1").Exists(), "a bare star at an unknown address tells nothing")
	require.False(t, one("claude-opus-4-5").Exists(), "OpenAI's API cannot call it")
	require.True(t, one("mistral/mistral-large-latest").Get("capabilities.completion_chat").Bool())
	require.Equal(t, "base", one("mistral/mistral-large-latest").Get("type").String())
	require.NotContains(t, all.Get("data.#.id").String(), "llama", "what a machine of one's own has is not known")
	require.NotContains(t, all.Get("data.#.id").String(), "realtime")

	claude := get("/v1/models?limit=1000", "Anthropic-Version", "2023-06-01")
	require.Empty(t, claude.Get(`data.#(id%"gpt*")`).Raw)
	require.Equal(t, int64(200000), claude.Get(`data.#(id=="claude-opus-4-5").max_input_tokens`).Int())
	require.Equal(t, int64(64000), claude.Get(`data.#(id=="claude-opus-4-5").max_tokens`).Int())

	for _, gemini := range []gjson.Result{
		get("/v1beta/models?pageSize=100"), get("/gemini/v1beta/models"), get("/v1/models", "X-Goog-Api-Client", "google-genai-sdk/1.0"),
	} {
		flash := gemini.Get(`models.#(name=="models/gemini-2.5-flash")`)
		require.Equal(t, int64(1048576), flash.Get("inputTokenLimit").Int())
		require.Contains(t, flash.Get("supportedGenerationMethods").String(), "streamGenerateContent")
		require.Contains(t, gemini.Get(`models.#(name=="models/gemini-embedding-001").supportedGenerationMethods`).String(), "embedContent")
	}
	require.Equal(t, "models/gemini-2.5-pro", get("/v1beta/models/gemini-2.5-pro").Get("name").String())

	for _, cohere := range []gjson.Result{get("/v1/models?endpoint=rerank", "X-Fern-Sdk-Name", "cohere"), get("/cohere/v1/models?endpoint=rerank")} {
		require.Contains(t, cohere.Get("models.#.name").String(), "rerank-v3.5")
		require.NotContains(t, cohere.Get("models.#.name").String(), "command")
	}

	g.prepare = func(c *llm.Call) {
		c.Keyed, c.Identity = true, &llm.Identity{Models: []string{"openai/o3*", "openai/brand-new"}}
	}
	require.Equal(t, []string{"openai/brand-new", "openai/o3"}, []string{get("/v1/models").Get("data.0.id").String(), get("/v1/models").Get("data.1.id").String()},
		"what the key names, also where the data does not know it")
	require.NotContains(t, get("/v1/models").Get("data.#.id").String(), "gpt")
	info := get("/v1/model/info")
	o3 := info.Get(`data.#(model_name=="openai/o3")#`)
	require.Equal(t, `["openai/o3/openai","openai/o3/azure"]`, o3.Get("#.model_info.id").Raw)
	require.Equal(t, "openai/o3", o3.Get("0.litellm_params.model").String())
	require.Equal(t, "azure/deployed", o3.Get("1.litellm_params.model").String())
	require.Equal(t, "0.0000015", o3.Get("0.model_info.input_cost_per_token").Raw)
	require.Equal(t, int64(200000), o3.Get("0.model_info.max_input_tokens").Int())
	require.Equal(t, "chat", o3.Get("0.model_info.mode").String())
	require.Equal(t, int64(1), get("/model/info?litellm_model_id=openai/o3/azure").Get("data.#").Int())
}

// TestListedPrices holds that lists have the prices of the meter that the call passes.
func TestListedPrices(t *testing.T) {
	g := start(t, known)
	g.prepare = func(c *llm.Call) {
		c.Keyed = true
		c.ListPrices = func(t *llm.Target) map[string]string { return map[string]string{"input": "7", "web_searches": "0.01"} }
	}
	_, body := g.do(t, http.MethodGet, "/v1/models/openai/gpt-4o", "")
	require.JSONEq(t, `{"prompt":"0.000007","web_search":"0.01"}`, gjson.Get(body, "pricing").Raw)
}
