package translate

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// claudeOptions are those of a call to a model of Anthropic's.
func claudeOptions(model string) Options {
	return Options{Model: "claude", Upstream: model, Provider: "anthropic", OutputLimit: 64000, ID: "0192", Created: 1700000000}
}

// says is a body of chat completions with one message, and more members.
func says(more string) string {
	if more != "" {
		more = "," + more
	}
	return `{"model":"claude","messages":[{"role":"user","content":"hi"}]` + more + `}`
}

// sends is the body of Messages for it.
func sends(model, more string) string {
	if more != "" {
		more = "," + more
	}
	return `{"model":"` + model + `","max_tokens":64000,"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]` + more + `}`
}

const (
	oneTool     = `"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]`
	oneToolSent = `"tools":[{"name":"f","input_schema":{"type":"object"}}]`
)

func TestChatToMessagesSettings(t *testing.T) {
	for _, c := range []struct{ model, in, out string }{
		{"claude-opus-4-6", ``, ``},
		{"claude-opus-4-6", `"stream":true,"stream_options":{"include_usage":true}`, `"stream":true`},
		{"claude-opus-4-6", `"max_tokens":null,"stop":null,"temperature":null,"tools":[],"tool_choice":"none"`, ``},
		{"claude-opus-4-6", `"temperature":0.5`, `"temperature":0.5`},
		{"claude-opus-4-6", `"temperature":1,"top_p":1.0`, ``},
		{"claude-opus-4-6", `"temperature":1,"top_p":0.9`, `"top_p":0.9`},
		{"claude-3-5-sonnet-20241022", `"temperature":0,"top_p":0.9`, `"temperature":0,"top_p":0.9`},
		{"claude-opus-4-6", `"stop":"a"`, `"stop_sequences":["a"]`},
		{"claude-opus-4-6", `"stop":["a","\n\nHuman:"]`, `"stop_sequences":["a","\n\nHuman:"]`},
		{"claude-opus-4-6", `"stop":[]`, ``},
		{"claude-opus-4-6", `"user":"u1"`, `"metadata":{"user_id":"u1"}`},
		{"claude-opus-4-6", `"user":"u1","safety_identifier":"u1"`, `"metadata":{"user_id":"u1"}`},
		{"claude-opus-4-6", `"service_tier":"auto"`, `"service_tier":"auto"`},
		{"claude-opus-4-6", `"service_tier":"default"`, `"service_tier":"standard_only"`},
		{"claude-opus-4-6", `"n":1,"frequency_penalty":0,"logprobs":false,"store":false,"modalities":["text"],"logit_bias":{},"seed":null`, ``},
		{"claude-opus-4-6", `"metadata":{"user_id":"no"},"prompt_cache_key":"k","prompt_cache_retention":"24h"`, ``},
		{"claude-opus-4-6", `"response_format":{"type":"text"}`, ``},
		{
			"claude-opus-4-6", `"response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"type":"object","x":1.50}}}`,
			`"output_config":{"format":{"type":"json_schema","schema":{"type":"object","x":1.50}}}`,
		},

		{"claude-opus-4-6", oneTool, oneToolSent},
		{"claude-opus-4-6", oneTool + `,"tool_choice":"auto"`, oneToolSent + `,"tool_choice":{"type":"auto"}`},
		{"claude-opus-4-6", oneTool + `,"tool_choice":"none"`, oneToolSent + `,"tool_choice":{"type":"none"}`},
		{"claude-opus-4-6", oneTool + `,"tool_choice":"required"`, oneToolSent + `,"tool_choice":{"type":"any"}`},
		{"claude-opus-4-6", oneTool + `,"tool_choice":{"type":"function","function":{"name":"f"}}`, oneToolSent + `,"tool_choice":{"type":"tool","name":"f"}`},
		{"claude-opus-4-6", oneTool + `,"parallel_tool_calls":true`, oneToolSent},
		{"claude-opus-4-6", oneTool + `,"parallel_tool_calls":false`, oneToolSent + `,"tool_choice":{"type":"auto","disable_parallel_tool_use":true}`},
		{"claude-opus-4-6", oneTool + `,"parallel_tool_calls":false,"tool_choice":"required"`, oneToolSent + `,"tool_choice":{"type":"any","disable_parallel_tool_use":true}`},
		{"claude-opus-4-6", oneTool + `,"parallel_tool_calls":false,"tool_choice":"none"`, oneToolSent + `,"tool_choice":{"type":"none"}`},
		{"claude-opus-4-6", `"parallel_tool_calls":false`, ``},
		{
			"claude-opus-4-6", `"tools":[{"type":"function","function":{"name":"f","description":"d","strict":true,"parameters":{ "properties" : {"a":{"type":"number","minimum":1.0}} }},"cache_control":{"type":"ephemeral"}}]`,
			`"tools":[{"name":"f","description":"d","input_schema":{"type":"object","properties" : {"a":{"type":"number","minimum":1.0}} },"strict":true,"cache_control":{"type":"ephemeral"}}]`,
		},
		{
			"claude-opus-4-6", `"tools":[{"type":"function","function":{"name":"f","parameters":{},"strict":null}},{"type":"function","function":{"name":"g","parameters":null}}]`,
			`"tools":[{"name":"f","input_schema":{"type":"object"}},{"name":"g","input_schema":{"type":"object"}}]`,
		},

		{"claude-opus-4-6", `"reasoning_effort":"minimal"`, `"thinking":{"type":"adaptive"},"output_config":{"effort":"low"}`},
		{"claude-opus-4-6", `"reasoning_effort":"max"`, `"thinking":{"type":"adaptive"},"output_config":{"effort":"max"}`},
		{"claude-opus-4-6", `"reasoning_effort":"none"`, `"thinking":{"type":"disabled"}`},
		{"claude-prod", `"reasoning_effort":"low"`, `"thinking":{"type":"adaptive"},"output_config":{"effort":"low"}`},
		{"claude-opus-5", `"reasoning_effort":"xhigh"`, `"output_config":{"effort":"xhigh"}`},
		{"claude-opus-5-5", `"reasoning_effort":"high"`, `"output_config":{"effort":"high"}`},
		{"claude-sonnet-5-5", `"reasoning_effort":"none"`, `"thinking":{"type":"between_tools"}`},
		{"claude-sonnet-4-5", `"reasoning_effort":"low"`, `"thinking":{"type":"enabled","budget_tokens":1024}`},
		{"claude-sonnet-4-5", `"reasoning_effort":"medium"`, `"thinking":{"type":"enabled","budget_tokens":8192}`},
		{"claude-sonnet-4-5", `"reasoning_effort":"high"`, `"thinking":{"type":"enabled","budget_tokens":24576}`},
		{"claude-sonnet-4-5", `"reasoning_effort":"xhigh"`, `"thinking":{"type":"enabled","budget_tokens":32768}`},
		{"claude-sonnet-4-5", `"reasoning_effort":"none"`, `"thinking":{"type":"disabled"}`},
		{"claude-3-5-sonnet-20241022", `"reasoning_effort":"none"`, ``},
	} {
		tr, _ := New(Pair{Chat, Messages}, claudeOptions(c.model))
		out, err := tr.Request([]byte(says(c.in)))
		require.NoError(t, err, c.in)
		require.JSONEq(t, sends(c.model, c.out), string(out), c.in)
		require.Empty(t, tr.Lost())
		if strings.Contains(c.in, "1.50") || strings.Contains(c.in, "1.0}") {
			require.Contains(t, string(out), c.out, "schemas keep their bytes")
		}
		version := versionNew
		if strings.Contains(c.out, "temperature") || strings.Contains(c.out, "top_p") {
			version = versionSampling
		}
		require.Equal(t, map[string]string{"Anthropic-Version": version}, tr.Headers)
	}
}

func TestChatToMessagesBound(t *testing.T) {
	for in, want := range map[string]string{
		`"max_tokens":5`:                             `"max_tokens":5,`,
		`"max_completion_tokens":5`:                  `"max_tokens":5,`,
		`"max_completion_tokens":5.0,"max_tokens":5`: `"max_tokens":5,`,
		`"max_tokens":1e3`:                           `"max_tokens":1000,`,
	} {
		tr, _ := New(Pair{Chat, Messages}, claudeOptions("claude-opus-4-6"))
		out, err := tr.Request([]byte(says(in)))
		require.NoError(t, err, in)
		require.Contains(t, string(out), want)
	}
	tr, _ := New(Pair{Chat, Messages}, Options{Upstream: "claude-prod", Provider: "anthropic"})
	_, err := tr.Request([]byte(says("")))
	require.ErrorContains(t, err, "max_completion_tokens is needed")
}

// turnsSent returns the members `system` and `messages` for messages of chat completions.
func turnsSent(t *testing.T, o Options, messages string) (string, *Translation, error) {
	t.Helper()
	tr, ok := New(Pair{Chat, Messages}, o)
	require.True(t, ok)
	out, err := tr.Request([]byte(`{"model":"claude","messages":[` + messages + `]}`))
	if err != nil {
		return "", tr, err
	}
	_, sent, _ := strings.Cut(strings.TrimSuffix(string(out), "}"), `"max_tokens":64000,`)
	return sent, tr, nil
}

func TestChatToMessagesTurns(t *testing.T) {
	const call = `{"role":"assistant","content":null,"tool_calls":[{"id":"t1","type":"function","function":{"name":"f","arguments":"{\"b\":1.0,\"a\":\"\\u00e9\"}"}},{"id":"t2","index":1,"type":"function","function":{"name":"g","arguments":""}}]}`
	const called = `{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"f","input":{"b":1.0,"a":"\u00e9"}},{"type":"tool_use","id":"t2","name":"g","input":{}}]}`
	for _, c := range []struct{ about, in, out string }{
		{
			"text is copied as it is written", `{"role":"user","content":"a\u00e9\n\"b\""}`,
			`"messages":[{"role":"user","content":[{"type":"text","text":"a\u00e9\n\"b\""}]}]`,
		},
		{
			"the leading system messages", `{"role":"system","content":"one"},{"role":"developer","content":[{"type":"text","text":"two"},{"type":"text","text":"three"}]},{"role":"system","content":" "},{"role":"user","content":"hi"}`,
			`"system":[{"type":"text","text":"one"},{"type":"text","text":"two"},{"type":"text","text":"three"}],"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]`,
		},
		{
			"one message for one role", `{"role":"user","content":"a"},{"role":"user","content":"b"},{"role":"assistant","content":"c"},{"role":"assistant","content":"d","refusal":"no"},{"role":"user","content":"e"}`,
			`"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},{"role":"assistant","content":[{"type":"text","text":"c"},{"type":"text","text":"d"},{"type":"text","text":"no"}]},{"role":"user","content":[{"type":"text","text":"e"}]}]`,
		},
		{
			"results in one message, before text", `{"role":"user","content":"a"},` + call + `,{"role":"tool","tool_call_id":"t2","content":"r2"},{"role":"tool","name":"f","tool_call_id":"t1","content":[{"type":"text","text":"r1"},{"type":"image_url","image_url":{"url":"https://example.com/a.png"}}]},{"role":"user","content":"b"}`,
			`"messages":[{"role":"user","content":[{"type":"text","text":"a"}]},` + called + `,{"role":"user","content":[{"type":"tool_result","tool_use_id":"t2","content":[{"type":"text","text":"r2"}]},{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"r1"},{"type":"image","source":{"type":"url","url":"https://example.com/a.png"}}]},{"type":"text","text":"b"}]}]`,
		},
		{
			"a result without text", `{"role":"user","content":"a"},{"role":"assistant","content":"","tool_calls":[{"id":"t1","type":"function","function":{"name":"f","arguments":" {} "}}]},{"role":"tool","tool_call_id":"t1","content":""}`,
			`"messages":[{"role":"user","content":[{"type":"text","text":"a"}]},{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1"}]}]`,
		},
		{
			"empty messages of the assistant", `{"role":"user","content":"a"},{"role":"assistant","content":"\n"},{"role":"user","content":[{"type":"text","text":""},{"type":"text","text":"b"}]}`,
			`"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]`,
		},
		{
			"images and documents", `{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/jpg;base64,AA+/","detail":"high"}},{"type":"file","file":{"file_data":"data:application/pdf;base64,JVBERi0=","filename":"a.pdf"}},{"type":"file","file":{"file_data":"data:text/plain;charset=utf-8;base64,aMOpbGxvCg=="}}]}`,
			`"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/jpeg","data":"AA+/"}},{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBERi0="},"title":"a.pdf"},{"type":"document","source":{"type":"text","media_type":"text/plain","data":"héllo\n"}}]}]`,
		},
		{
			"marks of the cache", `{"role":"system","content":[{"type":"text","text":"s","prompt_cache_breakpoint":{"mode":"explicit"}}]},{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}]},{"role":"assistant","content":"b","cache_control":{"type":"ephemeral","ttl":"5m"}},{"role":"user","content":[{"type":"text","text":"c","prompt_cache_breakpoint":{"mode":"explicit","ttl":"30m"}}]}`,
			`"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral","ttl":"1h"}}],"messages":[{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}]},{"role":"assistant","content":[{"type":"text","text":"b","cache_control":{"type":"ephemeral","ttl":"5m"}}]},{"role":"user","content":[{"type":"text","text":"c","cache_control":{"type":"ephemeral","ttl":"1h"}}]}]`,
		},
		{
			"thinking in its place, byte for byte", `{"role":"user","content":"a"},{"role":"assistant","content":"xyz","reasoning_content":"no","reasoning_details":[{"type":"reasoning.encrypted","data":"ZA==","format":"anthropic-claude-v1","index":2,"content_offset":1},{"type":"reasoning.text","text":"\u00e9","signature":"s1","format":"anthropic-claude-v1","index":0},{"type":"reasoning.text","text":"","signature":"s2","format":"anthropic-claude-v1","index":5,"content_offset":3},{"type":"reasoning.text","text":"gem","format":"google-gemini-v1","index":1},{"type":"reasoning.summary","summary":"x"}],"tool_calls":[{"id":"t1","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"t2","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"t1","content":"1"},{"role":"tool","tool_call_id":"t2","content":"2"}`,
			`"messages":[{"role":"user","content":[{"type":"text","text":"a"}]},{"role":"assistant","content":[{"type":"thinking","thinking":"\u00e9","signature":"s1"},{"type":"text","text":"x"},{"type":"redacted_thinking","data":"ZA=="},{"type":"text","text":"yz"},{"type":"tool_use","id":"t1","name":"f","input":{}},{"type":"thinking","thinking":"","signature":"s2"},{"type":"tool_use","id":"t2","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"1"}]},{"type":"tool_result","tool_use_id":"t2","content":[{"type":"text","text":"2"}]}]}]`,
		},
		{
			"ids that Messages does not take", `{"role":"user","content":"a"},{"role":"assistant","tool_calls":[{"id":"functions.f:0","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"functions.f:0","content":"1"}`,
			`"messages":[{"role":"user","content":[{"type":"text","text":"a"}]},{"role":"assistant","content":[{"type":"tool_use","id":"toolu_d6bdd4de328a22edd610f954","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_d6bdd4de328a22edd610f954","content":[{"type":"text","text":"1"}]}]}]`,
		},
		{
			"a late system message", `{"role":"user","content":"a"},{"role":"system","content":"s"},{"role":"developer","content":"d"},{"role":"assistant","content":"b"},{"role":"user","content":"c"},{"role":"system","content":"e"}`,
			`"messages":[{"role":"user","content":[{"type":"text","text":"a"}]},{"role":"system","content":[{"type":"text","text":"s"},{"type":"text","text":"d"}]},{"role":"assistant","content":[{"type":"text","text":"b"}]},{"role":"user","content":[{"type":"text","text":"c"}]},{"role":"system","content":[{"type":"text","text":"e"}]}]`,
		},
	} {
		out, tr, err := turnsSent(t, claudeOptions("claude-opus-5"), c.in)
		require.NoError(t, err, c.about)
		require.Equal(t, c.out, out, c.about)
		require.Empty(t, tr.Lost())
	}
}

func TestOnlyTheLatestMarksOfTheCacheStay(t *testing.T) {
	var messages []string
	for range 3 {
		messages = append(messages, `{"role":"user","content":[{"type":"text","text":"a","prompt_cache_breakpoint":{"mode":"explicit"}}]}`,
			`{"role":"assistant","content":[{"type":"text","text":"b","prompt_cache_breakpoint":{"mode":"explicit"}}]}`)
	}
	out, tr, err := turnsSent(t, claudeOptions("claude-opus-5"), strings.Join(append(messages, `{"role":"user","content":"c"}`), ","))
	require.NoError(t, err)
	require.Equal(t, 4, strings.Count(out, "cache_control"))
	require.NotContains(t, out[:strings.LastIndex(out[:strings.Index(out, "cache_control")], `{"role"`)], "cache_control")
	require.Equal(t, []string{"prompt_cache_breakpoint"}, tr.Dropped())
	require.True(t, validJSON([]byte("{"+out+"}")))
}

var index = regexp.MustCompile(`\[\d+\]`)

func TestChatToMessagesRefuses(t *testing.T) {
	calls := func(rest string) string {
		return `"messages":[{"role":"user","content":"a"},{"role":"assistant","tool_calls":[{"id":"t1","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"t2","type":"function","function":{"name":"f","arguments":"{}"}}]}` + rest + `]`
	}
	arguments := func(text string) string {
		return `"messages":[{"role":"user","content":"a"},{"role":"assistant","tool_calls":[{"id":"t1","type":"function","function":{"name":"f","arguments":` + text + `}}]},{"role":"tool","tool_call_id":"t1","content":"1"}]`
	}
	for _, c := range []struct {
		model, in, member, reason string
		lossy                     bool // left out, where that was asked for
	}{
		{"claude-opus-4-6", `"temperature":1.2`, "temperature", "0 to 1", true},
		{"claude-opus-5", `"temperature":0.5`, "temperature", "default of 1", true},
		{"claude-prod", `"top_p":0.5`, "top_p", "default of 1", true},
		{"claude-opus-4-6", `"temperature":0.5,"top_p":0.5`, "top_p", "one of the two", true},
		{"claude-opus-4-6", `"temperature":"hot"`, "temperature", "must be a number", false},
		{"claude-opus-4-6", `"max_tokens":0`, "max_tokens", "does not answer", false},
		{"claude-opus-4-6", `"max_tokens":-1`, "max_tokens", "whole number", false},
		{"claude-opus-4-6", `"max_tokens":1.5`, "max_tokens", "whole number", false},
		{"claude-opus-4-6", `"max_tokens":5,"max_completion_tokens":6`, "max_tokens", "differs", true},
		{"claude-opus-4-6", `"user":"a","safety_identifier":"b"`, "user", "differs", true},
		{"claude-opus-4-6", `"stop":[" \n"]`, "stop", "white space", true},
		{"claude-opus-4-6", `"stop":[1]`, "stop", "string", false},
		{"claude-opus-4-6", `"service_tier":"flex"`, "service_tier", "none of auto", true},
		{"claude-opus-4-6", `"n":2`, "n", "one", true},
		{"claude-opus-4-6", `"top_k":5`, "top_k", "is not known", true},
		{"claude-opus-4-6", `"logit_bias":{"1":2}`, "logit_bias", "no counterpart", true},
		{"claude-opus-4-6", `"response_format":{"type":"json_object"}`, "response_format", "without a schema", true},
		{"claude-opus-4-6", `"response_format":{"type":"json_schema","json_schema":{"name":"a"}}`, "response_format", "needs a schema", false},
		{"claude-opus-5-5", oneTool + `,"tool_choice":"required"`, "tool_choice", "does not take", true},
		{"claude-prod", oneTool + `,"tool_choice":{"type":"function","function":{"name":"f"}}`, "tool_choice", "does not take", true},
		{"claude-opus-4-6", `"tool_choice":"required"`, "tool_choice", "no tools", true},
		{"claude-opus-4-6", oneTool + `,"tool_choice":{"type":"function","function":{"name":"g"}}`, "tool_choice.function.name", "names no tool", false},
		{"claude-opus-4-6", oneTool + `,"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[]}}`, "tool_choice", "some of the tools", true},
		{"claude-opus-4-6", `"tools":[{"type":"custom","custom":{"name":"f"}}]`, "tools[0]", "custom", true},
		{"claude-opus-4-6", `"tools":[{"type":"function","function":{}}]`, "tools[0]", "needs a name", false},
		{"claude-opus-5-5", `"reasoning_effort":"none"`, "reasoning_effort", "cannot", true},
		{"claude-prod", `"reasoning_effort":"none"`, "reasoning_effort", "not known", true},
		{"claude-opus-5-5", `"reasoning_effort":"huge"`, "reasoning_effort", "none of none", true},
		{"claude-3-5-sonnet-20241022", `"reasoning_effort":"low"`, "reasoning_effort", "does not think", true},
		{"claude-sonnet-4-5", `"reasoning_effort":"low","max_tokens":1024`, "reasoning_effort", "more than 1024", true},

		{"claude-opus-5", `"messages":[]`, "messages", "user", false},
		{"claude-opus-5", `"messages":[{"role":"system","content":"a"}]`, "messages", "user", false},
		{"claude-opus-5", `"messages":[{"role":"user","content":" \t"}]`, "messages[0]", "white space", false},
		{"claude-opus-5", `"messages":[{"role":"user"}]`, "messages[0]", "white space", false},
		{"claude-opus-5", `"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]`, "messages", "go on with", false},
		{"claude-opus-5", `"messages":[{"role":"user","content":"a"},{"role":"function","name":"f","content":"b"}]`, "messages[1]", "out of date", true},
		{"claude-opus-5", `"messages":[{"role":"user","content":"a","name":"bob"}]`, "messages[0].name", "no counterpart", true},
		{"claude-opus-5", `"messages":[{"role":"user","content":"a","content":"b"}]`, "messages[0].content", "twice", false},
		{"claude-opus-5", calls(""), "messages[1].tool_calls[0]", "no result", false},
		{"claude-opus-5", calls(`,{"role":"tool","tool_call_id":"t1","content":"1"}`), "messages[1].tool_calls[1]", "no result", false},
		{"claude-opus-5", calls(`,{"role":"tool","tool_call_id":"t1","content":"1"},{"role":"user","content":"b"},{"role":"tool","tool_call_id":"t2","content":"2"}`), "messages[1].tool_calls[1]", "no result", false},
		{"claude-opus-5", calls(`,{"role":"tool","tool_call_id":"t3","content":"1"}`), "messages[2]", `"t3"`, false},
		{"claude-opus-5", calls(`,{"role":"tool","tool_call_id":"t1","content":"1"},{"role":"tool","tool_call_id":"t1","content":"1"}`), "messages[3]", `"t1"`, false},
		{"claude-opus-5", calls(`,{"role":"tool","content":"1"}`), "messages[2]", "tool_call_id", false},
		{"claude-opus-5", arguments(`"[]"`), "messages[1].tool_calls[0]", "no JSON object", false},
		{"claude-opus-5", arguments(`"{\"a\":"`), "messages[1].tool_calls[0]", "no JSON object", false},
		{"claude-opus-5", arguments(`"` + strings.Repeat("[", 600) + `"`), "messages[1].tool_calls[0]", "no JSON object", false},
		{"claude-opus-5", `"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"system","content":"s"},{"role":"user","content":"c"}]`, "messages[2]", "not between", true},
		{"claude-opus-4-6", `"messages":[{"role":"user","content":"a"},{"role":"system","content":"s"}]`, "messages[1]", "does not take", true},
		{"claude-opus-5", `"messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{}},{"type":"text","text":"a"}]}]`, "messages[0].content[0]", "sound", true},
		{"claude-opus-5", `"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://example.com/a.png"}},{"type":"text","text":"a"}]}]`, "messages[0].content[0]", "https", true},
		{"claude-opus-5", `"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/bmp;base64,AAAA"}},{"type":"text","text":"a"}]}]`, "messages[0].content[0]", "image/bmp", true},
		{"claude-opus-5", `"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png,\"x"}},{"type":"text","text":"a"}]}]`, "messages[0].content[0]", "without base64", false},
		{"claude-opus-5", `"messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"f1"}},{"type":"text","text":"a"}]}]`, "messages[0].content[0].file.file_id", "at OpenAI", false},
		{"claude-opus-5", `"messages":[{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral","ttl":"9h"}}]}]`, "messages[0].content[0].cache_control.ttl", "is not known", true},
		{"claude-opus-5", `"messages":[{"role":"user","content":[{"type":"text","text":"a","prompt_cache_breakpoint":{"mode":"explicit","ttl":"12h"}}]}]`, "messages[0].content[0].prompt_cache_breakpoint.ttl", "longer than", true},
	} {
		body := says(c.in)
		if strings.HasPrefix(c.in, `"messages"`) {
			body = `{"model":"claude",` + c.in + `}`
		}
		tr, _ := New(Pair{Chat, Messages}, claudeOptions(c.model))
		_, err := tr.Request([]byte(body))
		var refusal *Refusal
		require.ErrorAs(t, err, &refusal, c.in)
		require.Equal(t, c.member, refusal.Member, c.in)
		require.Contains(t, refusal.Reason, c.reason)

		o := claudeOptions(c.model)
		o.Lossy = true
		tr, _ = New(Pair{Chat, Messages}, o)
		_, err = tr.Request([]byte(body))
		if !c.lossy {
			require.ErrorAs(t, err, &refusal, c.in)
			continue
		}
		require.NoError(t, err, c.in)
		require.Equal(t, []string{index.ReplaceAllString(c.member, "[]")}, tr.Lost(), c.in)
	}
}

func TestURLsOnClouds(t *testing.T) {
	for _, provider := range []string{"bedrock", "vertex"} {
		o := claudeOptions("anthropic.claude-sonnet-4-5-20250929-v1:0")
		o.Provider = provider
		_, tr, err := turnsSent(t, o, `{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://example.com/a.png"}}]}`)
		require.EqualError(t, err, "messages[0].content[0] is at a URL, and "+provider+" takes base64 only")
		require.Empty(t, tr.Headers)
	}
}

func TestThinkingByBudgetNeedsItsBlocks(t *testing.T) {
	body := func(details string) string {
		return `{"model":"claude","reasoning_effort":"low","messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b",` + details + `"tool_calls":[{"id":"t1","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"t1","content":"1"}]}`
	}
	tr, _ := New(Pair{Chat, Messages}, claudeOptions("claude-sonnet-4-5"))
	out, err := tr.Request([]byte(body("")))
	require.NoError(t, err)
	require.NotContains(t, string(out), "budget_tokens", "the model refuses to go on thinking where it began without")
	require.Equal(t, []string{"reasoning_effort"}, tr.Dropped())
	tr, _ = New(Pair{Chat, Messages}, claudeOptions("claude-sonnet-4-5"))
	out, err = tr.Request([]byte(body(`"reasoning_details":[{"type":"reasoning.text","text":"t","signature":"s","format":"anthropic-claude-v1","index":0}],`)))
	require.NoError(t, err)
	require.Contains(t, string(out), `"thinking":{"type":"enabled","budget_tokens":1024}`)
	require.Empty(t, tr.Dropped())
}
