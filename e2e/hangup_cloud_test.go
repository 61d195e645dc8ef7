package e2e

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
	"github.com/tollgate-llm/tollgate/internal/testkit/scripted"
)

// TestHangUpWithTheWholeTextOfClouds leaves as soon as the text is whole, on Bedrock's binary event streams and on Vertex AI's streams:
// the usage of the event that follows is billed, by every policy.
func TestHangUpWithTheWholeTextOfClouds(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", awsID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", awsSecret)
	t.Setenv("AWS_SESSION_TOKEN", awsSession)
	scripted.ServiceAccount(t, vertexKey)
	const frames = "application/vnd.amazon.eventstream"
	// event returns frames of converse-stream: kind, payload, ...
	event := func(pairs ...string) string {
		var b strings.Builder
		for i := 0; i < len(pairs); i += 2 {
			b.Write(scripted.EventFrame(t, pairs[i], []byte(pairs[i+1])))
		}
		return b.String()
	}
	// chunk returns frames of invoke-with-response-stream, which hold the model's own events.
	chunk := func(events ...string) string {
		var b strings.Builder
		for _, e := range events {
			b.Write(scripted.EventFrame(t, "chunk", fmt.Appendf(nil, `{"bytes":"%s","p":"abc"}`, base64.StdEncoding.EncodeToString([]byte(e)))))
		}
		return b.String()
	}
	const metadata = `{"metrics":{"latencyMs":9},"usage":{"inputTokens":30,"outputTokens":9003,"totalTokens":9033}}`
	const metrics = `"amazon-bedrock-invocationMetrics":{"inputTokenCount":30,"outputTokenCount":9003,"invocationLatency":9,"firstByteLatency":1}`
	said := event("messageStart", `{"role":"assistant"}`, "contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":"Hi"}}`, "contentBlockStop", `{"contentBlockIndex":0}`)
	const aws = "bedrock %s {\nregion us-east-1\nmodel us.anthropic.claude-up-v1:0\n}"
	const gemini, claude = "vertex %s {\nproject my-project\nlocation us-central1\n}", "vertex %s/v1/projects/p/locations/europe-west1 {\nmodel claude-up@20250514\n}"
	for _, c := range []struct{ name, backend, path, body, kind, text, rest string }{
		{"converse, a block's end", aws, "/model/m/converse-stream", `{"messages":[]}`, frames, said, event("messageStop", `{"stopReason":"end_turn"}`, "metadata", metadata)},
		{"converse, the reason of the stop", aws, "/model/m/converse-stream", `{"messages":[]}`, frames, said + event("messageStop", `{"stopReason":"max_tokens"}`), event("metadata", metadata)},
		{
			"converse, after a thought that does not show", aws, "/model/m/converse-stream", `{"messages":[]}`, frames,
			event("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"reasoningContent":{"redactedContent":"AAAA"}}}`, "contentBlockStop", `{"contentBlockIndex":0}`) + said,
			event("messageStop", `{"stopReason":"end_turn"}`, "metadata", metadata),
		},
		{
			"invoke, Claude", aws, "/model/m/invoke-with-response-stream", `{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"messages":[]}`, frames,
			chunk(`{"type":"message_start","message":{"usage":{"input_tokens":30,"output_tokens":1}}}`, `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`,
				`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}`, `{"type":"content_block_stop","index":0}`),
			chunk(`{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9003}}`, `{"type":"message_stop",`+metrics+`}`),
		},
		{
			"invoke, Nova", aws, "/model/m/invoke-with-response-stream", `{"messages":[]}`, frames,
			chunk(`{"contentBlockDelta":{"delta":{"text":"Hi"},"contentBlockIndex":0}}`, `{"contentBlockStop":{"contentBlockIndex":0}}`, `{"messageStop":{"stopReason":"end_turn"}}`),
			chunk(`{"metadata":{"usage":{"inputTokens":30,"outputTokens":9003}},` + metrics + `}`),
		},
		{"vertex, Gemini", gemini, "/v1beta/models/m:streamGenerateContent?alt=sse", `{"contents":[]}`, "text/event-stream", geminiText, geminiRest},
		{
			"vertex, Gemini, not as events", gemini, "/v1beta/models/m:streamGenerateContent", `{"contents":[]}`, "application/json",
			`[{"candidates":[{"content":{"parts":[{"text":"` + strings.Repeat("Hi", 40_000) + `"}]},"finishReason":"STOP"}]}` + "\r\n",
			`,{"candidates":[],"usageMetadata":{"promptTokenCount":30,"candidatesTokenCount":3,"thoughtsTokenCount":9000,"totalTokenCount":9033}}]`,
		},
		{"vertex, Claude", claude, "/v1/messages", `{"model":"m","max_tokens":9,"stream":true,"messages":[]}`, "text/event-stream", anthropicText, anthropicRest},
		{"vertex, OpenAI's API", gemini, "/v1/chat/completions", gateway.Chat("m", "x", true), "text/event-stream", chatText, chatRest},
	} {
		for _, policy := range []string{"auto", "cancel"} {
			for _, way := range []string{"close", "reset"} {
				t.Run(c.name+", "+policy+", "+way, func(t *testing.T) {
					e := hungUp(t, "on_disconnect "+policy+"\nmax_drains 0", c.backend, c.path, c.body, c.kind, c.text, c.rest, c.text[len(c.text)-8:], leaving[way])
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
