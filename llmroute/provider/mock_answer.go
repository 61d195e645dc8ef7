package provider

import (
	"encoding/json"
	"maps"
	"slices"
)

// mockChunk is the number of characters in each event of a mock stream.
const mockChunk = 16

// mockAnswer is a mock backend's answer.
type mockAnswer struct {
	id, model, text string
	in, out         int64 // tokens
	created         int64
	usage           bool // stream_options.include_usage
}

type object = map[string]any

func (a *mockAnswer) openAIUsage() object {
	return object{"prompt_tokens": a.in, "completion_tokens": a.out, "total_tokens": a.in + a.out}
}

func (a *mockAnswer) response(status string) object {
	r := object{
		"id": "resp_" + a.id, "object": "response", "created_at": a.created, "status": status, "model": a.model, "output": []any{},
		"usage": nil, "error": nil, "incomplete_details": nil, "parallel_tool_calls": true, "tool_choice": "auto", "tools": []any{},
	}
	if status == "completed" {
		r["usage"] = object{
			"input_tokens": a.in, "input_tokens_details": object{"cached_tokens": 0}, "output_tokens": a.out,
			"output_tokens_details": object{"reasoning_tokens": 0}, "total_tokens": a.in + a.out,
		}
		r["output"] = []any{a.outputItem("completed", []any{a.outputText(a.text)})}
	}
	return r
}

func (a *mockAnswer) outputItem(status string, content []any) object {
	return object{"type": "message", "id": "msg_" + a.id, "role": "assistant", "status": status, "content": content}
}

func (a *mockAnswer) outputText(text string) object {
	return object{"type": "output_text", "text": text, "annotations": []any{}}
}

func (a *mockAnswer) message(content []any, stop any, out int64) object {
	return object{
		"id": "msg_" + a.id, "type": "message", "role": "assistant", "model": a.model, "content": content, "stop_reason": stop,
		"stop_sequence": nil, "usage": object{"input_tokens": a.in, "output_tokens": out},
	}
}

// whole returns the unstreamed answer of an endpoint.
func (a *mockAnswer) whole(endpoint string) object {
	switch endpoint {
	case "embeddings":
		return object{
			"object": "list", "model": a.model, "usage": object{"prompt_tokens": a.in, "total_tokens": a.in},
			"data": []any{object{"object": "embedding", "index": 0, "embedding": []json.Number{"0.25", "-0.5", "0.125"}}},
		}
	case "messages":
		return a.message([]any{object{"type": "text", "text": a.text}}, "end_turn", a.out)
	case "messages/count_tokens":
		return object{"input_tokens": a.in}
	case "responses/input_tokens":
		return object{"object": "response.input_tokens", "input_tokens": a.in}
	case "responses":
		return a.response("completed")
	case "completions":
		return object{
			"id": "cmpl-" + a.id, "object": "text_completion", "created": a.created, "model": a.model, "usage": a.openAIUsage(),
			"choices": []any{object{"index": 0, "text": a.text, "logprobs": nil, "finish_reason": "stop"}},
		}
	}
	return object{
		"id": "chatcmpl-" + a.id, "object": "chat.completion", "created": a.created, "model": a.model, "usage": a.openAIUsage(),
		"choices": []any{object{
			"index": 0, "message": object{"role": "assistant", "content": a.text, "refusal": nil}, "logprobs": nil, "finish_reason": "stop",
		}},
	}
}

// stream returns the answer as server-sent events, or nil if the endpoint does not stream.
func (a *mockAnswer) stream(endpoint string) [][]byte {
	switch endpoint {
	case "chat/completions":
		return a.chunks("chatcmpl-", "chat.completion.chunk", func(text string, finish any) object {
			delta := object{"role": "assistant", "content": text}
			if finish != nil {
				delta = object{}
			}
			return object{"index": 0, "delta": delta, "logprobs": nil, "finish_reason": finish}
		})
	case "completions":
		return a.chunks("cmpl-", "text_completion", func(text string, finish any) object {
			return object{"index": 0, "text": text, "logprobs": nil, "finish_reason": finish}
		})
	case "messages":
		return a.messageEvents()
	case "responses":
		return a.responseEvents()
	}
	return nil
}

// chunks returns a stream in the format of OpenAI's completions.
func (a *mockAnswer) chunks(prefix, kind string, choice func(text string, finish any) object) [][]byte {
	var out [][]byte
	chunk := func(choices []any, usage any) {
		v := object{"id": prefix + a.id, "object": kind, "created": a.created, "model": a.model, "choices": choices}
		if a.usage {
			v["usage"] = usage
		}
		out = append(out, event("", v))
	}
	for text := range pieces(a.text) {
		chunk([]any{choice(text, nil)}, nil)
	}
	chunk([]any{choice("", "stop")}, nil)
	if a.usage {
		chunk([]any{}, a.openAIUsage())
	}
	return append(out, []byte("data: [DONE]\n\n"))
}

func (a *mockAnswer) messageEvents() [][]byte {
	out := [][]byte{
		event("message_start", object{"message": a.message([]any{}, nil, 1)}),
		event("content_block_start", object{"index": 0, "content_block": object{"type": "text", "text": ""}}),
	}
	for text := range pieces(a.text) {
		out = append(out, event("content_block_delta", object{"index": 0, "delta": object{"type": "text_delta", "text": text}}))
	}
	return append(out,
		event("content_block_stop", object{"index": 0}),
		event("message_delta", object{"delta": object{"stop_reason": "end_turn", "stop_sequence": nil}, "usage": object{"output_tokens": a.out}}),
		event("message_stop", object{}))
}

func (a *mockAnswer) responseEvents() [][]byte {
	var out [][]byte
	add := func(name string, v object) {
		v["sequence_number"] = len(out)
		out = append(out, event(name, v))
	}
	part := func(name string, more object) {
		v := object{"item_id": "msg_" + a.id, "output_index": 0, "content_index": 0}
		maps.Copy(v, more)
		add(name, v)
	}
	add("response.created", object{"response": a.response("in_progress")})
	add("response.in_progress", object{"response": a.response("in_progress")})
	add("response.output_item.added", object{"output_index": 0, "item": a.outputItem("in_progress", []any{})})
	part("response.content_part.added", object{"part": a.outputText("")})
	for text := range pieces(a.text) {
		part("response.output_text.delta", object{"delta": text, "logprobs": []any{}})
	}
	part("response.output_text.done", object{"text": a.text, "logprobs": []any{}})
	part("response.content_part.done", object{"part": a.outputText(a.text)})
	add("response.output_item.done", object{"output_index": 0, "item": a.outputItem("completed", []any{a.outputText(a.text)})})
	add("response.completed", object{"response": a.response("completed")})
	return out
}

// event returns a server-sent event. The data of a named event repeats its name, as Anthropic's and OpenAI's do.
func event(name string, v object) []byte {
	var head string
	if name != "" {
		v["type"] = name
		head = "event: " + name + "\n"
	}
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps of strings and numbers always encode
	}
	return slices.Concat([]byte(head), []byte("data: "), data, []byte("\n\n"))
}

// pieces cuts a text between characters.
func pieces(text string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for rest := []rune(text); len(rest) > 0; rest = rest[min(mockChunk, len(rest)):] {
			if !yield(string(rest[:min(mockChunk, len(rest))])) {
				return
			}
		}
	}
}
