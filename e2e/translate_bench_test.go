package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// BenchmarkTranslatedStreams measures streams of 200 pieces of text through a whole gateway, translated ones in turn with untranslated ones of the
// caller's own API. CPU time and allocations are those of the process, so the fake provider and the client are part of both.
func BenchmarkTranslatedStreams(b *testing.B) {
	streams := map[string][]string{"/v1/chat/completions": chatEvents(), "/v1/messages": messagesEvents(), "/v1/responses": responsesEvents()}
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		for _, event := range streams[r.URL.Path] {
			_, _ = io.WriteString(w, event)
			w.(http.Flusher).Flush() //nolint:forcetypeassert // net/http's writers are
		}
	}))
	b.Cleanup(up.Close)
	const model = `
		model %s {
			backend %s {
				api_key k
				price input 1
				price output 2
				translate
			}
		}`
	g := gateway.Start(b, "", fmt.Sprintf(`
	lagobilling {
		spool %s
		missing_payer unbilled
	}
	llmroute {
		anonymous%s%s%s
	}`, b.TempDir(), fmt.Sprintf(model, "chat", "deepseek "+up.URL+"/v1"), fmt.Sprintf(model, "messages", "anthropic "+up.URL),
		fmt.Sprintf(model, "responses", "openai "+up.URL+"/v1")))
	calls := map[string]struct{ body, end string }{
		"chat/completions": {`{"model":"%s","messages":[{"role":"user","content":"hi"}],"max_tokens":99,"stream":true}`, "data: [DONE]\n\n"},
		"messages": {
			`{"model":"%s","max_tokens":99,"messages":[{"role":"user","content":"hi"}],"stream":true}`,
			"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
		},
		"responses": {`{"model":"%s","input":"hi","max_output_tokens":99,"store":false,"stream":true}`, "}\n\n"},
	}
	var answer bytes.Buffer // used again, so that what the client allocates is no part of the comparison
	// each makes some calls of an API and adds up what they cost.
	each := func(b *testing.B, api, model string, sum *used) {
		c := calls[api]
		begin := resources()
		for range 10 {
			res, err := http.Post(g.URL("/v1/"+api), "application/json", strings.NewReader(fmt.Sprintf(c.body, model))) //nolint:noctx // ends with the test
			require.NoError(b, err)
			answer.Reset()
			_, err = answer.ReadFrom(res.Body)
			require.NoError(b, errors.Join(err, res.Body.Close()))
			if res.StatusCode != http.StatusOK || !bytes.HasSuffix(answer.Bytes(), []byte(c.end)) {
				require.Fail(b, answer.String()) // made into a string here alone, as that would be a part of what is measured
			}
		}
		end := resources()
		sum.cpu += end.cpu - begin.cpu
		sum.bytes += end.bytes - begin.bytes
		sum.calls += 10
	}
	for _, p := range []struct{ api, own, model string }{
		{"chat/completions", "chat", "messages"},
		{"messages", "messages", "chat"},
		{"responses", "responses", "chat"},
		{"responses", "responses", "messages"},
	} {
		b.Run(strings.ReplaceAll(p.api, "/", " ")+" on "+p.model, func(b *testing.B) {
			var own, translated used
			for b.Loop() {
				each(b, p.api, p.own, &own)
				each(b, p.api, p.model, &translated)
			}
			b.ReportMetric(0, "ns/op") // of both together, which says nothing
			b.ReportMetric(own.each(float64(own.cpu.Microseconds())), "untranslated-cpu-µs")
			b.ReportMetric(translated.each(float64(translated.cpu.Microseconds())), "cpu-µs")
			b.ReportMetric(own.each(float64(own.bytes)/1e3), "untranslated-KB")
			b.ReportMetric(translated.each(float64(translated.bytes)/1e3), "KB")
			b.ReportMetric(float64(translated.cpu)/float64(own.cpu), "cpu-ratio")
		})
	}
}

// used is what calls cost this process.
type used struct {
	cpu   time.Duration
	bytes uint64 // allocated
	calls int
}

func resources() used {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return used{cpu: testkit.CPUTime(), bytes: s[0].Value.Uint64()}
}

// each returns what a call costs of a sum.
func (u used) each(sum float64) float64 { return sum / float64(u.calls) }

const (
	benchPieces = 200
	benchPiece  = " a piece of the text"
)

// chatEvents are those of a stream of chat completions.
func chatEvents() []string {
	const chunk = `data: {"id":"c1","created":1,"model":"up","object":"chat.completion.chunk","choices":[{"index":0,"delta":{%s},"finish_reason":%s}]%s}` + "\n\n"
	events := []string{fmt.Sprintf(chunk, `"role":"assistant","content":""`, "null", "")}
	for range benchPieces {
		events = append(events, fmt.Sprintf(chunk, `"content":"`+benchPiece+`"`, "null", ""))
	}
	return append(events, fmt.Sprintf(chunk, "", `"stop"`, `,"usage":{"prompt_tokens":20,"completion_tokens":7,"total_tokens":27}`), "data: [DONE]\n\n")
}

// messagesEvents are those of a stream of Messages.
func messagesEvents() []string {
	event := func(kind, members string) string {
		return "event: " + kind + "\ndata: {\"type\":\"" + kind + `"` + members + "}\n\n"
	}
	events := []string{
		event("message_start", `,"message":{"id":"msg_1","type":"message","role":"assistant","model":"up","content":[],"stop_reason":null,`+
			`"stop_sequence":null,"usage":{"input_tokens":20,"output_tokens":1}}`),
		event("content_block_start", `,"index":0,"content_block":{"type":"text","text":""}`),
	}
	for range benchPieces {
		events = append(events, event("content_block_delta", `,"index":0,"delta":{"type":"text_delta","text":"`+benchPiece+`"}`))
	}
	return append(events, event("content_block_stop", `,"index":0`),
		event("message_delta", `,"delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":7}`), event("message_stop", ""))
}

// responsesEvents are those of a stream of Responses.
func responsesEvents() []string {
	var events []string
	add := func(kind, members string) {
		events = append(events, fmt.Sprintf("event: response.%[1]s\ndata: {\"type\":\"response.%[1]s\",\"sequence_number\":%[2]d,%[3]s}\n\n", kind, len(events), members))
	}
	response := func(status, output, usage string) string {
		return `"response":{"id":"resp_1","object":"response","created_at":1,"status":"` + status + `","background":false,"error":null,` +
			`"incomplete_details":null,"instructions":null,"max_output_tokens":null,"model":"up","output":[` + output + `],` +
			`"parallel_tool_calls":true,"previous_response_id":null,"service_tier":"default","store":false,"temperature":1,` +
			`"text":{"format":{"type":"text"}},"tool_choice":"auto","tools":[],"top_p":1,"truncation":"disabled","usage":` + usage + `,"user":null,"metadata":{}}`
	}
	const at = `"item_id":"msg_1","output_index":0,"content_index":0,`
	part := func(text string) string {
		return `{"type":"output_text","annotations":[],"logprobs":[],"text":"` + text + `"}`
	}
	item := func(status, content string) string {
		return `{"id":"msg_1","type":"message","status":"` + status + `","role":"assistant","content":[` + content + `]}`
	}
	text := strings.Repeat(benchPiece, benchPieces)
	add("created", response("in_progress", "", "null"))
	add("in_progress", response("in_progress", "", "null"))
	add("output_item.added", `"output_index":0,"item":`+item("in_progress", ""))
	add("content_part.added", at+`"part":`+part(""))
	for range benchPieces {
		add("output_text.delta", at+`"delta":"`+benchPiece+`","logprobs":[]`)
	}
	add("output_text.done", at+`"text":"`+text+`","logprobs":[]`)
	add("content_part.done", at+`"part":`+part(text))
	add("output_item.done", `"output_index":0,"item":`+item("completed", part(text)))
	add("completed", response("completed", item("completed", part(text)), `{"input_tokens":20,"input_tokens_details":{"cached_tokens":0},`+
		`"output_tokens":7,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":27}`))
	return events
}
