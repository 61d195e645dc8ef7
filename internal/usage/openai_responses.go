package usage

import "bytes"

// OpenAI responses and responses/compact. Source: openai/openai-openapi's ResponseUsage. Usage is at the root of a JSON
// answer and under `response` in the terminal event of a stream, which repeats the whole output and may be megabytes long.
var openAIResponses = &format{
	root:   openAIResponsesRoot(),
	counts: openAIResponsesCounts,
	ends:   openAIResponsesEnd,
	delta:  openAIResponsesDelta,
	output: true,
}

func openAIResponsesRoot() *node {
	texts := list(object(fields{"text": output(asOutput), "refusal": output(asOutput)}))
	item := fields{
		"type":      text(toItem),
		"action":    object(fields{"type": text(toAction)}),
		"content":   texts,
		"summary":   list(object(fields{"text": output(asReasoning)})),
		"arguments": output(asOutput),
		"input":     output(asOutput),
		"code":      output(asOutput),
	}
	root := openAIResponse(openAIItems(object(item)))
	return root.with(fields{
		"type":  text(toType),
		"delta": output(asDelta),
		// In a stream the output's text has passed before, as deltas.
		"response": openAIResponse(openAIItems(object(fields{"type": item["type"], "action": item["action"]}))),
	})
}

// openAIResponse is the node of a response object.
func openAIResponse(items *node) *node {
	usage := openAIUsageFields()
	usage["input_tokens"] = count(inTotal)
	usage["output_tokens"] = count(outTotal)
	usage["input_tokens_details"] = openAIInputDetails()
	usage["output_tokens_details"] = openAIOutputDetails()
	return object(fields{
		"id":           text(toID),
		"model":        text(toModel),
		"service_tier": text(toTier),
		"error":        failure(),
		"usage":        usageObject(usage),
		"output":       items,
	})
}

// openAIItems is the node of a list of output items. Searches are billed by the call and are not in the usage object;
// opening a page that was found is not a search.
func openAIItems(item *node) *node {
	item.onOpen(func(r *Reader, _ byte) { r.itemType.n, r.action.n = 0, 0 })
	item.onDone(func(r *Reader) {
		if string(r.itemType.bytes()) == "web_search_call" && (r.action.n == 0 || string(r.action.bytes()) == "search") {
			r.searches++
		}
	})
	return list(item).onOpen(func(r *Reader, _ byte) { r.searches = 0 })
}

func openAIResponsesEnd(r *Reader) bool {
	switch string(r.kind.bytes()) {
	case "response.completed", "response.incomplete":
		return true
	case "response.failed":
		r.failed = true
		return true
	}
	return false
}

// openAIResponsesDelta sorts an event's delta by the event's type.
func openAIResponsesDelta(kind []byte) class {
	switch {
	case bytes.HasPrefix(kind, []byte("response.reasoning")):
		return asReasoning
	case bytes.HasSuffix(kind, []byte("audio.delta")):
		return asNothing
	}
	return asOutput
}

func openAIResponsesCounts(r *Reader, m *mapped) {
	t := &r.kept
	if in, ok := t.first(inTotal, prompt); ok {
		openAIInput(t, in, m)
		m.in = true
	}
	if out, ok := t.first(outTotal, completion); ok {
		in, _ := t.first(inTotal, prompt)
		openAICompletion(r, m, in, out, t.n[total], t.has(total) && m.in)
		m.out = true
	}
	openAIExtras(t, m)
	if r.searches > 0 {
		m.Set(WebSearches, r.searches)
	}
}
