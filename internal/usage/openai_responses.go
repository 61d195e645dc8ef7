package usage

import "bytes"

// OpenAI responses and responses/compact. Source: openai/openai-openapi's ResponseUsage. Usage is at the root of a JSON
// answer and under `response` in the terminal event of a stream, which repeats the whole output and may be megabytes long.
var openAIResponses = &format{
	root:   openAIResponsesRoot(),
	counts: openAIResponsesCounts,
	ends:   openAIResponsesEnd,
	part:   openAIResponsesPart,
	delta:  openAIResponsesDelta,
	output: true,
}

func openAIResponsesRoot() *node {
	texts := list(object(fields{"text": output(asOutput), "refusal": output(asOutput)}))
	item := fields{
		"type":         text(toItem),
		"action":       object(fields{"type": text(toAction)}),
		"status":       text(toStatus),
		"container_id": text(toScratch),
		"environment":  object(fields{"container_id": text(toScratch)}),
		"content":      texts,
		"summary":      list(object(fields{"text": output(asReasoning)})),
		"arguments":    output(asOutput),
		"input":        output(asOutput),
		"code":         output(asOutput),
	}
	root := openAIResponse(openAIItems(object(item)))
	return root.with(fields{
		"type":  text(toType),
		"delta": output(asDelta),
		// In a stream the output's text has passed before, as deltas.
		"response": openAIResponse(openAIItems(openAIItem())),
		"item":     openAIDoneItem(),
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
		"id":                   text(toID),
		"model":                text(toModel),
		"service_tier":         text(toTier),
		"error":                failure(),
		"usage":                usageObject(usage),
		"prompt_cache_options": object(fields{"ttl": text(toTTL)}),
		"output":               items,
		"tools":                openAITools(),
		"tool_usage": object(fields{
			"web_search": object(fields{"num_requests": fee(WebSearches)}),
			"image_gen":  openAIImageTool(),
		}),
	})
}

// openAITools is the node of the tools that an answer repeats from its request: it names the model of the image tool, the memory
// of containers, and the version of the tool that searches.
func openAITools() *node {
	memory := object(fields{"memory_limit": text(toStatus)})
	tool := object(fields{"type": text(toItem), "model": text(toScratch), "container": memory, "environment": memory}).onOpen(itemBegins)
	return list(tool.onDone(func(r *Reader) {
		kind := r.itemType.bytes()
		switch {
		case string(kind) == "image_generation" && r.scratch.n > 0:
			r.more().toolModel = r.scratch
		case bytes.HasPrefix(kind, []byte("web_search_preview")):
			r.more().preview = true
		case bytes.HasPrefix(kind, []byte("web_search")):
			r.more().plain = true
		case r.status.n > 1:
			size, ok := parseCount(bytes.TrimRight(r.status.bytes(), "gG"))
			if ok && size <= 1024 {
				r.more().gigabytes = size
			}
		}
	}))
}

// openAIImageTool is the node of what the hosted image tool used, beside the usage of the answer's own model.
func openAIImageTool() *node {
	usage := object(fields{
		"input_tokens":          count(inTotal),
		"output_tokens":         count(outTotal),
		"input_tokens_details":  openAIInputDetails(),
		"output_tokens_details": openAIOutputDetails(),
		"cached_tokens":         count(cached),
		"cached_tokens_details": object(fields{"cached_image_tokens": count(cachedImage)}),
	}).onOpen(aside)
	return usage.onDone(func(r *Reader) {
		it := back(r)
		r.noParts()
		if it.zero() {
			return
		}
		var m mapped
		openAIInput(&it, it.n[inTotal], &m)
		m.split(it.n[outTotal], OutputImage, it.of(Output, outText))
		r.part(new(name), &m.Counts)
	})
}

// openAIItem is the node of an output item as far as fees go.
func openAIItem() *node {
	container := fields{"container_id": text(toScratch)}
	return object(fields{
		"type": text(toItem), "action": object(fields{"type": text(toAction)}), "status": text(toStatus),
		"container_id": container["container_id"], "environment": object(container),
	})
}

// openAIDoneItem is the node of the item of an event: it counts once it is done, until the answer's own list comes.
func openAIDoneItem() *node {
	item := openAIItem().onOpen(itemBegins)
	return item.onDone(func(r *Reader) {
		if string(r.kind.bytes()) == "response.output_item.done" {
			r.item()
		}
	})
}

// openAIItems is the node of a list of output items.
func openAIItems(item *node) *node {
	item.onOpen(itemBegins)
	item.onDone((*Reader).item)
	return list(item).onOpen(func(r *Reader, _ byte) { r.searches, r.fileSearches = 0, 0 })
}

// item counts an output item that has a fee. Searches are billed by the call, and opening a page that was found is not one;
// containers are billed by the session.
func (r *Reader) item() {
	if s := string(r.status.bytes()); s != "" && s != "completed" {
		return
	}
	switch string(r.itemType.bytes()) {
	case "web_search_call":
		if r.action.n == 0 || string(r.action.bytes()) == "search" {
			r.searches++
		}
	case "file_search_call":
		r.fileSearches++
	case "code_interpreter_call", "shell_call":
		if r.scratch.n > 0 {
			r.more().containers.add(hash(hashBegin, r.scratch.bytes()))
		}
	}
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
	openAIExtras(r, m)
	if r.searches > 0 {
		m.Set(WebSearches, r.searches)
	}
	if r.fileSearches > 0 {
		m.Set(FileSearches, r.fileSearches)
	}
}
