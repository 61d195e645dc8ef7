package translate

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

// messagesConversation makes a call of Messages in the form in which this package writes it, of all that both APIs have.
func messagesConversation(r *rand.Rand) map[string]any {
	text := func() map[string]any {
		return map[string]any{"type": "text", "text": fmt.Sprintf("text %d \"é\\\n😀", r.IntN(1000))}
	}
	body := map[string]any{"model": "claude-opus-4-6", "max_tokens": 1 + r.IntN(1000)}
	if r.IntN(2) == 0 {
		body["system"] = []any{text(), text()}
	}
	tools := r.IntN(3) > 0
	if tools {
		body["tools"] = []any{
			map[string]any{"name": "f", "description": "does", "input_schema": map[string]any{"type": "object", "properties": map[string]any{"a": map[string]any{"type": "string"}}}},
			map[string]any{"name": "g", "input_schema": map[string]any{"type": "object"}, "strict": true},
		}
		switch r.IntN(6) {
		case 0:
			body["tool_choice"] = map[string]any{"type": "any"}
		case 1:
			body["tool_choice"] = map[string]any{"type": "tool", "name": "g"}
		case 2:
			body["tool_choice"] = map[string]any{"type": "auto", "disable_parallel_tool_use": true}
		case 3:
			body["tool_choice"] = map[string]any{"type": "none"}
		}
	}
	if r.IntN(2) == 0 {
		body["stop_sequences"] = []any{"\n\nend", "x"}
	}
	if r.IntN(2) == 0 {
		body["metadata"] = map[string]any{"user_id": "user-1"}
	}
	if r.IntN(2) == 0 {
		body["temperature"] = 0.25
	}
	if r.IntN(3) == 0 {
		body["stream"] = true
	}
	if r.IntN(3) == 0 {
		body["output_config"] = map[string]any{"format": map[string]any{"type": "json_schema", "schema": map[string]any{"type": "object", "properties": map[string]any{"n": map[string]any{"type": "number"}}}}}
	}
	user := func(content ...any) any { return map[string]any{"role": "user", "content": content} }
	said := func() []any {
		content := []any{text()}
		if r.IntN(3) == 0 {
			content = append(content, map[string]any{"type": "image", "source": map[string]any{"type": "base64", "media_type": "image/png", "data": "AAA="}}, text())
		}
		if r.IntN(3) == 0 {
			content = append(content, map[string]any{"type": "image", "source": map[string]any{"type": "url", "url": "https://example.com/a.png"}})
		}
		if r.IntN(4) == 0 {
			content = append(content, map[string]any{"type": "document", "title": "a.pdf", "source": map[string]any{"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}})
		}
		return content
	}
	messages := []any{user(said()...)}
	for turn := range r.IntN(5) {
		var content, results []any
		if r.IntN(2) == 0 {
			content = append(content, text())
		}
		if tools {
			for i := range r.IntN(3) {
				id := fmt.Sprintf("toolu_%d_%d", turn, i)
				content = append(content, map[string]any{"type": "tool_use", "id": id, "name": "f", "input": map[string]any{"a": fmt.Sprint("é\"", i), "n": 1.5}})
				results = append(results, map[string]any{"type": "tool_result", "tool_use_id": id, "content": []any{text()}})
			}
		}
		if content == nil {
			content = []any{text()}
		}
		if results == nil || r.IntN(2) == 0 {
			results = append(results, said()...)
		}
		messages = append(messages, map[string]any{"role": "assistant", "content": content}, user(results...))
	}
	body["messages"] = messages
	return body
}

// openAIOptions are those of a call to OpenAI's own API.
var openAIOptions = Options{Model: "claude", Upstream: "gpt-4.1", Provider: "openai", Official: true, OutputMember: "max_completion_tokens", ID: "0192", Created: 1700000000}

// A call of Messages on chat completions, and that one on Messages, is the call again.
func TestPairAndInverseGiveTheSameCall(t *testing.T) {
	for seed := range uint64(300) {
		body, err := json.Marshal(messagesConversation(rand.New(rand.NewPCG(seed, 2))))
		require.NoError(t, err)
		there, _ := New(Pair{Messages, Chat}, openAIOptions)
		chat, err := there.Request(body)
		require.NoError(t, err, string(body))
		require.Empty(t, there.Dropped(), string(body))
		back, _ := New(Pair{Chat, Messages}, claudeOptions("claude-opus-4-6"))
		out, err := back.Request(chat)
		require.NoError(t, err, string(chat))
		require.Equal(t, sortedJSON(t, string(body)), sortedJSON(t, string(out)), string(chat))

		there, _ = New(Pair{Messages, Chat}, openAIOptions)
		again, err := there.Request(out)
		require.NoError(t, err)
		require.Equal(t, string(chat), string(again))
	}
}

// An answer of Messages in chat completions, and that one in Messages, is the answer again, whole and as a stream.
func TestPairAndInverseGiveTheSameAnswer(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 3))
		var blocks []string
		for _, block := range claudeTurn(r, 1) {
			if !strings.Contains(block, "thinking") { // its signature becomes one of the gateway's
				blocks = append(blocks, block)
			}
		}
		back := func() *Translation {
			tr, _ := New(Pair{Messages, Chat}, openAIOptions)
			_, err := tr.Request([]byte(`{"model":"claude","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`))
			require.NoError(t, err)
			return tr
		}
		chat, err := asked(t, Pair{Chat, Messages}, says("")).Answer(asAnswer(blocks))
		require.NoError(t, err)
		out, err := back().Answer(chat)
		require.NoError(t, err)
		require.Equal(t, joinedTexts(t, blocks), sortedJSON(t, gjson.GetBytes(out, "content").Raw))
		require.Equal(t, "tool_use", gjson.GetBytes(out, "stop_reason").Str)
		require.EqualValues(t, 9, gjson.GetBytes(out, "usage.output_tokens").Int())

		stream, err := streamed(asked(t, Pair{Chat, Messages}, says(askStream)), nil, asStream(blocks))
		require.NoError(t, err)
		messages, err := streamed(back(), nil, stream)
		require.NoError(t, err)
		again, err := streamed(asked(t, Pair{Chat, Messages}, says(askStream)), nil, messages)
		require.NoError(t, err)
		require.Equal(t, stream, again)
	}
}

// joinedTexts returns blocks with texts that follow each other as one, as chat completions has them.
func joinedTexts(t *testing.T, blocks []string) string {
	t.Helper()
	var list []map[string]any
	for _, block := range blocks {
		b := decoded(t, block)
		if n := len(list); n > 0 && b["type"] == "text" && list[n-1]["type"] == "text" {
			list[n-1]["text"] = list[n-1]["text"].(string) + b["text"].(string)
			continue
		}
		list = append(list, b)
	}
	out, err := json.Marshal(list)
	require.NoError(t, err)
	return string(out)
}

// responsesConversation makes a call of Responses of what all three APIs have.
func responsesConversation(r *rand.Rand) map[string]any {
	text := func(kind string) map[string]any {
		return map[string]any{"type": kind, "text": fmt.Sprintf("text %d \"é\\\n😀", r.IntN(1000))}
	}
	body := map[string]any{"model": "m", "max_output_tokens": 1 + r.IntN(1000), "store": false}
	if r.IntN(2) == 0 {
		body["instructions"] = "be brief"
	}
	if r.IntN(2) == 0 {
		body["text"] = map[string]any{"format": map[string]any{"type": "json_schema", "name": "n", "schema": map[string]any{"type": "object"}}}
	}
	if r.IntN(2) == 0 {
		body["safety_identifier"] = "user-1"
	}
	body["tools"] = []any{
		map[string]any{"type": "function", "name": "f", "parameters": map[string]any{"type": "object"}, "strict": false},
		map[string]any{"type": "namespace", "name": "n", "tools": []any{map[string]any{"type": "function", "name": "g", "parameters": map[string]any{"type": "object"}}}},
		map[string]any{"type": "custom", "name": "p", "description": "d"},
	}
	body["tool_choice"] = []any{"auto", "none", "required", map[string]any{"type": "function", "name": "g"}}[r.IntN(4)]
	body["parallel_tool_calls"] = r.IntN(2) == 0
	user := func() any {
		content := []any{text("input_text")}
		if r.IntN(3) == 0 {
			content = append(content, map[string]any{"type": "input_image", "image_url": "data:image/png;base64,AAA="},
				map[string]any{"type": "input_file", "file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"})
		}
		return map[string]any{"role": "user", "content": content}
	}
	input := []any{map[string]any{"type": "message", "role": "developer", "content": []any{text("input_text")}}, user()}
	for turn := range r.IntN(5) {
		if r.IntN(2) == 0 {
			input = append(input, map[string]any{"type": "message", "role": "assistant", "content": []any{text("output_text")}})
		}
		var results []any
		for i := range r.IntN(3) {
			id := fmt.Sprintf("call_%d_%d", turn, i)
			if r.IntN(3) == 0 {
				input = append(input, map[string]any{"type": "custom_tool_call", "call_id": id, "name": "p", "input": "x\n\"y"})
				results = append(results, map[string]any{"type": "custom_tool_call_output", "call_id": id, "output": "ok"})
				continue
			}
			input = append(input, map[string]any{"type": "function_call", "call_id": id, "name": "g", "namespace": "n", "arguments": `{"b": 1.0, "a":2}`})
			results = append(results, map[string]any{"type": "function_call_output", "call_id": id, "output": []any{text("input_text")}})
		}
		r.Shuffle(len(results), func(i, j int) { results[i], results[j] = results[j], results[i] })
		input = append(append(input, results...), user())
	}
	body["input"] = input
	return body
}

// A call of Responses comes to Messages by chat completions as it does without.
func TestBothWaysFromResponsesToMessages(t *testing.T) {
	for seed := range uint64(300) {
		body, err := json.Marshal(responsesConversation(rand.New(rand.NewPCG(seed, 4))))
		require.NoError(t, err)
		direct, _ := New(responsesToMessages, claudeOptions("claude-opus-4-6"))
		want, err := direct.Request(body)
		require.NoError(t, err, string(body))
		there, _ := New(Pair{Responses, Chat}, openAIOptions)
		chat, err := there.Request(body)
		require.NoError(t, err, string(body))
		on, _ := New(Pair{Chat, Messages}, claudeOptions("claude-opus-4-6"))
		got, err := on.Request(chat)
		require.NoError(t, err, string(chat))
		require.Equal(t, sortedJSON(t, string(want)), sortedJSON(t, string(got)), string(body))
	}
}
