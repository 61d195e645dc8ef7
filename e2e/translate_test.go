package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
	"github.com/tollgate-llm/tollgate/internal/testkit/scripted"
)

// translated is a gateway with Lago whose model m has a backend of another API, scripted.
type translated struct {
	*gateway.World
	up  *scripted.Server
	key string
}

// translating starts it. routes may have %s where the upstream's URL goes.
func translating(t *testing.T, routes string, answer func(n int, body gjson.Result) scripted.Answer) *translated {
	t.Helper()
	x := &translated{World: gateway.NewBooks(t, fakelago.Options{})}
	x.up = scripted.New(t, func(n int, c scripted.Call) scripted.Answer {
		if fault := scripted.Refusal(t, c); fault != "" {
			t.Errorf("the provider refuses %s %s: %s", c.URI, c.Body, fault)
		}
		return answer(n, gjson.ParseBytes(c.Body))
	})
	x.Gateway = gateway.Start(t, "", x.Routed(t.TempDir(), "", strings.ReplaceAll(routes, "URL", x.up.URL)))
	x.key = x.NewKey(`{"team_id":"` + gateway.Payer + `"}`)
	return x
}

// translatedRecord is what the ledger has of a translated call.
type translatedRecord struct {
	Outcome      string
	Status       int
	Endpoint     string
	TranslatedTo string `json:"translated_to"`
	Dropped      []string
	Lost         []string
	Source       string
	Hangup       string
	Cost         string
	Attempts     int
	Counts       map[string]int64
	Events       []json.RawMessage
}

// record waits for the record of the call that was made last, of n.
func (x *translated) record(n int) translatedRecord {
	x.T.Helper()
	admin := &gateway.Gateway{T: x.T, Addr: x.Admin}
	var r translatedRecord
	require.Eventually(x.T, func() bool {
		lines := strings.Split(strings.TrimSpace(admin.Must(http.StatusOK, http.MethodGet, "/tollgate/billing/events", "", "").Body), "\n")
		if len(lines) != n {
			return false
		}
		for _, line := range lines {
			var one struct{ Outcome string }
			if json.Unmarshal([]byte(line), &one) != nil || one.Outcome == "" {
				return false
			}
		}
		r = translatedRecord{}
		return json.Unmarshal([]byte(lines[len(lines)-1]), &r) == nil
	}, 20*time.Second, 5*time.Millisecond)
	return r
}

const (
	claudeRoutes = `model m {
		backend anthropic URL {
			api_key sk-of-the-provider
			model claude-opus-4-6
			price input 1
			price output 2
			translate
		}
	}`
	lossyRoutes = `model m {
		backend anthropic URL {
			api_key sk-of-the-provider
			model claude-opus-4-6
			price input 1
			price output 2
			translate lossy
		}
	}`
	messagesUsage = `"usage":{"input_tokens":11,"cache_creation_input_tokens":5,"cache_read_input_tokens":4,"output_tokens":%d}`
)

func sse(events ...string) scripted.Answer {
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", gjson.Get(e, "type").String(), e)
	}
	return scripted.Answer{ContentType: "text/event-stream", Body: []byte(b.String())}
}

// claudeAnswers is an upstream of Messages that says "Hello".
func claudeAnswers(_ int, body gjson.Result) scripted.Answer {
	head := `{"id":"msg_1","type":"message","role":"assistant","model":"claude-opus-4-6-up","stop_sequence":null,`
	if !body.Get("stream").Bool() {
		return scripted.Answer{ContentType: "application/json", Length: true, Body: []byte(
			head + `"content":[{"type":"text","text":"Hello"}],"stop_reason":"end_turn",` + fmt.Sprintf(messagesUsage, 7) + `}`)}
	}
	return sse(
		`{"type":"message_start","message":`+head+`"content":[],"stop_reason":null,`+fmt.Sprintf(messagesUsage, 1)+`}}`,
		`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`,
		`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hel"}}`,
		`{"type":"ping"}`,
		`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"lo"}}`,
		`{"type":"content_block_stop","index":0}`,
		`{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":7}}`,
		`{"type":"message_stop"}`)
}

// chatAnswers is an upstream of chat completions that says "Hello", or calls the first tool that it is offered.
func chatAnswers(_ int, body gjson.Result) scripted.Answer {
	const head, usage = `{"id":"c1","created":1,"model":"up","object":"chat.completion`,
		`"usage":{"prompt_tokens":20,"completion_tokens":7,"total_tokens":27,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":3}}`
	stop, pieces := "stop", []string{`"content":"Hel"`, `"content":"lo"`}
	message := `"content":"Hello"`
	if name := body.Get("tools.0.function.name"); name.Exists() && !strings.Contains(body.Raw, `"role":"tool"`) {
		stop = "tool_calls"
		call := `"id":"call_1","type":"function","function":{"name":` + name.Raw + `,"arguments":"`
		message = `"content":null,"tool_calls":[{` + call + `{\"city\":\"Oslo\"}"}}]`
		pieces = []string{`"tool_calls":[{"index":0,` + call + `"}}]`, `"tool_calls":[{"index":0,"function":{"arguments":"{\"city\":"}}]`, `"tool_calls":[{"index":0,"function":{"arguments":"\"Oslo\"}"}}]`}
	}
	if !body.Get("stream").Bool() {
		return scripted.Answer{ContentType: "application/json", Length: true, Body: []byte(
			head + `","choices":[{"index":0,"finish_reason":"` + stop + `","message":{"role":"assistant",` + message + `}}],` + usage + `}`)}
	}
	out := head + `.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}`
	for _, p := range pieces {
		out += "\n\ndata: " + head + `.chunk","choices":[{"index":0,"delta":{` + p + `},"finish_reason":null}]}`
	}
	out += "\n\ndata: " + head + `.chunk","choices":[{"index":0,"delta":{},"finish_reason":"` + stop + `"}]}`
	if body.Get("stream_options.include_usage").Bool() {
		out += "\n\ndata: " + head + `.chunk","choices":[],` + usage + `}`
	}
	return scripted.Answer{ContentType: "text/event-stream", Body: []byte("data: " + out + "\n\ndata: [DONE]\n\n")}
}

const deepseekRoutes = `model m {
	backend deepseek URL/v1 {
		api_key sk-of-the-provider
		model deepseek-chat
		price input 1
		price output 2
		translate
	}
}`

// TestTranslatedToChat has Anthropic's clients, and those of Responses, call a backend that has chat completions alone.
func TestTranslatedToChat(t *testing.T) {
	x := translating(t, deepseekRoutes, chatAnswers)
	check := func(n int, endpoint string) {
		t.Helper()
		r := x.record(n)
		require.Equal(t, []any{"completed", endpoint, "chat/completions", "reported"}, []any{r.Outcome, r.Endpoint, r.TranslatedTo, r.Source})
		require.Equal(t, map[string]int64{"input": 16, "cache_read": 4, "output": 4, "reasoning": 3}, r.Counts)
		require.Len(t, r.Events, 1)
	}
	const tool = `{"name":"weather","description":"tells it","input_schema":{"type":"object","properties":{"city":{"type":"string"}}}}`
	const call = `{"model":"m","max_tokens":50,"system":[{"type":"text","text":"be kind","cache_control":{"type":"ephemeral"}}],"tools":[` + tool + `],"messages":[{"role":"user","content":"hi"}`
	a := x.Must(http.StatusOK, http.MethodPost, "/v1/messages?beta=true", x.key, call+`]}`, "Anthropic-Version", "2023-06-01", "Anthropic-Beta", "some-beta")
	require.Equal(t, "tool_use", gjson.Get(a.Body, "stop_reason").String(), a.Body)
	require.JSONEq(t, `{"city":"Oslo"}`, gjson.Get(a.Body, `content.#(type=="tool_use").input`).Raw)
	require.Equal(t, int64(16), gjson.Get(a.Body, "usage.input_tokens").Int())
	require.Equal(t, int64(4), gjson.Get(a.Body, "usage.cache_read_input_tokens").Int())
	check(1, "messages")
	sent := x.up.Calls()[0]
	require.Equal(t, "/v1/chat/completions", sent.URI)
	require.Equal(t, []string{"Bearer sk-of-the-provider"}, sent.Header["Authorization"])
	require.Empty(t, sent.Header["Anthropic-Version"])
	require.Empty(t, sent.Header["Anthropic-Beta"])
	require.Contains(t, x.record(1).Dropped, "system[text].cache_control")

	again := `,{"role":"assistant","content":` + gjson.Get(a.Body, "content").Raw + `},{"role":"user","content":[{"type":"tool_result","tool_use_id":"call_1","content":"rain"}]}]`
	a = x.Must(http.StatusOK, http.MethodPost, "/v1/messages", x.key, call+again+`,"stream":true}`)
	require.Contains(t, a.Body, "event: message_stop\n")
	require.Contains(t, a.Body, `"text":"Hel"`)
	require.Equal(t, "text/event-stream", a.Header.Get("Content-Type"))
	check(2, "messages")

	a = x.Must(http.StatusOK, http.MethodPost, "/v1/responses", x.key, `{"model":"m","input":"hi","store":false,"stream":true}`)
	require.Contains(t, a.Body, "event: response.completed\n")
	check(3, "responses")
	a = x.Must(http.StatusBadRequest, http.MethodPost, "/v1/messages", x.key, call+`],"top_k":3,"container":"c"}`)
	require.Equal(t, "invalid_request_error", gjson.Get(a.Body, "error.type").String(), a.Body)
	require.Contains(t, gjson.Get(a.Body, "error.message").String(), "container")
	x.Settled(3)
}

const chatCall = `{"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":50`

// TestTranslatedCallsAreBilledByTheUpstream has OpenAI's clients call Claude: they get their own API, and the bill is made of what Claude
// reported, cache writes included.
func TestTranslatedCallsAreBilledByTheUpstream(t *testing.T) {
	x := translating(t, claudeRoutes, claudeAnswers)
	check := func(n int, endpoint string) {
		t.Helper()
		r := x.record(n)
		require.Equal(t, "completed", r.Outcome)
		require.Equal(t, endpoint, r.Endpoint)
		require.Equal(t, "messages", r.TranslatedTo)
		require.Equal(t, "reported", r.Source)
		require.Equal(t, map[string]int64{"input": 11, "cache_read": 4, "cache_write": 5, "output": 7}, r.Counts)
		require.Len(t, r.Events, 1)
	}
	a := x.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", x.key, chatCall+`,"temperature":1,"user":"u"}`)
	require.Equal(t, "Hello", gjson.Get(a.Body, "choices.0.message.content").String())
	require.Equal(t, "stop", gjson.Get(a.Body, "choices.0.finish_reason").String())
	require.Equal(t, "m", gjson.Get(a.Body, "model").String())
	require.Equal(t, int64(20), gjson.Get(a.Body, "usage.prompt_tokens").Int())
	require.Equal(t, "application/json", a.Header.Get("Content-Type"))
	require.NotEmpty(t, a.Header.Get("X-Litellm-Response-Cost"))
	require.Equal(t, x.record(1).Cost, a.Header.Get("X-Litellm-Response-Cost"))
	check(1, "chat/completions")
	sent := x.up.Calls()[0]
	require.Equal(t, "/v1/messages", sent.URI)
	require.Equal(t, []string{"sk-of-the-provider"}, sent.Header["X-Api-Key"])
	require.NotEmpty(t, sent.Header["Anthropic-Version"])
	require.Empty(t, sent.Header["Authorization"])
	require.Equal(t, "claude-opus-4-6", gjson.GetBytes(sent.Body, "model").String())
	require.Equal(t, int64(50), gjson.GetBytes(sent.Body, "max_tokens").Int())

	for i, options := range []string{``, `,"stream_options":{"include_usage":true}`} {
		a = x.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", x.key, chatCall+`,"stream":true`+options+`}`)
		require.True(t, strings.HasSuffix(a.Body, "data: [DONE]\n\n"), a.Body)
		require.Equal(t, options != "", strings.Contains(a.Body, `"prompt_tokens":20`), a.Body)
		var text strings.Builder
		for line := range strings.Lines(a.Body) {
			text.WriteString(gjson.Get(strings.TrimPrefix(line, "data: "), "choices.0.delta.content").String())
		}
		require.Equal(t, "Hello", text.String())
		check(2+i, "chat/completions")
	}

	a = x.Must(http.StatusOK, http.MethodPost, "/v1/responses", x.key, `{"model":"m","input":"hi","store":false}`)
	require.Equal(t, "Hello", gjson.Get(a.Body, "output.0.content.0.text").String(), a.Body)
	check(4, "responses")
	a = x.Must(http.StatusOK, http.MethodPost, "/v1/responses", x.key, `{"model":"m","input":"hi","store":false,"stream":true}`)
	require.Contains(t, a.Body, "event: response.completed\n")
	check(5, "responses")
	x.Settled(5)
}

// TestWhatCannotBeTranslatedIsRefused names the member, makes no record and asks no provider; with lossy it is left out and named.
func TestWhatCannotBeTranslatedIsRefused(t *testing.T) {
	x := translating(t, claudeRoutes+"\n"+strings.Replace(lossyRoutes, "model m", "model lossy", 1), claudeAnswers)
	a := x.Must(http.StatusBadRequest, http.MethodPost, "/v1/chat/completions", x.key, chatCall+`,"logit_bias":{"1":5}}`)
	require.Equal(t, "logit_bias", gjson.Get(a.Body, "error.param").String(), a.Body)
	require.Equal(t, "false", a.Header.Get("X-Should-Retry"))
	a = x.Must(http.StatusBadRequest, http.MethodPost, "/v1/responses", x.key, `{"model":"m","input":"hi","previous_response_id":"resp_1"}`)
	require.Equal(t, "previous_response_id", gjson.Get(a.Body, "error.param").String(), a.Body)
	x.Must(http.StatusBadRequest, http.MethodPost, "/v1/embeddings", x.key, `{"model":"m","input":"hi"}`)
	require.Empty(t, x.up.Calls())

	a = x.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", x.key,
		strings.Replace(chatCall, `"m"`, `"lossy"`, 1)+`,"logit_bias":{"1":5},"presence_penalty":0,"seed":3}`)
	require.Equal(t, "logit_bias, seed", a.Header.Get("X-Tollgate-Dropped"))
	r := x.record(1)
	require.Equal(t, []string{"logit_bias", "seed"}, r.Lost)
	require.Equal(t, []string{"presence_penalty"}, r.Dropped)
	require.False(t, gjson.GetBytes(x.up.Calls()[0].Body, "seed").Exists())
}

// TestErrorsOfATranslatedBackend come in the caller's shape with their status, after the retries that the upstream's status asks for.
func TestErrorsOfATranslatedBackend(t *testing.T) {
	fail := func(status int, kind string) scripted.Answer {
		return scripted.Answer{
			Status: status, ContentType: "application/json", Length: true,
			Body: []byte(`{"type":"error","error":{"type":"` + kind + `","message":"so it is"},"request_id":"req_1"}`),
		}
	}
	var now func(n int, body gjson.Result) scripted.Answer
	x := translating(t, strings.Replace(claudeRoutes, "model m {", "model m {\nretries 1", 1), func(n int, b gjson.Result) scripted.Answer { return now(n, b) })

	now = func(int, gjson.Result) scripted.Answer { return fail(529, "overloaded_error") }
	a := x.Must(http.StatusServiceUnavailable, http.MethodPost, "/v1/chat/completions", x.key, chatCall+`,"stream":true}`)
	require.JSONEq(t, `{"error":{"message":"so it is","type":"server_error","param":null,"code":"server_error"}}`, a.Body)
	require.Equal(t, "application/json", a.Header.Get("Content-Type"))
	r := x.record(1)
	require.Equal(t, []any{"error", 529, 2}, []any{r.Outcome, r.Status, r.Attempts})
	require.Empty(t, r.Events)

	now = func(int, gjson.Result) scripted.Answer { return fail(400, "invalid_request_error") }
	a = x.Must(http.StatusBadRequest, http.MethodPost, "/v1/responses", x.key, `{"model":"m","input":"hi","store":false}`)
	require.Equal(t, "so it is", gjson.Get(a.Body, "error.message").String())

	now = func(n int, b gjson.Result) scripted.Answer {
		if n == 4 {
			return fail(500, "api_error")
		}
		return claudeAnswers(n, b)
	}
	x.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", x.key, chatCall+`}`)
	r = x.record(3)
	require.Equal(t, []any{"completed", 2}, []any{r.Outcome, r.Attempts})

	now = func(int, gjson.Result) scripted.Answer {
		return scripted.Answer{ContentType: "application/json", Length: true, Body: []byte(`{"type":"message","content":`)}
	}
	a = x.Must(http.StatusBadGateway, http.MethodPost, "/v1/chat/completions", x.key, chatCall+`}`)
	require.Equal(t, "server_error", gjson.Get(a.Body, "error.type").String(), a.Body)
	r = x.record(4)
	require.Equal(t, "error", r.Outcome)
	require.Empty(t, r.Events, "a client that gets an error does not pay")
	x.Settled(1)
}

// bothUpstreams are a model of Messages and one of chat completions.
var bothUpstreams = strings.Replace(claudeRoutes, "model m", "model claude", 1) + "\n" + strings.Replace(deepseekRoutes, "model m", "model chat", 1)

// bothAnswer answers for both.
func bothAnswer(n int, body gjson.Result) scripted.Answer {
	if body.Get("model").Str == "deepseek-chat" {
		return chatAnswers(n, body)
	}
	return claudeAnswers(n, body)
}

// streamsOfPairs are a stream of each pair: its call, how it ends after a failure, and what ends a complete answer.
var streamsOfPairs = []struct{ path, body, failed, complete string }{
	{"/v1/chat/completions", strings.Replace(chatCall, `"m"`, `"claude"`, 1) + `,"stream":true}`, `data: {"error":{`, "[DONE]"},
	{"/v1/responses", `{"model":"claude","input":"hi","store":false,"stream":true}`, "event: response.failed", "response.completed"},
	{"/v1/messages", strings.Replace(chatCall, `"m"`, `"chat"`, 1) + `,"stream":true}`, "event: error", "message_stop"},
	{"/v1/responses", `{"model":"chat","input":"hi","store":false,"stream":true}`, "event: response.failed", "response.completed"},
}

// ask makes a call whose answer is read by the test.
func (x *translated) ask(path, body string) *http.Response {
	x.T.Helper()
	req, err := http.NewRequestWithContext(gateway.Timeout(x.T, time.Minute), http.MethodPost, x.URL(path), strings.NewReader(body))
	require.NoError(x.T, err)
	req.Header.Set("Authorization", "Bearer "+x.key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(x.T, err)
	return resp
}

// TestATranslatedStreamThatBreaksOff ends by an error of the caller's API, and is billed as far as it came.
func TestATranslatedStreamThatBreaksOff(t *testing.T) {
	x := translating(t, bothUpstreams, func(n int, b gjson.Result) scripted.Answer {
		a := bothAnswer(n, b)
		a.Body = a.Body[:strings.Index(string(a.Body), `lo"`)]
		return a
	})
	for i, c := range streamsOfPairs {
		resp := x.ask(c.path, c.body)
		got, _ := io.ReadAll(resp.Body) // the connection may be cut after the error
		require.NoError(t, resp.Body.Close())
		require.Contains(t, string(got), "Hel")
		require.Contains(t, string(got), c.failed)
		require.NotContains(t, string(got), c.complete)
		r := x.record(i + 1)
		require.Equal(t, "cut", r.Outcome)
		if r.TranslatedTo == "messages" {
			require.Equal(t, int64(11), r.Counts["input"]) // which the start of the stream states
		}
		require.Positive(t, r.Counts["input"])
		require.Len(t, r.Events, 1)
	}
	x.Settled(len(streamsOfPairs))
}

// TestATranslatedHangUpIsBilled has a client hang up in the middle of a stream.
func TestATranslatedHangUpIsBilled(t *testing.T) {
	hold := make(chan struct{})
	x := translating(t, bothUpstreams, func(n int, b gjson.Result) scripted.Answer {
		a := bothAnswer(n, b)
		a.Hold = hold
		return a
	})
	for i, c := range streamsOfPairs {
		require.NoError(t, x.ask(c.path, c.body).Body.Close())
		r := x.record(i + 1)
		require.Equal(t, "client_gone", r.Outcome)
		require.NotEmpty(t, r.TranslatedTo)
		require.Len(t, r.Events, 1)
	}
	close(hold)
	x.Settled(len(streamsOfPairs))
}

// TestOwnAPIFirst has a model with a backend of each API: the caller's own is tried first, and the other one after it failed.
func TestOwnAPIFirst(t *testing.T) {
	own := 0
	routes := `model m {
		backend anthropic URL {
			api_key k
			model claude-opus-4-6
			price input 1
			price output 2
			order 0
			translate
		}
		backend openai URL/v1 {
			api_key k
			price input 1
			price output 2
		}
	}`
	var failing bool
	x := translating(t, routes, func(n int, b gjson.Result) scripted.Answer {
		if b.Get("model").String() == "m" {
			own++
			if failing {
				return scripted.Answer{Status: 503, ContentType: "application/json", Body: []byte(`{}`), Length: true}
			}
			return scripted.Answer{ContentType: "application/json", Length: true, Body: []byte(
				`{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"own"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}`)}
		}
		return claudeAnswers(n, b)
	})
	a := x.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", x.key, chatCall+`,"logit_bias":{"1":5}}`)
	require.Equal(t, "own", gjson.Get(a.Body, "choices.0.message.content").String())
	require.Empty(t, x.record(1).TranslatedTo)
	failing = true
	a = x.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", x.key, chatCall+`}`)
	require.Equal(t, "Hello", gjson.Get(a.Body, "choices.0.message.content").String())
	r := x.record(2)
	require.Equal(t, []any{"messages", 2}, []any{r.TranslatedTo, r.Attempts})
	require.Equal(t, int64(11), r.Counts["input"])
	// Where the other one cannot be sent the call, the failure of the first is what the client gets.
	a = x.Must(http.StatusBadGateway, http.MethodPost, "/v1/chat/completions", x.key, chatCall+`,"logit_bias":{"1":5}}`)
	require.Equal(t, "openai", a.Header.Get("X-Tollgate-Backend"))
	require.Equal(t, 3, own)
	x.Settled(2)
}

// TestAConversationThatMovesToItsOwnAPI begins one with a model that is translated and reasons, and goes on with a model of the caller's
// own API: its provider gets nothing that looks like a signature and is none of its own, and all else as the client sent it.
func TestAConversationThatMovesToItsOwnAPI(t *testing.T) {
	x := translating(t, `model reasons {
		backend vllm URL/v1 {
			price input 1
			price output 2
			translate {
				calls messages
			}
		}
	}
	model claude {
		backend anthropic URL {
			api_key k
			model claude-opus-4-6
			price input 1
			price output 2
		}
	}`, func(n int, b gjson.Result) scripted.Answer {
		if n == 2 {
			return claudeAnswers(n, b)
		}
		return scripted.Answer{ContentType: "application/json", Length: true, Body: []byte(`{"id":"c","object":"chat.completion","created":1,"model":"reasons","choices":[{"index":0,` +
			`"message":{"role":"assistant","reasoning_content":"hm","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}`)}
	})
	const ask = `{"model":%q,"max_tokens":9,"messages":[{"role":"user","content":"a"}%s]}`
	a := x.Must(http.StatusOK, http.MethodPost, "/v1/messages", x.key, fmt.Sprintf(ask, "reasons", ""))
	content := gjson.Get(a.Body, "content").Raw
	require.Equal(t, []string{"thinking", "text"}, []string{gjson.Get(content, "0.type").Str, gjson.Get(content, "1.type").Str})
	const more = `,{"role":"assistant","content":%s},{"role":"user","content":"b "}`
	x.Must(http.StatusOK, http.MethodPost, "/v1/messages", x.key, fmt.Sprintf(ask, "claude", fmt.Sprintf(more, content)))
	require.Equal(t, fmt.Sprintf(ask, "claude-opus-4-6", fmt.Sprintf(more, "["+gjson.Get(content, "1").Raw+"]")), string(x.up.Calls()[1].Body))
	x.Settled(2)
}

// TestTokenCountsOfTranslatedModels are estimates, and say so.
func TestTokenCountsOfTranslatedModels(t *testing.T) {
	x := translating(t, `model m {
		backend deepseek URL/v1 {
			api_key k
			price input 1
			price output 2
			translate
		}
	}
	model exact {
		backend deepseek URL/v1 {
			api_key k
			translate {
				token_counts refuse
			}
		}
	}
	alias nick m`, claudeAnswers)
	text := strings.Repeat("abcd", 25)
	a := x.Must(http.StatusOK, http.MethodPost, "/v1/messages/count_tokens", x.key, `{"model":"m","messages":[{"role":"user","content":"`+text+`"}]}`)
	require.InDelta(t, 27, gjson.Get(a.Body, "input_tokens").Int(), 3)
	require.Equal(t, "input_tokens", a.Header.Get("X-Tollgate-Estimated"))
	a = x.Must(http.StatusOK, http.MethodPost, "/v1/responses/input_tokens", x.key, `{"model":"m","input":"`+text+`"}`)
	require.Equal(t, "response.input_tokens", gjson.Get(a.Body, "object").String())
	x.Must(http.StatusBadRequest, http.MethodPost, "/v1/messages/count_tokens", x.key, `{"model":"exact","messages":[]}`)
	require.Empty(t, x.up.Calls())

	// They come under the key's rights, and use nothing of its limits.
	limited := x.NewKey(`{"team_id":"` + gateway.Payer + `","models":["m"],"rpm_limit":1}`)
	for range 20 {
		x.Must(http.StatusOK, http.MethodPost, "/v1/messages/count_tokens", limited, `{"model":"nick","messages":[]}`)
	}
	other := x.NewKey(`{"team_id":"` + gateway.Payer + `","models":["exact"]}`)
	x.Must(http.StatusForbidden, http.MethodPost, "/v1/messages/count_tokens", other, `{"model":"nick","messages":[]}`)

	a = x.Must(http.StatusOK, http.MethodGet, "/v1/models", x.key, "", "Anthropic-Version", "2023-06-01")
	require.Equal(t, "exact", gjson.Get(a.Body, "data.0.id").String(), a.Body)
}

// TestTranslatedWithoutAMeter has llmroute translate by itself where nothing meters the call.
func TestTranslatedWithoutAMeter(t *testing.T) {
	var status int
	up := scripted.New(t, func(n int, c scripted.Call) scripted.Answer {
		a := claudeAnswers(n, gjson.ParseBytes(c.Body))
		if a.Status = status; status >= 400 {
			a = scripted.Answer{Status: status, ContentType: "text/html", Body: []byte("<html>gone</html>"), Length: true}
		}
		return a
	})
	g := gateway.Start(t, "", "llmroute {\nanonymous\nunmetered\n"+strings.ReplaceAll(claudeRoutes, "URL", up.URL)+"\n}\n")
	a := g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", "", chatCall+`}`)
	require.Equal(t, "Hello", gjson.Get(a.Body, "choices.0.message.content").String())
	require.Equal(t, fmt.Sprint(len(a.Body)), a.Header.Get("Content-Length"))
	a = g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", "", chatCall+`,"stream":true}`)
	require.True(t, strings.HasSuffix(a.Body, "data: [DONE]\n\n"), a.Body)
	status = http.StatusNotFound
	a = g.Must(http.StatusNotFound, http.MethodPost, "/v1/chat/completions", "", chatCall+`}`)
	require.JSONEq(t, `{"error":{"message":"not found","type":"invalid_request_error","param":null,"code":"model_not_found"}}`, a.Body)
	require.Equal(t, "application/json", a.Header.Get("Content-Type"))
}

// TestTranslatedBodiesTakeRoom has a body that is twice as long once it is translated: it counts in max_bodies until its call is over.
func TestTranslatedBodiesTakeRoom(t *testing.T) {
	x := translating(t, "max_body 1MB\nmax_bodies 2MB\n"+deepseekRoutes, chatAnswers)
	call := func(quotes int) string {
		return `{"model":"m","max_tokens":50,"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{"x":"` +
			strings.Repeat(`\"`, quotes) + `"}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"ok"}]}]}`
	}
	for range 3 {
		a := x.Must(http.StatusServiceUnavailable, http.MethodPost, "/v1/messages", x.key, call(450_000))
		require.Contains(t, a.Body, "max_bodies")
		require.Equal(t, "1", a.Header.Get("Retry-After"))
	}
	require.Empty(t, x.up.Calls())
	for range 5 { // what calls took is given back
		x.Must(http.StatusOK, http.MethodPost, "/v1/messages", x.key, call(250_000))
	}
	x.Settled(5)
}

// TestTranslatedAnswersTakeRoom has answers that are held whole until they are translated: they count in max_bodies until the client has
// them, and a client whose answer finds no room is told so and does not pay.
func TestTranslatedAnswersTakeRoom(t *testing.T) {
	var long string
	x := translating(t, "max_body 1MB\nmax_bodies 2MB\n"+deepseekRoutes, func(n int, body gjson.Result) scripted.Answer {
		a := chatAnswers(n, body)
		a.Body = []byte(strings.Replace(string(a.Body), "Hello", long, 1))
		return a
	})
	const call = `{"model":"m","max_tokens":50,"messages":[{"role":"user","content":"hi"}]}`
	for n := range 6 { // what answers took is given back
		long = strings.Repeat("abcd", 150_000)
		a := x.Must(http.StatusOK, http.MethodPost, "/v1/messages", x.key, call)
		require.Len(t, gjson.Get(a.Body, "content.0.text").Str, len(long))
		require.Len(t, x.record(2*n+1).Events, 1)
		long = strings.Repeat("abcd", 400_000)
		a = x.Must(http.StatusServiceUnavailable, http.MethodPost, "/v1/messages", x.key, call)
		require.Equal(t, "overloaded_error", gjson.Get(a.Body, "error.type").Str, a.Body)
		require.Contains(t, a.Body, "max_bodies")
		r := x.record(2*n + 2)
		require.Equal(t, []any{"error", 0}, []any{r.Outcome, len(r.Events)})
	}
	x.Settled(6)
}

// TestEndlessAnswersOfATranslatedBackend are broken off at a bound, with an error in the caller's API and a record: of a stream that is billed
// as far as it came, of an answer that did not begin to come nothing.
func TestEndlessAnswersOfATranslatedBackend(t *testing.T) {
	filler := []byte(strings.Repeat("abcd", 16<<10))
	var status int
	answer := func(n int, body gjson.Result) scripted.Answer {
		a := bothAnswer(n, body)
		a.Body = a.Body[:strings.Index(string(a.Body), "lo\"")]
		a.Status, a.Length, a.Filler = status, false, filler
		return a
	}
	cases := []struct {
		status           int
		path, body, told string
		stream           bool
	}{
		{200, "/v1/chat/completions", `{"model":"claude","messages":[{"role":"user","content":"hi"}],"max_tokens":50}`, "too long to be translated", false},
		{200, "/v1/responses", `{"model":"chat","input":"hi","store":false}`, "too long to be translated", false},
		{200, "/v1/messages", `{"model":"chat","messages":[{"role":"user","content":"hi"}],"max_tokens":50}`, "too long to be translated", false},
		{400, "/v1/messages", `{"model":"chat","messages":[{"role":"user","content":"hi"}],"max_tokens":50}`, "bad request", false},
		{200, "/v1/chat/completions", `{"model":"claude","messages":[{"role":"user","content":"hi"}],"max_tokens":50,"stream":true}`, `data: {"error":{`, true},
		{200, "/v1/responses", `{"model":"chat","input":"hi","store":false,"stream":true}`, "event: response.failed", true},
		{200, "/v1/messages", `{"model":"chat","messages":[{"role":"user","content":"hi"}],"max_tokens":50,"stream":true}`, "event: error", true},
	}
	ask := func(g *gateway.Gateway, key string, i int) {
		c := cases[i]
		status = c.status
		req, err := http.NewRequestWithContext(gateway.Timeout(t, time.Minute), http.MethodPost, g.URL(c.path), strings.NewReader(c.body))
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+key)
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		got, err := io.ReadAll(resp.Body)
		require.NoError(t, resp.Body.Close())
		require.Contains(t, string(got), c.told)
		if c.stream { // it is cut after the error
			require.NotContains(t, string(got), "[DONE]")
			return
		}
		require.NoError(t, err)
		require.NotEmpty(t, gjson.GetBytes(got, "error.type").Str)
		require.Equal(t, map[int]int{200: 502, 400: 400}[c.status], resp.StatusCode)
	}
	x := translating(t, "max_bodies 512MB\n"+bothUpstreams, answer)
	for i, c := range cases {
		ask(x.Gateway, x.key, i)
		r := x.record(i + 1)
		if c.stream {
			require.Equal(t, []any{"cut", 1}, []any{r.Outcome, len(r.Events)})
		} else {
			require.Equal(t, []any{"error", 0}, []any{r.Outcome, len(r.Events)})
		}
	}
	x.Settled(3)
	up := scripted.New(t, func(n int, c scripted.Call) scripted.Answer { return answer(n, gjson.ParseBytes(c.Body)) })
	bare := gateway.Start(t, "", "llmroute {\nanonymous\nunmetered\n"+strings.ReplaceAll(bothUpstreams, "URL", up.URL)+"\n}\n")
	for i := range cases {
		ask(bare, "", i)
	}
}

// TestHeadersOfTranslatedAnswers are those of the caller's API: the upstream's request id under the names that each API's SDKs read, how long to
// wait, and none that is about the upstream's own API.
func TestHeadersOfTranslatedAnswers(t *testing.T) {
	var status int
	x := translating(t, bothUpstreams, func(n int, body gjson.Result) scripted.Answer {
		a := bothAnswer(n, body)
		a.Header = http.Header{"Anthropic-Ratelimit-Requests-Limit": {"1"}, "Openai-Processing-Ms": {"1"}, "Retry-After": {"7"}, "Etag": {`"x"`}}
		if body.Get("model").Str == "deepseek-chat" {
			a.Header.Set("X-Request-Id", "req_up")
		} else {
			a.Header.Set("Request-Id", "req_up")
		}
		if status != http.StatusOK {
			a.Status, a.ContentType, a.Body = status, "application/json", []byte(`{"error":{"type":"rate_limit_error","message":"slow down"}}`)
		}
		return a
	})
	for _, status = range []int{http.StatusOK, http.StatusTooManyRequests} {
		for _, stream := range []string{"false", "true"} {
			for path, body := range map[string]string{
				"/v1/chat/completions": strings.Replace(chatCall, `"m"`, `"claude"`, 1), "/v1/messages": strings.Replace(chatCall, `"m"`, `"chat"`, 1),
				"/v1/responses": `{"model":"chat","input":"hi","store":false`,
			} {
				a := x.Must(status, http.MethodPost, path, x.key, body+`,"stream":`+stream+`}`)
				for _, name := range []string{"X-Request-Id", "Request-Id"} {
					require.Equal(t, []string{"req_up"}, a.Header.Values(name), "%s of %s, %d", name, path, status)
				}
				require.Equal(t, "7", a.Header.Get("Retry-After"))
				require.Empty(t, a.Header.Get("Anthropic-Ratelimit-Requests-Limit")+a.Header.Get("Openai-Processing-Ms")+a.Header.Get("Etag"))
			}
		}
	}
	x.Settled(6)
}

// TestBudgetsOfTranslatedCalls has a key of its own for each pair of APIs: what it spends is the bill, and a call that could cost more than is
// left is refused before any provider is asked.
func TestBudgetsOfTranslatedCalls(t *testing.T) {
	x := translating(t, bothUpstreams, bothAnswer)
	for i, c := range streamsOfPairs {
		bound := map[bool]string{true: "max_output_tokens", false: "max_tokens"}[strings.Contains(c.path, "responses")]
		body := strings.Replace(strings.Replace(c.body, `"max_tokens":50`, `"max_tokens":N`, 1), `"store":false`, `"store":false,"max_output_tokens":N`, 1)
		require.Contains(t, body, bound)
		key := x.NewKey(`{"team_id":"` + gateway.Payer + `","max_budget":0.0015}`)
		x.Must(http.StatusOK, http.MethodPost, c.path, key, strings.Replace(body, "N", "50", 1))
		cost := x.record(i + 1).Cost
		require.Eventually(t, func() bool { return keyInfo(x.Gateway, key)["spend"] == json.Number(cost) }, 20*time.Second, 5*time.Millisecond, cost)
		a := x.Must(http.StatusUnprocessableEntity, http.MethodPost, c.path, key, strings.Replace(body, "N", "1000", 1))
		require.Contains(t, a.Body, "budget")
		require.Len(t, x.up.Calls(), i+1)
	}
	x.Settled(len(streamsOfPairs))
}
