package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
	"github.com/tollgate-llm/tollgate/internal/testkit/scripted"
)

// reported is a call that another gateway was reported to serve or bill wrongly, or a neighbour of one.
type reported struct {
	name            string
	backend         string // provider and base URL, %s being the address; with settings, one a line, after it
	billing         string // lines of lagobilling
	path            string
	header          []string
	body            string
	answer          string // JSON; several are the events of a stream, one a line
	second          string // what a further backend answers, which is asked when the first one breaks off
	status          int    // 200 where it is 0
	counts          map[string]int64
	cost            string
	source          string
	upstream        map[string]string // headers that go upstream
	contentType     string            // of the answer
	contentTypeSent string            // of the request
}

const (
	listPrice    = "\nprice input 1\nprice cache_read 0.1\nprice output 10\nprice web_searches 0.01\nprice output_image 40"
	onAnthropic  = "anthropic %s" + listPrice
	onOpenAI     = "openai %s/v1" + listPrice
	onGemini     = "gemini %s" + listPrice
	hello        = `"messages":[{"role":"user","content":"hello there my friend"}]`
	toClaude     = `{"model":"m","max_tokens":900,"stream":true,` + hello + `}`
	completion   = `{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"ok"},"finish_reason":"stop"}],"usage":{"prompt_tokens":100,"completion_tokens":2,"total_tokens":102}}`
	shortMessage = `{"id":"m","type":"message","role":"assistant","model":"claude-x","content":[{"type":"text","text":"x"}],"usage":{"input_tokens":5,"output_tokens":1}}`
)

// claudeStream is a stream of Anthropic's API with the usage of its first and of its last event.
func claudeStream(first, last string) string {
	return `{"type":"message_start","message":{"id":"m","type":"message","role":"assistant","model":"qwen3-max","content":[],"usage":` + first + `}}
{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}
{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hello"}}
{"type":"content_block_stop","index":0}
{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":` + last + `}
{"type":"message_stop"}`
}

func grounded(model, queries string) string {
	return `{"candidates":[{"content":{"role":"model","parts":[{"text":"x"}]},"index":0,"groundingMetadata":{"webSearchQueries":` + queries +
		`},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":10,"totalTokenCount":110},"modelVersion":"` + model + `"}`
}

func searched(model string) string {
	return `{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"ok","annotations":[{"type":"url_citation","url_citation":{"url":"https://example.com","start_index":0,"end_index":2}}]}}],"usage":{"prompt_tokens":100,"completion_tokens":2,"total_tokens":102},"model":"` + model + `"}`
}

func imageTool(usage string) string {
	return `{"id":"resp_1","object":"response","status":"completed","model":"gpt-5.5","output":[{"type":"image_generation_call","id":"ig_1","status":"completed","result":"AAAA"}],"usage":{"input_tokens":1820,"output_tokens":210,"total_tokens":2030},"tool_usage":` + usage + `}`
}

// recording makes a form with a file of silence, 8 kHz and 8 bit, of that many seconds.
func recording(seconds int, format string) (body, contentType string) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	_ = w.WriteField("model", "m")
	_ = w.WriteField("response_format", format)
	f, _ := w.CreateFormFile("file", "a.wav")
	_, _ = f.Write([]byte("RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x40\x1f\x00\x00\x01\x00\x08\x00data\xff\xff\xff\xff" + strings.Repeat("\x80", 8000*seconds)))
	_ = w.Close()
	return b.String(), w.FormDataContentType()
}

func reportedCalls() []reported {
	azure := reported{backend: onOpenAI, header: []string{"Api-Key", "k"}, cost: "0.00392", answer: `{"id":"resp_1","object":"response","status":"completed","model":"gpt-5.5","output":[],"usage":{"input_tokens":1820,"output_tokens":210,"total_tokens":2030}}`}
	upgrade := reported{backend: onOpenAI, path: "/v1/responses", status: http.StatusUpgradeRequired}
	device := func(user string) string {
		return `{"model":"m","max_tokens":5,` + hello + `,"metadata":{"user_id":"` + user + `"}}`
	}
	cases := []reported{
		// The whole prompt in message_start, what of it was cached only in message_delta: rust-genai#258, bifrost#5510.
		{name: "cached tokens in the last event alone", backend: onAnthropic, path: "/v1/messages", body: toClaude, counts: map[string]int64{"input": 0, "cache_read": 3604, "output": 878}, answer: claudeStream(`{"input_tokens":3602,"output_tokens":0}`, `{"cache_creation_input_tokens":0,"cache_read_input_tokens":3604,"output_tokens":878}`)},
		{name: "cached tokens in the last event, half of the prompt", backend: onAnthropic, path: "/v1/messages", body: toClaude, counts: map[string]int64{"input": 2000, "cache_read": 1602, "output": 8}, answer: claudeStream(`{"input_tokens":3602,"output_tokens":0}`, `{"cache_read_input_tokens":1602,"output_tokens":8}`)},
		{name: "cached tokens in both events", backend: onAnthropic, path: "/v1/messages", body: toClaude, counts: map[string]int64{"input": 10, "cache_read": 3592, "output": 8}, answer: claudeStream(`{"input_tokens":10,"cache_read_input_tokens":3592,"output_tokens":1}`, `{"input_tokens":10,"cache_read_input_tokens":3592,"output_tokens":8}`)},
		// The last usage replaces the first: bifrost#5354.
		{name: "the last usage replaces the first", backend: onAnthropic, path: "/v1/messages", body: toClaude, source: "reported", counts: map[string]int64{"input": 18, "cache_read": 8831, "output": 426}, answer: claudeStream(`{"input_tokens":8834,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}`, `{"input_tokens":18,"output_tokens":426,"cache_creation_input_tokens":0,"cache_read_input_tokens":8831}`)},
		{name: "the last usage has the output alone", backend: onAnthropic, path: "/v1/messages", body: toClaude, source: "reported", counts: map[string]int64{"input": 25, "output": 15}, answer: claudeStream(`{"input_tokens":25,"output_tokens":1}`, `{"output_tokens":15}`)},
		{name: "the first usage is all zeros", backend: onAnthropic, path: "/v1/messages", body: toClaude, source: "reported", counts: map[string]int64{"input": 25, "output": 15}, answer: claudeStream(`{"input_tokens":0,"output_tokens":0}`, `{"input_tokens":25,"output_tokens":15}`)},

		// AzureOpenAI calls what needs no deployment below /openai: openai-node#1607.
		azure.of("Azure's SDK, responses", "/openai/responses?api-version=2025-04-01-preview", `{"model":"m","input":"x"}`),
		azure.of("Azure's SDK, responses of its v1", "/openai/v1/responses", `{"model":"m","input":"x"}`),
		azure.of("Azure's SDK, a slash at the end", "/openai/responses/?api-version=preview", `{"model":"m","input":"x"}`),

		// A search model searches once a call, and does not count it in its usage: new-api#1108.
		{name: "a search model", backend: onOpenAI, path: "/v1/chat/completions", body: `{"model":"m","web_search_options":{},` + hello + `}`, counts: map[string]int64{"web_searches": 1}, answer: searched("gpt-4o-search-preview-2025-03-11")},
		{name: "a small search model", backend: onOpenAI, path: "/v1/chat/completions", body: `{"model":"m",` + hello + `}`, counts: map[string]int64{"web_searches": 1}, answer: searched("gpt-4o-mini-search-preview")},
		{name: "another model without citations", backend: onOpenAI, path: "/v1/chat/completions", body: `{"model":"m",` + hello + `}`, counts: map[string]int64{"web_searches": 0}, cost: "0.00012", answer: completion},

		// Codex goes on by HTTP only after 426: openai/codex#43353.
		upgrade.with("a WebSocket", "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "MTIzNDU2Nzg5MDEyMzQ1Ng=="),
		upgrade.with("a WebSocket in another case", "Connection", "keep-alive, Upgrade", "Upgrade", "WebSocket"),
		upgrade.with("another protocol", "Connection", "Upgrade", "Upgrade", "TLS/1.0"),

		// Gemini 3 is billed for each different query, the models before it for each prompt: litellm#15858.
		{name: "grounding of Gemini 3", backend: onGemini, path: "/v1beta/models/m:generateContent", body: `{"contents":[{"role":"user","parts":[{"text":"x"}]}],"tools":[{"googleSearch":{}}]}`, counts: map[string]int64{"web_searches": 2}, cost: "0.0202", answer: grounded("gemini-3-flash-preview", `["a","b","a",""]`)},
		{name: "grounding of Gemini 2.5", backend: onGemini, path: "/v1beta/models/m:generateContent", body: `{"contents":[{"role":"user","parts":[{"text":"x"}]}],"tools":[{"googleSearch":{}}]}`, counts: map[string]int64{"web_searches": 1}, cost: "0.0102", answer: grounded("gemini-2.5-flash", `["a","b"]`)},
		{name: "grounding that searched nothing", backend: onGemini, path: "/v1beta/models/m:generateContent", body: `{"contents":[{"role":"user","parts":[{"text":"x"}]}],"tools":[{"googleSearch":{}}]}`, counts: map[string]int64{"web_searches": 0}, cost: "0.0002", answer: grounded("gemini-3-flash-preview", `[]`)},

		// The hosted image tool reports beside usage: sub2api#4639.
		{name: "the image tool of responses", backend: onOpenAI, path: "/v1/responses", body: `{"model":"m","input":"draw","tools":[{"type":"image_generation"}]}`, counts: map[string]int64{"input": 1820, "output": 210, "output_image": 7024}, answer: imageTool(`{"image_gen":{"input_tokens":0,"input_tokens_details":{"image_tokens":0,"text_tokens":0},"output_tokens":7024,"output_tokens_details":{"image_tokens":7024,"text_tokens":0},"total_tokens":7024}}`)},
		{name: "an image tool that was not used", backend: onOpenAI, path: "/v1/responses", body: `{"model":"m","input":"x"}`, counts: map[string]int64{"output_image": 0}, cost: "0.00392", answer: strings.Replace(imageTool("null"), "image_generation_call", "message", 1)},
		{name: "the image tool in a stream", backend: onOpenAI, path: "/v1/responses", body: `{"model":"m","input":"draw","stream":true}`, counts: map[string]int64{"input": 1820, "output_image": 7024}, answer: `{"type":"response.created","response":{"id":"resp_1","model":"gpt-5.5"}}` + "\n" + `{"type":"response.completed","response":` + imageTool(`{"image_gen":{"input_tokens":0,"output_tokens":7024,"output_tokens_details":{"image_tokens":7024,"text_tokens":0}}}`) + `}`},

		// Nothing has reached the client when a backend resets: apisix#13870.
		{name: "a reset after the header", backend: onOpenAI, path: "/v1/chat/completions", body: `{"model":"m",` + hello + `}`, second: completion, counts: map[string]int64{"input": 100, "output": 2}},
		{name: "a reset after the header of a stream", backend: onOpenAI, path: "/v1/responses", body: `{"model":"m","input":"x","stream":true}`, second: azure.answer, counts: map[string]int64{"input": 1820}},
		{name: "a reset of Anthropic's", backend: onAnthropic, path: "/v1/messages", body: `{"model":"m","max_tokens":5,` + hello + `}`, second: shortMessage, counts: map[string]int64{"input": 5}},

		// Headers by which a provider finds a cache again: opencode#31511.
		{name: "headers of a conversation", backend: "xai %s/v1" + listPrice, path: "/v1/chat/completions", body: `{"model":"m",` + hello + `}`, header: []string{"X-Grok-Conv-Id", "c1", "X-Session-Affinity", "s1", "X-Session-Id", "s2"}, upstream: map[string]string{"X-Grok-Conv-Id": "c1", "X-Session-Affinity": "s1", "X-Session-Id": "s2"}, answer: completion},
		{name: "headers of a conversation, streamed", backend: "fireworks %s/v1" + listPrice, path: "/v1/chat/completions", body: `{"model":"m",` + hello + `}`, header: []string{"X-Session-Affinity", "s1"}, upstream: map[string]string{"X-Session-Affinity": "s1"}, answer: completion},
		{name: "headers of a conversation are OpenAI's alone", backend: onAnthropic, path: "/v1/messages", body: `{"model":"m","max_tokens":5,` + hello + `}`, header: []string{"X-Session-Id", "s1"}, upstream: map[string]string{"X-Session-Id": ""}, answer: shortMessage},

		// An end user of any length, where another pays: vercel/ai#12419.
		{name: "an end user of 256 bytes", backend: onAnthropic, billing: "charge_by key_alias", path: "/v1/messages", body: device(strings.Repeat("u", 256)), answer: shortMessage},
		{name: "an end user of 5000 bytes", backend: onAnthropic, billing: "charge_by key_alias", path: "/v1/messages", body: device(strings.Repeat("ü", 2500)), answer: shortMessage},
		{name: "an end user with a line break", backend: onAnthropic, billing: "charge_by key_alias", path: "/v1/messages", body: device(`a\nb`), answer: shortMessage},
	}
	// Plain text says no length, the file does: aisix#868.
	for i, c := range []struct {
		seconds            int
		format, kind, cost string
		answer             string
	}{
		{11, "text", "text/plain; charset=utf-8", "0.0011", "these are the words\n"},
		{60, "srt", "text/plain; charset=utf-8", "0.006", "1\n00:00:00,000 --> 00:00:02,000\nwords\n\n"},
		{30, "json", "application/json", "0.003", `{"text":"words"}`},
	} {
		body, kind := recording(c.seconds, c.format)
		cases = append(cases, reported{name: fmt.Sprint("a transcription as ", c.format, i), backend: "openai %s/v1\nprice audio_minutes 0.006", billing: "unpriced reject", path: "/v1/audio/transcriptions", body: body, contentTypeSent: kind, contentType: c.kind, answer: c.answer, cost: c.cost})
	}
	return cases
}

func (c reported) of(name, path, body string) reported {
	c.name, c.path, c.body = name, path, body
	return c
}

func (c reported) with(name string, header ...string) reported {
	c.name, c.header = name, header
	return c
}

// TestReportedCalls makes the calls of public bug reports, and two neighbours of each.
func TestReportedCalls(t *testing.T) {
	for _, c := range reportedCalls() {
		t.Run(c.name, func(t *testing.T) {
			up := scripted.New(t, func(int, scripted.Call) scripted.Answer {
				return scripted.Answer{ContentType: "application/json", Body: []byte(c.second), Length: true}
			})
			if c.second == "" {
				up = scripted.New(t, func(int, scripted.Call) scripted.Answer { return c.whole() })
			}
			backend := func(address, order string) string {
				name, settings, _ := strings.Cut(fmt.Sprintf(c.backend, address), "\n")
				return "backend " + name + " {\napi_key " + gateway.ProviderKey + "\norder " + order + "\n" + settings + "\n}\n"
			}
			routes := backend(up.URL, "2")
			if c.second != "" {
				routes += backend(resetting(t), "1")
			}
			g := gateway.Start(t, "", openSite(t.TempDir(), c.billing, "model m {\n"+routes+"}"))
			header := c.header
			if c.contentTypeSent != "" {
				header = append(header, "Content-Type", c.contentTypeSent)
			}
			method := http.MethodPost
			if c.status == http.StatusUpgradeRequired {
				method = http.MethodGet
			}
			want := max(c.status, http.StatusOK)
			g.Must(want, method, c.path, "", c.body, header...)
			if want != http.StatusOK {
				require.Empty(t, g.Ledger())
				require.Empty(t, up.Calls())
				return
			}
			require.Len(t, up.Calls(), 1)
			for name, value := range c.upstream {
				require.Equal(t, value, up.Calls()[0].Header.Get(name))
			}
			r := g.Record()
			require.Equal(t, "completed", r.Outcome)
			require.Len(t, r.Events, 1)
			for kind, n := range c.counts {
				require.Equal(t, n, r.Counts[kind], "%s of %v", kind, r.Counts)
			}
			if c.cost != "" {
				require.Equal(t, c.cost, r.Cost)
			}
			if c.source != "" {
				require.Equal(t, c.source, r.Source)
			}
		})
	}
}

// whole returns the answer as the provider sends it.
func (c reported) whole() scripted.Answer {
	if c.contentType != "" {
		return scripted.Answer{ContentType: c.contentType, Body: []byte(c.answer), Length: true}
	}
	if json.Valid([]byte(c.answer)) {
		return scripted.Answer{ContentType: "application/json", Body: []byte(c.answer), Length: true}
	}
	var b strings.Builder
	for line := range strings.SplitSeq(c.answer, "\n") {
		fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", gjson.Get(line, "type").String(), line)
	}
	return scripted.Answer{ContentType: "text/event-stream", Body: []byte(b.String())}
}

// resetting returns the address of a server that begins an answer and resets the connection.
func resetting(t *testing.T) string {
	return upstreamServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "500")
		w.WriteHeader(http.StatusOK)
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		panic(http.ErrAbortHandler)
	}).URL
}
