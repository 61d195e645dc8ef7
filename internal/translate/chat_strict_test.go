package translate

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

// chatTypes are the members of openai-python's types of a chat completion's request, with an exclamation mark where they are required.
// A letter says what the value is: s string, n number, b boolean, a array, o object, * any, ? null too.
var chatTypes = map[string]string{
	"": `messages!a model!s frequency_penalty:n? max_completion_tokens:n? max_tokens:n? metadata:o? moderation:o? n:n? parallel_tool_calls:b presence_penalty:n?
		prompt_cache_key:s? prompt_cache_options:o prompt_cache_retention:s? reasoning_effort:s? response_format:o safety_identifier:s? seed:n? service_tier:s? stop:*
		store:b? stream:b stream_options:o? temperature:n? tool_choice:* tools:a top_p:n? user:s verbosity:s?`,
	"system":      "content!* role!s name:s",
	"user":        "content!* role!s name:s",
	"assistant":   "role!s content:* refusal:s? tool_calls:a name:s",
	"tool":        "content!* role!s tool_call_id!s",
	"text":        "text!s type!s prompt_cache_breakpoint:o",
	"image_url":   "image_url!o type!s prompt_cache_breakpoint:o",
	"image":       "url!s detail:s",
	"file":        "file!o type!s prompt_cache_breakpoint:o",
	"data":        "file_data:s filename:s",
	"call":        "id!s function!o type!s",
	"called":      "arguments!s name!s",
	"function":    "function!o type!s",
	"definition":  "name!s description:s parameters:o strict:b?",
	"json_schema": "json_schema!o type!s",
	"schema":      "name!s description:s schema:o strict:b?",
	"json_object": "type!s",
}

func requireMembers(t *testing.T, kind string, v gjson.Result, more ...string) {
	t.Helper()
	require.True(t, v.IsObject(), kind+" "+v.Raw)
	types := make(map[string]string)
	for _, f := range strings.Fields(chatTypes[kind]) {
		at := strings.IndexAny(f, "!:")
		types[f[:at]] = f[at+1:]
		if f[at] == '!' {
			require.True(t, v.Get(f[:at]).Exists(), "%s lacks %s: %s", kind, f, v.Raw)
		}
	}
	seen := make(map[string]bool)
	v.ForEach(func(key, value gjson.Result) bool {
		require.False(t, seen[key.Str], "%s twice in %s", key.Str, kind)
		seen[key.Str] = true
		if slices.Contains(more, key.Str) {
			return true
		}
		want, ok := types[key.Str]
		require.True(t, ok, "%s has %s: %s", kind, key.Str, v.Raw)
		letter := map[gjson.Type]string{gjson.String: "s", gjson.Number: "n", gjson.True: "b", gjson.False: "b", gjson.Null: "?", gjson.JSON: "o"}[value.Type]
		if value.IsArray() {
			letter = "a"
		}
		require.True(t, want == "*" || strings.Contains(want, letter), "%s.%s is %s", kind, key.Str, value.Raw)
		return true
	})
}

// requireChat checks a request of chat completions against the types, and the order of its messages against what strict backends want.
// vendor allows the members of providers that are not in the types.
func requireChat(t *testing.T, body []byte, vendor bool) {
	t.Helper()
	require.True(t, gjson.ValidBytes(body), string(body))
	root := gjson.ParseBytes(body)
	var more, inMessage, inCall []string
	if vendor {
		more, inMessage, inCall = []string{"top_k"}, []string{"reasoning_content", "reasoning", "reasoning_details", "extra_content"}, []string{"extra_content"}
	}
	requireMembers(t, "", root, more...)
	var waits []string
	for i, m := range root.Get("messages").Array() {
		role := m.Get("role").Str
		requireMembers(t, role, m, inMessage...)
		if role == "tool" {
			require.NotEmpty(t, waits, "message %d answers no call", i)
			require.Equal(t, waits[0], m.Get("tool_call_id").Str, "message %d", i)
			waits = waits[1:]
		} else {
			require.Empty(t, waits, "message %d comes before results", i)
		}
		content := m.Get("content")
		if content.IsArray() {
			require.NotEqual(t, "[]", content.Raw)
			for _, p := range content.Array() {
				kind := p.Get("type").Str
				requireMembers(t, kind, p)
				switch kind {
				case "text":
				case "image_url":
					require.Equal(t, "user", role)
					requireMembers(t, "image", p.Get("image_url"))
				case "file":
					require.Equal(t, "user", role)
					requireMembers(t, "data", p.Get("file"))
				default:
					require.Fail(t, "a part of the type "+kind)
				}
			}
		} else {
			require.True(t, content.Type == gjson.String || role == "assistant" && content.Type == gjson.Null && m.Get("tool_calls").Exists(), m.Raw)
		}
		if calls := m.Get("tool_calls"); calls.Exists() {
			require.NotEmpty(t, calls.Array())
			for _, c := range calls.Array() {
				requireMembers(t, "call", c, inCall...)
				requireMembers(t, "called", c.Get("function"))
				require.NotContains(t, waits, c.Get("id").Str)
				waits = append(waits, c.Get("id").Str)
			}
		}
	}
	require.Empty(t, waits)
	if tools := root.Get("tools"); tools.Exists() {
		require.NotEmpty(t, tools.Array())
		for _, tool := range tools.Array() {
			requireMembers(t, "function", tool)
			requireMembers(t, "definition", tool.Get("function"))
			require.Regexp(t, `^[a-zA-Z0-9_-]{1,64}$`, tool.Get("function.name").Str)
		}
	} else {
		require.False(t, root.Get("tool_choice").Exists())
		require.False(t, root.Get("parallel_tool_calls").Exists())
	}
	switch choice := root.Get("tool_choice"); {
	case choice.Type == gjson.String:
		require.Contains(t, []string{"none", "auto", "required"}, choice.Str)
	case choice.Exists():
		require.Contains(t, []string{"function", "allowed_tools"}, choice.Get("type").Str)
	}
	if format := root.Get("response_format"); format.Exists() {
		kind := format.Get("type").Str
		requireMembers(t, kind, format)
		if kind == "json_schema" {
			requireMembers(t, "schema", format.Get("json_schema"))
		}
	}
}
