package usage

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// benchmark feeds answer in pieces of 32 KiB, as a proxy does. It reports the best run, and its time as a multiple of what
// bytes.Index needs to pass over the same bytes: both are the least disturbed by whatever else the machine does.
func benchmark(b *testing.B, o Options, answer []byte, want int64) {
	b.Helper()
	o.Status = 200
	read := func() {
		r := NewReader(o)
		for p := answer; len(p) > 0; {
			q := p[:min(len(p), 32<<10)]
			for len(q) > 0 {
				n, _ := r.Next(q)
				q = q[n:]
				p = p[n:]
			}
		}
		if r.kept.n[prompt]+r.kept.n[inTotal] != want {
			b.Fatal("wrong usage")
		}
		r.Close()
	}
	read()
	b.SetBytes(int64(len(answer)))
	b.ReportAllocs()
	best, index := time.Hour, time.Hour
	for b.Loop() {
		start := time.Now()
		read()
		best = min(best, time.Since(start))
		b.StopTimer()
		start = time.Now()
		if bytes.Index(answer, []byte("\x00\x00")) >= 0 {
			b.Fatal("found")
		}
		index = min(index, time.Since(start))
		b.StartTimer()
	}
	b.ReportMetric(float64(len(answer))/float64(best.Nanoseconds())*1000, "best-MB/s")
	b.ReportMetric(float64(best)/float64(index), "x/bytes.Index")
}

var words = strings.Fields("the of and to in is that for it as was with be by on not he I this are or his from at which but have an they " +
	"tokens measured \\\"quoted\\\" line\\n\\n größer 你好 stream, answer. exactly")

func prose(r *rand.Rand, size int) string {
	var b strings.Builder
	for b.Len() < size {
		b.WriteString(words[r.IntN(len(words))])
		b.WriteByte(' ')
	}
	return b.String()
}

func BenchmarkJSON(b *testing.B) {
	const size = 10 << 20
	r := rand.New(rand.NewPCG(1, 2))
	raw := make([]byte, size*3/4)
	for i := range raw {
		raw[i] = byte(r.Uint32())
	}
	image := fmt.Appendf(nil, `{"created":1,"data":[{"b64_json":"%s"}],"usage":{"input_tokens":7,"output_tokens":9,"total_tokens":16}}`, base64.StdEncoding.EncodeToString(raw))

	var vectors bytes.Buffer
	vectors.WriteString(`{"object":"list","data":[`)
	for i := 0; vectors.Len() < size; i++ {
		if i > 0 {
			vectors.WriteByte(',')
		}
		fmt.Fprintf(&vectors, `{"object":"embedding","index":%d,"embedding":[`, i)
		for j := range 1536 {
			if j > 0 {
				vectors.WriteByte(',')
			}
			fmt.Fprintf(&vectors, "%.9g", (r.Float64()-0.5)/10)
		}
		vectors.WriteString("]}")
	}
	vectors.WriteString(`],"model":"text-embedding-3-small","usage":{"prompt_tokens":7,"total_tokens":7}}`)

	chat := fmt.Appendf(nil, `{"id":"x","object":"chat.completion","model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"%s"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":9,"total_tokens":16}}`, prose(r, size))

	b.Run("image", func(b *testing.B) { benchmark(b, Options{API: OpenAIImages}, image, 7) })
	b.Run("embeddings", func(b *testing.B) { benchmark(b, Options{API: OpenAIEmbeddings}, vectors.Bytes(), 7) })
	b.Run("chat", func(b *testing.B) { benchmark(b, Options{API: OpenAIChat}, chat, 7) })
}

func BenchmarkSSE(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	var chat, responses, anthropic bytes.Buffer
	for chat.Len() < 4<<20 {
		fmt.Fprintf(&chat, `data: {"id":"chatcmpl-123","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o","choices":[{"index":0,"delta":{"content":%q},"finish_reason":null}],"usage":null,"obfuscation":"%s"}`+"\n\n",
			words[r.IntN(20)], "abcdefghijklmnop"[:r.IntN(16)])
	}
	chat.WriteString("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":9,\"total_tokens\":16}}\n\ndata: [DONE]\n\n")
	for i := 0; responses.Len() < 4<<20; i++ {
		fmt.Fprintf(&responses, "event: response.output_text.delta\ndata: "+`{"type":"response.output_text.delta","content_index":0,"item_id":"msg_123","output_index":0,"sequence_number":%d,"delta":%q,"logprobs":[]}`+"\n\n", i, words[r.IntN(20)])
	}
	responses.WriteString("data: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":7,\"output_tokens\":9}}}\n\n")
	fmt.Fprintf(&anthropic, "data: "+`{"type":"message_start","message":{"id":"msg_1","model":"claude","usage":{"input_tokens":7,"output_tokens":1}}}`+"\n\n")
	for anthropic.Len() < 4<<20 {
		fmt.Fprintf(&anthropic, "event: content_block_delta\ndata: "+`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":%q}}`+"\n\n", prose(r, 60))
	}
	anthropic.WriteString("data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":9}}\n\ndata: {\"type\":\"message_stop\"}\n\n")

	b.Run("chat", func(b *testing.B) { benchmark(b, Options{API: OpenAIChat}, chat.Bytes(), 7) })
	b.Run("responses", func(b *testing.B) { benchmark(b, Options{API: OpenAIResponses}, responses.Bytes(), 7) })
	b.Run("anthropic", func(b *testing.B) { benchmark(b, Options{API: AnthropicMessages}, anthropic.Bytes(), 7) })
}
