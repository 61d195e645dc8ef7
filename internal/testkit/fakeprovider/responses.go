package fakeprovider

import (
	"strings"

	"github.com/tidwall/gjson"
)

// The types in this file follow the Responses API in OpenAI's API schema (openai/openai-openapi, spec 2.3.0).

const responsesBroken = "event: error\n" + `data: {"type":"error","sequence_number":99,"code":"server_error",` +
	`"message":"The server had an error while processing your request.","param":null}` + "\n\n"

func checkResponses(b *providerBody) string {
	if !b.root.Get("input").Exists() && !b.root.Get("previous_response_id").Exists() {
		return "Missing required parameter: 'input'."
	}
	if o := b.root.Get("stream_options"); o.Exists() && o.Type != gjson.Null {
		if !b.stream {
			return "The 'stream_options' parameter is only allowed when 'stream' is enabled."
		}
		if o.Get("include_usage").Exists() {
			return "Unknown parameter: 'stream_options.include_usage'."
		}
	}
	return ""
}

var openAIResponses = providerAPI{
	match: at("/v1/responses"), key: bearer, refusal: openAIRefusal, broken: responsesBroken, build: buildResponse,
	check: checkResponses,
}

// openAIResponseTools are the two utility endpoints of the Responses API: a free one counts tokens, the other one is
// billed.
var openAIResponseTools = providerAPI{
	match: func(path string) (string, bool) {
		_, counts := at("/v1/responses/input_tokens")(path)
		_, compacts := at("/v1/responses/compact")(path)
		return "", counts || compacts
	},
	key: bearer, refusal: openAIRefusal, broken: responsesBroken, check: checkResponses,
	build: func(q providerQuery) answer {
		if strings.HasSuffix(q.path, "/input_tokens") {
			return bodyOf(map[string]any{"object": "response.input_tokens", "input_tokens": q.plan.usage.Input}, nil)
		}
		v := map[string]any{
			"id": "resp_" + idMark, "object": "response.compaction", "created_at": madeAt,
			"output": []any{map[string]any{"id": "cmp_" + idMark, "type": "compaction", "encrypted_content": "gAAAAABo"}},
		}
		if q.noUsage {
			return bodyOf(v, nil)
		}
		v["usage"] = responsesUsage(q.plan.usage)
		return bodyOf(v, &q.plan.usage)
	},
}

func responsesUsage(u Usage) map[string]any {
	return map[string]any{
		"input_tokens": u.Input,
		"input_tokens_details": map[string]any{
			"cached_tokens": u.CacheRead, "cache_write_tokens": u.CacheWrite + u.CacheWrite1h,
		},
		"output_tokens":         u.Output,
		"output_tokens_details": map[string]any{"reasoning_tokens": u.Reasoning},
		"total_tokens":          u.Input + u.Output,
	}
}

func buildResponse(q providerQuery) answer {
	text := q.plan.text(1)[0]
	part := map[string]any{"type": "output_text", "annotations": []any{}, "logprobs": []any{}, "text": text}
	item := map[string]any{
		"id": "msg_" + idMark, "type": "message", "status": "completed", "role": "assistant", "content": []any{part},
	}
	response := func(status string, output []any, usage any) map[string]any {
		return map[string]any{
			"id": "resp_" + idMark, "object": "response", "created_at": madeAt, "status": status, "background": false,
			"error": nil, "incomplete_details": nil, "instructions": nil, "max_output_tokens": nil, "model": q.model,
			"output": output, "parallel_tool_calls": true, "previous_response_id": nil, "service_tier": "default",
			"store": true, "temperature": 1, "text": map[string]any{"format": map[string]any{"type": "text"}},
			"tool_choice": "auto", "tools": []any{}, "top_p": 1, "truncation": "disabled", "usage": usage, "user": nil,
			"metadata": map[string]any{},
		}
	}
	var usage any
	var reported *Usage
	if !q.noUsage {
		usage, reported = responsesUsage(q.plan.usage), &q.plan.usage
	}
	if !q.stream {
		return bodyOf(response("completed", []any{item}, usage), reported)
	}
	s := newStream()
	event := func(kind string, members map[string]any) {
		members["type"], members["sequence_number"] = kind, len(s.a.frames)
		s.event(kind, members)
	}
	of := func(members map[string]any) map[string]any {
		members["item_id"], members["output_index"], members["content_index"] = "msg_"+idMark, 0, 0
		return members
	}
	event("response.created", map[string]any{"response": response("in_progress", []any{}, nil)})
	event("response.in_progress", map[string]any{"response": response("in_progress", []any{}, nil)})
	event("response.output_item.added", map[string]any{"output_index": 0, "item": map[string]any{
		"id": "msg_" + idMark, "type": "message", "status": "in_progress", "role": "assistant", "content": []any{},
	}})
	event("response.content_part.added", of(map[string]any{"part": map[string]any{
		"type": "output_text", "annotations": []any{}, "logprobs": []any{}, "text": "",
	}}))
	for _, delta := range q.plan.text(q.plan.chunks) {
		event("response.output_text.delta", of(map[string]any{"delta": delta, "logprobs": []any{}, "obfuscation": "aX9d"}))
	}
	event("response.output_text.done", of(map[string]any{"text": text, "logprobs": []any{}}))
	event("response.content_part.done", of(map[string]any{"part": part}))
	event("response.output_item.done", map[string]any{"output_index": 0, "item": item})
	event("response.completed", map[string]any{"response": response("completed", []any{item}, usage)})
	if reported != nil {
		s.reported(reported)
	}
	return s.a
}
