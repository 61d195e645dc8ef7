package usage

// OpenAI chat completions and completions, and the APIs made after them. Source: openai/openai-openapi's CompletionUsage;
// the deviations are noted where they are handled.
//
// In a stream usage comes in a chunk of its own with an empty list of choices, before [DONE], if the request asked for
// it. Mistral and xAI put it on a chunk with content; vLLM, Gemini and others repeat a running total.
var openAIChat = &format{root: openAIRoot().with(fields{"choices": openAIChoices()}), counts: openAIChatCounts, output: true, strips: true}

// openAIRoot is what all of OpenAI's older endpoints have in common.
func openAIRoot() *node {
	return object(fields{
		"id":           text(toID),
		"model":        text(toModel),
		"service_tier": text(toTier),
		"error":        failure(),
		"usage":        openAIUsage(),
		"x_groq":       object(fields{"usage": openAIUsage(), "error": failure()}), // Groq says it here and, if asked, again as usage
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
		"citation_tokens":           count(citations),      // Perplexity
		"num_search_queries":        count(searches),       // Perplexity
		"server_tool_use":           object(fields{"web_search_requests": count(searches)}),
		"prompt_audio_seconds":      millis(length),                                                                             // Mistral
		"cost":                      price(toCost).with(fields{"total_cost": price(toTotalCost), "currency": text(toCurrency)}), // OpenRouter: a number; Perplexity: an object
		"cost_details":              object(fields{"upstream_inference_cost": price(toUpstreamCost)}),
		"is_byok":                   isTrue(flag),
		"cost_in_usd_ticks":         price(toTicks), // xAI
	}
}

func openAIInputDetails() *node {
	return object(fields{
		"cached_tokens":           count(cached),
		"cache_read_input_tokens": count(cached), // Perplexity
		"cache_write_tokens":      count(written),
		"audio_tokens":            count(inAudio),
		"image_tokens":            count(inImage),
		"video_tokens":            count(inVideo),
		"cached_tokens_details":   object(fields{"audio_tokens": count(cachedAudio), "image_tokens": count(cachedImage)}),
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
	call := object(fields{"arguments": output(asOutput), "name": output(asOutput)})
	message := object(fields{
		"content":           parts,
		"refusal":           output(asOutput),
		"reasoning":         output(asReasoning),
		"reasoning_content": output(asReasoning2),
		"audio":             object(fields{"transcript": output(asOutput)}),
		"function_call":     call,
		"tool_calls":        list(object(fields{"function": call})),
	})
	choices := list(object(fields{
		"delta": message, "message": message, "text": output(asOutput), "finish_reason": finish(),
	}))
	choices.item, choices.light = choiceBegins, true
	return choices.onOpen(choicesBegin)
}

// choicesBegin and choiceBegins tell a chunk with content from the one that carries nothing but usage.
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
	if okIn {
		openAIInput(t, in, m)
	}
	if okOut {
		openAICompletion(r, m, in, out, all, okAll && okIn)
	}
	m.in, m.out = okIn, okOut
	openAIExtras(t, m)
}

// openAIExtras maps what is counted beside tokens.
func openAIExtras(t *tally, m *mapped) {
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
	if r.o.Provider == "perplexity" {
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
	outside := r.o.Provider == "xai"
	if okAll {
		switch rest := all - in - out; {
		case rest == 0:
			outside = false
		case rest == think.n:
			outside = true
		case rest > 0 && !think.set && (r.o.Provider == "gemini" || r.o.Provider == "vertex"):
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
	m.split(in, Input, read, t.of(CacheWrite, written), media[0], media[1], media[2], overlap[0], overlap[1], overlap[2])
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
