package usage

// Gemini's generateContent and streamGenerateContent, at Google AI and at Vertex. Source: go-genai's
// GenerateContentResponseUsageMetadata. The prompt includes cached tokens, excludes those of tool results; candidates
// exclude thoughts. Zeros are left out. A stream repeats a running total and has no terminal event; without alt=sse it is
// one JSON array.
var geminiGenerate = &format{root: geminiRoot(), counts: geminiCounts, output: true, closes: true}

func geminiRoot() *node {
	part := object(fields{
		"text":           output(asOutput),
		"functionCall":   object(fields{"name": output(asOutput)}),
		"executableCode": object(fields{"code": output(asOutput)}),
	})
	candidates := list(object(fields{
		"content":      object(fields{"parts": list(part)}),
		"finishReason": finish(),
		"groundingMetadata": object(fields{
			"webSearchQueries":             list(query(asOutput)),
			"imageSearchQueries":           list(query(asPicture)),
			"groundingChunks":              list(object(fields{"maps": geminiMap()})),
			"googleMapsWidgetContextToken": geminiMap(),
		}),
	}))
	candidates.item = choiceBegins
	return object(fields{
		"modelVersion": text(toModel),
		"responseId":   text(toID),
		"error":        failure(),
		"candidates":   candidates,
		"promptFeedback": object(fields{"blockReason": finish()}).onDone(func(r *Reader) {
			r.blocked = r.blocked || r.event.finish && !r.event.choice
		}),
		"usageMetadata": geminiUsage(),
	})
}

func query(c class) *node { return &node{leaf: leafQuery, class: c} }

// geminiMap is the node of what an answer has only when it was grounded in a map.
func geminiMap() *node {
	return seen(func(r *Reader, _ byte) { r.more().grounded = true })
}

// geminiUsage is the node of a usage object.
func geminiUsage() *node {
	return usageObject(fields{
		"promptTokenCount":           count(inTotal),
		"cachedContentTokenCount":    count(cached),
		"candidatesTokenCount":       count(outTotal),
		"responseTokenCount":         count(outTotal), // Live
		"thoughtsTokenCount":         count(reasoning),
		"toolUsePromptTokenCount":    count(inTool),
		"totalTokenCount":            count(total),
		"trafficType":                text(toTier), // Vertex
		"serviceTier":                text(toTier), // Google AI
		"promptTokensDetails":        geminiModalities(inAudio, inImage, inVideo),
		"toolUsePromptTokensDetails": geminiModalities(inAudio, inImage, inVideo),
		"cacheTokensDetails":         geminiModalities(cachedAudio, cachedImage, cachedVideo),
		"candidatesTokensDetails":    geminiModalities(outAudio, outImage, outVideo),
		"responseTokensDetails":      geminiModalities(outAudio, outImage, outVideo),
	})
}

// geminiModalities is the node of a list of counts by modality. Documents count as images; text is the rest.
func geminiModalities(audio, image, video slot) *node {
	element := object(fields{"modality": text(toItem), "tokenCount": count(listed)})
	element.onOpen(func(r *Reader, _ byte) {
		r.itemType.n = 0
		r.cur.n[listed] = 0
	})
	element.onDone(func(r *Reader) {
		n := r.cur.n[listed]
		r.cur.drop(listed)
		switch string(r.itemType.bytes()) {
		case "AUDIO":
			r.cur.add(audio, n)
		case "IMAGE", "DOCUMENT":
			r.cur.add(image, n)
		case "VIDEO":
			r.cur.add(video, n)
		}
	})
	return list(element)
}

func geminiCounts(r *Reader, m *mapped) {
	t := &r.kept
	if t.set == 0 {
		if r.blocked { // zeros are left out: the prompt was blocked before the model
			m.Set(Input, 0)
			m.Set(Output, 0)
			m.in, m.out = true, true
		}
		return
	}
	m.in, m.out = true, true
	read := t.of(CacheRead, cached)
	media := [...]struct {
		all, cached slot
		fresh, read Kind
	}{
		{inAudio, cachedAudio, InputAudio, CacheReadAudio},
		{inImage, cachedImage, InputImage, CacheReadImage},
		{inVideo, cachedVideo, InputVideo, CacheReadVideo},
	}
	parts := make([]part, 0, 2*len(media)+1)
	for _, x := range media {
		hit := min(t.n[x.cached], read.n)
		read.n -= hit
		parts = append(parts,
			part{x.read, hit, t.has(x.cached)},
			part{x.fresh, max(t.n[x.all]-hit, 0), t.has(x.all)})
	}
	parts = append(parts, read)
	in := t.n[inTotal] + t.n[inTool]
	m.split(in, Input, parts...)
	out := t.n[outTotal] + t.n[reasoning]
	m.split(out, Output, t.of(Reasoning, reasoning), t.of(OutputAudio, outAudio), t.of(OutputImage, outImage), t.of(OutputVideo, outVideo))
	if t.has(total) && t.n[total] != in+out {
		m.note("totalTokenCount is not the sum of its parts")
	}
}

// Gemini's embedContent and batchEmbedContents, and Vertex AI's predict for models that embed. Source: go-genai's
// EmbedContentResponse: the models that count state usageMetadata, Vertex the tokens of each text, as floats.
var geminiEmbed = &format{root: geminiEmbedRoot(), counts: geminiEmbedCounts}

func geminiEmbedRoot() *node {
	statistics := object(fields{"tokenCount": count(listed), "token_count": count(listed)})
	statistics.onOpen(func(r *Reader, _ byte) { r.cur.drop(listed) })
	statistics.onDone(func(r *Reader) {
		if n, ok := r.cur.first(listed); ok {
			r.other.add(inTotal, n)
		}
	})
	embedding := fields{"statistics": statistics}
	return object(fields{
		"error":         failure(),
		"modelVersion":  text(toModel),
		"usageMetadata": geminiUsage(),
		"embedding":     object(embedding),
		"embeddings":    list(object(embedding)),
		"predictions":   list(object(fields{"embeddings": object(embedding)})),
	})
}

func geminiEmbedCounts(r *Reader, m *mapped) {
	if r.kept.set != 0 {
		geminiCounts(r, m)
		m.drop(Output)
		return
	}
	if n, ok := r.other.first(inTotal); ok {
		m.Set(Input, n)
		m.in = true
	}
}
