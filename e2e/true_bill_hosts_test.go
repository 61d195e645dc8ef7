package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
	"github.com/tollgate-llm/tollgate/internal/testkit/scripted"
)

// newInternet starts a server that has the names of all hosts, and a proxy that leads to it. It returns the lines of a backend by which
// its calls go there.
func newInternet(t *testing.T, answer func(n int, c scripted.Call) scripted.Answer) string {
	script := scripted.New(t, answer)
	target := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := r.Clone(r.Context())
		out.RequestURI, out.URL.Scheme, out.URL.Host = "", "http", strings.TrimPrefix(script.URL, "http://")
		res, err := http.DefaultTransport.RoundTrip(out)
		if err != nil {
			t.Error(err)
			panic(http.ErrAbortHandler)
		}
		defer res.Body.Close() //nolint:errcheck // read to its end
		w.Header().Set("Content-Type", res.Header.Get("Content-Type"))
		w.WriteHeader(res.StatusCode)
		_, _ = io.Copy(w, res.Body)
	}))
	t.Cleanup(target.Close)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		to, err := net.Dial("tcp", target.Listener.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		defer to.Close() //nolint:errcheck // the end of the tunnel
		from, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer from.Close() //nolint:errcheck // as above
		_, _ = io.WriteString(from, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(to, from) }()
		_, _ = io.Copy(from, to)
	}))
	t.Cleanup(proxy.CloseClientConnections)
	return "transport http {\nnetwork_proxy url " + proxy.URL + "\ntls_insecure_skip_verify\n}"
}

// eventsOf is a stream of events, each named by its type.
func eventsOf(events ...string) string {
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", gjson.Get(e, "type"), e)
	}
	return b.String()
}

// hostedBills are answers of providers that are known by their hosts. The amounts are worked out from the providers' lists.
func hostedBills() map[string]bill {
	return map[string]bill{
		// By Google's list, 100 x 0.3 + 110 x 2.5: its compatible endpoint has the thoughts in the total alone.
		"gemini's thoughts at its compatible endpoint": {
			path: "/v1/chat/completions", backend: "openai", url: "https://generativelanguage.googleapis.com/%d/v1beta/openai", body: gateway.Chat("m", "x", false), prices: "model gemini-2.5-flash",
			answer: strings.Replace(completionOf("gemini-2.5-flash", "", ""), `"total_tokens":110`, `"total_tokens":210`, 1), cost: "0.000305", quantities: map[string]string{"reasoning_tokens": "100"},
		},
		// By Anthropic's list of fast answers made in the US, (550 x 10 + 40 read x 1 + 20 written x 12.5 + 40 for an hour x 20 + 30 x 50) x 1.1,
		// and two searches at 0.01, which cost the same everywhere.
		"claude searches fast and in the US, streamed": {
			path: "/v1/messages", backend: "anthropic", url: "https://api.anthropic.com/%d", body: `{"model":"m","max_tokens":9,"stream":true,"messages":[]}`, prices: "model claude-opus-4-8", kind: "text/event-stream",
			answer: eventsOf(
				`{"type":"message_start","message":{"id":"m","type":"message","role":"assistant","model":"claude-opus-4-8","content":[],"usage":{"input_tokens":100,"cache_creation_input_tokens":60,"cache_read_input_tokens":40,"cache_creation":{"ephemeral_5m_input_tokens":20,"ephemeral_1h_input_tokens":40},"output_tokens":1,"service_tier":"standard","inference_geo":"us","speed":"fast"}}}`,
				`{"type":"content_block_start","index":0,"content_block":{"type":"server_tool_use","id":"s","name":"web_search","input":{}}}`,
				`{"type":"content_block_stop","index":0}`,
				`{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":550,"cache_creation_input_tokens":60,"cache_read_input_tokens":40,"output_tokens":30,"server_tool_use":{"web_search_requests":2}}}`,
				`{"type":"message_stop"}`,
			),
			cost: "0.028899", quantities: map[string]string{"web_searches": "2", "cache_write_1h_tokens": "40"},
		},
		// The fallback's 1200 x 5 + 300 x 25 by the model that answered, and the adviser's 100 x 3 + 10 x 15.
		"claude's fallback and adviser, streamed": {
			path: "/v1/messages", backend: "anthropic", url: "https://api.anthropic.com/%d", body: `{"model":"m","max_tokens":9,"stream":true,"messages":[]}`, prices: "model claude-fable-5", kind: "text/event-stream",
			answer: eventsOf(
				`{"type":"message_start","message":{"id":"m","type":"message","role":"assistant","model":"claude-fable-5","content":[],"usage":{"input_tokens":1000,"output_tokens":1}}}`,
				`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`,
				`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}`,
				`{"type":"content_block_stop","index":0}`,
				`{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":1200,"output_tokens":300,"iterations":[{"type":"message","model":"claude-fable-5","input_tokens":1000,"output_tokens":5},{"type":"fallback_message","model":"claude-opus-4-7","input_tokens":1200,"output_tokens":300},{"type":"advisor_message","model":"claude-sonnet-4-6","input_tokens":100,"output_tokens":10}]}}`,
				`{"type":"message_stop"}`,
			),
			cost: "0.01395", quantities: map[string]string{"total_tokens": "1610"},
		},
		// By Azure's list, 100 x 2 + 10 x 8, and the one search that was made at 0.014: a page was opened, and another search failed.
		"azure's searches without a count of them, streamed": {
			path: "/v1/responses", backend: "azure", url: "https://resource.openai.azure.com/%d/openai/v1", body: `{"model":"m","stream":true,"input":"x"}`, prices: "model gpt-4.1", kind: "text/event-stream",
			answer: eventsOf(
				`{"type":"response.created","response":{"id":"r","model":"gpt-4.1","usage":null}}`,
				`{"type":"response.output_item.done","item":{"type":"web_search_call","status":"completed","action":{"type":"search"}}}`,
				`{"type":"response.output_item.done","item":{"type":"web_search_call","status":"completed","action":{"type":"open_page"}}}`,
				`{"type":"response.output_item.done","item":{"type":"web_search_call","status":"failed","action":{"type":"search"}}}`,
				`{"type":"response.completed","response":{"id":"r","model":"gpt-4.1","status":"completed","service_tier":"default","output":[{"type":"web_search_call","status":"completed","action":{"type":"search"}},{"type":"web_search_call","status":"completed","action":{"type":"open_page"}},{"type":"web_search_call","status":"failed","action":{"type":"search"}}],"tools":[{"type":"web_search"}],"usage":{"input_tokens":100,"output_tokens":10,"total_tokens":110}}}`,
			),
			cost: "0.01428", quantities: map[string]string{"web_searches": "1"},
		},
		// The gateway's fee is within the cost that it states.
		"the cost that vercel's gateway states": {
			path: "/v1/chat/completions", backend: "openai", url: "https://ai-gateway.vercel.sh/%d/v1", body: gateway.Chat("m", "x", false), prices: "model openai/gpt-4o",
			answer: completionOf("openai/gpt-4o", `,"cost":0.00035,"is_byok":false`, ""), cost: "0.00035",
		},
		"the cost that vercel's gateway states to Anthropic's clients": {
			path: "/v1/messages", backend: "anthropic", url: "https://ai-gateway.vercel.sh/%d", body: `{"model":"m","max_tokens":9,"messages":[]}`, prices: "model anthropic/claude-sonnet-4.5",
			answer: `{"id":"a","type":"message","role":"assistant","model":"anthropic/claude-sonnet-4.5","content":[{"type":"text","text":"x"}],"stop_reason":"end_turn","usage":{"input_tokens":100,"output_tokens":10,"cost":0.0005}}`,
			cost:   "0.0005",
		},
		// By Moonshot's list, 60 x 3 + 40 from the cache x 0.3 + 10 x 15, and its own search at 0.005.
		"moonshot's search": {
			path: "/v1/chat/completions", backend: "openai", url: "https://api.moonshot.ai/%d/v1", body: gateway.Chat("m", "x", false), prices: "model kimi-k3",
			answer: completionOf("kimi-k3", `,"cached_tokens":40`, `,"tool_calls":[{"index":0,"id":"t","type":"builtin_function","function":{"name":"$web_search","arguments":"{}"}},{"index":1,"id":"u","type":"function","function":{"name":"web_search","arguments":"{}"}}]`),
			cost:   "0.005342", quantities: map[string]string{"web_searches": "1", "cached_input_tokens": "40"},
		},
		// 30 x 3 + 70 written for an hour x 6 + 10 x 15.
		"moonshot's cache of an hour": {
			path: "/v1/chat/completions", backend: "openai", url: "https://api.moonshot.ai/%d/v1", body: `{"model":"m","prompt_cache_options":{"ttl":"1h"},"messages":[]}`, prices: "model kimi-k3",
			answer: completionOf("kimi-k3", `,"prompt_tokens_details":{"cached_tokens":0,"cache_write_tokens":70}`, ""), cost: "0.00066", quantities: map[string]string{"cache_write_1h_tokens": "70"},
		},
		// The same for five minutes, at the price of the input: 100 x 3 + 10 x 15.
		"moonshot's cache of five minutes": {
			path: "/v1/chat/completions", backend: "openai", url: "https://api.moonshot.ai/%d/v1", body: `{"model":"m","prompt_cache_options":{"ttl":"5m"},"messages":[]}`, prices: "model kimi-k3",
			answer: completionOf("kimi-k3", `,"prompt_tokens_details":{"cached_tokens":0,"cache_write_tokens":70}`, ""), cost: "0.00045", quantities: map[string]string{"cache_creation_tokens": "70"},
		},
		// By Z.ai's list, 100 x 0.6 + 10 x 2.2, and one search at 0.01 however many results it has.
		"z.ai's search": {
			path: "/v1/chat/completions", backend: "openai", url: "https://api.z.ai/%d/api/paas/v4", body: gateway.Chat("m", "x", false), prices: "model glm-4.6",
			answer: strings.Replace(completionOf("glm-4.6", "", ""), `{"id"`, `{"web_search":[{"title":"a"},{"title":"b"}],"id"`, 1), cost: "0.010082", quantities: map[string]string{"web_searches": "1"},
		},
		"z.ai's searches for Anthropic's clients": {
			path: "/v1/messages", backend: "anthropic", url: "https://api.z.ai/%d/api/anthropic", body: `{"model":"m","max_tokens":9,"messages":[]}`, prices: "model glm-4.6",
			answer: `{"id":"a","type":"message","role":"assistant","model":"glm-4.6","content":[{"type":"text","text":"x"}],"stop_reason":"end_turn","usage":{"input_tokens":100,"output_tokens":10,"server_tool_use":{"web_search_requests":2}}}`,
			cost:   "0.020082", quantities: map[string]string{"web_searches": "2"},
		},
		// Its fee has no list price: 100 x 0.6 + 10 x 2.2 and 0.0014 by the lines.
		"zhipu's search": {
			path: "/v1/chat/completions", backend: "openai", url: "https://open.bigmodel.cn/%d/api/paas/v4", body: gateway.Chat("m", "x", false), prices: "model glm-4.6\nprice input 0.6\nprice output 2.2\nprice web_searches 0.0014",
			answer: strings.Replace(completionOf("glm-4.6", "", ""), `{"id"`, `{"web_search":[{"title":"a"}],"id"`, 1), cost: "0.001482", quantities: map[string]string{"web_searches": "1"},
		},
		// By Alibaba's list, 60 x 1.2 + 40 from the cache that the request asked for x 0.12 + 10 x 6.
		"qwen's cache that was asked for": {
			path: "/v1/chat/completions", backend: "openai", url: "https://dashscope-intl.aliyuncs.com/%d/compatible-mode/v1", body: gateway.Chat("m", "x", false), prices: "model qwen3-max",
			answer: completionOf("qwen3-max", `,"prompt_tokens_details":{"cached_tokens":40,"cache_type":"ephemeral"}`, ""), cost: "0.0001368", quantities: map[string]string{"cached_input_tokens": "40"},
		},
		// The same from the cache that it keeps by itself: 40 x 0.24.
		"qwen's own cache": {
			path: "/v1/chat/completions", backend: "openai", url: "https://dashscope-intl.aliyuncs.com/%d/compatible-mode/v1", body: gateway.Chat("m", "x", false), prices: "model qwen3-max",
			answer: completionOf("qwen3-max", `,"prompt_tokens_details":{"cached_tokens":40}`, ""), cost: "0.0001416", quantities: map[string]string{"cached_input_tokens": "40"},
		},
		// 50 x 1.2 + 50 written for five minutes x 1.5 + 10 x 6.
		"qwen's cache is written": {
			path: "/v1/chat/completions", backend: "openai", url: "https://dashscope-intl.aliyuncs.com/%d/compatible-mode/v1", body: gateway.Chat("m", "x", false), prices: "model qwen3-max",
			answer: completionOf("qwen3-max", `,"prompt_tokens_details":{"cached_tokens":0,"cache_creation_input_tokens":50,"cache_type":"ephemeral","cache_creation":{"ephemeral_5m_input_tokens":50}}`, ""),
			cost:   "0.000195", quantities: map[string]string{"cache_write_5m_tokens": "50"},
		},
		// 100 x 3 + 10 x 15 by the lines, and three searches at 0.00075.
		"deepseek's searches for Anthropic's clients": {
			path: "/v1/messages", backend: "anthropic", url: "https://api.deepseek.com/%d/anthropic", body: `{"model":"m","max_tokens":9,"messages":[]}`, prices: "price input 3\nprice output 15",
			answer: `{"id":"a","type":"message","role":"assistant","model":"deepseek-v4-flash","content":[{"type":"server_tool_use","id":"s","name":"web_search","input":{}},{"type":"text","text":"x"}],"stop_reason":"end_turn","usage":{"input_tokens":100,"output_tokens":10,"server_tool_use":{"web_search_requests":3}}}`,
			cost:   "0.0027", quantities: map[string]string{"web_searches": "3"},
		},
		// Pages by Mistral's list: 7 x 0.005, and 7 x 0.004 where none is annotated.
		"annotated pages": {
			path: "/v1/ocr", backend: "mistral", url: "https://api.mistral.ai/%d/v1", body: `{"model":"m","document":{"type":"document_url","document_url":"https://example.com/a.pdf"}}`, prices: "model mistral-ocr-4-1",
			answer: `{"model":"mistral-ocr-4-1","pages":[],"document_annotation":"{}","usage_info":{"pages_processed":7}}`, cost: "0.035", quantities: map[string]string{"annotated_pages": "7"},
		},
		"pages by the list": {
			path: "/v1/ocr", backend: "mistral", url: "https://api.mistral.ai/%d/v1", body: `{"model":"m","document":{"type":"document_url","document_url":"https://example.com/a.pdf"}}`, prices: "model mistral-ocr-4-1",
			answer: `{"model":"mistral-ocr-4-1","pages":[{"images":[{"image_annotation":null}]}],"document_annotation":null,"usage_info":{"pages_processed":7}}`, cost: "0.028", quantities: map[string]string{"pages": "7"},
		},
	}
}
