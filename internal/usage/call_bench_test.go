package usage

import (
	"fmt"
	"strings"
	"testing"
)

// chatStream returns the events of a chat stream as OpenAI sends them, one a read: a role, 20 pieces of text, the finish,
// the usage chunk, the end.
func chatStream(call int) [][]byte {
	const event = `data: {"choices":[%s],"created":1764037200,"id":"chatcmpl-%029d","model":"gpt-4o-2024-08-06",` +
		`"obfuscation":"%s","object":"chat.completion.chunk","service_tier":"default","system_fingerprint":"fp_b28b39ffa8","usage":%s}` + "\n\n"
	const choice = `{"delta":{%s},"finish_reason":%s,"index":0,"logprobs":null}`
	var all [][]byte
	add := func(choices, usage string) {
		all = append(all, fmt.Appendf(nil, event, choices, call, "aX9dKq2"[:1+len(all)%7], usage))
	}
	add(fmt.Sprintf(choice, `"content":"","refusal":null,"role":"assistant"`, "null"), "null")
	for i := range 20 {
		add(fmt.Sprintf(choice, fmt.Sprintf(`"content":" piece %d of the text, as it is"`, i*call), "null"), "null")
	}
	add(fmt.Sprintf(choice, "", `"stop"`), "null")
	add("", `{"completion_tokens":40,"completion_tokens_details":{"accepted_prediction_tokens":0,"audio_tokens":0,"reasoning_tokens":0,"rejected_prediction_tokens":0},`+
		`"prompt_tokens":9,"prompt_tokens_details":{"audio_tokens":0,"cached_tokens":0},"total_tokens":49}`)
	return append(all, []byte("data: [DONE]\n\n"))
}

// BenchmarkStreams reads streams as the meter does, each event in one piece. Many are open at a time and each has its turn,
// so that the caches hold what they hold in a gateway. One operation is one stream, from its beginning to its result.
func BenchmarkStreams(b *testing.B) {
	const open = 256
	streams := make([][][]byte, open)
	for i := range streams {
		streams[i] = chatStream(i)
	}
	for _, strips := range []bool{true, false} {
		b.Run(map[bool]string{true: "kept from the client", false: "asked for"}[strips], func(b *testing.B) {
			b.ReportAllocs()
			readers := make([]*Reader, open)
			for b.Loop() {
				for i := range readers {
					readers[i] = NewReader(Options{API: OpenAIChat, Status: 200, ContentType: "text/event-stream; charset=utf-8"})
				}
				for at := range streams[0] {
					for i, r := range readers {
						for p := streams[i][at]; len(p) > 0; {
							n, m := r.Next(p)
							if strips && m == More && r.Holding() && p[0] != 'd' {
								b.Fatal("held")
							}
							p = p[n:]
						}
					}
				}
				for _, r := range readers {
					if res := r.Result(Estimate{InputUnits: 1000}); res.Counts.N(Output) != 40 {
						b.Fatal("wrong usage")
					}
					r.Close()
				}
			}
		})
	}
}

// BenchmarkBodies reads unstreamed answers as the meter does, many in turn. One operation is one answer.
func BenchmarkBodies(b *testing.B) {
	answers := make([][]byte, 256)
	for i := range answers {
		answers[i] = fmt.Appendf(nil, `{"choices":[{"finish_reason":"stop","index":0,"logprobs":null,"message":{"annotations":[],"content":"%s","refusal":null,"role":"assistant"}}],`+
			`"created":1764037200,"id":"chatcmpl-%029d","model":"gpt-4o-2024-08-06","object":"chat.completion","service_tier":"default","system_fingerprint":"fp_b28b39ffa8",`+
			`"usage":{"completion_tokens":40,"completion_tokens_details":{"accepted_prediction_tokens":0,"audio_tokens":0,"reasoning_tokens":0,"rejected_prediction_tokens":0},`+
			`"prompt_tokens":9,"prompt_tokens_details":{"audio_tokens":0,"cached_tokens":0},"total_tokens":49}}`,
			strings.Repeat("Some words of an answer, ", 12), i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r := NewReader(Options{API: OpenAIChat, Status: 200, ContentType: "application/json"})
		if n, m := r.Next(answers[i%len(answers)]); m != End || n == 0 {
			b.Fatal("not at its end")
		}
		if res := r.Result(Estimate{InputUnits: 1000}); res.Counts.N(Output) != 40 {
			b.Fatal("wrong usage")
		}
		r.Close()
	}
}
