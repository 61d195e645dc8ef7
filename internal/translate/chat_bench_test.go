package translate

import (
	"strings"
	"testing"
)

// benchStream is a stream of 500 chunks of text and a call.
var benchStream = func() string {
	list := []string{`{"role":"assistant","content":""}`}
	for range 400 {
		list = append(list, `{"content":" some text"}`)
	}
	list = append(list, toolStart("0", "A", "f", `{\"p\":\"`))
	for range 98 {
		list = append(list, toolMore("0", `more\\n`))
	}
	return chunks(append(list, toolMore("0", `\"}`), "=tool_calls", chatUsage, "[DONE]")...)
}()

func benchmarkChatStream(b *testing.B, p Pair, body string) {
	pieces := strings.SplitAfter(benchStream, "\n\n")
	b.SetBytes(int64(len(benchStream)))
	b.ReportAllocs()
	for b.Loop() {
		tr, _ := New(p, Options{Provider: "vllm", Model: "m", Upstream: "up", ID: "made"})
		if _, err := tr.Request([]byte(body)); err != nil {
			b.Fatal(err)
		}
		s := tr.Stream()
		var dst []byte
		for _, piece := range pieces {
			var err error
			if dst, err = s.Write(dst[:0], []byte(piece)); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := s.Close(dst, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(pieces)), "ns/event")
}

func BenchmarkChatStreamToMessages(b *testing.B) {
	benchmarkChatStream(b, messagesOnChatPair, `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}]}`)
}

func BenchmarkChatStreamToResponses(b *testing.B) {
	benchmarkChatStream(b, responsesToChatPair, `{"model":"m","input":"x"}`)
}
