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
