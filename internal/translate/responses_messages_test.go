package translate

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

var responsesToMessages = Pair{Responses, Messages}

func TestResponsesToMessagesSettings(t *testing.T) {
	for _, c := range []struct{ model, in, out string }{
		{"claude-opus-4-6", ``, ``},
		{"claude-opus-4-6", `"instructions":"be brief","stream":true,"store":false,"metadata":{"a":"b"},"truncation":"disabled"`, `"stream":true,"system":[{"type":"text","text":"be brief"}]`},
		{"claude-opus-4-6", `"temperature":0.5,"user":"u1","service_tier":"default"`, `"temperature":0.5,"metadata":{"user_id":"u1"},"service_tier":"standard_only"`},
		{
			"claude-opus-4-6", `"tools":[{"type":"function","name":"f","parameters":null,"strict":false},{"type":"custom","name":"p","description":"d"},{"type":"namespace","name":"n","tools":[{"type":"function","name":"g","parameters":{"type":"object","x":1.0}}]}],"tool_choice":"auto","parallel_tool_calls":false`,
			`"tools":[{"name":"f","input_schema":{"type":"object"},"strict":false},{"name":"p","description":"d","input_schema":` + customSchema + `},{"name":"n__g","input_schema":{"type":"object","x":1.0}}],"tool_choice":{"type":"auto","disable_parallel_tool_use":true}`,
		},
		{
			"claude-opus-4-6", `"tools":[{"type":"namespace","name":"n","tools":[{"type":"function","name":"g"}]}],"tool_choice":{"type":"function","name":"g"}`,
			`"tools":[{"name":"n__g","input_schema":{"type":"object"}}],"tool_choice":{"type":"tool","name":"n__g"}`,
		},
		{"claude-opus-4-6", `"text":{"format":{"type":"json_schema","name":"n","strict":true,"schema":{"type":"object"}},"verbosity":"medium"}`, `"output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}}`},
		{"claude-opus-4-6", `"text":{"format":{"type":"text"}}`, ``},
		{"claude-opus-4-6", `"reasoning":{"summary":"auto"}`, ``},
		{"claude-opus-4-6", `"reasoning":{"effort":"high","summary":"auto"}`, `"thinking":{"type":"adaptive"},"output_config":{"effort":"high"}`},
		{"claude-opus-4-8", `"reasoning":{"effort":"high","summary":"auto"}`, `"thinking":{"type":"adaptive","display":"summarized"},"output_config":{"effort":"high"}`},
		{"claude-opus-5", `"reasoning":{"effort":null,"summary":"auto"}`, `"thinking":{"type":"adaptive","display":"summarized"}`},
		{"claude-opus-5-5", `"reasoning":{"effort":"low"}`, `"output_config":{"effort":"low"}`},
		{"claude-opus-5", `"reasoning":{"effort":"none","summary":"auto"}`, `"thinking":{"type":"disabled"}`},
		{"claude-sonnet-4-5", `"reasoning":{"effort":"low","summary":"auto"}`, `"thinking":{"type":"enabled","budget_tokens":1024}`},
		{"claude-sonnet-4-5", `"reasoning":{"summary":"auto"}`, ``},
		{"claude-3-5-sonnet-20241022", `"reasoning":{"summary":"auto"}`, ``},
	} {
		tr, _ := New(responsesToMessages, claudeOptions(c.model))
		in := c.in
		if in != "" {
			in = "," + in
		}
		out, err := tr.Request([]byte(`{"model":"claude","input":"hi"` + in + `}`))
		require.NoError(t, err, c.in)
		require.JSONEq(t, sends(c.model, c.out), string(out), c.in)
		require.Empty(t, tr.Lost())
	}
}

// codexCall is a call as Codex makes it.
const codexCall = `{"model":"claude","stream":true,"store":false,"include":["reasoning.encrypted_content"],"reasoning":{"summary":"auto"},"parallel_tool_calls":true,"tool_choice":"auto",
	"prompt_cache_key":"k","client_metadata":{"x":"y"},
	"tools":[{"type":"function","name":"exec_command","strict":false,"parameters":{"type":"object","properties":{"cmd":{"type":"string"}}}},
		{"type":"namespace","name":"agents","description":"d","tools":[{"type":"function","name":"spawn","parameters":{"type":"object"}}]},
		{"type":"custom","name":"apply_patch","description":"d","format":{"type":"grammar","syntax":"lark","definition":"start: x"}},
		{"type":"web_search","external_web_access":true}],
	"input":[{"type":"message","role":"developer","content":[{"type":"input_text","text":"the prompt"}]},{"type":"message","role":"developer","content":[{"type":"input_text","text":"more"}]},
		{"type":"message","role":"user","id":"u1","content":[{"type":"input_text","text":"do it"}]}`

func TestCodexOnMessages(t *testing.T) {
	tr := asked(t, responsesToMessages, codexCall+`]}`)
	require.True(t, tr.Streamed)
	require.ElementsMatch(t, []string{
		"store", "prompt_cache_key", "client_metadata", "tools[namespace].description", "tools[web_search]",
		"input[message].id", "tools[custom].format.grammar",
	}, tr.Dropped())
	require.Empty(t, tr.Lost())
}

// items returns the items of the events response.output_item.done, which are what Codex keeps of an answer.
func items(t *testing.T, stream string) (list []string, last gjson.Result) {
	t.Helper()
	sequence := 0
	for event := range strings.SplitSeq(strings.TrimSuffix(stream, "\n\n"), "\n\n") {
		name, line, _ := strings.Cut(event, "\n")
		data, ok := strings.CutPrefix(line, "data: ")
		require.True(t, ok && validJSON([]byte(data)) && !strings.Contains(data, "\n"), event)
		last = gjson.Parse(data)
		require.Equal(t, "event: "+last.Get("type").Str, name)
		require.EqualValues(t, sequence, last.Get("sequence_number").Int())
		sequence++
		if last.Get("type").Str == "response.output_item.done" {
			list = append(list, last.Get("item").Raw)
		}
	}
	return list, last
}

func TestMessagesStreamToResponses(t *testing.T) {
	tr := asked(t, responsesToMessages, codexCall+`]}`)
	out, err := streamed(tr, nil, claudeStream)
	require.NoError(t, err)
	list, last := items(t, out)
	require.Equal(t, "response.completed", last.Get("type").Str)
	require.JSONEq(t, "["+strings.Join(list, ",")+"]", last.Get("response.output").Raw, "the end has all items")
	require.JSONEq(t, `[
		{"type":"reasoning","id":"rs_01A_0","summary":[{"type":"summary_text","text":"Let me \"see\" é\n"}],"encrypted_content":"`+sealBlock([]byte(`{"type":"thinking","thinking":"Let me \"see\" \u00e9\n","signature":"sig/1+="}`))+`"},
		{"type":"message","id":"msg_01A_1","status":"completed","role":"assistant","content":[{"type":"output_text","text":"Héllo 😀","annotations":[],"logprobs":[]}]},
		{"type":"reasoning","id":"rs_01A_2","summary":[],"encrypted_content":"`+sealBlock([]byte(`{"type":"redacted_thinking","data":"cmVk"}`))+`"},
		{"type":"message","id":"msg_01A_3","status":"completed","role":"assistant","content":[{"type":"output_text","text":"!","annotations":[],"logprobs":[]}]},
		{"type":"function_call","id":"fc_01A_4","status":"completed","call_id":"toolu_1","name":"f","arguments":"{\"b\": 1.0, \"a\":\"\\u00e9\"}"},
		{"type":"function_call","id":"fc_01A_5","status":"completed","call_id":"toolu_2","name":"g","arguments":"{}"}]`, last.Get("response.output").Raw)
	require.JSONEq(t, `{"input_tokens":60,"input_tokens_details":{"cached_tokens":30,"cache_write_tokens":20},"output_tokens":40,"output_tokens_details":{"reasoning_tokens":15},"total_tokens":100}`,
		last.Get("response.usage").Raw)
	require.Equal(t, "claude", last.Get("response.model").Str)
	require.Equal(t, "default", last.Get("response.service_tier").Str)

	whole, err := asked(t, responsesToMessages, codexCall+`]}`).Answer([]byte(claudeAnswer))
	require.NoError(t, err)
	require.Equal(t, sortedJSON(t, last.Get("response.output").Raw), sortedJSON(t, gjson.GetBytes(whole, "output").Raw))
	require.Equal(t, last.Get("response.usage").Raw, gjson.GetBytes(whole, "usage").Raw)
	require.Equal(t, "completed", gjson.GetBytes(whole, "status").Str)

	for at := range len(claudeStream) {
		got, err := streamed(asked(t, responsesToMessages, codexCall+`]}`), nil, claudeStream[:at], claudeStream[at:])
		require.NoError(t, err)
		require.Equal(t, out, got, "split at %d", at)
	}
}

func TestACutStreamOfResponsesFails(t *testing.T) {
	whole, err := streamed(asked(t, responsesToMessages, codexCall+`]}`), nil, claudeStream)
	require.NoError(t, err)
	last := strings.LastIndex(claudeStream, "event: message_stop")
	for at := range last {
		out, err := streamed(asked(t, responsesToMessages, codexCall+`]}`), errors.New("connection to 10.0.0.1 reset"), claudeStream[:at])
		require.Error(t, err)
		require.NotContains(t, out, "response.completed")
		require.NotContains(t, out, "10.0.0.1")
		end := strings.LastIndex(out, "event: response.failed")
		require.GreaterOrEqual(t, end, 0, out)
		if strings.Contains(out, "resp_01A") { // the answer has begun
			require.True(t, strings.HasPrefix(whole, out[:end]))
		}
	}
	out, _ := streamed(asked(t, responsesToMessages, codexCall+`]}`), nil, sse(`{"type":"error","error":{"type":"rate_limit_error","message":"try again in 3s"}}`))
	_, end := items(t, out)
	require.Equal(t, "rate_limit_exceeded", end.Get("response.error.code").Str)
	require.Equal(t, "try again in 3s", end.Get("response.error.message").Str)
}

func TestReasonsOfMessagesInResponses(t *testing.T) {
	for _, c := range []struct{ reason, status, details string }{
		{"end_turn", "completed", ""},
		{"stop_sequence", "completed", ""},
		{"max_tokens", "incomplete", "max_output_tokens"},
		{"model_context_window_exceeded", "incomplete", "max_output_tokens"},
		{"refusal", "incomplete", "content_filter"},
	} {
		out, err := asked(t, responsesToMessages, `{"model":"claude","input":"hi"}`).Answer([]byte(
			`{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"a"}],"stop_reason":"` + c.reason + `","usage":{"input_tokens":1,"output_tokens":1}}`))
		require.NoError(t, err)
		require.Equal(t, c.status, gjson.GetBytes(out, "status").Str)
		require.Equal(t, c.details, gjson.GetBytes(out, "incomplete_details.reason").Str)
	}
}
