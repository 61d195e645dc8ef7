package usage

import "maps"

// Anthropic messages. Source: anthropic-sdk-go's Usage and MessageDeltaUsage. Input excludes both cache counters. A
// stream reports usage in message_start, under `message`, and a running total in each message_delta.
var anthropicMessages = &format{
	root:   object(anthropicFields()),
	counts: anthropicCounts,
	ends:   func(r *Reader) bool { return string(r.kind.bytes()) == "message_stop" },
	part:   anthropicPart,
	output: true,
}

func anthropicFields() fields {
	content := list(object(fields{"text": output(asOutput), "thinking": output(asReasoning)}))
	content.item = func(r *Reader) { r.begun = true }
	return fields{
		"type":          text(toType),
		"id":            text(toID),
		"model":         text(toModel),
		"error":         failure(),
		"usage":         anthropicUsage().onDone(anthropicDelta),
		"message":       object(fields{"id": text(toID), "model": text(toModel), "usage": anthropicUsage().onDone(anthropicStart)}),
		"stop_reason":   {leaf: leafStop},
		"content":       content,
		"content_block": object(fields{"type": text(toItem)}).onOpen(func(r *Reader, b byte) { r.begun = true; itemBegins(r, b) }),
		"delta": object(fields{
			"text": output(asOutput), "thinking": output(asReasoning), "partial_json": output(asOutput), "stop_reason": {leaf: leafStop},
		}),
	}
}

// anthropicCounters are the counters of a usage object and of each of its iterations.
func anthropicCounters() fields {
	return fields{
		"input_tokens":                count(inTotal),
		"output_tokens":               count(outTotal),
		"cache_read_input_tokens":     count(cached),
		"cache_creation_input_tokens": count(written),
		"cache_creation": object(fields{
			"ephemeral_5m_input_tokens": count(written5m), "ephemeral_1h_input_tokens": count(written1h),
		}),
	}
}

func anthropicUsage() *node {
	f := anthropicCounters()
	maps.Copy(f, fields{
		"output_tokens_details": object(fields{"thinking_tokens": count(reasoning)}),
		"server_tool_use":       object(fields{"web_search_requests": count(searches)}),
		"service_tier":          text(toTier),
		"inference_geo":         text(toGeo),
		"speed":                 text(toSpeed),
		"iterations":            anthropicIterations(),
		// OpenRouter's and xAI's answers in this shape name their cost.
		"cost":              price(toCost),
		"cost_details":      object(fields{"upstream_inference_cost": price(toUpstreamCost)}),
		"is_byok":           isTrue(flag),
		"cost_in_usd_ticks": price(toTicks),
	})
	return object(f).onOpen(begin)
}

// iterated are the counters that iterations have.
var iterated = [...]slot{inTotal, outTotal, cached, written, written5m, written1h}

// anthropicIterations sums the iterations of one answer. The counters around them exclude compaction, so if
// there was one, the sums are what is billed. An adviser is another model, whose usage is reported beside the
// counters.
func anthropicIterations() *node {
	f := anthropicCounters()
	f["type"], f["model"] = text(toItem), text(toScratch)
	element := object(f)
	element.onOpen(func(r *Reader, b byte) {
		aside(r, b)
		itemBegins(r, b)
	})
	element.onDone(func(r *Reader) {
		it := back(r)
		r.cur.rejected = r.cur.rejected || it.rejected
		switch string(r.itemType.bytes()) {
		case "advisor_message":
			if it.zero() {
				return
			}
			var m mapped
			anthropicTokens(&it, &m, true)
			r.part(&r.scratch, &m.Counts)
			return
		case "fallback_message":
			r.name(toModel, r.scratch.bytes()) // the model that answered, which the start of the stream may not name
		case "compaction":
			r.sums.put(flag, 1)
		}
		for _, s := range iterated {
			if it.has(s) {
				r.sums.add(s, it.n[s])
			}
		}
	})
	return list(element).onOpen(func(r *Reader, _ byte) {
		r.sums = tally{}
		r.noParts()
	})
}

// compacted replaces the counters with the sums over all iterations if there was a compaction.
func compacted(r *Reader) {
	if !r.sums.has(flag) {
		return
	}
	r.cur.rejected = r.cur.rejected || r.sums.rejected
	for _, s := range iterated {
		if r.sums.has(s) {
			r.cur.put(s, r.sums.n[s])
		} else if r.sums.beyond&(1<<s) != 0 {
			r.cur.drop(s)
		}
	}
	r.sums = tally{}
}

// anthropicStart keeps the usage of message_start.
func anthropicStart(r *Reader) {
	compacted(r)
	if !r.delta && r.cur.set|r.kept.set != 0 && (r.kept.set == 0 || !r.cur.zero()) {
		r.kept = r.cur
	}
}

// anthropicDelta lays the usage of message_delta over what is known, as the SDK does: each counter that is present
// overwrites. Taking the larger one would count twice where message_start holds an estimate. One guard is added: some
// gateways make up a message_delta without any input; it does not wipe out the input of message_start.
func anthropicDelta(r *Reader) {
	compacted(r)
	c, k := &r.cur, &r.kept
	input := [...]slot{inTotal, cached, written, written5m, written1h}
	var was, is int64
	for _, s := range input {
		was += k.n[s]
		is += c.n[s]
	}
	keep := is == 0 && was > 0
	if hits := c.n[cached] + c.n[written]; hits > 0 && !c.has(inTotal) && k.n[cached]+k.n[written] == 0 && !r.delta {
		// Alibaba and similar providers: the start has the whole prompt, and the cached part of it comes only at the end.
		k.put(inTotal, max(k.n[inTotal]-hits, 0))
	}
	if keep && c.has(inTotal) && c.zero() {
		return
	}
	for s := range numSlots {
		if !c.has(s) {
			continue
		}
		if keep && (s == inTotal || s == cached || s == written || s == written5m || s == written1h) {
			continue
		}
		k.put(s, c.n[s])
	}
	k.rejected = k.rejected || c.rejected
	if c.cost.n > 0 {
		k.cost, k.costKind = c.cost, c.costKind
	}
	if c.upstream.n > 0 {
		k.upstream = c.upstream
	}
	if c.has(outTotal) {
		r.delta, r.event.kept = true, true
	}
}

func anthropicCounts(r *Reader, m *mapped) {
	if r.refused && !r.begun {
		// The counters are those of the refusal, which is not billed. Source: platform.claude.com/docs, "Handle streaming refusals",
		// and the Bedrock user guide.
		m.Set(Input, 0)
		m.Set(Output, 0)
		m.in, m.out = true, true
		m.note("refused before any output: Anthropic bills nothing")
		return
	}
	anthropicTokens(&r.kept, m, r.delta)
	if t := &r.kept; t.has(searches) {
		m.Set(WebSearches, t.n[searches])
	}
}

// anthropicTokens maps the tokens of a usage object; final: its output is complete.
func anthropicTokens(t *tally, m *mapped, final bool) {
	if t.has(inTotal) || t.has(cached) || t.has(written) {
		m.in = true
		m.Set(Input, t.n[inTotal])
	}
	if t.has(cached) {
		m.Set(CacheRead, t.n[cached])
	}
	if t.has(written5m) || t.has(written1h) {
		// The split is a breakdown of the writes; where they disagree the writes count.
		all, ok := t.first(written)
		if !ok {
			all = t.n[written5m] + t.n[written1h]
		}
		left := all - min(all, t.n[written5m]+t.n[written1h])
		m.split(all-left, CacheWrite, t.of(CacheWrite5m, written5m), t.of(CacheWrite1h, written1h))
		m.Add(CacheWrite, left)
		if m.N(CacheWrite) == 0 {
			m.drop(CacheWrite)
		}
	} else if t.has(written) {
		m.Set(CacheWrite, t.n[written])
	}
	switch out, ok := t.first(outTotal); {
	case ok && final:
		m.out = true
		// The count of thinking tokens is the provider's approximation: it divides the output and never adds to it.
		m.split(out, Output, part{Reasoning, min(t.n[reasoning], out), t.has(reasoning)})
	case ok:
		m.floor = out
	}
}
