package lagobilling

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/translate"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// translatedRoute is a route whose answer is that of an upstream of another API.
func translatedRoute(t *testing.T, p translate.Pair, request string, answer http.HandlerFunc) route {
	rt := chatRoute(func(w http.ResponseWriter, r *http.Request) {
		tr, ok := translate.New(p, translate.Options{Model: "m", Upstream: "claude-opus-4-6", Provider: "anthropic", OutputLimit: 100, ID: "1"})
		require.True(t, ok)
		_, err := tr.Request([]byte(request))
		require.NoError(t, err)
		llm.FromContext(r.Context()).Attempt().Translate(tr)
		answer(w, r)
	})
	if p.Upstream == translate.Messages {
		rt.target = &llm.Target{
			Model: "m", Backend: "main", Provider: "anthropic", Upstream: "claude-opus-4-6", API: llm.Anthropic,
			Endpoint: &llm.Endpoint{Name: "messages", API: llm.Anthropic, Reader: usage.AnthropicMessages},
		}
	}
	return rt
}

// TestNoTranslatedEndWithoutARecord has streams whose end the meter and the translation may see at different bytes.
func TestNoTranslatedEndWithoutARecord(t *testing.T) {
	onMessages := translate.Pair{Caller: translate.Chat, Upstream: translate.Messages}
	onChat := translate.Pair{Caller: translate.Messages, Upstream: translate.Chat}
	const chatRequest = `{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}`
	const messagesRequest = `{"model":"m","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`
	claude := "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"x\",\"content\":[],\"usage\":{\"input_tokens\":11,\"output_tokens\":1}}}\n\n" +
		"data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n" +
		"data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello\"}}\n\n" +
		"data: {\"type\":\"content_block_stop\",\"index\":0}\n\n" +
		"data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":7}}\n\n"
	chat := `data: {"id":"c1","choices":[{"index":0,"delta":{"role":"assistant","content":"Hello"},"finish_reason":null}]}` + "\n\n" +
		`data: {"id":"c1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n" + sseUsage
	for _, c := range []struct {
		name    string
		pair    translate.Pair
		request string
		body    []string
	}{
		{"messages", onMessages, chatRequest, []string{claude, "data: {\"type\":\"message_stop\"}\n\n"}},
		{"messages, CR", onMessages, chatRequest, []string{claude, "data: {\"type\":\"message_stop\"}\r\r"}},
		{"messages, CRLF cut", onMessages, chatRequest, []string{claude, "data: {\"type\":\"message_stop\"}\r\n\r", "\n"}},
		{"messages, event first", onMessages, chatRequest, []string{claude, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"}},
		{"messages, other event", onMessages, chatRequest, []string{claude, "event: bye\ndata: {\"type\":\"message_stop\"}\n\n"}},
		{"messages, twice", onMessages, chatRequest, []string{claude, "data: {\"type\":\"ping\",\"type\":\"message_stop\"}\n\n"}},
		{"messages, lines", onMessages, chatRequest, []string{claude, "data: {\"type\":\ndata: \"message_stop\"}\n\n"}},
		{"messages, type in a list before", onMessages, chatRequest, []string{claude, "data: {\"x\":[{\"type\":\"y\"}],\"type\":\"message_stop\"}\n\n"}},
		{"messages, spaces", onMessages, chatRequest, []string{claude, "data:   {\"type\":\"message_stop\"}  \n\n"}},
		{"messages, id field", onMessages, chatRequest, []string{claude, "id: 1\nretry: 3\ndata: {\"type\":\"message_stop\"}\n\n"}},
		{"messages, after bad JSON", onMessages, chatRequest, []string{claude, "event: x\ndata: {\"type\":\"z\",\"a\":1}\n\n", "data: {\"type\":\"message_stop\"}\n\n"}},
		{"chat", onChat, messagesRequest, []string{chat, "data: [DONE]\n\n"}},
		{"chat, CR", onChat, messagesRequest, []string{chat, "data: [DONE]\r\r"}},
		{"chat, text behind", onChat, messagesRequest, []string{chat, "data: [DONE] bye\n\n"}},
		{"chat, an empty line of data", onChat, messagesRequest, []string{chat, "data:\ndata: [DONE]\n\n"}},
		{"chat, form feed", onChat, messagesRequest, []string{chat, "data: \f[DONE]\n\n"}},
		{"chat, no space", onChat, messagesRequest, []string{chat, "data:[DONE]\n\n"}},
		{"chat, event of another name", onChat, messagesRequest, []string{chat, "event: done\ndata: [DONE]\n\n"}},
		{"chat, without", onChat, messagesRequest, []string{chat}},
		{"chat, one line end", onChat, messagesRequest, []string{chat, "data: [DONE]\n"}},
		{"chat, no line end", onChat, messagesRequest, []string{chat, "data: [DONE]"}},
		{"chat, bom", onChat, messagesRequest, []string{"\ufeff" + chat, "data: [DONE]\n\n"}},
		{"chat, CR in between", onChat, messagesRequest, []string{chat, ": x\r", "data: [DONE]\r", "\r"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			end := "[DONE]"
			if c.pair == onChat {
				end = "message_stop"
			}
			b := newBench(t, &Handler{})
			answer := chunked(stream, c.body...)
			_, body, err := b.post(translatedRoute(t, c.pair, c.request, answer))
			require.NoError(t, err, body)
			e := b.only()
			require.Contains(t, body, end)
			require.Equal(t, usage.Reported, e.Source)
			require.Len(t, e.Events, 1)

			b = newBench(t, &Handler{})
			_, body, err = b.post(translatedRoute(t, c.pair, c.request, func(w http.ResponseWriter, r *http.Request) {
				require.NoError(t, b.account.Spool().Close())
				answer(w, r)
			}))
			require.Error(t, err)
			require.NotContains(t, body, end)
			b.wait()
		})
	}
}
