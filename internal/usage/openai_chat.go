package usage

import (
	"bytes"
	"slices"
)

// OpenAI chat completions and completions, and the APIs made after them. Source: openai/openai-openapi's CompletionUsage;
// the deviations are noted where they are handled.
//
// In a stream usage comes in a separate chunk with an empty list of choices, before [DONE], if the request asked for
// it. Mistral and xAI put it on a chunk with content; vLLM, Gemini and others repeat a running total.
var openAIChat = &format{root: openAIRoot().with(fields{"choices": openAIChoices(), "web_search": zaiResults()}), counts: openAIChatCounts, output: true, strips: true, marked: true, within: true}

// openAIRoot is what all of OpenAI's older endpoints have in common.
func openAIRoot() *node {
	return object(fields{
		"id":           text(toID),
		"model":        text(toModel),
		"service_tier": text(toTier),
		"error":        failure(),
		"usage":        openAIUsage(),
		// Groq reports it here and, if asked, again as usage.
		"x_groq":          object(fields{"usage": openAIUsage(), "error": failure(), "usage_breakdown": openAIBreakdown()}),
		"usage_breakdown": openAIBreakdown(),
		"timings": apartObject(fields{ // llama.cpp, on the last chunk, also when usage was not asked for
			"prompt_n": count(timedIn), "predicted_n": count(timedOut), "cache_n": count(timedCached),
		}),
	})
}

func openAIUsage() *node {
	return usageObject(openAIUsageFields())
}

func openAIUsageFields() fields {
	return fields{
		"prompt_tokens":           count(prompt),
		"completion_tokens":       count(completion),
		"total_tokens":            count(total),
		"prompt_tokens_details":   openAIInputDetails(),
		"prompt_cache_hit_tokens": count(cacheHit), "prompt_cache_miss_tokens": count(cacheMiss), // DeepSeek
		"completion_tokens_details": openAIOutputDetails(),
		"reasoning_tokens":          count(reasoningApart), // SGLang, inside the completion; Perplexity, outside
		"num_cached_tokens":         count(cachedRoot),     // Mistral
		"cached_tokens":             count(cachedRoot),     // Moonshot
		"cached_prompt_text_tokens": count(cachedRoot),     // xAI
		"service_tier":              text(toTier),          // Mistral
		"citation_tokens":           count(citations),      // Perplexity
		"num_search_queries":        count(searches),       // Perplexity
		"search_context_size":       text(toContext),       // Perplexity
		"tool_calls_details":        perplexityTools(),
		"server_tool_use":           object(fields{"web_search_requests": count(searches)}),
		"server_tool_use_details":   object(fields{"web_search_requests": count(searches)}), // OpenRouter
		// xAI counts what succeeded.
		"server_side_tool_usage_details": object(fields{
			"web_search_calls": fee(WebSearches), "x_search_calls": fee(PostSearches), "code_interpreter_calls": fee(CodeCalls),
			"file_search_calls": fee(FileSearches), "collections_search_calls": fee(FileSearches),
			"document_search_calls": fee(AttachmentSearches), "attachment_search_calls": fee(AttachmentSearches),
		}),
		"tool_usage":           object(fields{"web_search": object(fields{"num_requests": fee(WebSearches)})}),
		"prompt_audio_seconds": millis(length),                                                                             // Mistral
		"cost":                 price(toCost).with(fields{"total_cost": price(toTotalCost), "currency": text(toCurrency)}), // OpenRouter: a number; Perplexity: an object
		"cost_details":         object(fields{"upstream_inference_cost": price(toUpstreamCost)}),
		"is_byok":              isTrue(flag),
		"cost_in_usd_ticks":    price(toTicks), // xAI
	}
}

func openAIInputDetails() *node {
	return object(fields{
		"cached_tokens":               count(cached),
		"cache_read_input_tokens":     count(cached), // Perplexity
		"cache_write_tokens":          count(written),
		"cache_write_tokens_details":  object(fields{"ttl_12h_tokens": count(written12h)}),
		"cache_creation_tokens":       count(written), // LLM Gateway
		"cache_creation_input_tokens": count(written), // Qwen
		"cache_type":                  text(toCacheType),
		"cache_creation": object(fields{
			"ephemeral_5m_input_tokens": count(written5m), "ephemeral_1h_input_tokens": count(written1h),
		}),
		"audio_tokens": count(inAudio),
		"image_tokens": count(inImage),
		"video_tokens": count(inVideo),
		"cached_tokens_details": object(fields{
			"audio_tokens": count(cachedAudio), "image_tokens": count(cachedImage), "cached_image_tokens": count(cachedImage),
		}),
	})
}

func openAIOutputDetails() *node {
	return object(fields{
		"reasoning_tokens": count(reasoning),
		"audio_tokens":     count(outAudio),
		"image_tokens":     count(outImage),
		"text_tokens":      count(outText),
	})
}

func openAIChoices() *node {
	parts := list(object(fields{"text": output(asOutput), "thinking": list(object(fields{"text": output(asReasoning)}))}))
	parts.leaf = leafOutput
	call := object(fields{"arguments": output(asOutput), "name": {leaf: leafCallName}})
	message := object(fields{
		"content":           parts,
		"refusal":           output(asOutput),
		"reasoning":         output(asReasoning),
		"reasoning_content": output(asReasoning2),
		"audio":             object(fields{"transcript": output(asOutput)}),
		"function_call":     call,
		"tool_calls":        list(object(fields{"function": call})),
		"annotations":       openAIAnnotations(),
		"executed_tools":    groqTools(),
	})
	choices := list(object(fields{
		"delta": message, "message": message, "text": output(asOutput), "finish_reason": finish(),
		"usage": usageObject(openAIUsageFields()).onDone(commitChoice), // Moonshot
	}))
	choices.item = choiceBegins
	return choices.onOpen(choicesBegin)
}

// callName takes the name of a function that the model calls. Moonshot's own search has a fee for each call; its name is not available to
// functions of clients. Source: platform.kimi.ai/docs/pricing/tools.
func (r *Reader) callName(b []byte) {
	if string(b) == "$web_search" && r.servedBy("moonshot", "moonshot.ai", "moonshot.cn") {
		x := r.more()
		x.fees.Add(WebSearches, 1)
	}
}

// zaiResults is the node of results of Z.ai's search: an answer with any has made one search.
func zaiResults() *node {
	results := list(object(fields{}))
	results.item = func(r *Reader) {
		if r.servedBy("zai", "z.ai", "bigmodel.cn") {
			r.more().zai = true
		}
	}
	return results
}

// servedBy reports whether the backend is that provider, by its name or by one of its hosts.
func (r *Reader) servedBy(provider string, hosts ...string) bool {
	return r.o.Provider == provider || slices.ContainsFunc(hosts, func(h string) bool { return servedAt(r.o.BaseURL, h) })
}

// commitChoice ends a usage object inside a choice: it counts where the answer itself has none.
func commitChoice(r *Reader) {
	if r.kept.set == 0 || r.inChoice {
		commit(r)
		r.inChoice = true
	}
}

// openAIAnnotations is the node of the notes on a message, which cite pages if the web was searched.
func openAIAnnotations() *node {
	return list(object(fields{"type": text(toItem)}).onOpen(itemBegins).onDone(func(r *Reader) {
		if string(r.itemType.bytes()) == "url_citation" {
			r.more().cited = true
		}
	}))
}

// itemBegins clears the state of the previous element.
func itemBegins(r *Reader, _ byte) {
	r.itemType.n, r.action.n, r.status.n, r.scratch.n = 0, 0, 0, 0
}

// groqTools is the node of the tools that Groq ran; a stream repeats them as they go on.
func groqTools() *node {
	tool := object(fields{"index": count(listed), "type": text(toItem), "name": text(toStatus)})
	tool.onOpen(func(r *Reader, b byte) {
		itemBegins(r, b)
		r.cur.drop(listed)
	})
	tool.onDone(func(r *Reader) {
		n, indexed := r.cur.first(listed)
		r.cur.drop(listed)
		kind := groqFee(r.itemType.bytes())
		if kind == Input {
			kind = groqFee(r.status.bytes())
		}
		if kind == Input {
			return
		}
		x := r.more()
		if indexed && n < 64 {
			if x.executed&(1<<n) != 0 {
				return
			}
			x.executed |= 1 << n
		}
		x.fees.Add(kind, 1)
	})
	return list(tool)
}

// groqFee returns the fee that a tool causes by its type or name, Input for none.
func groqFee(tool []byte) Kind {
	switch {
	case bytes.Contains(tool, []byte("search")):
		return WebSearches
	case bytes.Contains(tool, []byte("visit")), bytes.Contains(tool, []byte("open")):
		return WebFetches
	}
	return Input
}

// perplexityTools is the node of the tools of Perplexity's agents.
func perplexityTools() *node {
	calls := func(k Kind) *node { return object(fields{"invocation": feeAdded(k)}) }
	return object(fields{
		"web_search": calls(WebSearches), "search_web": calls(WebSearches), "fetch_url": calls(WebFetches), "url_fetch": calls(WebFetches),
		"image_search": calls(ImageSearches), "people_search": calls(DirectorySearches), "finance_search": calls(DirectorySearches),
		"sandbox": calls(CodeSessions),
	}).onOpen(func(r *Reader, _ byte) {
		if r.extra != nil {
			r.extra.fees = Counts{} // a running total begins again
		}
	})
}

// openAIBreakdown is the node of the usage of each model that one of Groq's systems ran: it lies within the usage around it.
func openAIBreakdown() *node {
	use := object(openAIUsageFields()).onOpen(aside)
	use.onDone(func(r *Reader) {
		it := back(r)
		var m mapped
		in, _ := it.first(prompt)
		openAIInput(&it, in, &m)
		m.split(it.n[completion], Output, it.of(Reasoning, reasoning))
		if r.scratch.n > 0 {
			r.part(&r.scratch, &m.Counts)
		}
	})
	model := object(fields{"model": text(toScratch), "usage": use}).onOpen(itemBegins)
	return object(fields{"models": list(model).onOpen(func(r *Reader, _ byte) { r.noParts() })})
}

// aside begins a usage object within, or beside, another one.
func aside(r *Reader, _ byte) { r.outer, r.cur = r.cur, tally{} }

// back ends it, and returns what it reports.
func back(r *Reader) tally {
	it := r.cur
	r.cur = r.outer
	return it
}

// choicesBegin and choiceBegins distinguish a chunk with content from the one with usage alone.
func choicesBegin(r *Reader, bracket byte) {
	r.event.choices = bracket == '['
	r.event.choice = bracket != '['
}

func choiceBegins(r *Reader) { r.event.choice = true }

// openAIChatCounts maps usage in which cached tokens lie inside the prompt, and reasoning inside the completion.
func openAIChatCounts(r *Reader, m *mapped) {
	t := &r.kept
	if t.set == 0 && r.other.set != 0 {
		llamaCounts(&r.other, m)
		return
	}
	in, okIn := t.first(prompt)
	out, okOut := t.first(completion)
	all, okAll := t.first(total)
	switch {
	case okIn:
	case t.has(cacheHit) && t.has(cacheMiss):
		in, okIn = t.n[cacheHit]+t.n[cacheMiss], true
	case okAll && all >= out && !t.rejected:
		in, okIn = all-out, true
	}
	if audio := t.n[inAudio]; okIn && okAll && audio > 0 && all == in+out+audio && (r.servedBy("mistral", "mistral.ai") || t.n[reasoning] != audio) {
		in += audio // Mistral counts audio beside the prompt
	}
	if okIn {
		openAIInput(t, in, m)
	}
	if okOut {
		openAICompletion(r, m, in, out, all, okAll && okIn)
	}
	m.in, m.out = okIn, okOut
	openAIExtras(r, m)
}

// openAIExtras maps what is counted beside tokens.
func openAIExtras(r *Reader, m *mapped) {
	t := &r.kept
	if t.context > 0 && (t.cost.n == 0 || r.o.Priced) {
		m.Set(SearchRequestsLow+Kind(t.context)-1, 1)
	}
	if t.has(searches) {
		m.Set(WebSearches, t.n[searches])
	}
	if t.has(length) {
		m.Set(Milliseconds, t.n[length])
	}
}

// openAICompletion maps the output. Whether it holds the reasoning is a habit of the provider; where the total is
// reported it decides.
func openAICompletion(r *Reader, m *mapped, in, out, all int64, okAll bool) {
	t := &r.kept
	think := t.of(Reasoning, reasoning)
	if r.servedBy("perplexity", "perplexity.ai") {
		// Deep research bills reasoning and citations beside the completion; total_tokens leaves them out.
		think = t.of(Reasoning, reasoningApart)
		m.split(out+think.n, Output, think)
		if t.has(citations) {
			m.Set(Citations, t.n[citations])
		}
		return
	}
	if !think.set {
		think = t.of(Reasoning, reasoningApart)
	}
	outside := r.servedBy("xai", "x.ai")
	if okAll {
		switch rest := all - in - out; {
		case rest == 0:
			outside = false
		case rest == think.n:
			outside = true
		case rest > 0 && !think.set && (r.servedBy("gemini", "googleapis.com") || r.o.Provider == "vertex"):
			// Gemini's OpenAI-compatible endpoint counts thoughts in the total alone.
			think, outside = part{Reasoning, rest, true}, true
		default:
			m.note("total_tokens is not the sum of its parts")
		}
	}
	if outside {
		out += think.n
	}
	m.split(out, Output, think, t.of(OutputAudio, outAudio), t.of(OutputImage, outImage))
}

// openAIInput divides an input that includes cached tokens. Where cached tokens and those of a medium together exceed it,
// they overlap: that many tokens of the medium were read from the cache.
func openAIInput(t *tally, in int64, m *mapped) {
	read := t.of(CacheRead, cached)
	if t.has(cacheHit) {
		read = t.of(CacheRead, cacheHit)
	}
	if t.has(cachedRoot) && read.n == 0 {
		read = t.of(CacheRead, cachedRoot)
	}
	if both := read.n + t.n[written] - in; both > 0 && t.n[written] > 0 && t.n[written] <= in {
		// OpenRouter: what one step of a call writes, the next one reads.
		read.n -= both
		m.note("tokens that were both written to the cache and read count as written")
	}
	media := [3]part{t.of(InputAudio, inAudio), t.of(InputImage, inImage), t.of(InputVideo, inVideo)}
	over := read.n + t.n[written] - in
	for _, p := range media {
		over += p.n
	}
	overlap := [3]part{
		{CacheReadAudio, t.n[cachedAudio], t.has(cachedAudio)},
		{CacheReadImage, t.n[cachedImage], t.has(cachedImage)},
		{kind: CacheReadVideo},
	}
	for i := range media {
		n := min(max(overlap[i].n, over), media[i].n, read.n)
		if overlap[i].n = n; n > 0 {
			overlap[i].set = true
			media[i].n -= n
			read.n -= n
			over -= n
		}
	}
	writes := CacheWrite
	if t.n[written] > 0 && !t.has(written12h) && !t.has(written5m) && !t.has(written1h) {
		writes = max(m.writes, CacheWrite)
	}
	by12h := min(t.n[written12h], t.n[written])
	by5m := min(t.n[written5m], t.n[written]-by12h)
	by1h := min(t.n[written1h], t.n[written]-by12h-by5m)
	m.split(in, Input, read, part{CacheWrite12h, by12h, by12h > 0}, part{CacheWrite5m, by5m, by5m > 0}, part{CacheWrite1h, by1h, by1h > 0},
		part{writes, t.n[written] - by12h - by5m - by1h, t.has(written) && (t.n[written] == 0 || t.n[written] > by12h+by5m+by1h)}, media[0], media[1], media[2], overlap[0], overlap[1], overlap[2])
}

// llamaCounts maps llama.cpp's own timings, in which the prompt excludes cached tokens.
func llamaCounts(t *tally, m *mapped) {
	if t.has(timedIn) {
		m.Set(Input, t.n[timedIn])
		m.in = true
	}
	if t.has(timedCached) {
		m.Set(CacheRead, t.n[timedCached])
	}
	if t.has(timedOut) {
		m.Set(Output, t.n[timedOut])
		m.out = true
	}
	m.note("counts of llama.cpp's timings")
}
