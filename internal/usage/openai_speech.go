package usage

// OpenAI audio speech. Source: openai/openai-openapi's SpeechAudioDoneEvent: only a stream of events reports usage.
// Binary audio carries none; its price goes by the characters of the request.
var openAISpeech = &format{
	root: object(fields{
		"type":  text(toType),
		"error": failure(),
		"usage": usageObject(fields{
			"input_tokens": count(inTotal), "output_tokens": count(outTotal), "total_tokens": count(total),
		}),
	}),
	counts: func(r *Reader, m *mapped) {
		t := &r.kept
		if t.has(inTotal) {
			m.Set(Input, t.n[inTotal])
		}
		if t.has(outTotal) {
			m.Set(OutputAudio, t.n[outTotal])
		}
		m.in, m.out = t.has(inTotal), t.has(outTotal)
	},
	ends:   func(r *Reader) bool { return string(r.kind.bytes()) == "speech.audio.done" },
	spoken: true,
}
