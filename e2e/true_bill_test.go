package e2e

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
	"github.com/tollgate-llm/tollgate/internal/testkit/scripted"
)

// bill is an answer of a provider and what it costs.
type bill struct {
	path, backend, prices, body, answer string
	url                                 string // of the provider's own host, %d being the number of the case; empty for one without a list price
	kind                                string // media type of the answer, if not JSON
	listed                              bool   // no prices of tokens are written
	cost                                string
	quantities                          map[string]string
	told                                string // a part of what the caller gets
}

// completionOf is an answer of chat completions, with more members of its usage and of its message.
func completionOf(model, usage, message string) string {
	return `{"id":"c","object":"chat.completion","model":"` + model + `","choices":[{"index":0,"message":{"role":"assistant","content":"x"` + message + `},"finish_reason":"stop"}],` +
		`"usage":{"prompt_tokens":100,"completion_tokens":10,"total_tokens":110` + usage + `}}`
}

// TestTrueBill sends answers of each API, with each kind of fee and with other models' tokens, through the whole gateway and adds up what
// Lago was billed.
// The amounts are worked out by hand from the prices written here and, for another model, from its maker's list.
func TestTrueBill(t *testing.T) {
	const searched = `{"type":"web_search_call","status":"completed","action":{"type":"search"}}`
	const ran = `{"type":"code_interpreter_call","status":"completed","container_id":"cntr_1"}`
	responses := func(more string) string {
		return `{"id":"r","object":"response","status":"completed","model":"m",` + more + `,"usage":{"input_tokens":100,"output_tokens":10,"total_tokens":110}}`
	}
	upload := func(file string) string {
		return "--b0\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--b0\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n" + file + "\r\n--b0--\r\n"
	}
	t.Setenv("AWS_ACCESS_KEY_ID", awsID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", awsSecret)
	t.Setenv("AWS_SESSION_TOKEN", awsSession)
	cases := map[string]bill{
		// 4727 x 3 + 3391 x 15 by the lines, and the adviser's 2728 x 5 + 3880 x 25 by Anthropic's list.
		"anthropic's adviser": {
			path: "/v1/messages", backend: "anthropic", body: `{"model":"m","max_tokens":9000,"messages":[{"role":"user","content":"x"}]}`,
			answer: `{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-4-6","content":[{"type":"text","text":"word"}],"stop_reason":"end_turn","usage":{"input_tokens":4727,"output_tokens":3391,"iterations":[{"type":"message","input_tokens":4727,"output_tokens":3391},{"type":"advisor_message","model":"claude-opus-4-7","input_tokens":2728,"output_tokens":3880}]}}`,
			cost:   "0.175686", quantities: map[string]string{"total_tokens": "14726"},
		},
		// 100 x 3 + 10 x 15, and two different queries at 0.014.
		"gemini 3's search": {
			path: "/v1beta/models/m:generateContent", backend: "gemini", body: `{"contents":[{"role":"user","parts":[{"text":"x"}]}],"tools":[{"googleSearch":{}}]}`,
			answer: `{"candidates":[{"content":{"role":"model","parts":[{"text":"x"}]},"finishReason":"STOP","groundingMetadata":{"webSearchQueries":["a","b","a",""]}}],"usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":10,"totalTokenCount":110},"modelVersion":"gemini-3-flash-preview"}`,
			cost:   "0.02845", quantities: map[string]string{"web_searches": "2"},
		},
		// 1820 x 3 + 210 x 15, and the tool's 50 x 5 + 7024 x 30 by OpenAI's list.
		"the image tool of responses": {
			path: "/v1/responses", backend: "openai", body: `{"model":"m","input":"draw","tools":[{"type":"image_generation"}]}`,
			answer: `{"id":"resp_1","object":"response","status":"completed","model":"gpt-5.5","output":[],"tools":[{"type":"image_generation","model":"gpt-image-2"}],"usage":{"input_tokens":1820,"output_tokens":210,"total_tokens":2030},"tool_usage":{"image_gen":{"input_tokens":50,"input_tokens_details":{"image_tokens":0,"text_tokens":50},"output_tokens":7024,"output_tokens_details":{"image_tokens":7024,"text_tokens":0}}}}`,
			cost:   "0.21958", quantities: map[string]string{"image_output_tokens": "7024"},
		},
		// 100 x 3 + 10 x 15 (0.00045), and the fee: by OpenAI's responses ...
		"web searches that the answer counts": {
			path: "/v1/responses", backend: "openai", prices: "price web_searches 0.01", body: `{"model":"m","input":"x","tools":[{"type":"web_search"}]}`,
			answer: responses(`"output":[` + searched + `,{"type":"web_search_call","status":"completed","action":{"type":"open_page"}}],"tools":[{"type":"web_search"}],"tool_usage":{"web_search":{"num_requests":3}}`),
			cost:   "0.03045", quantities: map[string]string{"web_searches": "3"},
		},
		"web searches by the preview": {
			path: "/v1/responses", backend: "openai", prices: "price web_searches_preview 0.025", body: `{"model":"m","input":"x","tools":[{"type":"web_search_preview"}]}`,
			answer: responses(`"output":[` + searched + "," + searched + `],"tools":[{"type":"web_search_preview"}]`),
			cost:   "0.05045", quantities: map[string]string{"web_searches_preview": "2"},
		},
		"file searches": {
			path: "/v1/responses", backend: "openai", prices: "price file_searches 0.0025", body: `{"model":"m","input":"x"}`,
			answer: responses(`"output":[{"type":"file_search_call","status":"completed"},{"type":"file_search_call","status":"failed"}],"tools":[]`),
			cost:   "0.00295", quantities: map[string]string{"file_searches": "1"},
		},
		// One container of 4 GB, used twice.
		"a code container": {
			path: "/v1/responses", backend: "openai", prices: "price code_sessions 0.03", body: `{"model":"m","input":"x"}`,
			answer: responses(`"output":[` + ran + "," + ran + `],"tools":[{"type":"code_interpreter","container":{"type":"auto","memory_limit":"4g"}}]`),
			cost:   "0.12045", quantities: map[string]string{"code_sessions": "4"},
		},
		// 60 x 3 + 10 x 15, 40 written for twelve hours at 7.5.
		"a cache of twelve hours": {
			path: "/v1/responses", backend: "openai", prices: "price cache_write_12h 7.5", body: `{"model":"m","input":"x"}`,
			answer: strings.Replace(responses(`"output":[]`), `"input_tokens":100`, `"input_tokens":100,"input_tokens_details":{"cache_write_tokens":40,"cache_write_tokens_details":{"ttl_12h_tokens":40}}`, 1),
			cost:   "0.00063", quantities: map[string]string{"cache_write_12h_tokens": "40"},
		},
		// ... of chat completions ...
		"a search model": {
			path: "/v1/chat/completions", backend: "openai", prices: "model gpt-4o-search-preview\nprice web_searches 0.025", body: gateway.Chat("m", "x", false),
			answer: completionOf("gpt-4o-search-preview-2025-03-11", "", ""), cost: "0.02545", quantities: map[string]string{"web_searches": "1"},
		},
		// 60 x 3 + 40 x 40 + 10 x 15.
		"audio input": {
			path: "/v1/chat/completions", backend: "openai", prices: "price input_audio 40", body: gateway.Chat("m", "x", false),
			answer: completionOf("m", `,"prompt_tokens_details":{"audio_tokens":40}`, ""), cost: "0.00193", quantities: map[string]string{"audio_input_tokens": "40"},
		},
		"groq's tools": {
			path: "/v1/chat/completions", backend: "groq", body: gateway.Chat("m", "x", false),
			answer: completionOf("m", "", `,"executed_tools":[{"index":0,"type":"browser_search"},{"index":1,"type":"function","name":"browser.open"}]`),
			cost:   "0.00645", quantities: map[string]string{"web_searches": "1", "web_fetches": "1"}, // 0.005 and 0.001 by Groq's list
		},
		"xAI's tools": {
			path: "/v1/chat/completions", backend: "xai", body: gateway.Chat("m", "x", false),
			answer: completionOf("m", `,"server_side_tool_usage_details":{"x_search_calls":2,"code_interpreter_calls":1,"file_search_calls":1}`, ""),
			cost:   "0.01795", quantities: map[string]string{"post_searches": "2", "code_calls": "1", "file_searches": "1"}, // 2 x 0.005 + 0.005 + 0.0025
		},
		"perplexity's fee": {
			path: "/v1/chat/completions", backend: "perplexity", prices: "price search_requests_high 0.014", body: gateway.Chat("m", "x", false),
			answer: completionOf("sonar-pro", `,"search_context_size":"high","cost":{"total_cost":9}`, ""), cost: "0.01445", quantities: map[string]string{"search_requests_high": "1"},
		},
		// ... of the others.
		"claude's searches": {
			path: "/v1/messages", backend: "anthropic", body: `{"model":"m","max_tokens":9,"messages":[]}`,
			answer: `{"id":"a","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"x"}],"stop_reason":"end_turn","usage":{"input_tokens":100,"output_tokens":10,"server_tool_use":{"web_search_requests":2,"web_fetch_requests":5}}}`,
			cost:   "0.02045", quantities: map[string]string{"web_searches": "2"}, // 0.01 each by Anthropic's list; fetching is free
		},
		"claude refuses before any output": {
			path: "/v1/messages", backend: "anthropic", body: `{"model":"m","max_tokens":9,"messages":[]}`,
			answer: `{"id":"a","type":"message","role":"assistant","model":"m","content":[],"stop_reason":"refusal","usage":{"input_tokens":106,"output_tokens":1}}`,
			cost:   "0", quantities: map[string]string{"total_tokens": "0"},
		},
		"gemini 2.5's search and maps": {
			path: "/v1beta/models/m:generateContent", backend: "gemini", body: `{"contents":[]}`,
			answer: `{"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"STOP","groundingMetadata":{"webSearchQueries":["a","b"],"groundingChunks":[{"maps":{"uri":"x"}}]}}],"usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":10,"totalTokenCount":110},"modelVersion":"gemini-2.5-flash"}`,
			cost:   "0.06045", quantities: map[string]string{"web_searches": "1", "maps_searches": "1"}, // 0.035 and 0.025
		},
		// 3 units of topics at 0.00015 and 2 of sensitive information at 0.0001.
		"bedrock's guardrail": {
			path: "/model/m/converse", backend: "bedrock", prices: "region us-east-1", body: `{"messages":[]}`,
			answer: `{"output":{"message":{"role":"assistant","content":[{"text":"x"}]}},"stopReason":"end_turn","usage":{"inputTokens":100,"outputTokens":10,"totalTokens":110},"trace":{"guardrail":{"inputAssessment":{"g":{"invocationMetrics":{"usage":{"topicPolicyUnits":3,"sensitiveInformationPolicyUnits":2,"wordPolicyUnits":9}}}}}}}`,
			cost:   "0.0011", quantities: map[string]string{"guardrail_topic_units": "3", "guardrail_sensitive_units": "2"},
		},
		// 100 x 6 + 10 x 30, as the answer says that the latency was given, and at the standard prices where it says that it was not.
		"bedrock's optimized latency": {
			path: "/model/m/converse", backend: "bedrock", prices: "region us-east-1\nprice input@latency-optimized 6\nprice output@latency-optimized 30", body: `{"messages":[],"performanceConfig":{"latency":"optimized"}}`,
			answer: `{"output":{"message":{"role":"assistant","content":[{"text":"x"}]}},"stopReason":"end_turn","usage":{"inputTokens":100,"outputTokens":10,"totalTokens":110},"performanceConfig":{"latency":"optimized"}}`,
			cost:   "0.0009",
		},
		"bedrock's optimized latency was not to be had": {
			path: "/model/m/converse", backend: "bedrock", prices: "region us-east-1\nprice input@latency-optimized 6\nprice output@latency-optimized 30", body: `{"messages":[],"performanceConfig":{"latency":"optimized"}}`,
			answer: `{"output":{"message":{"role":"assistant","content":[{"text":"x"}]}},"stopReason":"end_turn","usage":{"inputTokens":100,"outputTokens":10,"totalTokens":110},"performanceConfig":{"latency":"standard"}}`,
			cost:   "0.00045",
		},
		"search units of rerank": {
			path: "/v2/rerank", backend: "cohere", prices: "price search_units 0.002", body: `{"model":"m","query":"x","documents":["y"]}`,
			answer: `{"id":"r","results":[{"index":0,"relevance_score":0.9}],"meta":{"billed_units":{"search_units":2}}}`,
			cost:   "0.004", quantities: map[string]string{"search_units": "2"},
		},
		"pages of OCR": {
			path: "/v1/ocr", backend: "mistral", prices: "price pages 0.004", body: `{"model":"m","document":{"type":"document_url","document_url":"https://example.com/a.pdf"}}`,
			answer: `{"model":"m","pages":[],"usage_info":{"pages_processed":7,"doc_size_bytes":9}}`, cost: "0.028", quantities: map[string]string{"pages": "7"},
		},
		// 100 x 3 and 1000 tokens of the image at 30.
		"an image": {
			path: "/v1/images/generations", backend: "openai", prices: "price output_image 30", body: `{"model":"m","prompt":"x"}`,
			answer: `{"data":[{"b64_json":"AAAA"}],"usage":{"input_tokens":100,"output_tokens":1000,"total_tokens":1100,"input_tokens_details":{"text_tokens":100,"image_tokens":0}}}`,
			cost:   "0.0303", quantities: map[string]string{"image_output_tokens": "1000"},
		},
		"embeddings": {
			path: "/v1/embeddings", backend: "openai", body: `{"model":"m","input":"x"}`,
			answer: `{"data":[{"embedding":[0.1]}],"model":"m","usage":{"prompt_tokens":100,"total_tokens":100}}`, cost: "0.0003", quantities: map[string]string{"total_tokens": "100"},
		},
		// 4 characters at 15 dollars a million.
		"speech by its characters": {
			path: "/v1/audio/speech", backend: "openai", prices: "price input_characters 15", body: `{"model":"m","input":"four","voice":"x"}`, kind: "audio/mpeg", listed: true,
			answer: "\xff\xfb\x90\x00", cost: "0.00006", quantities: map[string]string{"input_characters": "4"},
		},
		// 60 x 3 + 40 read from the cache at 1.5 + 10 x 15.
		"an azure deployment": {
			path: "/v1/chat/completions", backend: "azure", prices: "model my-deployment\napi_version 2024-10-21\nprice cache_read 1.5", body: gateway.Chat("m", "x", false),
			answer: completionOf("gpt-4o-2024-08-06", `,"prompt_tokens_details":{"cached_tokens":40}`, ""), cost: "0.00039", quantities: map[string]string{"cached_input_tokens": "40"},
		},
		// By the list of the model that the answer names: 60 x 2.5 + 40 x 1.25 + 10 x 10. A cost in xAI's unit is xAI's alone to state.
		"an azure deployment by its model": {
			path: "/v1/chat/completions", backend: "azure", prices: "model my-deployment\napi_version 2024-10-21", body: gateway.Chat("m", "x", false), listed: true,
			answer: completionOf("gpt-4o-2024-08-06", `,"cost_in_usd_ticks":1,"prompt_tokens_details":{"cached_tokens":40}`, ""), cost: "0.0003", quantities: map[string]string{"cached_input_tokens": "40"},
		},
		// 60 that were not in the cache at 3, 40 that were at 0.3, 10 x 15, of which 4 are reasoning.
		"deepseek's cache": {
			path: "/v1/chat/completions", backend: "deepseek", prices: "price cache_read 0.3", body: gateway.Chat("m", "x", false),
			answer: completionOf("deepseek-chat", `,"prompt_cache_hit_tokens":40,"prompt_cache_miss_tokens":60,"completion_tokens_details":{"reasoning_tokens":4}`, ""),
			cost:   "0.000342", quantities: map[string]string{"cached_input_tokens": "40", "reasoning_tokens": "4", "total_tokens": "110"},
		},
		"the cost that openrouter states": {
			path: "/v1/chat/completions", backend: "openrouter", prices: "model openai/gpt-4o", body: gateway.Chat("m", "x", false), listed: true,
			answer: completionOf("openai/gpt-4o", `,"cost":0.00123,"is_byok":false,"cost_details":{"upstream_inference_cost":null}`, ""), cost: "0.00123",
		},
		// Its fee and what the provider behind it charges the key's owner.
		"openrouter with a key of one's own": {
			path: "/v1/chat/completions", backend: "openrouter", prices: "model openai/gpt-4o", body: gateway.Chat("m", "x", false), listed: true,
			answer: completionOf("openai/gpt-4o", `,"cost":0.0001,"is_byok":true,"cost_details":{"upstream_inference_cost":0.002}`, ""), cost: "0.0021",
		},
		// 100 x 3 + 10 x 15: prices that are written go before a stated cost.
		"openrouter with prices": {
			path: "/v1/chat/completions", backend: "openrouter", prices: "model openai/gpt-4o", body: gateway.Chat("m", "x", false),
			answer: completionOf("openai/gpt-4o", `,"cost":0.00123`, ""), cost: "0.00045",
		},
		"the cost that perplexity states": {
			path: "/v1/chat/completions", backend: "perplexity", prices: "model sonar", body: gateway.Chat("m", "x", false), listed: true,
			answer: completionOf("sonar", `,"search_context_size":"low","cost":{"input_tokens_cost":0.0001,"output_tokens_cost":0.00001,"request_cost":0.005,"total_cost":0.00511}`, ""), cost: "0.00511",
		},
		// 12,345,000 of ten thousand millionths of a dollar.
		"the cost that xAI states": {
			path: "/v1/chat/completions", backend: "xai", prices: "model grok-4", body: gateway.Chat("m", "x", false), listed: true,
			answer: completionOf("grok-4", `,"cost_in_usd_ticks":12345000`, ""), cost: "0.0012345",
		},
		// By Groq's list, 100 x 0.59 + 10 x 0.79: no provider but those states a cost in that unit.
		"a cost that another provider states": {
			path: "/v1/chat/completions", backend: "groq", prices: "model llama-3.3-70b-versatile", body: gateway.Chat("m", "x", false), listed: true,
			answer: completionOf("llama-3.3-70b-versatile", `,"cost":0.000001`, ""), cost: "0.0000669",
		},
		// 90 seconds at 0.0001.
		"a transcription by its seconds": {
			path: "/v1/audio/transcriptions", backend: "openai", prices: "price audio_seconds 0.0001", body: upload("x"), listed: true,
			answer: `{"text":"words","usage":{"type":"duration","seconds":90}}`, cost: "0.009", quantities: map[string]string{"audio_seconds": "90"},
		},
		// A minute and a half of 0.006, and half a second.
		"a transcription by its minutes": {
			path: "/v1/audio/transcriptions", backend: "openai", prices: "price audio_minutes 0.006", body: upload("x"), listed: true,
			answer: `{"task":"transcribe","language":"english","duration":90.5,"text":"words"}`, cost: "0.00905", quantities: map[string]string{"audio_seconds": "90.5"},
		},
		// 4096 bytes at 8000 a second, 0.512 seconds, as the upload's header has it, at 0.1.
		"a transcription whose answer has no length": {
			path: "/v1/audio/transcriptions", backend: "openai", prices: "price audio_seconds 0.1", listed: true,
			body: upload("RIFF\x24\x10\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x40\x1f\x00\x00\x01\x00\x08\x00data\x00\x10\x00\x00" + strings.Repeat("\x80", 4096)), answer: `{"text":"words"}`,
			cost: "0.0512", quantities: map[string]string{"audio_seconds": "0.512"},
		},
	}
	maps.Copy(cases, hostedBills())
	maps.Copy(cases, translatedBills())
	names := slices.Sorted(maps.Keys(cases))
	answer := func(_ int, call scripted.Call) scripted.Answer {
		at, err := strconv.Atoi(strings.Split(call.URI, "/")[1]) // the base URL's path
		if err != nil {
			return scripted.Answer{Status: http.StatusNotFound}
		}
		c := cases[names[at]]
		return scripted.Answer{ContentType: cmp.Or(c.kind, "application/json"), Body: []byte(c.answer), Length: true}
	}
	u, internet := scripted.New(t, answer), newInternet(t, answer)
	w := gateway.NewBooks(t, fakelago.Options{})
	var routes strings.Builder
	for i, name := range names {
		c := cases[name]
		base := fmt.Sprintf("%s/%d", u.URL, i)
		if slices.Contains([]string{"openai", "groq", "xai", "mistral", "deepseek", "openrouter"}, c.backend) {
			base += "/v1"
		}
		if c.url != "" {
			base, c.prices = fmt.Sprintf(c.url, i), c.prices+"\n"+internet
		}
		prices, key := "price input 3\nprice output 15", "api_key "+gateway.ProviderKey
		if c.listed || c.url != "" {
			prices = ""
		}
		if c.backend == "bedrock" {
			key = ""
		}
		fmt.Fprintf(&routes, "model m%d {\nbackend %s %s {\n%s\n%s\n%s\n}\n}\n", i, c.backend, base, key, prices, c.prices)
	}
	w.Gateway = gateway.Start(t, "", w.Routed(t.TempDir(), "", routes.String()))
	for i, name := range names {
		t.Run(name, func(t *testing.T) {
			c := cases[name]
			payer, model := fmt.Sprintf("payer-%d", i), fmt.Sprintf("m%d", i)
			w.Lago.AddSubscription(fakelago.Subscription{ExternalID: payer})
			path := strings.Replace(strings.Replace(c.path, "models/m:", "models/"+model+":", 1), "model/m/", "model/"+model+"/", 1)
			body := strings.NewReplacer(`"model":"m"`, `"model":"`+model+`"`, "\r\n\r\nm\r\n", "\r\n\r\n"+model+"\r\n").Replace(c.body)
			r, err := http.NewRequestWithContext(gateway.Timeout(t, time.Minute), http.MethodPost, w.URL(path), strings.NewReader(body))
			require.NoError(t, err)
			r.Header.Set("Authorization", "Bearer "+w.NewKey(`{"team_id":"`+payer+`"}`))
			r.Header.Set("Content-Type", "application/json")
			if strings.HasPrefix(c.body, "--b0") {
				r.Header.Set("Content-Type", "multipart/form-data; boundary=b0")
			}
			answer, err := http.DefaultClient.Do(r)
			require.NoError(t, err)
			text, err := io.ReadAll(answer.Body)
			require.NoError(t, err)
			require.NoError(t, answer.Body.Close())
			require.Equal(t, http.StatusOK, answer.StatusCode, string(text))
			require.Contains(t, string(text), c.told)
			w.Settled(i + 1)
			require.Equal(t, c.cost, w.Lago.Billed(payer, "llm", "response_cost"))
			for property, want := range c.quantities {
				require.Equal(t, want, w.Lago.Billed(payer, "llm", property), property)
			}
			require.Empty(t, w.Lago.Violations())
		})
	}
}
