package e2e

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
	"github.com/tollgate-llm/tollgate/internal/testkit/scripted"
)

const framesType = "application/vnd.amazon.eventstream"

// inTheClouds sets what the clouds' own chains of credentials find.
func inTheClouds(t *testing.T) {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", awsID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", awsSecret)
	t.Setenv("AWS_SESSION_TOKEN", awsSession)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	scripted.ServiceAccount(t, vertexKey)
}

// cloudFrames are events of Messages as InvokeModelWithResponseStream sends them.
func cloudFrames(t *testing.T, events ...string) (frames []byte) {
	t.Helper()
	for _, e := range events {
		if strings.Contains(e, `"message_stop"`) {
			e = `{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":11,"outputTokenCount":7,"invocationLatency":9,"firstByteLatency":1,"cacheReadInputTokenCount":4,"cacheWriteInputTokenCount":5}}`
		}
		frames = append(frames, scripted.EventFrame(t, "chunk", fmt.Appendf(nil, `{"bytes":%q,"p":"abc"}`, base64.StdEncoding.EncodeToString([]byte(e))))...)
	}
	return frames
}

const (
	cloudHead = `{"id":"msg_bdrk_1","type":"message","role":"assistant","model":"claude-up","stop_sequence":null,`
	signature = `EqQBCkgI/+x=+/"`
)

// cloudEvents are a thought, a text and, where tool is set, a call of it.
func cloudEvents(tool string) []string {
	stop := "end_turn"
	events := []string{
		`{"type":"message_start","message":` + cloudHead + `"content":[],"stop_reason":null,` + fmt.Sprintf(messagesUsage, 1) + `}}`,
		`{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}`,
		`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm, "}}`,
		`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Oslo"}}`,
		`{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"EqQBCkgI/+x=+/\""}}`,
		`{"type":"content_block_stop","index":0}`,
		`{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}`,
		`{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Hel"}}`,
		`{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"lo"}}`,
		`{"type":"content_block_stop","index":1}`,
	}
	if tool != "" {
		stop = "tool_use"
		events = append(events,
			`{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"toolu_bdrk_1","name":"`+tool+`","input":{}}}`,
			`{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"city\": "}}`,
			`{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"\"Oslo\"}"}}`,
			`{"type":"content_block_stop","index":2}`)
	}
	return append(events, `{"type":"message_delta","delta":{"stop_reason":"`+stop+`","stop_sequence":null},"usage":{"output_tokens":7}}`, `{"type":"message_stop"}`)
}

// cloudAnswers is Claude at a cloud: it thinks, says "Hello" and calls the first tool that it is offered.
func cloudAnswers(t *testing.T, uri string, body gjson.Result) scripted.Answer {
	t.Helper()
	tool := body.Get("tools.0.name").String()
	if strings.Contains(body.Raw, `"tool_result"`) {
		tool = ""
	}
	switch {
	case strings.HasSuffix(uri, "/invoke-with-response-stream"):
		return scripted.Answer{ContentType: framesType, Body: cloudFrames(t, cloudEvents(tool)...)}
	case strings.HasSuffix(uri, ":streamRawPredict"):
		return sse(cloudEvents(tool)...)
	}
	content, stop := `{"type":"thinking","thinking":"hm, Oslo","signature":"EqQBCkgI/+x=+/\""},{"type":"text","text":"Hello"}`, "end_turn"
	if tool != "" {
		content += `,{"type":"tool_use","id":"toolu_bdrk_1","name":"` + tool + `","input":{"city": "Oslo"}}`
		stop = "tool_use"
	}
	return scripted.Answer{ContentType: "application/json", Length: true, Body: []byte(
		cloudHead + `"content":[` + content + `],"stop_reason":"` + stop + `",` + fmt.Sprintf(messagesUsage, 7) + `}`)}
}

// ofChat returns the message of an answer of chat completions, put together from its chunks where it is a stream, its finish reason and
// the tokens of the prompt.
func ofChat(t *testing.T, body string, stream bool) (content, thought, details, calls, finish string, prompt int64) {
	t.Helper()
	if !stream {
		m := gjson.Get(body, "choices.0.message")
		return m.Get("content").Str, m.Get("reasoning_content").Str, m.Get("reasoning_details").Raw, m.Get("tool_calls").Raw,
			gjson.Get(body, "choices.0.finish_reason").Str, gjson.Get(body, "usage.prompt_tokens").Int()
	}
	require.True(t, strings.HasSuffix(body, "data: [DONE]\n\n"), body)
	var id, name, arguments string
	var list []string
	for line := range strings.Lines(body) {
		chunk := gjson.Parse(strings.TrimPrefix(line, "data: "))
		d := chunk.Get("choices.0.delta")
		content += d.Get("content").Str
		thought += d.Get("reasoning_content").Str
		d.Get("reasoning_details").ForEach(func(_, v gjson.Result) bool { list = append(list, v.Raw); return true })
		id += d.Get("tool_calls.0.id").Str
		name += d.Get("tool_calls.0.function.name").Str
		arguments += d.Get("tool_calls.0.function.arguments").Str
		finish += chunk.Get("choices.0.finish_reason").Str
		prompt += chunk.Get("usage.prompt_tokens").Int()
	}
	if id != "" {
		calls = fmt.Sprintf(`[{"id":%q,"type":"function","function":{"name":%q,"arguments":%q}}]`, id, name, arguments)
	}
	return content, thought, "[" + strings.Join(list, ",") + "]", calls, finish, prompt
}

// TestOpenAIClientsOnClaudeInTheClouds has two turns with thinking and a tool on Bedrock and on Vertex AI, by chat completions and by
// Responses, whole and streamed. The cloud gets its own form of Messages, signed; the thinking comes back to it byte for byte; and Lago is
// told what the cloud counted, at the price of its region.
func TestOpenAIClientsOnClaudeInTheClouds(t *testing.T) {
	inTheClouds(t)
	var x *translated
	x = translating(t, `model bedrock {
		backend bedrock URL {
			region us-east-1
			model us.anthropic.claude-sonnet-4-5-20250929-v1:0
			translate
		}
	}
	model vertex {
		backend vertex URL {
			project my-project
			location europe-west1
			model claude-sonnet-4-5@20250929
			translate
		}
	}`, func(n int, body gjson.Result) scripted.Answer { return cloudAnswers(t, x.up.Calls()[n-1].URI, body) })
	n := 0
	check := func(cloud, endpoint string, stream bool) gjson.Result {
		t.Helper()
		n++
		r := x.record(n)
		require.Equal(t, []any{"completed", endpoint, "messages", "reported"}, []any{r.Outcome, r.Endpoint, r.TranslatedTo, r.Source})
		require.Equal(t, map[string]int64{"input": 11, "cache_read": 4, "cache_write": 5, "output": 7}, r.Counts)
		require.Len(t, r.Events, 1)
		// (11 * 3 + 4 * 0.3 + 5 * 3.75 + 7 * 15) USD per million, and a tenth more in a region
		require.Equal(t, "0.000173745", r.Cost)
		calls := x.up.Calls()
		sent := calls[len(calls)-1]
		if cloud == "bedrock" {
			require.Empty(t, sent.Header["Anthropic-Version"])
			end := "/invoke"
			if stream {
				end = "/invoke-with-response-stream"
			}
			require.Equal(t, "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0"+end, sent.URI)
			require.Equal(t, []string{"application/json"}, sent.Header["Accept"])
			checkSigV4(t, sent)
		} else {
			require.Equal(t, []string{"Bearer " + vertexKey}, sent.Header["Authorization"])
			require.True(t, strings.HasPrefix(sent.URI, "/v1/projects/my-project/locations/europe-west1/publishers/anthropic/models/claude-sonnet-4-5@20250929:"), sent.URI)
		}
		return gjson.ParseBytes(sent.Body)
	}
	back := func(sent gjson.Result) {
		t.Helper()
		require.JSONEq(t, `{"type":"thinking","thinking":"hm, Oslo","signature":"EqQBCkgI/+x=+/\""}`, sent.Get("messages.1.content.0").Raw, sent.Raw)
		require.Equal(t, `{"city": "Oslo"}`, sent.Get(`messages.1.content.#(type=="tool_use").input`).Raw)
		require.Equal(t, "toolu_bdrk_1", sent.Get("messages.2.content.0.tool_use_id").Str)
		require.Equal(t, "enabled", sent.Get("thinking.type").Str)
	}
	for _, cloud := range []string{"bedrock", "vertex"} {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprint(cloud, ", chat, streamed ", stream), func(t *testing.T) {
				ask := fmt.Sprintf(`{"model":%q,"stream":%t,"max_tokens":4000,"reasoning_effort":"low","service_tier":"auto",`+
					`"tools":[{"type":"function","function":{"name":"weather","parameters":{"type":"object"}}}],"messages":[{"role":"user","content":"hi"}`, cloud, stream)
				if stream {
					ask = strings.Replace(ask, `"max_tokens"`, `"stream_options":{"include_usage":true},"max_tokens"`, 1)
				}
				a := x.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", x.key, ask+`]}`)
				content, thought, details, calls, finish, prompt := ofChat(t, a.Body, stream)
				require.Equal(t, []any{"Hello", "hm, Oslo", "tool_calls", int64(20)}, []any{content, thought, finish, prompt}, a.Body)
				require.Equal(t, `{"city": "Oslo"}`, gjson.Get(calls, "0.function.arguments").Str)
				require.Equal(t, signature, gjson.Get(details, "0.signature").Str)
				if stream {
					require.Equal(t, "text/event-stream", a.Header.Get("Content-Type"))
				}
				check(cloud, "chat/completions", stream)
				a = x.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", x.key, ask+
					`,{"role":"assistant","content":"Hello","reasoning_details":`+details+`,"tool_calls":`+calls+`},{"role":"tool","tool_call_id":"toolu_bdrk_1","content":"rain"}]}`)
				_, _, _, _, finish, _ = ofChat(t, a.Body, stream)
				require.Equal(t, "stop", finish)
				back(check(cloud, "chat/completions", stream))
			})
			t.Run(fmt.Sprint(cloud, ", Responses, streamed ", stream), func(t *testing.T) {
				const user = `{"type":"message","role":"user","content":"hi"}`
				ask := fmt.Sprintf(`{"model":%q,"stream":%t,"store":false,"max_output_tokens":4000,"reasoning":{"effort":"low"},"include":["reasoning.encrypted_content"],`+
					`"tools":[{"type":"function","name":"weather","parameters":{"type":"object"},"strict":false}],"input":[`, cloud, stream)
				answer := func(body string) gjson.Result {
					if !stream {
						return gjson.Parse(body)
					}
					_, last, found := strings.Cut(body, "event: response.completed\ndata: ")
					require.True(t, found, body)
					return gjson.Get(last, "response")
				}
				a := answer(x.Must(http.StatusOK, http.MethodPost, "/v1/responses", x.key, ask+user+`]}`).Body)
				require.Equal(t, "completed", a.Get("status").Str, a.Raw)
				require.Equal(t, int64(20), a.Get("usage.input_tokens").Int())
				require.Equal(t, `{"city": "Oslo"}`, a.Get(`output.#(type=="function_call").arguments`).Str)
				check(cloud, "responses", stream)
				output := strings.TrimSuffix(strings.TrimPrefix(a.Get("output").Raw, "["), "]")
				a = answer(x.Must(http.StatusOK, http.MethodPost, "/v1/responses", x.key, ask+user+","+output+
					`,{"type":"function_call_output","call_id":"toolu_bdrk_1","output":"rain"}]}`).Body)
				require.Equal(t, "Hello", a.Get(`output.#(type=="message").content.0.text`).Str)
				back(check(cloud, "responses", stream))
			})
		}
	}
	x.Settled(n)
	for _, e := range x.Lago.Events() {
		require.Equal(t, []string{"20", "7", "reported"}, []string{e.Property("prompt_tokens"), e.Property("completion_tokens"), e.Property("usage")})
	}
}

// TestRegionsOfTranslatedCalls have the prices of the list of their region, as untranslated calls have.
func TestRegionsOfTranslatedCalls(t *testing.T) {
	inTheClouds(t)
	var x *translated
	x = translating(t, `model regional {
		backend bedrock URL {
			region eu-central-1
			model eu.anthropic.claude-sonnet-4-5-20250929-v1:0
			translate
		}
	}
	model global {
		backend bedrock URL {
			region eu-central-1
			model global.anthropic.claude-sonnet-4-5-20250929-v1:0
			translate
		}
	}
	model llama {
		backend bedrock URL {
			region us-east-1
			model meta.llama3-1-70b-instruct-v1:0
			translate
		}
	}`, func(n int, body gjson.Result) scripted.Answer { return cloudAnswers(t, x.up.Calls()[n-1].URI, body) })
	for i, c := range []struct{ model, cost string }{{"regional", "0.000173745"}, {"global", "0.00015795"}} {
		x.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", x.key, strings.Replace(chatCall, `"m"`, `"`+c.model+`"`, 1)+`,"stream":true}`)
		require.Equal(t, c.cost, x.record(2*i+1).Cost)
		x.Must(http.StatusOK, http.MethodPost, "/model/"+c.model+"/invoke-with-response-stream", x.key, `{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`)
		require.Equal(t, c.cost, x.record(2*i+2).Cost)
	}
	x.Must(http.StatusBadRequest, http.MethodPost, "/v1/chat/completions", x.key, strings.Replace(chatCall, `"m"`, `"llama"`, 1)+`}`)
	const image = `{"model":"regional","max_tokens":9,"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":%q}}]}]}`
	a := x.Must(http.StatusBadRequest, http.MethodPost, "/v1/chat/completions", x.key, fmt.Sprintf(image, "https://example.com/a.png"))
	require.Contains(t, gjson.Get(a.Body, "error.message").Str, "base64 only")
	x.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", x.key, fmt.Sprintf(image, "data:image/png;base64,iVBORw0KGgo="))
	x.Settled(5)
}

// TestErrorsOfClaudeOnBedrock come in the caller's shape, after another backend was asked, and in the middle of a stream too.
func TestErrorsOfClaudeOnBedrock(t *testing.T) {
	inTheClouds(t)
	var x *translated
	var now func(uri string, body gjson.Result) scripted.Answer
	x = translating(t, `model m {
		backend bedrock URL {
			region us-east-1
			model anthropic.claude-sonnet-4-20250514-v1:0
			price input 1
			price output 2
			order 0
			translate
		}
		backend vertex URL {
			project my-project
			location us-east5
			model claude-sonnet-4@20250514
			price input 1
			price output 2
			order 1
			translate
		}
	}`, func(n int, body gjson.Result) scripted.Answer { return now(x.up.Calls()[n-1].URI, body) })
	fail := func(status int, message string) scripted.Answer {
		return scripted.Answer{Status: status, ContentType: "application/json", Length: true, Body: []byte(`{"message":"` + message + `"}`)}
	}
	now = func(uri string, body gjson.Result) scripted.Answer {
		if strings.HasPrefix(uri, "/model/") {
			return fail(429, "Too many tokens, please wait before trying again.")
		}
		return cloudAnswers(t, uri, body)
	}
	a := x.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", x.key, chatCall+`,"stream":true}`)
	require.True(t, strings.HasSuffix(a.Body, "data: [DONE]\n\n"), a.Body)
	r := x.record(1)
	require.Equal(t, []any{"completed", 2}, []any{r.Outcome, r.Attempts})

	now = func(string, gjson.Result) scripted.Answer { return fail(429, "Too many tokens") }
	a = x.Must(http.StatusTooManyRequests, http.MethodPost, "/v1/chat/completions", x.key, chatCall+`,"stream":true}`)
	require.JSONEq(t, `{"error":{"message":"Too many tokens","type":"rate_limit_exceeded","param":null,"code":"rate_limit_exceeded"}}`, a.Body)
	require.Equal(t, "application/json", a.Header.Get("Content-Type"))
	require.Empty(t, x.record(2).Events)

	now = func(string, gjson.Result) scripted.Answer {
		return fail(400, "Input is too long for requested model.")
	}
	a = x.Must(http.StatusBadRequest, http.MethodPost, "/v1/responses", x.key, `{"model":"m","input":"hi","store":false}`)
	require.Equal(t, "context_length_exceeded", gjson.Get(a.Body, "error.code").Str, a.Body)
	require.Empty(t, x.record(3).Events)

	now = func(string, gjson.Result) scripted.Answer {
		return scripted.Answer{ContentType: framesType, Body: append(cloudFrames(t, cloudEvents("")[:9]...),
			scripted.ExceptionFrame(t, "throttlingException", []byte(`{"message":"Too many tokens"}`))...)}
	}
	a = x.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", x.key, chatCall+`,"stream":true}`)
	require.Contains(t, a.Body, `data: {"error":{"message":"Too many tokens","type":"rate_limit_exceeded"`)
	require.NotContains(t, a.Body, "[DONE]")
	r = x.record(4)
	require.Equal(t, []any{"cut", "partial"}, []any{r.Outcome, r.Source})
	require.Len(t, r.Events, 1)
	a = x.Must(http.StatusOK, http.MethodPost, "/v1/responses", x.key, `{"model":"m","input":"hi","store":false,"stream":true}`)
	require.Contains(t, a.Body, "event: response.failed\n")
	require.NotContains(t, a.Body, "response.completed")
	same := x.record(5)
	x.Must(http.StatusOK, http.MethodPost, "/model/m/invoke-with-response-stream", x.key, `{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`)
	own := x.record(6)
	require.Equal(t, []any{own.Cost, own.Counts}, []any{r.Cost, r.Counts}, "it costs what the same bytes cost without translation")
	require.Equal(t, []any{own.Cost, own.Counts}, []any{same.Cost, same.Counts})
	x.Settled(4)
}

// TestHangUpOnTranslatedClouds leaves in the middle of the text: the answer is read to its end, and billed by what the cloud counted.
func TestHangUpOnTranslatedClouds(t *testing.T) {
	inTheClouds(t)
	events := cloudEvents("")
	plain := func(events []string) string { return string(sse(events...).Body) }
	framed := func(events []string) string { return string(cloudFrames(t, events...)) }
	for _, c := range []struct {
		name, backend, kind string
		in                  func([]string) string
	}{
		{"bedrock", "bedrock %s {\nregion us-east-1\nmodel us.anthropic.claude-sonnet-4-5-20250929-v1:0\ntranslate\n}", framesType, framed},
		{"vertex", "vertex %s/v1/projects/p/locations/europe-west1 {\nmodel claude-sonnet-4-5@20250929\ntranslate\n}", "text/event-stream", plain},
	} {
		for _, call := range []struct{ path, body, until string }{
			{"/v1/chat/completions", gateway.Chat("m", "x", true), `"content":"Hel"`},
			{"/v1/responses", `{"model":"m","input":"x","store":false,"stream":true}`, `"delta":"Hel"`},
		} {
			t.Run(c.name+call.path, func(t *testing.T) {
				e := hungUp(t, "", c.backend, call.path, call.body, c.kind, c.in(events[:8]), c.in(events[8:]), call.until, leaving["close"])
				require.Equal(t, "client_gone", e.Outcome)
				require.Equal(t, "reported", e.Source, e.How)
				require.Equal(t, []int64{11, 4, 5, 7}, []int64{e.Counts["input"], e.Counts["cache_read"], e.Counts["cache_write"], e.Counts["output"]})
				require.Len(t, e.Events, 1)
			})
		}
	}
}

// TestBedrockTranslatedWithoutAMeter has llmroute unpack and translate by itself where nothing meters the call.
func TestBedrockTranslatedWithoutAMeter(t *testing.T) {
	inTheClouds(t)
	up := scripted.New(t, func(_ int, c scripted.Call) scripted.Answer {
		return cloudAnswers(t, c.URI, gjson.ParseBytes(c.Body))
	})
	g := gateway.Start(t, "", "llmroute {\nanonymous\nunmetered\nmodel m {\nbackend bedrock "+up.URL+" {\nregion us-east-1\nmodel global.anthropic.claude-opus-4-6-v1\ntranslate\n}\n}\n}\n")
	a := g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", "", chatCall+`,"stream":true}`)
	require.Equal(t, "text/event-stream", a.Header.Get("Content-Type"))
	content, _, _, _, finish, _ := ofChat(t, a.Body, true)
	require.Equal(t, []string{"Hello", "stop"}, []string{content, finish})
	a = g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", "", chatCall+`}`)
	require.Equal(t, "Hello", gjson.Get(a.Body, "choices.0.message.content").Str)
}

// TestModelsOfVertexByTheirNames has clients of Messages call Vertex AI: Claude takes their calls as they are; Gemini is asked by its chat
// completions where the backend may translate, and by nothing where it may not. Gemini refuses a call of a tool without a signature, and
// a client that keeps none gets on by the text that Google documents for that.
func TestModelsOfVertexByTheirNames(t *testing.T) {
	inTheClouds(t)
	backend := func(names, model, more string) string {
		return "model " + names + " {\nbackend vertex URL {\nproject p\nlocation global\nmodel " + model + "\nprice input 1\nprice output 2\n" + more + "\n}\n}\n"
	}
	var x *translated
	x = translating(t, backend("gemini", "gemini-3-pro-preview", "translate")+backend("untranslated", "gemini-3-pro-preview", "")+backend("claude", "claude-sonnet-4-5@20250929", "translate"),
		func(n int, body gjson.Result) scripted.Answer {
			c := x.up.Calls()[n-1]
			if !strings.HasSuffix(c.URI, "/chat/completions") {
				return cloudAnswers(t, c.URI, body)
			}
			return chatAnswers(n, body)
		})
	const (
		tool = `"tools":[{"name":"weather","input_schema":{"type":"object"}}]`
		ask  = `{"model":%q,"max_tokens":50,` + tool + `,"stream":%t,"messages":[{"role":"user","content":"hi"}%s]}`
		used = `,{"role":"assistant","content":[{"type":"tool_use","id":"call_1","name":"weather","input":{"city":"Oslo"}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"call_1","content":"rain"}]}`
	)
	n := 0
	for _, stream := range []bool{false, true} {
		for _, turn := range []string{"", used} {
			a := x.Must(http.StatusOK, http.MethodPost, "/v1/messages", x.key, fmt.Sprintf(ask, "gemini", stream, turn))
			if turn == "" {
				require.Contains(t, a.Body, `"tool_use"`)
			} else {
				require.Contains(t, a.Body, `"end_turn"`)
			}
			n++
			sent := x.up.Calls()[n-1]
			require.Equal(t, "/v1/projects/p/locations/global/endpoints/openapi/chat/completions", sent.URI)
			require.Equal(t, "google/gemini-3-pro-preview", gjson.GetBytes(sent.Body, "model").Str)
			if turn != "" {
				require.Equal(t, "skip_thought_signature_validator", gjson.GetBytes(sent.Body, "messages.1.tool_calls.0.extra_content.google.thought_signature").Str)
			}
			r := x.record(n)
			require.Equal(t, []any{"completed", "messages", "chat/completions"}, []any{r.Outcome, r.Endpoint, r.TranslatedTo})
			require.Equal(t, turn != "", slices.Contains(r.Dropped, "messages[].content[].thought_signature"), r.Dropped)
		}
	}
	a := x.Must(http.StatusBadRequest, http.MethodPost, "/v1/messages", x.key, fmt.Sprintf(ask, "untranslated", false, ""))
	require.Contains(t, gjson.Get(a.Body, "error.message").Str, "none of its backends speaks that API")
	require.Len(t, x.up.Calls(), n)
	x.Must(http.StatusOK, http.MethodPost, "/v1/messages", x.key, fmt.Sprintf(ask, "claude", false, ""), "Anthropic-Version", "2023-06-01")
	require.True(t, strings.HasSuffix(x.up.Calls()[n].URI, "/publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict"), x.up.Calls()[n].URI)
	require.Empty(t, x.record(n+1).TranslatedTo)
	x.Settled(n + 1)
}

// TestAnExceptionBeforeAnyContent has a stream of Bedrock's begin with an exception: the next backend is asked as after the status that the
// exception stands for, translated or not, and one that no repetition changes is passed on.
func TestAnExceptionBeforeAnyContent(t *testing.T) {
	inTheClouds(t)
	backend := func(order, region string) string {
		return "backend bedrock URL {\nregion " + region + "\nmodel anthropic.claude-sonnet-4-20250514-v1:0\nprice input 1\nprice output 2\norder " + order + "\ntranslate\n}\n"
	}
	var x *translated
	var first func(n int) scripted.Answer
	x = translating(t, "model m {\n"+backend("0", "us-east-1")+backend("1", "us-west-2")+"}\n", func(n int, body gjson.Result) scripted.Answer {
		if strings.Contains(strings.Join(x.up.Calls()[n-1].Header["Authorization"], ""), "/us-east-1/") {
			return first(n)
		}
		return cloudAnswers(t, x.up.Calls()[n-1].URI, body)
	})
	exception := func(kind string, more ...string) func(int) scripted.Answer {
		return func(int) scripted.Answer {
			return scripted.Answer{ContentType: framesType, Body: append(scripted.ExceptionFrame(t, kind, []byte(`{"message":"`+kind+strings.Repeat(" and so on", 30)+`"}`)), cloudFrames(t, more...)...)}
		}
	}
	native := `{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`
	n := 0
	for _, kind := range []string{"throttlingException", "serviceUnavailableException", "internalServerException", "modelStreamErrorException"} {
		first = exception(kind, cloudEvents("")...)
		a := x.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", x.key, chatCall+`,"stream":true}`)
		require.True(t, strings.HasSuffix(a.Body, "data: [DONE]\n\n"), a.Body)
		require.NotContains(t, a.Body, kind)
		n++
		r := x.record(n)
		require.Equal(t, []any{"completed", 2, "reported"}, []any{r.Outcome, r.Attempts, r.Source})
		require.Len(t, r.Events, 1)
		a = x.Must(http.StatusOK, http.MethodPost, "/model/m/invoke-with-response-stream", x.key, native)
		require.NotContains(t, a.Body, kind)
		n++
		require.Equal(t, 2, x.record(n).Attempts)
	}
	first = exception("validationException")
	a := x.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", x.key, chatCall+`,"stream":true}`)
	require.Contains(t, a.Body, `data: {"error":{"message":"validationException`)
	require.Equal(t, 1, x.record(n+1).Attempts, "another backend would refuse it too")
	first = func(int) scripted.Answer {
		return scripted.Answer{ContentType: framesType, Body: append(cloudFrames(t, cloudEvents("")[:1]...), scripted.ExceptionFrame(t, "throttlingException", []byte(`{"message":"m"}`))...)}
	}
	a = x.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", x.key, chatCall+`,"stream":true}`)
	require.NotContains(t, a.Body, "[DONE]")
	require.Equal(t, 1, x.record(n+2).Attempts, "a part of the answer was sent")
}

// TestWhatTheGatewaysAccountMayNotDo is for the operator: the caller of a translated model is told so in its own API, and not by whose
// identity, project or key.
func TestWhatTheGatewaysAccountMayNotDo(t *testing.T) {
	inTheClouds(t)
	var x *translated
	status := http.StatusForbidden
	x = translating(t, "model m {\nbackend bedrock URL {\nregion us-east-1\nmodel anthropic.claude-sonnet-4-20250514-v1:0\nprice input 1\nprice output 2\ntranslate\n}\n}\n", func(int, gjson.Result) scripted.Answer {
		return scripted.Answer{Status: status, ContentType: "application/json", Length: true, Body: []byte(
			`{"message":"User: arn:aws:sts::123456789012:assumed-role/gateway/i-0 is not authorized to perform: bedrock:InvokeModel on resource: arn:aws:bedrock:us-east-1::foundation-model/x"}`)}
	})
	n := 0
	for _, status = range []int{http.StatusUnauthorized, http.StatusForbidden} {
		for path, body := range map[string]string{"/v1/chat/completions": chatCall + `}`, "/v1/responses": `{"model":"m","input":"hi","store":false,"stream":true}`} {
			a := x.Must(status, http.MethodPost, path, x.key, body)
			require.Equal(t, "invalid_request_error", gjson.Get(a.Body, "error.type").Str, a.Body)
			require.Contains(t, gjson.Get(a.Body, "error.message").Str, "gateway's operator")
			require.NotContains(t, a.Body+fmt.Sprint(a.Header), "arn:")
			require.NotContains(t, a.Body, "123456789012")
			n++
			require.Empty(t, x.record(n).Events)
		}
	}
}
