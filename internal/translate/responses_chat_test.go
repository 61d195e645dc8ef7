package translate

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

func TestResponsesToChat(t *testing.T) {
	official := Options{Provider: "openai", Official: true, OutputMember: "max_completion_tokens"}
	x := `"input":"x"`
	userX := `"messages":[{"role":"user","content":"x"}]`
	own := (&seal{provider: "deepseek", field: "reasoning_content"}).String()
	function := `{"type":"function","name":"f","description":"d","parameters":{"type":"object", "x":1.0},"strict":false}`
	asChat := `{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object", "x":1.0},"strict":false}}`
	called := func(id, name string) string {
		return `{"id":"` + id + `","type":"function","function":{"name":"` + name + `","arguments":"{}"}}`
	}
	unsignedCall := func(id string) string {
		return strings.TrimSuffix(called(id, "f"), "}") + `,"extra_content":{"google":{"thought_signature":"skip_thought_signature_validator"}}}`
	}
	for _, c := range []struct {
		name    string
		o       Options
		body    string
		want    string // without model
		dropped []string
	}{
		{name: "text", body: x, want: userX},
		{
			name: "settings", body: x + `,"max_output_tokens":5,"temperature":0.50,"top_p":1,"stream":true,"reasoning":{"effort":"low","summary":"auto"},"store":false,"user":"u"`,
			want: `"stream":true,` + userX + `,"max_tokens":5,"temperature":0.50,"top_p":1,"reasoning_effort":"low","user":"u"`, dropped: []string{"store"},
		},
		{
			name: "what OpenAI alone takes", o: official, body: x + `,"max_output_tokens":5,"metadata":{"a":"b"},"safety_identifier":"s","prompt_cache_key":"k","prompt_cache_retention":"24h","prompt_cache_options":{"mode":"explicit"},"service_tier":"flex","text":{"verbosity":"low"}`,
			want: userX + `,"max_completion_tokens":5,"verbosity":"low","service_tier":"flex","safety_identifier":"s","metadata":{"a":"b"},"prompt_cache_key":"k","prompt_cache_options":{"mode":"explicit"},"prompt_cache_retention":"24h"`,
		},
		{
			name: "which is left out elsewhere", body: x + `,"metadata":{"a":"b"},"safety_identifier":"s","prompt_cache_key":"k","prompt_cache_retention":"24h","prompt_cache_options":{"mode":"explicit"},"service_tier":"auto","text":{"verbosity":"medium"}`,
			want: userX, dropped: []string{"text.verbosity", "service_tier", "safety_identifier", "metadata", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"},
		},
		{
			name: "two developers' messages are one of the system", body: `"instructions":"i","input":[` + said("developer", "a") + "," + said("user", "x") + `]`,
			want: `"messages":[{"role":"system","content":[{"type":"text","text":"i"},{"type":"text","text":"a"}]},{"role":"user","content":"x"}]`,
		},
		{
			name: "parallel calls with outputs in another order", body: `"input":[` + said("user", "x") + "," + call("A", "f") + "," + call("B", "g") + "," + output("B", "2") + "," + output("A", "1") + `]`,
			want:    `"messages":[{"role":"user","content":"x"},{"role":"assistant","content":null,"tool_calls":[` + called("A", "f") + `,` + called("B", "g") + `]},{"role":"tool","content":"1","tool_call_id":"A"},{"role":"tool","content":"2","tool_call_id":"B"}]`,
			dropped: []string{"input[function_call].id", "input[function_call].status"},
		},
		{
			name: "an image of an output", body: `"input":[` + call("A", "f") + `,{"type":"function_call_output","call_id":"A","output":[{"type":"input_image","image_url":"data:image/png;base64,AA","detail":"high"}]}]`,
			want:    `"messages":[{"role":"assistant","content":null,"tool_calls":[` + called("A", "f") + `]},{"role":"tool","content":"","tool_call_id":"A"},{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AA","detail":"high"}}]}]`,
			dropped: []string{"input[function_call].id", "input[function_call].status"},
		},
		{
			name: "reasoning goes back", o: Options{Provider: "deepseek"}, body: `"input":[{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"t"}],"content":null,"encrypted_content":"` + own + `"},` + call("A", "f") + "," + output("A", "1") + `]`,
			want:    `"messages":[{"role":"assistant","content":null,"reasoning_content":"t","tool_calls":[` + called("A", "f") + `]},{"role":"tool","content":"1","tool_call_id":"A"}]`,
			dropped: []string{"input[reasoning].id", "input[reasoning].content", "input[function_call].id", "input[function_call].status"},
		},
		{
			name: "calls of Gemini's that lost their signatures", o: Options{Provider: "openai", Google: true, Upstream: "gemini-3-flash"}, body: `"input":[` + call("A", "f") + "," + output("A", "1") + "," + call("B", "f") + "," + output("B", "2") + `]`,
			want:    `"messages":[{"role":"assistant","content":null,"tool_calls":[` + unsignedCall("A") + `]},{"role":"tool","content":"1","tool_call_id":"A"},{"role":"assistant","content":null,"tool_calls":[` + unsignedCall("B") + `]},{"role":"tool","content":"2","tool_call_id":"B"}]`,
			dropped: []string{"input[function_call].id", "input[function_call].status", "input[].thought_signature"},
		},
		{
			name: "reasoning of others is left out", o: Options{Provider: "deepseek"}, body: `"input":[{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAAA"},` + said("assistant", "y") + "," + said("user", "x") + `]`,
			want: `"messages":[{"role":"assistant","content":"y"},{"role":"user","content":"x"}]`, dropped: []string{"input[reasoning].id", "input[].thinking"},
		},
		{
			name: "nothing is left of a turn", body: `"input":[` + said("user", "x") + `,{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAAA"},` + said("user", "y") + `]`,
			want: `"messages":[{"role":"user","content":"x"},{"role":"user","content":"y"}]`, dropped: []string{"input[reasoning].id", "input[].thinking"},
		},
		{
			name: "refusals", o: official, body: `"input":[{"role":"assistant","content":[{"type":"output_text","text":"a"},{"type":"refusal","refusal":"no"}]},` + said("user", "x") + `]`,
			want: `"messages":[{"role":"assistant","content":"a","refusal":"no"},{"role":"user","content":"x"}]`,
		},
		{
			name: "refusals elsewhere", body: `"input":[{"role":"assistant","content":[{"type":"output_text","text":"a"},{"type":"refusal","refusal":"no"}]},` + said("user", "x") + `]`,
			want: `"messages":[{"role":"assistant","content":"ano"},{"role":"user","content":"x"}]`,
		},
		{
			name: "marks for the cache", o: official, body: `"input":[{"role":"user","content":[{"type":"input_text","text":"x","prompt_cache_breakpoint":{"mode":"explicit"}}]}]`,
			want: `"messages":[{"role":"user","content":[{"type":"text","text":"x","prompt_cache_breakpoint":{"mode":"explicit"}}]}]`,
		},
		{
			name: "marks for the cache elsewhere", body: `"input":[{"role":"user","content":[{"type":"input_text","text":"x","prompt_cache_breakpoint":{"mode":"explicit"}}]}]`,
			want: `"messages":[{"role":"user","content":"x"}]`, dropped: []string{"input[].content[].prompt_cache_breakpoint"},
		},
		{
			name: "tools", body: x + `,"tools":[` + function + `,{"type":"web_search","external_web_access":true}],"tool_choice":"auto","parallel_tool_calls":true`,
			want: userX + `,"tools":[` + asChat + `],"tool_choice":"auto","parallel_tool_calls":true`, dropped: []string{"tools[web_search]"},
		},
		{
			name: "a tool without parameters", body: x + `,"tools":[{"type":"function","name":"f","parameters":null,"strict":null}],"tool_choice":{"type":"function","name":"f"}`,
			want: userX + `,"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{}}}}],"tool_choice":{"type":"function","function":{"name":"f"}}`,
		},
		{
			name: "allowed tools", o: official, body: x + `,"tools":[` + function + `],"tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"type":"function","name":"f"}]}`,
			want: userX + `,"tools":[` + asChat + `],"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"function","function":{"name":"f"}}]}}`,
		},
		{name: "only hosted tools", body: x + `,"tools":[{"type":"web_search","external_web_access":false}],"tool_choice":"auto","parallel_tool_calls":false`, want: userX, dropped: []string{"tools[web_search]"}},
		{
			name: "a schema", body: x + `,"text":{"format":{"type":"json_schema","name":"n","schema":{"a": 1},"strict":true,"description":"d"}}`,
			want: userX + `,"response_format":{"type":"json_schema","json_schema":{"name":"n","description":"d","schema":{"a": 1},"strict":true}}`,
		},
		{name: "JSON", body: x + `,"text":{"format":{"type":"json_object"}}`, want: userX + `,"response_format":{"type":"json_object"}`},
	} {
		tr := newTranslation(t, responsesToChatPair, c.o)
		got, err := tr.Request([]byte(`{"model":"m",` + c.body + `}`))
		require.NoError(t, err, c.name)
		requireChat(t, got, true)
		require.Equal(t, c.want+"}", strings.TrimPrefix(string(got), fmt.Sprintf(`{"model":%q,`, tr.Upstream)), c.name)
		require.Equal(t, c.dropped, tr.Dropped(), c.name)
	}
	for body, want := range map[string]string{
		`"input":[]`:                                    "input must hold an item",
		x + `,"text":{"verbosity":"low"}`:               "text.verbosity is taken by OpenAI and Azure alone",
		x + `,"service_tier":"flex"`:                    "service_tier is taken by",
		x + `,"moderation":{"model":"m"}`:               "moderation is taken by",
		x + `,"text":{"format":{"type":"json_schema"}}`: "text.format needs name and schema",
		x + `,"tools":[{"type":"function","name":"f"}],"tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"name":"f"}]}`: "tool_choice names allowed tools",
		x + `,"tools":[{"type":"web_search","external_web_access":true}],"tool_choice":"required"`:                                  "tool_choice asks for a call",
		`"input":[{"role":"system","content":[{"type":"input_image","image_url":"https://x"}]}]`:                                    "input[0].content[0] is in a system message",
		`"input":[{"role":"assistant","content":[{"type":"input_image","image_url":"https://x"}]}]`:                                 "input[0].content[0] is in a message of the assistant",
	} {
		_, err := newTranslation(t, responsesToChatPair, Options{}).Request([]byte(`{"model":"m",` + body + `}`))
		require.ErrorContains(t, err, want, body)
	}
}

// codexBody is what Codex 0.171 sends, shortened.
const codexBody = `{"model":"gpt-5-codex","input":[
	{"type":"message","id":"msg_0","role":"developer","content":[{"type":"input_text","text":"permissions"}],"internal_chat_message_metadata_passthrough":{"a":1}},
	{"type":"message","id":"msg_1","role":"user","content":[{"type":"input_text","text":"environment"}]},
	{"type":"message","id":"msg_2","role":"user","content":[{"type":"input_text","text":"do it"}]},
	{"type":"reasoning","id":"rs_1_0","summary":[{"type":"summary_text","text":"think"}],"content":null,"encrypted_content":"%s"},
	{"type":"function_call","id":"fc_1_1","name":"exec_command","arguments":"{\"cmd\":\"ls\"}","call_id":"call_1","status":"completed"},
	{"type":"function_call","name":"spawn_agent","namespace":"multi_agent_v1","arguments":"{}","call_id":"call_2"},
	{"type":"function_call_output","call_id":"call_2","output":"agent"},
	{"type":"function_call_output","call_id":"call_1","output":"files"}],
	"tools":[{"type":"function","name":"exec_command","description":"d","strict":false,"parameters":{"type":"object","properties":{}}},
		{"type":"namespace","name":"multi_agent_v1","description":"d","tools":[{"type":"function","name":"spawn_agent","description":"s","strict":false,"parameters":{"type":"object","properties":{}}}]},
		{"type":"custom","name":"apply_patch","description":"p","format":{"type":"grammar","syntax":"lark","definition":"start: x"}},
		{"type":"web_search","external_web_access":true}],
	"tool_choice":"auto","parallel_tool_calls":true,"reasoning":{"summary":"auto"},"store":false,"stream":true,"include":["reasoning.encrypted_content"],
	"prompt_cache_key":"k","client_metadata":{"x":"y"}}`

func TestCodex(t *testing.T) {
	tr := newTranslation(t, responsesToChatPair, Options{Provider: "vllm"})
	got, err := tr.Request([]byte(fmt.Sprintf(codexBody, (&seal{provider: "vllm", field: "reasoning"}).String())))
	require.NoError(t, err)
	requireChat(t, got, true)
	root := gjson.ParseBytes(got)
	require.Equal(t, "system user assistant tool tool", strings.Join(texts(root.Get("messages.#.role")), " "))
	require.Equal(t, "environment do it", strings.Join(texts(root.Get("messages.1.content.#.text")), " "))
	require.Equal(t, "think", root.Get("messages.2.reasoning").Str)
	require.Equal(t, "exec_command multi_agent_v1__spawn_agent", strings.Join(texts(root.Get("messages.2.tool_calls.#.function.name")), " "))
	require.Equal(t, "call_1 call_2", strings.Join(texts(root.Get("messages.#.tool_call_id")), " "))
	require.Equal(t, "exec_command multi_agent_v1__spawn_agent apply_patch", strings.Join(texts(root.Get("tools.#.function.name")), " "))
	require.True(t, tr.Streamed)
	require.Empty(t, tr.Lost())

	stream := chunks(`{"reasoning":"hm"}`, toolStart("0", "A", "multi_agent_v1__spawn_agent", "{}"), toolStart("1", "B", "spawn_agent", ""), toolStart("2", "C", "apply_patch", `{\"input\":\"*** Begin\\n`), toolMore("2", `End\"}`), "=tool_calls", chatUsage, "[DONE]")
	whole, err := through(t, tr, stream, len(stream), nil)
	require.NoError(t, err)
	_, data := eventsOf(t, []byte(whole))
	var items []string
	for _, d := range data {
		if d.Get("type").Str == "response.output_item.done" {
			items = append(items, d.Get("item").Raw)
		}
	}
	require.Equal(t, []string{
		`{"id":"rs_1_0","type":"reasoning","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"` + (&seal{provider: "vllm", field: "reasoning"}).String() + `"}`,
		`{"id":"fc_1_1","type":"function_call","status":"completed","call_id":"A","name":"spawn_agent","namespace":"multi_agent_v1","arguments":"{}"}`,
		`{"id":"fc_1_2","type":"function_call","status":"completed","call_id":"B","name":"spawn_agent","namespace":"multi_agent_v1","arguments":"{}"}`,
		`{"id":"ctc_1_3","type":"custom_tool_call","status":"completed","call_id":"C","name":"apply_patch","input":"*** Begin\nEnd"}`,
	}, items)
	for at := 1; at < len(stream); at++ {
		s := tr.Stream()
		dst, err := s.Write(nil, []byte(stream[:at]))
		require.NoError(t, err)
		dst, err = s.Write(dst, []byte(stream[at:]))
		require.NoError(t, err)
		dst, err = s.Close(dst, nil)
		require.NoError(t, err)
		require.Equal(t, whole, string(dst), "split at %d", at)
	}
}

func texts(list gjson.Result) []string {
	var texts []string
	for _, v := range list.Array() {
		texts = append(texts, v.String())
	}
	return texts
}

func TestChatStreamToResponses(t *testing.T) {
	for _, c := range chatStreams {
		tr := newTranslation(t, responsesToChatPair, c.o)
		_, err := tr.Request([]byte(`{"model":"m","input":"x","stream":true,"include":["reasoning.encrypted_content"]}`))
		require.NoError(t, err)
		got, err := through(t, tr, c.stream, 11, nil)
		names, data := eventsOf(t, []byte(got))
		last := data[len(data)-1].Get("response")
		want := "response.completed"
		switch {
		case strings.HasPrefix(c.end, "error"):
			want = "response.failed"
			require.NotEmpty(t, last.Get("error.message").Str)
		case strings.HasPrefix(c.end, "max_tokens"), c.name == "filter":
			want = "response.incomplete"
		}
		require.Equal(t, want == "response.failed", err != nil, c.name)
		require.Equal(t, want, names[len(names)-1], c.name)
		require.Equal(t, "response.created", names[0])
		open := map[string]string{}
		for i, d := range data {
			require.Equal(t, int64(i), d.Get("sequence_number").Int())
			item := d.Get("item")
			switch names[i] {
			case "response.output_item.added":
				require.Empty(t, open, c.name)
				open[d.Get("output_index").Raw] = item.Get("id").Str + item.Get("call_id").Str
			case "response.output_item.done":
				require.Equal(t, open[d.Get("output_index").Raw], item.Get("id").Str+item.Get("call_id").Str)
				delete(open, d.Get("output_index").Raw)
				require.Equal(t, item.Raw, last.Get("output."+d.Get("output_index").Raw).Raw)
			default:
				if id := d.Get("item_id"); id.Exists() {
					require.True(t, strings.HasPrefix(open[d.Get("output_index").Raw], id.Str))
				}
			}
		}
		if want == "response.completed" {
			require.Empty(t, open)
		}
	}
}
