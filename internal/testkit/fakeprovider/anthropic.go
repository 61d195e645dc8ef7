package fakeprovider

import (
	"net/http"

	"github.com/tidwall/gjson"
)

// The types in this file follow Anthropic's Messages API, as defined in anthropics/anthropic-sdk-go.

const anthropicBroken = "event: error\n" +
	`data: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":null}` + "\n\n"

func anthropicKey(h http.Header) (key, missing string) {
	if h.Get("Anthropic-Version") == "" {
		missing = "anthropic-version: header is required"
	}
	return h.Get("X-Api-Key"), missing
}

func anthropicRefusal(status int, message string) []byte {
	kind := "invalid_request_error"
	switch {
	case status == http.StatusUnauthorized:
		kind = "authentication_error"
	case status == http.StatusNotFound:
		kind = "not_found_error"
	case status == http.StatusTooManyRequests:
		kind = "rate_limit_error"
	case status == 529:
		kind = "overloaded_error"
	case status >= 500:
		kind = "api_error"
	}
	return mustJSON(map[string]any{"type": "error", "error": map[string]any{"type": kind, "message": message}, "request_id": nil})
}

var anthropicMessages = providerAPI{
	match: at("/v1/messages"), key: anthropicKey, refusal: anthropicRefusal, broken: anthropicBroken, build: buildMessage,
	check: func(b *providerBody) string {
		if b.root.Get("max_tokens").Type != gjson.Number {
			return "max_tokens: Field required"
		}
		return checkMessages(b)
	},
}

var anthropicCountTokens = providerAPI{
	match: at("/v1/messages/count_tokens"), key: anthropicKey, refusal: anthropicRefusal, broken: anthropicBroken,
	check: checkMessages,
	build: func(q providerQuery) answer {
		return bodyOf(map[string]any{"input_tokens": q.plan.usage.Input}, nil)
	},
}

func checkMessages(b *providerBody) string {
	if !b.root.Get("messages").IsArray() {
		return "messages: Field required"
	}
	for _, foreign := range []string{"stream_options", "n", "user"} {
		if b.root.Get(foreign).Exists() {
			return foreign + ": Extra inputs are not permitted"
		}
	}
	return ""
}

// anthropicUsage returns the usage as Anthropic reports it: input_tokens exclude cache reads and writes.
func anthropicUsage(u Usage, output int64) map[string]any {
	return map[string]any{
		"input_tokens":                u.Input - u.CacheRead - u.CacheWrite - u.CacheWrite1h,
		"cache_creation_input_tokens": u.CacheWrite + u.CacheWrite1h,
		"cache_read_input_tokens":     u.CacheRead,
		"cache_creation": map[string]any{
			"ephemeral_5m_input_tokens": u.CacheWrite, "ephemeral_1h_input_tokens": u.CacheWrite1h,
		},
		"output_tokens": output, "service_tier": "standard",
	}
}

func buildMessage(q providerQuery) answer {
	message := func(content []any, stop any, usage any) map[string]any {
		v := map[string]any{
			"id": "msg_" + idMark, "type": "message", "role": "assistant", "model": q.model, "content": content,
			"stop_reason": stop, "stop_sequence": nil,
		}
		if !q.noUsage {
			v["usage"] = usage
		}
		return v
	}
	u := q.plan.usage
	if !q.stream {
		content := []any{map[string]any{"type": "text", "text": q.plan.text(1)[0]}}
		reported := &q.plan.usage
		if q.noUsage {
			reported = nil
		}
		return bodyOf(message(content, "end_turn", anthropicUsage(u, u.Output)), reported)
	}
	s := newStream()
	event := func(kind string, members map[string]any) {
		members["type"] = kind
		s.event(kind, members)
	}
	event("message_start", map[string]any{"message": message([]any{}, nil, anthropicUsage(u, min(1, u.Output)))})
	event("content_block_start", map[string]any{"index": 0, "content_block": map[string]any{"type": "text", "text": ""}})
	event("ping", map[string]any{})
	for _, text := range q.plan.text(q.plan.chunks) {
		event("content_block_delta", map[string]any{"index": 0, "delta": map[string]any{"type": "text_delta", "text": text}})
	}
	event("content_block_stop", map[string]any{"index": 0})
	end := map[string]any{"delta": map[string]any{"stop_reason": "end_turn", "stop_sequence": nil}}
	if !q.noUsage {
		// The schema's MessageDeltaUsage has neither the split of cache writes nor the tier.
		usage := anthropicUsage(u, u.Output)
		delete(usage, "cache_creation")
		delete(usage, "service_tier")
		end["usage"] = usage
	}
	event("message_delta", end)
	if !q.noUsage {
		s.reported(&q.plan.usage)
	}
	event("message_stop", map[string]any{})
	return s.a
}
