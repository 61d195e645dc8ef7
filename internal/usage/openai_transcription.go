package usage

// OpenAI audio transcriptions and translations. Source: openai/openai-openapi's TranscriptTextUsageTokens (whose details
// are named in the singular) and TranscriptTextUsageDuration (seconds, as a float). verbose_json also has the duration at
// its root. Plain text answers report nothing.
var openAITranscription = &format{
	root: object(fields{
		"type":     text(toType),
		"id":       text(toID),
		"model":    text(toModel),
		"error":    failure(),
		"text":     output(asWhole), // the whole text, also after deltas
		"delta":    output(asOutput),
		"duration": {leaf: leafMillisApart, slot: length},
		"usage": usageObject(fields{
			"input_tokens":         count(inTotal),
			"output_tokens":        count(outTotal),
			"total_tokens":         count(total),
			"input_token_details":  object(fields{"audio_tokens": count(inAudio), "cached_tokens": count(cached)}),
			"input_tokens_details": openAIInputDetails(),
			"prompt_tokens":        count(prompt), // Mistral
			"completion_tokens":    count(completion),
			"prompt_audio_seconds": millis(length),
			"seconds":              millis(length),
		}),
	}),
	counts: openAITranscriptionCounts,
	ends:   func(r *Reader) bool { return string(r.kind.bytes()) == "transcript.text.done" },
	output: true,
}

// TranscriptionReports reports whether a transcription in a format (response_format; empty is json) holds the length of the recording
// or its tokens: subtitles end with a time, verbose_json and diarized_json state a duration, and json states usage at OpenAI, Azure,
// Mistral, OpenRouter and vLLM. Groq's, Together's and Fireworks' json is the text alone, as plain text is everywhere.
func TranscriptionReports(provider, baseURL, format string) bool {
	switch format {
	case "verbose_json", "diarized_json", "srt", "vtt":
		return true
	case "", "json":
	default:
		return false
	}
	switch provider {
	case "azure", "mistral", "openrouter", "vllm":
		return true
	case "openai": // also any server with OpenAI's API
		return !servedAt(baseURL, "groq.com") && !servedAt(baseURL, "together.xyz") && !servedAt(baseURL, "together.ai") && !servedAt(baseURL, "fireworks.ai")
	}
	return false
}

func openAITranscriptionCounts(r *Reader, m *mapped) {
	t := &r.kept
	in, okIn := t.first(inTotal, prompt)
	out, okOut := t.first(outTotal, completion)
	if okIn {
		openAIInput(t, in, m)
	}
	if okOut {
		m.Set(Output, out)
	}
	m.in, m.out = okIn, okOut
	if t.has(length) {
		m.Set(Milliseconds, t.n[length])
	} else if r.other.has(length) && !okIn {
		m.Set(Milliseconds, r.other.n[length])
	}
	if _, ok := m.Get(Milliseconds); ok && !okIn && !okOut {
		m.in, m.out = true, true
	}
}
