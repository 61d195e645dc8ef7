package llmroute

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

const mockText = `llmroute {
	model m {
		backend mock {
			response "Grüße aus der Maut, zweimal"
		}
	}
}`

const mockSays = "Grüße aus der Maut, zweimal"

// events returns the data of a stream's events.
func events(t *testing.T, stream string) []gjson.Result {
	t.Helper()
	var out []gjson.Result
	for block := range strings.SplitSeq(strings.TrimSuffix(stream, "\n\n"), "\n\n") {
		name, data, named := strings.Cut(block, "\ndata: ")
		if !named {
			data = strings.TrimPrefix(block, "data: ")
		}
		if data == "[DONE]" {
			out = append(out, gjson.Result{Type: gjson.String, Str: data})
			continue
		}
		require.True(t, gjson.Valid(data), data)
		event := gjson.Parse(data)
		if named {
			require.Equal(t, strings.TrimPrefix(name, "event: "), event.Get("type").String())
		}
		out = append(out, event)
	}
	return out
}

func TestMock(t *testing.T) {
	g := start(t, mockText)
	const in, out = 2, 8 // "user" and "hi" count 1500 thousandths, the response 25 times 250 and twice 500
	for path, want := range map[string]struct{ text, in, out string }{
		"/v1/chat/completions":       {"choices.0.message.content", "usage.prompt_tokens", "usage.completion_tokens"},
		"/v1/completions":            {"choices.0.text", "usage.prompt_tokens", "usage.completion_tokens"},
		"/v1/responses":              {"output.0.content.0.text", "usage.input_tokens", "usage.output_tokens"},
		"/v1/messages":               {"content.0.text", "usage.input_tokens", "usage.output_tokens"},
		"/v1/embeddings":             {"", "usage.prompt_tokens", ""},
		"/v1/messages/count_tokens":  {"", "input_tokens", ""},
		"/v1/responses/input_tokens": {"", "input_tokens", ""},
	} {
		resp, body := g.post(t, path, chat)
		require.Equal(t, 200, resp.StatusCode, path)
		answer := gjson.Parse(body)
		require.Equal(t, int64(in), answer.Get(want.in).Int(), path)
		if want.text != "" {
			require.Equal(t, mockSays, answer.Get(want.text).String(), path)
			require.Equal(t, int64(out), answer.Get(want.out).Int(), path)
			require.Equal(t, "m", answer.Get("model").String(), path)
		}
	}
	resp, body := g.post(t, "/v1/images/generations", `{"model":"m"}`)
	require.Equal(t, 400, resp.StatusCode)
	require.Contains(t, body, "is not served at /v1/images/generations")
}

func TestMockStreams(t *testing.T) {
	g := start(t, mockText)
	const streamed = `{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}`
	stream := func(path, body string) ([]gjson.Result, string) {
		resp, text := g.post(t, path, body)
		require.Equal(t, 200, resp.StatusCode)
		require.Equal(t, "text/event-stream", resp.Header.Get("Content-Type"))
		list := events(t, text)
		said := ""
		for _, e := range list {
			for _, at := range []string{"choices.0.delta.content", "choices.0.text", "delta.text"} {
				said += e.Get(at).String()
			}
			if e.Get("type").String() == "response.output_text.delta" {
				said += e.Get("delta").String()
			}
		}
		require.Equal(t, mockSays, said)
		require.Greater(t, len(list), 3)
		return list, text
	}
	for _, path := range []string{"/v1/chat/completions", "/v1/completions"} {
		list, _ := stream(path, streamed)
		require.Equal(t, "[DONE]", list[len(list)-1].Str)
		usage := list[len(list)-2]
		require.Empty(t, usage.Get("choices").Array())
		require.Equal(t, int64(2), usage.Get("usage.prompt_tokens").Int(), "as of an answer that is not streamed")
		require.Equal(t, int64(8), usage.Get("usage.completion_tokens").Int())

		g.prepare = func(c *llm.Call) { c.Keyed = true }
		g.handler.Unmetered = true
		_, text := stream(path, streamed)
		require.NotContains(t, text, "usage", "nobody asked for it")
		g.prepare = func(c *llm.Call) { c.Keyed, c.Metered = true, true }
	}
	list, _ := stream("/v1/messages", streamed)
	require.Equal(t, "message_start", list[0].Get("type").String())
	require.Equal(t, int64(2), list[0].Get("message.usage.input_tokens").Int())
	require.Equal(t, int64(8), list[len(list)-2].Get("usage.output_tokens").Int())
	require.Equal(t, "message_stop", list[len(list)-1].Get("type").String())

	list, _ = stream("/v1/responses", streamed)
	last := list[len(list)-1]
	require.Equal(t, "response.completed", last.Get("type").String())
	require.Equal(t, int64(2), last.Get("response.usage.input_tokens").Int())
	for i, e := range list {
		require.Equal(t, int64(i), e.Get("sequence_number").Int())
	}
}

func TestMockDelayEndsWithTheTimeout(t *testing.T) {
	g := start(t, `llmroute {
		model m {
			backend mock {
				delay 1h
				timeout 10ms
			}
		}
	}`)
	resp, body := g.post(t, "/v1/messages", chat)
	require.Equal(t, http.StatusGatewayTimeout, resp.StatusCode)
	require.Equal(t, "api_error", gjson.Get(body, "error.type").String())
}

// TestMockFails has a backend that always fails: the next one answers, and without one the client gets the error.
func TestMockFails(t *testing.T) {
	g := start(t, `llmroute {
		model m {
			backend mock {
				fail 100
				order 0
			}
			backend mock {
				response well
			}
		}
		model alone {
			backend mock {
				fail 100
			}
		}
	}`)
	resp, body := g.post(t, "/v1/chat/completions", chat)
	require.Equal(t, http.StatusOK, resp.StatusCode, body)
	require.Contains(t, body, "well")
	resp, _ = g.post(t, "/v1/chat/completions", strings.Replace(chat, `"m"`, `"alone"`, 1))
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
}
