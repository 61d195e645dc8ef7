package usage

// Cohere's chat, embed and rerank of both versions, and the rerank of those made after it. Source: cohere-go's Usage and
// ApiMeta: all counts are floats. What is billed is billed_units, not tokens. A chat stream reports usage in `message-end`; one of
// v1, which is JSON objects, one a line, in the `response` of `stream-end`.
var cohereChat = &format{
	root:   cohereChatRoot(),
	counts: cohereCounts,
	ends: func(r *Reader) bool {
		kind := string(r.kind.bytes())
		return kind == "message-end" || kind == "stream-end"
	},
	part:   coherePart,
	output: true,
}

// cohereEmbed serves embed and rerank: their usage is under `meta`.
var cohereEmbed = &format{
	root: object(fields{
		"id":    text(toID),
		"model": text(toModel),
		"error": failure(),
		"meta":  cohereUsage(),
		"usage": openAIUsage(), // Jina, Voyage, vLLM
	}),
	counts: cohereCounts,
}

func cohereChatRoot() *node {
	content := object(fields{"text": output(asOutput), "thinking": output(asReasoning)})
	content.elem = content
	call := object(fields{"function": object(fields{"arguments": output(asOutput), "name": output(asOutput)})})
	call.elem = call
	message := object(fields{"content": content, "tool_plan": output(asOutput), "tool_calls": call})
	return object(fields{
		"type":    text(toType),
		"id":      text(toID),
		"model":   text(toModel),
		"error":   failure(),
		"usage":   cohereUsage(),
		"meta":    cohereUsage(),
		"message": message,
		// v1
		"event_type":      text(toType),
		"generation_id":   text(toID),
		"text":            output(asOutput),
		"tool_calls":      cohereCalls(),
		"tool_call_delta": cohereCalls(),
		"response":        object(fields{"meta": cohereUsage()}),
		"delta": object(fields{
			"message": message, "usage": cohereUsage(), "error": failure(), "finish_reason": finish(),
		}),
	})
}

// cohereCalls is the node of v1's tool calls.
func cohereCalls() *node {
	call := object(fields{"name": output(asOutput), "parameters": output(asOutput)})
	call.elem = call
	return call
}

func cohereUsage() *node {
	return usageObject(fields{
		"billed_units": object(fields{
			"input_tokens": count(inTotal), "output_tokens": count(outTotal), "search_units": count(searchUnits),
			"image_tokens": count(inImage), "images": count(images), "pages": count(pages),
		}),
		"tokens":        object(fields{"input_tokens": count(prompt), "output_tokens": count(completion)}),
		"cached_tokens": count(cached),
	})
}

func cohereCounts(r *Reader, m *mapped) {
	t := &r.kept
	in, okIn := t.first(inTotal, prompt)
	if !okIn && t.has(total) {
		in, okIn = t.n[total], true
	}
	if t.has(searchUnits) {
		m.Set(SearchUnits, t.n[searchUnits])
	}
	if t.has(images) {
		m.Set(Images, t.n[images])
	}
	if t.has(pages) {
		m.Set(Pages, t.n[pages])
	}
	if okIn {
		// Cached tokens lie within tokens, not within what is billed.
		m.split(in, Input, part{CacheRead, min(t.n[cached], in), t.has(cached) && !t.has(inTotal)})
	}
	if t.has(inImage) {
		m.Add(InputImage, t.n[inImage])
	}
	out, okOut := t.first(outTotal, completion)
	// What is billed by other units than tokens has no separate input.
	m.in, m.out = okIn || !okOut && !t.rejected && !m.Empty(), okOut
	if okOut {
		m.Set(Output, out)
	}
}
