package translate

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// For each row of the table the code does what the row says: it refuses with the row's reason, leaves out and names, or takes it.
func TestTheCodeKeepsToTheTable(t *testing.T) {
	for _, p := range []Pair{{Chat, Messages}, {Responses, Messages}, {Messages, Chat}, {Responses, Chat}} {
		for _, row := range rows[p] {
			values := row.When
			if row.Example != "" {
				values = append([]string{row.Example}, values...)
			}
			for _, value := range values {
				t.Run(p.String()+" "+row.Member+" "+value, func(t *testing.T) { testRow(t, p, row, value) })
			}
			if len(values) == 0 {
				t.Errorf("%s %s: the row has no example", p, row.Member)
			}
		}
	}
}

func testRow(t *testing.T, p Pair, row *Row, value string) {
	body, err := json.Marshal(completions[p.Caller](bodyWith(t, p, row.Member, json.RawMessage(value))))
	require.NoError(t, err)
	o := rowOptions(p, row)
	tr, _ := New(p, o)
	_, err = tr.Request(body)
	switch row.Action {
	case Refused:
		var refusal *Refusal
		require.ErrorAs(t, err, &refusal, string(body))
		require.Equal(t, row.Text, refusal.Reason, string(body))
		o.Lossy = true
		tr, _ = New(p, o)
		if _, err = tr.Request(body); err == nil {
			require.NotEmpty(t, tr.Lost())
		}
	case Void:
		require.NoError(t, err, string(body))
		require.Contains(t, tr.Dropped(), strings.NewReplacer("[*]", "["+kindOf(value)+"]").Replace(row.Member))
	case Carried, Mapped:
		require.NoError(t, err, string(body))
		require.NotContains(t, tr.Dropped(), row.Member)
	}
}

// rowOptions are those of a model that takes as much as a model can.
func rowOptions(p Pair, row *Row) Options {
	switch {
	case p.Upstream == Messages:
		return Options{Upstream: "claude-opus-4-6", Model: "m", Provider: "anthropic", OutputLimit: 64000}
	case row.Member == "top_k":
		return Options{Upstream: "qwen", Model: "m", Provider: "vllm"}
	}
	return Options{Upstream: "gpt-6", Model: "m", Provider: "openai", Official: true, OutputMember: "max_completion_tokens", Reasons: true}
}

func kindOf(value string) string {
	var v struct{ Type string }
	_ = json.Unmarshal([]byte(value), &v)
	return v.Type
}

var lastStep = regexp.MustCompile(`^(.*?)(?:\.?([^.\[\]]+)|\[([^\]]*)\])$`)

// objects are the members whose kind is in brackets though they are no lists.
var objects = map[string]bool{"tool_choice": true, "response_format": true, "text.format": true}

// bodyWith returns the members of a body that has the value at a row's place, in the examples of the rows above it.
func bodyWith(t *testing.T, p Pair, member string, value any) map[string]any {
	step := lastStep.FindStringSubmatch(member)
	require.NotNil(t, step, member)
	above, name := step[1], step[2]
	if name == "" {
		if objects[above] || strings.HasSuffix(above, ".source") {
			return bodyWith(t, p, above, value)
		}
		return bodyWith(t, p, above, []any{value})
	}
	if above == "" {
		return map[string]any{name: value}
	}
	object := make(map[string]any)
	for _, row := range tables[p][above] {
		if row.Example != "" {
			require.NoError(t, json.Unmarshal([]byte(row.Example), &object), above)
			break
		}
	}
	if name == "file_url" && string(value.(json.RawMessage)) != "null" {
		delete(object, "file_data") // one source is enough
	}
	object[name] = value
	return bodyWith(t, p, above, object)
}

// completions make a call of the members, by the caller's API.
var completions = map[API]func(body map[string]any) map[string]any{
	Chat: func(body map[string]any) map[string]any {
		body["model"] = "m"
		user := map[string]any{"role": "user", "content": "hi"}
		call := func(id string) map[string]any {
			return map[string]any{"role": "assistant", "tool_calls": []any{map[string]any{"id": id, "type": "function", "function": map[string]any{"name": "f", "arguments": "{}"}}}}
		}
		result := map[string]any{"role": "tool", "tool_call_id": "t1", "content": "r"}
		messages, ok := body["messages"].([]any)
		if !ok {
			if _, ok := body["messages"]; !ok {
				body["messages"] = []any{user}
			}
		} else {
			var message map[string]any
			b, _ := json.Marshal(messages[0])
			_ = json.Unmarshal(b, &message)
			switch message["role"] {
			case "assistant":
				messages = []any{user, messages[0]}
				if calls, _ := message["tool_calls"].([]any); len(calls) > 0 {
					messages = append(messages, result)
				}
				messages = append(messages, user)
			case "tool":
				messages = []any{user, call("t1"), messages[0]}
			default:
				messages = append(messages, user)
			}
			body["messages"] = messages
		}
		if _, ok := body["tools"]; !ok && body["tool_choice"] != nil {
			body["tools"] = []any{map[string]any{"type": "function", "function": map[string]any{"name": "f"}}}
		}
		return body
	},
	Responses: func(body map[string]any) map[string]any {
		body["model"] = "m"
		user := map[string]any{"role": "user", "content": "hi"}
		item := func(kind string) map[string]any {
			return map[string]any{"type": kind, "call_id": "t1", "name": "f", "arguments": "{}", "output": "r"}
		}
		if _, ok := body["input"]; !ok {
			body["input"] = []any{user}
		}
		if items, ok := body["input"].([]any); ok && len(items) == 1 {
			var first map[string]any
			b, _ := json.Marshal(items[0])
			_ = json.Unmarshal(b, &first)
			if s := string(b); strings.Contains(s, `"refusal"`) || strings.Contains(s, `"output_text"`) {
				first["role"] = "assistant"
				items[0] = first
			}
			switch kind, _ := first["type"].(string); kind {
			case "function_call", "custom_tool_call":
				result := item(kind + "_output")
				result["call_id"] = first["call_id"]
				delete(result, "name")
				delete(result, "arguments")
				items = append(items, result)
			case "function_call_output", "custom_tool_call_output":
				call := item(strings.TrimSuffix(kind, "_output"))
				delete(call, "output")
				if kind == "custom_tool_call_output" {
					delete(call, "arguments")
					call["input"] = "x"
				}
				items = []any{user, call, first}
			}
			if kind, _ := first["type"].(string); !strings.HasSuffix(kind, "_output") {
				items = append(items, user)
			}
			body["input"] = items
		}
		if _, ok := body["tools"]; !ok && body["tool_choice"] != nil {
			body["tools"] = []any{map[string]any{"type": "function", "name": "f"}, map[string]any{"type": "custom", "name": "g"}}
		}
		return body
	},
	Messages: func(body map[string]any) map[string]any {
		body["model"] = "m"
		if _, ok := body["max_tokens"]; !ok {
			body["max_tokens"] = 9
		}
		user := map[string]any{"role": "user", "content": "hi"}
		call := map[string]any{"type": "tool_use", "id": "t1", "name": "f", "input": map[string]any{}}
		result := map[string]any{"role": "user", "content": []any{map[string]any{"type": "tool_result", "tool_use_id": "t1"}}}
		switch messages, ok := body["messages"].([]any); {
		case !ok:
			if _, ok := body["messages"]; !ok {
				body["messages"] = []any{user}
			}
		case len(messages) == 1:
			b, _ := json.Marshal(messages[0])
			switch s := string(b); {
			case strings.Contains(s, `"tool_use"`):
				messages = []any{user, messages[0], result}
			case strings.Contains(s, `"tool_result"`):
				messages = []any{user, map[string]any{"role": "assistant", "content": []any{call}}, messages[0]}
			case strings.Contains(s, `"role":"assistant"`):
				messages = []any{user, messages[0], user}
			default:
				messages = []any{user, messages[0]}
			}
			body["messages"] = messages
		}
		if _, ok := body["tools"]; !ok && body["tool_choice"] != nil {
			body["tools"] = []any{map[string]any{"name": "f", "input_schema": map[string]any{}}}
		}
		return body
	},
}
