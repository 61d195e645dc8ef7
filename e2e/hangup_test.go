package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// leaving are the ways in which a client leaves.
var leaving = map[string]func(t *testing.T, c *net.TCPConn){
	"close":      func(t *testing.T, c *net.TCPConn) { require.NoError(t, c.Close()) },
	"reset":      func(t *testing.T, c *net.TCPConn) { require.NoError(t, c.SetLinger(0)); require.NoError(t, c.Close()) },
	"half-close": func(t *testing.T, c *net.TCPConn) { require.NoError(t, c.CloseWrite()) },
}

// hungUp makes a call whose upstream answers with text, and with rest once the gateway knows that the client has left, or at
// once where it does not leave. It returns the call's record.
func hungUp(t *testing.T, billing, backend, path, body, kind, text, rest, until string, leave func(*testing.T, *net.TCPConn)) gateway.LedgerLine {
	t.Helper()
	more := make(chan struct{})
	up := upstreamServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", kind)
		_, _ = io.WriteString(w, text)
		w.(http.Flusher).Flush()
		select {
		case <-more:
		case <-r.Context().Done(): // cancelled
			return
		}
		_, _ = io.WriteString(w, rest)
	})
	g := gateway.Start(t, "", openSite(t.TempDir(), billing, fmt.Sprintf("model m {\nbackend "+backend+"\n}", up.URL)))
	conn, err := net.Dial("tcp", g.Addr)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()                               // it may be closed already
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute))) // for a test that waits for what does not come
	_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, g.Addr, len(body), body)
	require.NoError(t, err)
	r := bufio.NewReader(conn)
	for got := []byte(nil); !bytes.Contains(got, []byte(until)); {
		b, err := r.ReadByte()
		require.NoError(t, err, "%q", got)
		got = append(got, b)
	}
	if leave == nil {
		close(more)
		return g.Record()
	}
	leave(t, conn.(*net.TCPConn))
	require.Eventually(t, func() bool {
		state := g.Billing()
		return strings.Contains(state, `"drains":1`) || strings.Contains(state, `"finished":1`)
	}, 20*time.Second, time.Millisecond)
	close(more)
	return g.Record()
}

const (
	chatText = `data: {"id":"1","choices":[{"index":0,"delta":{"content":"Hi"}}]}` + "\n\n" +
		`data: {"id":"1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n"
	chatRest = `data: {"id":"1","choices":[],"usage":{"prompt_tokens":30,"completion_tokens":9003,"total_tokens":9033}}` + "\n\ndata: [DONE]\n\n"

	responsesText = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"item_id\":\"a\",\"delta\":\"Hi\"}\n\n" +
		"event: response.output_text.done\ndata: {\"type\":\"response.output_text.done\",\"item_id\":\"a\",\"text\":\"Hi\"}\n\n"
	responsesRest = "event: response.output_item.done\ndata: {\"type\":\"response.output_item.done\",\"item\":{\"type\":\"message\"}}\n\n" +
		"event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"usage\":{\"input_tokens\":30,\"output_tokens\":9003,\"total_tokens\":9033}}}\n\n"

	anthropicText = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"a\",\"usage\":{\"input_tokens\":30,\"output_tokens\":1}}}\n\n" +
		"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n" +
		"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n" +
		"event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
	anthropicRest = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":9003}}\n\n" +
		"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"

	geminiText = `data: {"candidates":[{"content":{"parts":[{"text":"Hi"}]},"finishReason":"STOP"}]}` + "\r\n\r\n"
	geminiRest = `data: {"candidates":[],"usageMetadata":{"promptTokenCount":30,"candidatesTokenCount":3,"thoughtsTokenCount":9000,"totalTokenCount":9033}}` + "\r\n\r\n"

	cohereText = "event: content-start\ndata: {\"type\":\"content-start\",\"index\":0}\n\nevent: content-delta\ndata: {\"type\":\"content-delta\",\"delta\":{\"message\":{\"content\":{\"text\":\"Hi\"}}}}\n\n" +
		"event: content-end\ndata: {\"type\":\"content-end\",\"index\":0}\n\n"
	cohereRest = "event: message-end\ndata: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"COMPLETE\",\"usage\":{\"billed_units\":{\"input_tokens\":30,\"output_tokens\":9003}}}}\n\n"

	// An answer that is not streamed was made before its first byte came; its text may be whole long before its usage.
	wholeText = `{"id":"1","choices":[{"index":0,"message":{"content":"Hi"}`
	wholeRest = `,"finish_reason":"stop"}],"usage":{"prompt_tokens":30,"completion_tokens":9003,"total_tokens":9033}}`
)

// wholeLong is longer than what is kept back to be sent with its cost.
var wholeLong = strings.Replace(wholeText, "Hi", strings.Repeat("Hi", 40_000), 1)

// TestHangUpWithTheWholeText leaves as soon as the text is whole: the usage that the provider reports after it is billed, by every
// policy and at every provider, and however the client leaves.
func TestHangUpWithTheWholeText(t *testing.T) {
	const key = " {\napi_key k\n}"
	chat, messages, responses := "/v1/chat/completions", "/v1/messages", "/v1/responses"
	cases := []struct {
		name, backend, path, body, kind, text, rest, until string
	}{
		{"anthropic", "anthropic %s" + key, messages, `{"model":"m","max_tokens":9,"stream":true,"messages":[]}`, "", anthropicText, anthropicRest, "content_block_stop\",\"index\":0}\n\n"},
		{"responses", "openai %s/v1" + key, responses, `{"model":"m","input":"x","stream":true}`, "", responsesText, responsesRest, "\"text\":\"Hi\"}\n\n"},
		{"gemini", "gemini %s" + key, "/v1beta/models/m:streamGenerateContent?alt=sse", `{"contents":[]}`, "", geminiText, geminiRest, "\"STOP\"}]}\r\n\r\n"},
		{"cohere", "cohere %s" + key, "/v2/chat", `{"model":"m","stream":true,"messages":[]}`, "", cohereText, cohereRest, "content-end\",\"index\":0}\n\n"},
		{"not streamed", "openai %s/v1" + key, chat, gateway.Chat("m", "x", false), "application/json", wholeLong, wholeRest, "HiHi\"}"},
		{"completions", "openai %s/v1" + key, "/v1/completions", `{"model":"m","prompt":"x","stream":true}`, "", strings.ReplaceAll(chatText, `"delta":{"content":"Hi"}`, `"text":"Hi"`), chatRest, "\"stop\"}]}\n\n"},
	}
	for _, provider := range []string{"openai %s/v1", "openrouter %s/api/v1", "deepseek %s/v1", "xai %s/v1", "together %s/v1", "fireworks %s/v1", "vllm %s/v1", "groq %s/v1", "perplexity %s"} {
		name, _, _ := strings.Cut(provider, " ")
		cases = append(cases, cases[0])
		c := &cases[len(cases)-1]
		c.name, c.backend, c.path, c.body = name, provider+key, chat, gateway.Chat("m", "x", true)
		c.text, c.rest, c.until = chatText, chatRest, "\"stop\"}]}\n\n"
	}
	cases = append(cases, cases[len(cases)-1])
	c := &cases[len(cases)-1]
	c.name, c.backend = "azure", "azure %s {\napi_key k\napi_version 2024-10-21\n}"
	for _, c := range cases {
		if c.kind == "" {
			c.kind = "text/event-stream"
		}
		ways := []string{"close"}
		if c.name == "openai" || c.name == "anthropic" {
			ways = []string{"close", "reset", "half-close"}
		}
		for _, policy := range []string{"auto", "cancel"} {
			for _, way := range ways {
				t.Run(c.name+", "+policy+", "+way, func(t *testing.T) {
					e := hungUp(t, "on_disconnect "+policy+"\nmax_drains 0", c.backend, c.path, c.body, c.kind, c.text, c.rest, c.until, leaving[way])
					require.Equal(t, "client_gone", e.Outcome)
					require.Equal(t, "reported", e.Source, e.How)
					require.EqualValues(t, 30, e.Counts["input"])
					require.EqualValues(t, 9003, e.Counts["output"]+e.Counts["reasoning"])
					require.Len(t, e.Events, 1)
				})
			}
		}
	}
}

// TestStopsReading is a client that reads no more once it has the whole text, and never closes.
func TestStopsReading(t *testing.T) {
	e := hungUp(t, "on_disconnect cancel", "openai %s/v1", "/v1/chat/completions", gateway.Chat("m", "x", true), "text/event-stream",
		chatText, chatRest, "\"stop\"}]}\n\n", nil)
	require.Equal(t, "completed", e.Outcome)
	require.Equal(t, "reported", e.Source)
	require.EqualValues(t, 9003, e.Counts["output"])
}

// TestHangUpDuringHiddenReasoning leaves while nothing but a sign of reasoning has come, or nothing at all of an answer by a model
// that is known to reason: what the provider counts shows in its last event alone.
func TestHangUpDuringHiddenReasoning(t *testing.T) {
	thinking := "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"a\",\"usage\":{\"input_tokens\":30,\"output_tokens\":1}}}\n\n" +
		"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\"}}\n\n"
	item := "event: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"item\":{\"type\":\"reasoning\"}}\n\n"
	role := `data: {"id":"1","choices":[{"index":0,"delta":{"role":"assistant"}}]}` + "\n\n"
	named := `data: {"id":"1","model":"o3-2025-04-16","choices":[{"index":0,"delta":{"role":"assistant"}}]}` + "\n\n"
	chat := "/v1/chat/completions"
	cases := []struct{ name, backend, path, body, text, rest, until string }{
		{"a block of thinking", "anthropic %s", "/v1/messages", `{"model":"m","max_tokens":9,"stream":true,"messages":[]}`, thinking, anthropicRest, "\"thinking\":\"\"}}\n\n"},
		{"a reasoning item", "openai %s/v1", "/v1/responses", `{"model":"m","input":"x","stream":true}`, item, responsesRest, "\"reasoning\"}}\n\n"},
		{"a model by its name", "openai %s/v1 {\nmodel o3-mini\n}", chat, gateway.Chat("m", "x", true), role, chatRest, "assistant\"}}]}\n\n"},
		{"a model that the answer names", "azure %s {\napi_version 2024-10-21\n}", chat, gateway.Chat("m", "x", true), named, chatRest, "assistant\"}}]}\n\n"},
		{"a request to reason", "openai %s/v1", chat, `{"model":"m","stream":true,"reasoning_effort":"high","messages":[]}`, role, chatRest, "assistant\"}}]}\n\n"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := hungUp(t, "", c.backend, c.path, c.body, "text/event-stream", c.text, c.rest, c.until, leaving["close"])
			require.Equal(t, "drained", e.Hangup)
			require.Equal(t, "reported", e.Source, e.How)
			require.EqualValues(t, 30, e.Counts["input"])
			require.EqualValues(t, 9003, e.Counts["output"])
		})
	}
	t.Run("that is cancelled says what is missing", func(t *testing.T) {
		e := hungUp(t, "on_disconnect cancel", "openai %s/v1 {\nmodel o3-mini\n}", chat, gateway.Chat("m", "x", true), "text/event-stream", role, chatRest, "assistant\"}}]}\n\n", leaving["close"])
		require.Equal(t, "cancelled", e.Hangup)
		require.Contains(t, e.How, "reasoning that the answer did not show is not counted")
	})
	t.Run("which the request forbids", func(t *testing.T) {
		e := hungUp(t, "", "openai %s/v1", chat, `{"model":"m","stream":true,"reasoning_effort":"none","messages":[]}`, "text/event-stream", role, chatRest, "assistant\"}}]}\n\n", leaving["close"])
		require.Equal(t, "cancelled", e.Hangup)
	})
}
