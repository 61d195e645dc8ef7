package translate

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

var messagesOnChatPair = Pair{Messages, Chat}

func newTranslation(t *testing.T, p Pair, o Options) *Translation {
	t.Helper()
	if o.Model == "" {
		o.Model, o.ID, o.Created = "claude-x", "made", 7
	}
	if o.Upstream == "" {
		o.Upstream = "up"
	}
	tr, ok := New(p, o)
	require.True(t, ok)
	return tr
}

func TestMessagesToChat(t *testing.T) {
	field := (&seal{provider: "vllm", field: "reasoning"}).String()
	full := (&seal{provider: "openrouter", field: "reasoning", details: `[{"type":"reasoning.text","text":"t","signature":"S","index":0}]`}).String()
	gemini := (&seal{provider: "gemini", calls: `{"A":{"google":{"thought_signature":"G"}}}`}).String()
	vertex := (&seal{provider: "vertex", calls: `{"C":{"google":{"thought_signature":"G"}}}`}).String()
	tool := `{"name":"f","description":"d","input_schema":{"type":"object", "x":1.0},"cache_control":{"type":"ephemeral"}}`
	strictSchema := `{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}`
	use := func(id, input string) string {
		return `{"type":"tool_use","id":"` + id + `","name":"f","input":` + input + `}`
	}
	result := func(id, content string) string {
		return `{"type":"tool_result","tool_use_id":"` + id + `","content":` + content + `,"is_error":false,"cache_control":{"type":"ephemeral"}}`
	}
	m := func(role string, blocks ...string) string {
		return `{"role":"` + role + `","content":[` + strings.Join(blocks, ",") + `]}`
	}
	text := func(s string) string { return `{"type":"text","text":"` + s + `"}` }
	conversation := func(list ...string) string { return `"max_tokens":9,"messages":[` + strings.Join(list, ",") + `]` }
	png := `{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAA="}}`
	called := func(id, arguments string) string {
		return `{"id":"` + id + `","type":"function","function":{"name":"f","arguments":"` + arguments + `"}}`
	}
	signed := func(id, signature string) string {
		return strings.TrimSuffix(called(id, "{}"), "}") + `,"extra_content":{"google":{"thought_signature":"` + signature + `"}}}`
	}
	x, userX := m("user", text("x")), `{"role":"user","content":"x"}`

	for _, c := range []struct {
		name    string
		o       Options
		body    string
		want    string // without model and max_tokens
		dropped []string
	}{
		{name: "text", body: conversation(`{"role":"user","content":"hi \u00e9"}`), want: `"messages":[{"role":"user","content":"hi \u00e9"}]`},
		{
			name: "settings", body: conversation(x) + `,"temperature":0.50,"top_p":1,"stop_sequences":["a","b"],"stream":true`,
			want: `"stream":true,"messages":[` + userX + `],"temperature":0.50,"top_p":1,"stop":["a","b"]`,
		},
		{
			name:    "system blocks; the header of Claude Code's bill is left out",
			body:    `"system":[` + text("x-anthropic-billing-header: cc_version=1") + "," + text("a") + `,{"type":"text","text":"b","cache_control":{"type":"ephemeral"}}],` + conversation(x),
			want:    `"messages":[{"role":"system","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},` + userX + `]`,
			dropped: []string{"system[text].cache_control", "system[x-anthropic-billing-header:]"},
		},
		{name: "one system block", body: `"system":[` + text("a") + `],` + conversation(x), want: `"messages":[{"role":"system","content":"a"},` + userX + `]`},
		{
			name: "a late system message in its place", o: Options{Provider: "openai", Official: true, OutputMember: "max_tokens"},
			body: conversation(x, `{"role":"system","content":"s"}`, m("assistant", text("a")), m("user", text("y"))),
			want: `"messages":[` + userX + `,{"role":"system","content":"s"},{"role":"assistant","content":"a"},{"role":"user","content":"y"}]`,
		},
		{
			name: "a late system message as the user's", body: conversation(x, `{"role":"system","content":"s"}`),
			want: `"messages":[{"role":"user","content":[{"type":"text","text":"x"},{"type":"text","text":"<system>\ns\n</system>"}]}]`,
		},
		{
			name: "results in the order of the calls, before the text",
			body: conversation(x, m("assistant", text("a"), use("A", `{"p": 1.0}`), use("B", `{}`)), m("user", text("t"), result("B", `"2"`), result("A", `[{"type":"text","text":"1"}]`))),
			want: `"messages":[` + userX + `,{"role":"assistant","content":"a","tool_calls":[` + called("A", `{\"p\": 1.0}`) + `,` + called("B", "{}") + `]},` +
				`{"role":"tool","content":"1","tool_call_id":"A"},{"role":"tool","content":"2","tool_call_id":"B"},{"role":"user","content":"t"}]`,
			dropped: []string{"messages[user].content[tool_result].is_error", "messages[user].content[tool_result].cache_control"},
		},
		{
			name: "results without text, with images",
			body: conversation(x, m("assistant", use("A", `{}`), use("B", `{}`)), m("user", `{"type":"tool_result","tool_use_id":"A"}`, result("B", "["+png+"]")), m("assistant", text("y")), m("user", png, text("z"))),
			want: `"messages":[` + userX + `,{"role":"assistant","content":null,"tool_calls":[` + called("A", "{}") + `,` + called("B", "{}") + `]},` +
				`{"role":"tool","content":"","tool_call_id":"A"},{"role":"tool","content":"","tool_call_id":"B"},{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAA="}}]},` +
				`{"role":"assistant","content":"y"},{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAA="}},{"type":"text","text":"z"}]}]`,
			dropped: []string{"messages[user].content[tool_result].is_error", "messages[user].content[tool_result].cache_control"},
		},
		{
			name: "documents",
			body: conversation(m("user", `{"type":"document","title":"t","source":{"type":"base64","media_type":"application/pdf","data":"AA"}}`, `{"type":"document","source":{"type":"text","media_type":"text/plain","data":"plain"}}`, `{"type":"image","source":{"type":"url","url":"https://x/i"}}`)),
			want: `"messages":[{"role":"user","content":[{"type":"file","file":{"file_data":"data:application/pdf;base64,AA","filename":"t"}},{"type":"text","text":"plain"},{"type":"image_url","image_url":{"url":"https://x/i"}}]}]`,
		},
		{
			name: "joined messages of one role", body: conversation(m("user", text("a")), m("user", text("b")), m("assistant", text("c")), m("assistant", text("d")), m("user", text("e"))),
			want: `"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},{"role":"assistant","content":"cd"},{"role":"user","content":"e"}]`,
		},
		{
			name: "tools", body: conversation(x) + `,"tools":[` + tool + `],"tool_choice":{"type":"tool","name":"f","disable_parallel_tool_use":true}`,
			want:    `"messages":[` + userX + `],"tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object", "x":1.0}}}],"tool_choice":{"type":"function","function":{"name":"f"}},"parallel_tool_calls":false`,
			dropped: []string{"tools[custom].cache_control"},
		},
		{
			name: "the choice before the tools", body: `"tool_choice":{"type":"any"},` + conversation(x) + `,"tools":[` + tool + `]`,
			want:    `"messages":[` + userX + `],"tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object", "x":1.0}}}],"tool_choice":"required"`,
			dropped: []string{"tools[custom].cache_control"},
		},
		{name: "no tools, no choice of them", body: conversation(x) + `,"tools":[],"tool_choice":{"type":"auto","disable_parallel_tool_use":true}`, want: `"messages":[` + userX + `]`},
		{
			name: "reasoning goes back to the provider that gave it", o: Options{Provider: "vllm"},
			body: conversation(x, m("assistant", `{"type":"thinking","thinking":"a\n","signature":"`+field+`"}`, text("y")), m("user", text("z"))),
			want: `"messages":[` + userX + `,{"role":"assistant","content":"y","reasoning":"a\n"},{"role":"user","content":"z"}]`,
		},
		{
			name: "reasoning of another one is left out", o: Options{Provider: "groq"},
			body:    conversation(x, m("assistant", `{"type":"thinking","thinking":"a\n","signature":"`+field+`"}`, `{"type":"redacted_thinking","data":"anthropic's"}`, text("y")), m("user", text("z"))),
			want:    `"messages":[` + userX + `,{"role":"assistant","content":"y"},{"role":"user","content":"z"}]`,
			dropped: []string{"messages[].content[].thinking"},
		},
		{
			name: "reasoning_details go back whole", o: Options{Provider: "openrouter"},
			body: conversation(x, m("assistant", `{"type":"thinking","thinking":"t","signature":"`+full+`"}`, text("y")), m("user", text("z"))),
			want: `"messages":[` + userX + `,{"role":"assistant","content":"y","reasoning":"t","reasoning_details":[{"type":"reasoning.text","text":"t","signature":"S","index":0}]},{"role":"user","content":"z"}]`,
		},
		{
			name: "thought signatures go back with their calls", o: Options{Provider: "gemini"},
			body: conversation(x, m("assistant", `{"type":"redacted_thinking","data":"`+gemini+`"}`, use("A", `{}`)), m("user", `{"type":"tool_result","tool_use_id":"A","content":"1"}`)),
			want: `"messages":[` + userX + `,{"role":"assistant","content":null,"tool_calls":[{"id":"A","type":"function","function":{"name":"f","arguments":"{}"},"extra_content":{"google":{"thought_signature":"G"}}}]},{"role":"tool","content":"1","tool_call_id":"A"}]`,
		},
		{
			name: "the first call of a message that has none gets what skips Gemini's validation", o: Options{Provider: "vertex", Google: true, Upstream: "gemini-3-pro-preview"},
			body: conversation(x,
				m("assistant", use("A", `{}`), use("B", `{}`)), m("user", `{"type":"tool_result","tool_use_id":"A","content":"1"}`, `{"type":"tool_result","tool_use_id":"B","content":"2"}`),
				m("assistant", `{"type":"redacted_thinking","data":"`+vertex+`"}`, use("C", `{}`), use("D", `{}`)), m("user", `{"type":"tool_result","tool_use_id":"C","content":"3"}`, `{"type":"tool_result","tool_use_id":"D","content":"4"}`)),
			want: `"messages":[` + userX + `,{"role":"assistant","content":null,"tool_calls":[` + signed("A", "skip_thought_signature_validator") + `,` + called("B", "{}") + `]},{"role":"tool","content":"1","tool_call_id":"A"},{"role":"tool","content":"2","tool_call_id":"B"},` +
				`{"role":"assistant","content":null,"tool_calls":[` + signed("C", "G") + `,` + called("D", "{}") + `]},{"role":"tool","content":"3","tool_call_id":"C"},{"role":"tool","content":"4","tool_call_id":"D"}]`,
			dropped: []string{"messages[].content[].thought_signature"},
		},
		{
			name: "models before Gemini 3 validate nothing", o: Options{Provider: "vertex", Google: true, Upstream: "google/gemini-2.5-flash"},
			body: conversation(x, m("assistant", use("A", `{}`)), m("user", `{"type":"tool_result","tool_use_id":"A","content":"1"}`)),
			want: `"messages":[` + userX + `,{"role":"assistant","content":null,"tool_calls":[` + called("A", "{}") + `]},{"role":"tool","content":"1","tool_call_id":"A"}]`,
		},
		{
			name: "who is not Google gets no such signature", o: Options{Provider: "openrouter", Upstream: "google/gemini-3-pro"},
			body: conversation(x, m("assistant", use("A", `{}`)), m("user", `{"type":"tool_result","tool_use_id":"A","content":"1"}`)),
			want: `"messages":[` + userX + `,{"role":"assistant","content":null,"tool_calls":[` + called("A", "{}") + `]},{"role":"tool","content":"1","tool_call_id":"A"}]`,
		},
		{
			name: "DeepSeek wants reasoning with calls, empty too", o: Options{Provider: "deepseek"},
			body: conversation(x, m("assistant", use("A", `{}`)), m("user", `{"type":"tool_result","tool_use_id":"A","content":"1"}`), m("assistant", text("y")), m("user", text("z"))),
			want: `"messages":[` + userX + `,{"role":"assistant","content":null,"reasoning_content":"","tool_calls":[` + called("A", "{}") + `]},{"role":"tool","content":"1","tool_call_id":"A"},{"role":"assistant","content":"y"},{"role":"user","content":"z"}]`,
		},
		{
			name: "Mistral's ids", o: Options{Provider: "mistral"},
			body: conversation(x, m("assistant", use("toolu_1", `{}`), use("abcDEF123", `{}`)), m("user", `{"type":"tool_result","tool_use_id":"toolu_1","content":"1"}`, `{"type":"tool_result","tool_use_id":"abcDEF123","content":"2"}`)),
			want: `"messages":[` + userX + `,{"role":"assistant","content":null,"tool_calls":[` + called("HASH", "{}") + `,` + called("abcDEF123", "{}") + `]},{"role":"tool","content":"1","tool_call_id":"HASH"},{"role":"tool","content":"2","tool_call_id":"abcDEF123"}]`,
		},
		{
			name: "a schema", body: conversation(x) + `,"output_config":{"format":{"type":"json_schema","schema":` + strictSchema + `}}`,
			want: `"messages":[` + userX + `],"response_format":{"type":"json_schema","json_schema":{"name":"output","schema":` + strictSchema + `,"strict":true}}`,
		},
		{
			name: "a schema that is not strict", body: conversation(x) + `,"output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}}`,
			want: `"messages":[` + userX + `],"response_format":{"type":"json_schema","json_schema":{"name":"output","schema":{"type":"object"},"strict":false}}`,
		},
		{name: "effort, where the model is known to reason", o: Options{Reasons: true}, body: conversation(x) + `,"thinking":{"type":"enabled","budget_tokens":31999}`, want: `"messages":[` + userX + `],"reasoning_effort":"high"`},
		{name: "effort in words", o: Options{Reasons: true}, body: conversation(x) + `,"thinking":{"type":"adaptive"},"output_config":{"effort":"xhigh"}`, want: `"messages":[` + userX + `],"reasoning_effort":"xhigh"`},
		{name: "effort, where it is not", body: conversation(x) + `,"thinking":{"type":"adaptive"},"output_config":{"effort":"high"}`, want: `"messages":[` + userX + `]`, dropped: []string{"thinking", "output_config.effort"}},
		{name: "no thinking", o: Options{Provider: "openai", Official: true, Upstream: "gpt-5.1-mini", OutputMember: "max_completion_tokens"}, body: conversation(x) + `,"thinking":{"type":"disabled"}`, want: `"messages":[` + userX + `],"reasoning_effort":"none"`},
		{
			name: "a long user id is hashed at OpenAI", o: Options{Provider: "openai", Official: true}, body: conversation(x) + `,"metadata":{"user_id":"` + strings.Repeat("u", 150) + `"},"service_tier":"standard_only"`,
			want: `"messages":[` + userX + `],"safety_identifier":"816752062318c8f216b0d347163d40e917a8c522ce07be3d0ebc80db6132fc5b","service_tier":"default"`,
		},
		{name: "a user id elsewhere", body: conversation(x) + `,"metadata":{"user_id":"u"},"service_tier":"auto"`, want: `"messages":[` + userX + `],"user":"u"`, dropped: []string{"service_tier"}},
		{name: "top_k where it is known", o: Options{Provider: "vllm"}, body: conversation(x) + `,"top_k":5`, want: `"messages":[` + userX + `],"top_k":5`},
	} {
		tr := newTranslation(t, messagesOnChatPair, c.o)
		got, err := tr.Request([]byte(`{"model":"claude-x",` + c.body + `}`))
		require.NoError(t, err, c.name)
		requireChat(t, got, true)
		for _, name := range []string{"max_tokens", "max_completion_tokens"} {
			got = []byte(strings.Replace(string(got), `,"`+name+`":9`, "", 1))
		}
		short := strings.TrimPrefix(string(got), fmt.Sprintf(`{"model":%q,`, tr.Upstream))
		if c.o.Provider == "mistral" {
			id := gjson.GetBytes(got, "messages.1.tool_calls.0.id").Str
			require.Regexp(t, `^[a-zA-Z0-9]{9}$`, id)
			short = strings.ReplaceAll(short, id, "HASH")
		}
		require.Equal(t, c.want+"}", short, c.name)
		require.Equal(t, c.dropped, tr.Dropped(), c.name)
	}
}

func TestMessagesToChatRefusals(t *testing.T) {
	user := `"max_tokens":9,"messages":[{"role":"user","content":"x"}]`
	for body, want := range map[string]string{
		`"max_tokens":0,"messages":[]`: "max_tokens only warms",
		`"messages":[]`:                "messages must hold a message",
		`"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"{"}]`: "messages[1] is the begin of an answer",
		user + `,"top_k":3`:          "top_k is not known to the backend",
		user + `,"speed":"fast"`:     "speed asks",
		user + `,"frob":null`:        "frob is not known here",
		user + `,"mcp_servers":[{}]`: "mcp_servers are called",
		user + `,"tools":[{"type":"web_search_20250305","name":"web_search"}]`:                                                                                                                        "tools[0] is run by Anthropic",
		user + `,"tools":[{"type":"bash_20250124","name":"bash"}]`:                                                                                                                                    "tools[0] is known to models of Anthropic alone",
		user + `,"tools":[{"name":"f"}]`:                                                                                                                                                              "tools[0] needs input_schema",
		user + `,"tools":[{"name":"` + strings.Repeat("f", 65) + `","input_schema":{}}]`:                                                                                                              "tools[0].name is longer",
		user + `,"tools":[{"name":"f","input_schema":{},"defer_loading":true}]`:                                                                                                                       "tools[0].defer_loading asks",
		user + `,"tool_choice":{"type":"any"}`:                                                                                                                                                        "tool_choice asks for a call",
		user + `,"tool_choice":{"type":"tool","name":"f"}`:                                                                                                                                            "tool_choice.name names no tool",
		user + `,"context_management":{"edits":[{"type":"clear_tool_uses_20250919"}]}`:                                                                                                                "context_management.edits[0] clears a part",
		user + `,"context_management":{"edits":[{"type":"clear_thinking_20251015","keep":{"a":1}}]}`:                                                                                                  "context_management.edits[0].keep clears",
		`"messages":[{"role":"user","content":[{"type":"image","source":{"type":"file","file_id":"f"}}]}]`:                                                                                            "messages[0].content[0].source refers to a file",
		`"messages":[{"role":"user","content":[{"type":"document","source":{"type":"url","url":"https://x"}}]}]`:                                                                                      "messages[0].content[0].source is a URL",
		`"messages":[{"role":"user","content":[{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"AA"},"citations":{"enabled":true}}]}]`:                             "messages[0].content[0].citations are not",
		`"messages":[{"role":"user","content":[{"type":"search_result"}]}]`:                                                                                                                           "messages[0].content[0] is not known to chat",
		`"messages":[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"server_tool_use","id":"x"}]}]`:                                                                             "messages[1].content[0] is of a tool",
		`"messages":[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"tool_use","id":"A","name":"f","input":{}}]}]`:                                                              `messages[1].content[0] has no output: the call "A" needs one`,
		`"messages":[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"tool_use","id":"A","name":"f","input":{}}]},{"role":"user","content":"y"}]`:                                `messages[1].content[0] has no output: the call "A"`,
		`"messages":[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"tool_use","id":"A","name":"f","input":"{}"}]}]`:                                                            `messages[1].content[0].input must be an object`,
		`"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"A"}]}]`:                                                                                                           `messages[0].content[0].tool_use_id is not that of a call`,
		`"messages":[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"tool_use","id":"A","name":"f","input":{}}]},{"role":"user","content":"y"},` + said("assistant", "z") + `]`: `messages[3] comes before the tool_result of the call "A"`,
		`"messages":[{"role":"developer","content":"x"}]`:                                                                                                                                             "messages[0] is not known here",
	} {
		_, err := newTranslation(t, messagesOnChatPair, Options{}).Request([]byte("{" + body + "}"))
		require.ErrorContains(t, err, want, body)
		require.IsType(t, &Refusal{}, err)
	}
	tr := newTranslation(t, messagesOnChatPair, Options{Lossy: true})
	got, err := tr.Request([]byte(`{` + user + `,"top_k":3,"frob":1,"tools":[{"type":"web_search_20250305","name":"web_search"}]}`))
	require.NoError(t, err)
	requireChat(t, got, false)
	require.Equal(t, []string{"frob", "tools[]", "top_k"}, tr.Lost())
}

func TestSealIsReadBack(t *testing.T) {
	for _, s := range []seal{{provider: "p"}, {provider: "p", field: "reasoning", text: `"a\n"`, details: `[{"a":1}]`, extra: `{"x":{}}`, calls: `{"A":{}}`}} {
		got, ok := openSeal(s.String())
		require.True(t, ok)
		require.Equal(t, s, got)
	}
	for _, bad := range []string{"", "EqQBCgIYAhIM", sealPrefix, sealPrefix + "!", sealPrefix + base64.RawURLEncoding.EncodeToString([]byte("[1]"))} {
		_, ok := openSeal(bad)
		require.False(t, ok, bad)
	}
}

// What Claude Code 2.1 sends, shortened, is taken by the strictest backend.
func TestClaudeCode(t *testing.T) {
	body := `{"model":"claude-opus-4-8","max_tokens":64000,"stream":true,"system":[
		{"type":"text","text":"x-anthropic-billing-header: cc_version=2.1.197.abc; cc_entrypoint=cli;"},{"type":"text","text":"You are Claude Code.","cache_control":{"type":"ephemeral"}},{"type":"text","text":"prompt","cache_control":{"type":"ephemeral","ttl":"1h"}}],
		"messages":[{"role":"user","content":[{"type":"text","text":"<system-reminder>a</system-reminder>"},{"type":"text","text":"do it","cache_control":{"type":"ephemeral"}}]},
			{"role":"system","content":[{"type":"text","text":"late"}]},
			{"role":"assistant","content":[{"type":"thinking","thinking":"","signature":"EqQBCgIYAhIM"},{"type":"text","text":"I look."},{"type":"tool_use","id":"toolu_1","name":"Read","input":{"file_path":"/a"},"caller":{"type":"direct"}},{"type":"tool_use","id":"toolu_2","name":"Bash","input":{"command":"ls"}}]},
			{"role":"user","content":[{"tool_use_id":"toolu_2","type":"tool_result","content":"files","is_error":false},{"tool_use_id":"toolu_1","type":"tool_result","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA=="}}],"is_error":false,"cache_control":{"type":"ephemeral"}}]}],
		"tools":[{"name":"Read","description":"reads","input_schema":{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{}},"eager_input_streaming":true},{"name":"Bash","description":"runs","input_schema":{"type":"object"}}],
		"metadata":{"user_id":"` + strings.Repeat("u", 150) + `"},"thinking":{"type":"adaptive"},"context_management":{"edits":[{"type":"clear_thinking_20251015","keep":"all"}]},"output_config":{"effort":"high"}}`
	title := `{"model":"claude-haiku-4-5","max_tokens":32000,"stream":true,"system":"title","messages":[{"role":"user","content":"x"}],"tools":[],"temperature":1,"thinking":{"type":"disabled"},
		"output_config":{"format":{"type":"json_schema","schema":{"type":"object","properties":{"title":{"type":"string"}},"required":["title"],"additionalProperties":false}}}}`
	for _, o := range []Options{{Provider: "vllm"}, {Provider: "groq"}, {Provider: "deepseek"}, {Provider: "mistral"}, {Provider: "openai", Official: true, OutputMember: "max_completion_tokens"}} {
		tr := newTranslation(t, messagesOnChatPair, o)
		got, err := tr.Request([]byte(body))
		require.NoError(t, err, o.Provider)
		requireChat(t, got, o.Provider == "deepseek")
		require.Empty(t, tr.Lost())
		require.NotContains(t, string(got), "billing-header")
		require.Equal(t, "Read Bash", strings.Join(texts(gjson.GetBytes(got, "tools.#.function.name")), " "))
		got, err = newTranslation(t, messagesOnChatPair, o).Request([]byte(title))
		require.NoError(t, err, o.Provider)
		requireChat(t, got, false)
		require.Equal(t, "true", gjson.GetBytes(got, "response_format.json_schema.strict").Raw)
	}
}

// TestCodeDoesNotGrow has arguments full of what some writers of JSON escape: a translated body is held in memory as long as its call is.
func TestCodeDoesNotGrow(t *testing.T) {
	body := `{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{"x":"` +
		strings.Repeat("<&>", 1000) + `"}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":"y"}]}]}`
	tr, ok := New(Pair{Messages, Chat}, Options{Upstream: "m", Provider: "deepseek"})
	require.True(t, ok)
	out, err := tr.Request([]byte(body))
	require.NoError(t, err)
	require.Less(t, len(out), len(body)+200)
}
