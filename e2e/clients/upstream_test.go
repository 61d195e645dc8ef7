//go:build clients

package clients

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
	"github.com/tollgate-llm/tollgate/internal/testkit/scripted"
)

// newUpstream starts a provider of all APIs. Each of its answers has 11 input tokens and 7 output tokens where they have tokens,
// and what the SDKs' own types demand. A call that offers a tool is answered with a call of that tool, until its result is there.
func newUpstream(t *testing.T) *scripted.Server {
	return scripted.New(t, func(_ int, c scripted.Call) scripted.Answer {
		for _, values := range c.Header {
			for _, v := range values {
				if strings.Contains(v, "sk-") && !strings.Contains(v, gateway.ProviderKey) {
					return refused(http.StatusUnauthorized, "a credential of the client came through")
				}
			}
		}
		u, err := url.Parse(c.URI)
		if err != nil {
			return refused(http.StatusBadRequest, err.Error())
		}
		for _, a := range answers {
			if c.Method == http.MethodPost && strings.HasSuffix(u.Path, a.path) {
				return a.answer(c, gjson.ParseBytes(c.Body))
			}
		}
		return refused(http.StatusNotFound, "no such path: "+c.Method+" "+c.URI)
	})
}

func refused(status int, message string) scripted.Answer {
	return scripted.Answer{Status: status, ContentType: "application/json", Length: true, Body: fmt.Appendf(nil, `{"error":{"message":%q}}`, message)}
}

func whole(text string) scripted.Answer {
	return scripted.Answer{ContentType: "application/json", Length: true, Body: []byte(text)}
}

// events makes a stream of events without names.
func events(data ...string) scripted.Answer {
	return scripted.Answer{ContentType: "text/event-stream", Body: []byte("data: " + strings.Join(data, "\n\ndata: ") + "\n\n")}
}

// named makes a stream of events that are named after their type.
func named(data ...string) scripted.Answer {
	var b strings.Builder
	for _, d := range data {
		fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", gjson.Get(d, "type").String(), d)
	}
	return scripted.Answer{ContentType: "text/event-stream", Body: []byte(b.String())}
}

// answers are looked for in their order, by the end of the path.
var answers = []struct {
	path   string
	answer func(c scripted.Call, body gjson.Result) scripted.Answer
}{
	{"/fim/completions", func(_ scripted.Call, b gjson.Result) scripted.Answer { return chat(b) }},
	{"/chat/completions", func(_ scripted.Call, b gjson.Result) scripted.Answer { return chat(b) }},
	{"/completions", func(scripted.Call, gjson.Result) scripted.Answer {
		return whole(`{"id":"c1","object":"text_completion","created":1,"model":"up","choices":[{"index":0,"text":"Hello there","finish_reason":"stop","logprobs":null}],` + chatUsage + `}`)
	}},
	{"/responses", func(_ scripted.Call, b gjson.Result) scripted.Answer { return response(b) }},
	{"/responses/input_tokens", func(scripted.Call, gjson.Result) scripted.Answer {
		return whole(`{"object":"response.input_tokens","input_tokens":11}`)
	}},
	{"/moderations", func(scripted.Call, gjson.Result) scripted.Answer {
		return whole(`{"id":"m1","model":"up","results":[{"flagged":false,"categories":{},"category_scores":{},"category_applied_input_types":{}}]}`)
	}},
	{"/images/generations", func(scripted.Call, gjson.Result) scripted.Answer {
		return whole(`{"created":1,"data":[{"b64_json":"aGk="}],"usage":{"total_tokens":18,"input_tokens":11,"output_tokens":7,"input_tokens_details":{"text_tokens":11,"image_tokens":0}}}`)
	}},
	{"/audio/transcriptions", func(scripted.Call, gjson.Result) scripted.Answer {
		return whole(`{"text":"Hello there","model":"up","language":"en","segments":[],"usage":{"type":"tokens","input_tokens":11,"output_tokens":7,"total_tokens":18,"prompt_tokens":11,"completion_tokens":7,"input_token_details":{"text_tokens":11,"audio_tokens":0}}}`)
	}},
	{"/audio/speech", func(scripted.Call, gjson.Result) scripted.Answer {
		return scripted.Answer{ContentType: "audio/mpeg", Body: []byte("no sound"), Length: true}
	}},
	{"/ocr", func(scripted.Call, gjson.Result) scripted.Answer {
		return whole(`{"pages":[{"index":0,"markdown":"Hello","images":[],"dimensions":{"dpi":72,"height":9,"width":9}}],"model":"up","usage_info":{"pages_processed":3,"doc_size_bytes":9}}`)
	}},

	{"/v1/messages", func(_ scripted.Call, b gjson.Result) scripted.Answer { return message(b) }},
	{"/v1/messages/count_tokens", func(scripted.Call, gjson.Result) scripted.Answer { return whole(`{"input_tokens":11}`) }},

	{":generateContent", func(scripted.Call, gjson.Result) scripted.Answer { return whole(geminiAnswer("Hello there", true)) }},
	{":streamGenerateContent", func(scripted.Call, gjson.Result) scripted.Answer {
		return events(geminiAnswer("Hello", false), geminiAnswer(" there", true))
	}},
	{":countTokens", func(scripted.Call, gjson.Result) scripted.Answer { return whole(`{"totalTokens":11}`) }},
	{":embedContent", func(scripted.Call, gjson.Result) scripted.Answer {
		return whole(`{"embedding":{"values":[0.5,0.25]},"usageMetadata":{"promptTokenCount":11,"totalTokenCount":11}}`)
	}},
	{":batchEmbedContents", func(scripted.Call, gjson.Result) scripted.Answer {
		return whole(`{"embeddings":[{"values":[0.5,0.25]}],"usageMetadata":{"promptTokenCount":11,"totalTokenCount":11}}`)
	}},

	{"/v2/chat", func(_ scripted.Call, b gjson.Result) scripted.Answer {
		const usage = `"usage":{"billed_units":{"input_tokens":11,"output_tokens":7},"tokens":{"input_tokens":70,"output_tokens":9}}`
		if !b.Get("stream").Bool() {
			return whole(`{"id":"c1","finish_reason":"COMPLETE","message":{"role":"assistant","content":[{"type":"text","text":"Hello there"}]},` + usage + `}`)
		}
		return named(
			`{"id":"c1","type":"message-start","delta":{"message":{"role":"assistant","content":[],"tool_plan":"","tool_calls":[],"citations":[]}}}`,
			`{"type":"content-start","index":0,"delta":{"message":{"content":{"type":"text","text":""}}}}`,
			`{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"Hello there"}}}}`,
			`{"type":"content-end","index":0}`,
			`{"type":"message-end","delta":{"finish_reason":"COMPLETE",`+usage+`}}`)
	}},
	{"/v1/chat", func(_ scripted.Call, b gjson.Result) scripted.Answer {
		const meta = `"meta":{"api_version":{"version":"1"},"billed_units":{"input_tokens":11,"output_tokens":7},"tokens":{"input_tokens":70,"output_tokens":9}}`
		const last = `{"response_id":"r1","generation_id":"g1","text":"Hello there","finish_reason":"COMPLETE","chat_history":[],` + meta + `}`
		if !b.Get("stream").Bool() {
			return whole(last)
		}
		return scripted.Answer{ContentType: "application/stream+json", Body: []byte(
			`{"is_finished":false,"event_type":"stream-start","generation_id":"g1"}` + "\n" +
				`{"is_finished":false,"event_type":"text-generation","text":"Hello there"}` + "\n" +
				`{"is_finished":true,"event_type":"stream-end","finish_reason":"COMPLETE","response":` + last + `}` + "\n")}
	}},
	{"/v2/embed", func(scripted.Call, gjson.Result) scripted.Answer {
		return whole(`{"id":"e1","response_type":"embeddings_by_type","embeddings":{"float":[[0.5,0.25]]},"texts":["x"],"meta":{"api_version":{"version":"2"},"billed_units":{"input_tokens":11}}}`)
	}},
	{"/v1/embed", func(scripted.Call, gjson.Result) scripted.Answer {
		return whole(`{"id":"e1","response_type":"embeddings_floats","embeddings":[[0.5,0.25]],"texts":["x"],"meta":{"api_version":{"version":"1"},"billed_units":{"input_tokens":11}}}`)
	}},
	{"/v2/rerank", func(scripted.Call, gjson.Result) scripted.Answer { return whole(cohereRerank) }},
	{"/v1/rerank", func(scripted.Call, gjson.Result) scripted.Answer { return whole(cohereRerank) }},

	{"/api/chat", func(_ scripted.Call, b gjson.Result) scripted.Answer {
		return ollama(b, `"message":{"role":"assistant","content":"Hello there"}`, `"message":{"role":"assistant","content":""}`)
	}},
	{"/api/generate", func(_ scripted.Call, b gjson.Result) scripted.Answer {
		return ollama(b, `"response":"Hello there"`, `"response":""`)
	}},
	{"/api/embed", func(scripted.Call, gjson.Result) scripted.Answer {
		return whole(`{"model":"up","embeddings":[[0.5,0.25]],"total_duration":1,"load_duration":1,"prompt_eval_count":11}`)
	}},
	{"/api/embeddings", func(scripted.Call, gjson.Result) scripted.Answer { return whole(`{"embedding":[0.5,0.25]}`) }},
	{"/api/show", func(scripted.Call, gjson.Result) scripted.Answer {
		return whole(`{"modelfile":"","template":"","details":{"family":"llama"},"model_info":{"general.architecture":"llama"},"capabilities":["completion"]}`)
	}},

	{"/embeddings", func(_ scripted.Call, b gjson.Result) scripted.Answer {
		vector := `[0.5,0.25]`
		if b.Get("encoding_format").String() == "base64" {
			vector = `"AAAAPwAAgD4="`
		}
		return whole(`{"id":"e1","object":"list","model":"up","data":[{"object":"embedding","index":0,"embedding":` + vector + `}],"usage":{"prompt_tokens":11,"completion_tokens":0,"total_tokens":11}}`)
	}},
}

const cohereRerank = `{"id":"r1","results":[{"index":1,"relevance_score":0.9}],"meta":{"api_version":{"version":"2"},"billed_units":{"search_units":1}}}`

const chatUsage = `"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}`

// tool returns the name of the first tool that a call offers and what it is to be called with; none where the tool was called.
func tool(b gjson.Result) (name string) {
	text := b.Raw
	if strings.Contains(text, `"tool_result"`) || strings.Contains(text, `"role":"tool"`) || strings.Contains(text, `_call_output"`) || strings.Contains(text, `"role": "tool"`) {
		return ""
	}
	for _, at := range []string{"tools.0.function.name", "tools.0.name"} {
		if n := b.Get(at).String(); n != "" {
			return n
		}
	}
	return ""
}

func chat(b gjson.Result) scripted.Answer {
	text, stop := `"content":"Hello there"`, "stop"
	if name := tool(b); name != "" {
		text = `"content":null,"tool_calls":[{"index":0,"id":"abcdefghi","type":"function","function":{"name":"` + name + `","arguments":"{\"city\":\"Oslo\"}"}}]`
		stop = "tool_calls"
	}
	head := `{"id":"c1","created":1,"model":"up","object":"chat.completion`
	if !b.Get("stream").Bool() {
		return whole(head + `","choices":[{"index":0,"finish_reason":"` + stop + `","message":{"role":"assistant",` + text + `}}],` + chatUsage + `}`)
	}
	chunk := func(delta, finish, more string) string {
		return head + `.chunk","choices":[{"index":0,"delta":{` + delta + `},"finish_reason":` + finish + `}]` + more + `}`
	}
	asked, null := b.Get("stream_options.include_usage").Bool(), ""
	if asked {
		null = `,"usage":null`
	}
	out := []string{chunk(`"role":"assistant","content":""`, "null", null), chunk(text, "null", null)}
	if asked {
		out = append(out, chunk("", `"`+stop+`"`, null), head+`.chunk","choices":[],`+chatUsage+`}`)
	} else { // Mistral's, unasked
		out = append(out, chunk(`"content":""`, `"`+stop+`"`, ","+chatUsage))
	}
	return events(append(out, "[DONE]")...)
}

func response(b gjson.Result) scripted.Answer {
	item := `{"type":"message","id":"msg_1","status":"completed","role":"assistant","content":[{"type":"output_text","text":"Hello there","annotations":[],"logprobs":[]}]}`
	call := tool(b)
	if call != "" {
		item = `{"type":"function_call","id":"fc_1","call_id":"call_1","name":"` + call + `","arguments":"{\"city\":\"Oslo\"}","status":"completed"}`
	}
	return responseOf(b, item)
}

// responseOf is an answer of OpenAI's Responses with one item.
func responseOf(b gjson.Result, item string) scripted.Answer {
	const usage = `{"input_tokens":11,"output_tokens":7,"total_tokens":18,"input_tokens_details":{"cached_tokens":0},"output_tokens_details":{"reasoning_tokens":0}}`
	answer := func(status, output, usage string) string {
		return `{"id":"resp_1","object":"response","created_at":1,"status":"` + status + `","model":"up","output":[` + output + `],"parallel_tool_calls":true,` +
			`"tool_choice":"auto","tools":[],"error":null,"incomplete_details":null,"instructions":null,"metadata":{},"temperature":1.0,"top_p":1.0,"usage":` + usage + `}`
	}
	if !b.Get("stream").Bool() {
		return whole(answer("completed", item, usage))
	}
	out := []string{
		`{"type":"response.created","sequence_number":0,"response":` + answer("in_progress", "", "null") + `}`,
		`{"type":"response.output_item.added","sequence_number":1,"output_index":0,"item":` + strings.Replace(strings.Replace(item, `"completed"`, `"in_progress"`, 1), `"content":[{"type":"output_text","text":"Hello there","annotations":[],"logprobs":[]}]`, `"content":[]`, 1) + `}`,
	}
	if strings.Contains(item, "output_text") {
		out = append(out,
			`{"type":"response.content_part.added","sequence_number":2,"item_id":"msg_1","output_index":0,"content_index":0,"part":{"type":"output_text","text":"","annotations":[],"logprobs":[]}}`,
			`{"type":"response.output_text.delta","sequence_number":3,"item_id":"msg_1","output_index":0,"content_index":0,"delta":"Hello there","logprobs":[]}`,
			`{"type":"response.output_text.done","sequence_number":4,"item_id":"msg_1","output_index":0,"content_index":0,"text":"Hello there","logprobs":[]}`,
			`{"type":"response.content_part.done","sequence_number":5,"item_id":"msg_1","output_index":0,"content_index":0,"part":{"type":"output_text","text":"Hello there","annotations":[],"logprobs":[]}}`)
	}
	return named(append(out,
		`{"type":"response.output_item.done","sequence_number":6,"output_index":0,"item":`+item+`}`,
		`{"type":"response.completed","sequence_number":7,"response":`+answer("completed", item, usage)+`}`)...)
}

func message(b gjson.Result) scripted.Answer {
	if name := tool(b); name != "" {
		return messageOf(b, `{"type":"tool_use","id":"toolu_1","name":"`+name+`","input":{}}`, `{"type":"input_json_delta","partial_json":"{\"city\":\"Oslo\"}"}`, "tool_use")
	}
	return messageOf(b, `{"type":"text","text":""}`, `{"type":"text_delta","text":"Hello there"}`, "end_turn")
}

// messageOf is an answer of Anthropic's Messages with one block and its one delta.
func messageOf(b gjson.Result, block, delta, stop string) scripted.Answer {
	const usage = `"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"service_tier":"standard"`
	head := `{"id":"msg_1","type":"message","role":"assistant","model":"claude-up","stop_sequence":null,`
	if !b.Get("stream").Bool() {
		if text := gjson.Get(delta, "text").Raw; text != "" {
			block = `{"type":"text","text":` + text + `}`
		} else {
			block = strings.Replace(block, `"input":{}`, `"input":`+gjson.Get(delta, "partial_json").String(), 1)
		}
		return whole(head + `"content":[` + block + `],"stop_reason":"` + stop + `","usage":{"input_tokens":11,"output_tokens":7,` + usage + `}}`)
	}
	return named(
		`{"type":"message_start","message":`+head+`"content":[],"stop_reason":null,"usage":{"input_tokens":11,"output_tokens":1,`+usage+`}}}`,
		`{"type":"content_block_start","index":0,"content_block":`+block+`}`,
		`{"type":"content_block_delta","index":0,"delta":`+delta+`}`,
		`{"type":"content_block_stop","index":0}`,
		`{"type":"message_delta","delta":{"stop_reason":"`+stop+`","stop_sequence":null},"usage":{"output_tokens":7}}`,
		`{"type":"message_stop"}`)
}

func geminiAnswer(text string, last bool) string {
	end := ""
	if last {
		end = `,"finishReason":"STOP"`
	}
	return fmt.Sprintf(`{"candidates":[{"content":{"parts":[{"text":%q}],"role":"model"},"index":0%s}],"modelVersion":"up","responseId":"r1","usageMetadata":{"promptTokenCount":11,"candidatesTokenCount":7,"totalTokenCount":18}}`, text, end)
}

func ollama(b gjson.Result, text, empty string) scripted.Answer {
	const head, end = `{"model":"up","created_at":"2026-01-01T00:00:00Z",`, `,"done":true,"done_reason":"stop","total_duration":1,"prompt_eval_count":11,"eval_count":7}`
	if s := b.Get("stream"); s.Exists() && !s.Bool() {
		return whole(head + text + end)
	}
	return scripted.Answer{ContentType: "application/x-ndjson", Body: []byte(head + text + `,"done":false}` + "\n" + head + empty + end + "\n")}
}
