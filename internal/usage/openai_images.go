package usage

// OpenAI image generations, edits and variations. Source: openai/openai-openapi's ImageGenUsage and
// ImageGenCompletedEvent. Models older than GPT's report no usage: their images are counted.
var openAIImages = &format{
	root:   openAIImagesRoot(),
	counts: openAIImagesCounts,
	ends: func(r *Reader) bool {
		k := string(r.kind.bytes())
		return k == "image_generation.completed" || k == "image_edit.completed"
	},
}

func openAIImagesRoot() *node {
	usage := openAIUsageFields()
	usage["input_tokens"] = count(inTotal)
	usage["output_tokens"] = count(outTotal)
	usage["input_tokens_details"] = openAIInputDetails()
	usage["output_tokens_details"] = openAIOutputDetails()
	data := list(object(nil))
	data.item = func(r *Reader) { r.other.add(images, 1) }
	return object(fields{
		"type":         text(toType),
		"id":           text(toID),
		"model":        text(toModel),
		"service_tier": text(toTier),
		"error":        failure(),
		"usage":        usageObject(usage),
		"data":         data,
		"svg_usage":    openAISVG(),
	})
}

// openAISVG is the node of the usage of a second model, which makes drawings.
func openAISVG() *node {
	usage := object(fields{"model": text(toScratch), "input_tokens": count(inTotal), "output_tokens": count(outTotal)})
	usage.with(fields{"input_tokens_details": openAIInputDetails(), "output_tokens_details": openAIOutputDetails()})
	usage.onOpen(func(r *Reader, b byte) {
		itemBegins(r, b)
		aside(r, b)
	})
	return usage.onDone(func(r *Reader) {
		it := back(r)
		r.noParts()
		if it.zero() {
			return
		}
		var m mapped
		openAIInput(&it, it.n[inTotal], &m)
		m.split(it.n[outTotal], Output, it.of(Reasoning, reasoning), it.of(OutputImage, outImage))
		r.part(&r.scratch, &m.Counts)
	})
}

func openAIImagesCounts(r *Reader, m *mapped) {
	t := &r.kept
	in, okIn := t.first(inTotal, prompt)
	out, okOut := t.first(outTotal, completion)
	if !okIn && !okOut {
		if n := r.other.n[images]; n > 0 && t.set == 0 {
			m.Set(Images, n)
			m.in = true
			m.note("images counted")
		}
		return
	}
	openAIInput(t, in, m)
	// What is not text is image: the details are left out by some servers.
	m.split(out, OutputImage, t.of(Output, outText))
	m.in, m.out = true, true
}
