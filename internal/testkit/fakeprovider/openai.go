package fakeprovider

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"net/http"
	"strings"

	"github.com/tidwall/gjson"
)

// The types in this file follow OpenAI's API schema (openai/openai-openapi, spec 2.3.0).

// at returns a matcher for that path.
func at(path string) func(string) (string, bool) {
	return func(p string) (string, bool) { return "", p == path }
}

func bearer(h http.Header) (key, missing string) {
	key, _ = strings.CutPrefix(h.Get("Authorization"), "Bearer ")
	return key, ""
}

func openAIRefusal(status int, message string) []byte {
	kind := "invalid_request_error"
	var code any
	switch {
	case status == http.StatusTooManyRequests:
		kind, code = "requests", "rate_limit_exceeded"
	case status == http.StatusUnauthorized:
		code = "invalid_api_key"
	case status >= 500:
		kind = "server_error"
	}
	return mustJSON(map[string]any{"error": map[string]any{"message": message, "type": kind, "param": nil, "code": code}})
}

const openAIBroken = `data: {"error":{"message":"The server had an error while processing your request. Sorry about that!",` +
	`"type":"server_error","param":null,"code":null}}` + "\n\n"

var openAIChat = providerAPI{
	match: at("/v1/chat/completions"), key: bearer, refusal: openAIRefusal, broken: openAIBroken, build: buildChat,
	check: func(b *providerBody) string {
		if !b.root.Get("messages").IsArray() {
			return "Missing required parameter: 'messages'."
		}
		return checkStreamOptions(b)
	},
}

var openAICompletions = providerAPI{
	match: at("/v1/completions"), key: bearer, refusal: openAIRefusal, broken: openAIBroken, build: buildChat,
	check: func(b *providerBody) string {
		if !b.root.Get("prompt").Exists() {
			return "Missing required parameter: 'prompt'."
		}
		return checkStreamOptions(b)
	},
}

var openAIEmbeddings = providerAPI{
	match: at("/v1/embeddings"), key: bearer, refusal: openAIRefusal, broken: openAIBroken, build: buildEmbeddings,
	check: func(b *providerBody) string {
		if !b.root.Get("input").Exists() {
			return "Missing required parameter: 'input'."
		}
		if b.stream || b.root.Get("stream_options").Exists() {
			return "Unrecognized request argument supplied: stream"
		}
		return ""
	},
}

// checkStreamOptions refuses stream_options where OpenAI does: without a stream, or with unknown members.
func checkStreamOptions(b *providerBody) (message string) {
	o := b.root.Get("stream_options")
	if !o.Exists() || o.Type == gjson.Null {
		return ""
	}
	if !b.stream {
		return "The 'stream_options' parameter is only allowed when 'stream' is enabled."
	}
	if !o.IsObject() {
		return "Invalid type for 'stream_options': expected an object."
	}
	seen := make(map[string]bool)
	o.ForEach(func(k, _ gjson.Result) bool {
		if name := k.String(); seen[name] || name != "include_usage" && name != "include_obfuscation" {
			message = "Unknown parameter: 'stream_options." + name + "'."
		}
		seen[k.String()] = true
		return message == ""
	})
	return message
}

func openAIUsage(u Usage) map[string]any {
	return map[string]any{
		"prompt_tokens": u.Input, "completion_tokens": u.Output, "total_tokens": u.Input + u.Output,
		"prompt_tokens_details": map[string]any{
			"cached_tokens": u.CacheRead, "cache_write_tokens": u.CacheWrite + u.CacheWrite1h, "audio_tokens": 0,
		},
		"completion_tokens_details": map[string]any{
			"reasoning_tokens": u.Reasoning, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
		},
	}
}

const madeAt = 1_760_000_000 // the same for every answer, so that answers with the same content are equal

// buildChat builds answers of chat completions and completions.
func buildChat(q providerQuery) answer {
	chat := strings.HasSuffix(q.path, "/chat/completions")
	head := func(object string) map[string]any {
		return map[string]any{
			"id": "chatcmpl-" + idMark, "object": object, "created": madeAt, "model": q.model,
			"service_tier": "default", "system_fingerprint": "fp_44709d6fcb",
		}
	}
	choice := func(i int, key string, text string, finish any) map[string]any {
		c := map[string]any{"index": i, "logprobs": nil, "finish_reason": finish}
		switch {
		case !chat:
			c["text"] = text
		case key == "message":
			c["message"] = map[string]any{"role": "assistant", "content": text, "refusal": nil, "annotations": []any{}}
		case finish != nil:
			c["delta"] = map[string]any{}
		default:
			c["delta"] = map[string]any{"content": text}
		}
		return c
	}
	object := "text_completion"
	if chat {
		object = "chat.completion"
	}
	if !q.stream {
		v := head(object)
		choices := make([]any, q.choices)
		for i := range choices {
			choices[i] = choice(i, "message", q.plan.text(1)[0], "stop")
		}
		v["choices"] = choices
		if q.noUsage {
			return bodyOf(v, nil)
		}
		v["usage"] = openAIUsage(q.plan.usage)
		return bodyOf(v, &q.plan.usage)
	}
	if chat {
		object = "chat.completion.chunk"
	}
	s := newStream()
	chunk := func(c map[string]any) {
		v := head(object)
		v["choices"] = []any{c}
		if q.includeUsage && !q.noUsage {
			v["usage"] = nil
		}
		v["obfuscation"] = "aX9dKq2"[:1+len(s.a.frames)%7]
		s.data(v)
	}
	for i := range q.choices {
		if chat {
			c := choice(i, "delta", "", nil)
			c["delta"] = map[string]any{"role": "assistant", "content": "", "refusal": nil}
			chunk(c)
		}
	}
	for i, text := range q.plan.text(q.plan.chunks) {
		chunk(choice(i%q.choices, "delta", text, nil))
	}
	for i := range q.choices {
		chunk(choice(i, "delta", "", "stop"))
	}
	if q.includeUsage && !q.noUsage {
		v := head(object)
		v["choices"] = []any{}
		v["usage"] = openAIUsage(q.plan.usage)
		s.data(v)
		s.reported(&q.plan.usage)
	}
	s.raw("data: [DONE]\n\n")
	return s.a
}

func buildEmbeddings(q providerQuery) answer {
	q.plan.usage.Output, q.plan.usage.Reasoning = 0, 0
	data := make([]any, q.inputs)
	for i := range data {
		vector := make([]float32, max(8, q.plan.bytes/16))
		raw := make([]byte, 0, 4*len(vector))
		for j := range vector {
			vector[j] = float32((i+j)%16) / 16
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(vector[j]))
		}
		var embedding any = vector
		if q.base64 {
			embedding = base64.StdEncoding.EncodeToString(raw)
		}
		data[i] = map[string]any{"object": "embedding", "index": i, "embedding": embedding}
	}
	v := map[string]any{"object": "list", "data": data, "model": q.model}
	if q.noUsage {
		return bodyOf(v, nil)
	}
	v["usage"] = map[string]any{"prompt_tokens": q.plan.usage.Input, "total_tokens": q.plan.usage.Input}
	return bodyOf(v, &q.plan.usage)
}
