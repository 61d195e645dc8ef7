package llmroute

import (
	"net/http"
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
		backend openai http://localhost:1/v1 {
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
	require.Equal(t, `["claude","gem","gpt-4","gpt-4o","gpt-4o-mini"]`, ids(all))
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
