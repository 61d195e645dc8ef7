package usage

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestCompressedIsNotRead compresses every case: usage is never read out of such bytes, by chance or otherwise. What is
// billed then is the request, as an estimate that says why.
func TestCompressedIsNotRead(t *testing.T) {
	for _, g := range goldens(t) {
		if g.API == NotBillable || g.Status >= 400 || strings.Contains(g.ContentType, "eventstream") || strings.HasPrefix(g.ContentType, "audio/") ||
			g.API == OpenAITranscription && strings.HasPrefix(g.ContentType, "text/") || strings.HasPrefix(g.ContentType, "application/octet-stream") {
			continue
		}
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, err := w.Write(g.bytes(t))
		require.NoError(t, err)
		require.NoError(t, w.Close())
		o := g.options()
		o.Tier = ""
		for at := range b.Bytes() {
			got := play(t, o, Estimate{InputUnits: 2100}, b.Bytes(), at)
			require.Equal(t, map[string]int64{"input": 3}, kindsOf(got.result.Counts), g.Name)
			require.Equal(t, Estimated, got.result.Source, g.Name)
			require.Contains(t, got.result.How, "the answer is compressed", g.Name)
			require.Empty(t, got.end, g.Name)
			require.Zero(t, got.usageOnly, g.Name)
		}
	}
}

// TestLargeAnswers reads answers of megabytes, with usage at their end, cut into random pieces.
func TestLargeAnswers(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	raw := make([]byte, 3<<20)
	for i := range raw {
		raw[i] = byte(rnd.Uint32())
	}
	image := base64.StdEncoding.EncodeToString(raw) // 4 MB
	var vectors strings.Builder
	for vectors.Len() < 5<<20 {
		fmt.Fprintf(&vectors, `{"object":"embedding","index":0,"embedding":[%.9g,%.9g,-1e-05]},`, rnd.Float64(), -rnd.Float64())
	}
	text := strings.Repeat(`a \"usage\": {\"input_tokens\": 900} `, 100_000)
	const imageUsage = `"usage":{"input_tokens":9,"output_tokens":2,"total_tokens":11,"input_tokens_details":{"text_tokens":9,"image_tokens":0}}`
	for name, c := range map[string]struct {
		o      Options
		answer string
	}{
		"image event": {
			Options{API: OpenAIImages, ContentType: "text/event-stream"},
			"event: image_generation.completed\ndata: " + `{"type":"image_generation.completed","b64_json":"` + image + `",` + imageUsage + "}\n\n",
		},
		"images": {
			Options{API: OpenAIImages, ContentType: "application/json"},
			`{"created":1,"data":[{"b64_json":"` + image + `"},{"b64_json":"` + image + `"}],` + imageUsage + "}",
		},
		"embeddings": {
			Options{API: OpenAIEmbeddings, ContentType: "application/json"},
			`{"object":"list","data":[` + strings.TrimSuffix(vectors.String(), ",") + `],"model":"m","usage":{"prompt_tokens":11,"total_tokens":11}}`,
		},
		"responses, terminal event": {
			Options{API: OpenAIResponses, ContentType: "text/event-stream"},
			"data: " + `{"type":"response.completed","response":{"id":"r","model":"m","output":[{"type":"message","content":[{"type":"output_text","text":"` + text +
				`"}]},{"type":"image_generation_call","result":"` + image + `"}],"usage":{"input_tokens":9,"output_tokens":2,"total_tokens":11}}}` + "\n\n",
		},
		"chat, nested a million deep": {
			Options{API: OpenAIChat, ContentType: "application/json"},
			`{"x":` + strings.Repeat(`[{"usage":`, 500_000) + "1" + strings.Repeat("}]", 500_000) + `,"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}`,
		},
		"chat, one long name": {
			Options{API: OpenAIChat, ContentType: "application/json"},
			`{"` + strings.Repeat("usage", 1_000_000) + `":{"prompt_tokens":900},"usage":{"prompt_tokens":9,"completion_tokens":2}}`,
		},
		"chat, a megabyte of white space": {
			Options{API: OpenAIChat, ContentType: "application/json"},
			strings.Repeat(" \n", 1<<19) + `{"usage"` + strings.Repeat("\n", 1<<20) + `:{"prompt_tokens":9,"completion_tokens":2}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.o.Status = 200
			for range 3 {
				var cuts []int
				for at := rnd.IntN(40_000); at < len(c.answer); at += 1 + rnd.IntN(40_000) {
					cuts = append(cuts, at)
				}
				got := play(t, c.o, Estimate{}, []byte(c.answer), cuts...)
				require.Equal(t, Reported, got.result.Source)
				require.EqualValues(t, 11, got.result.Counts.InputTokens()+got.result.Counts.OutputTokens())
				require.True(t, got.result.Complete)
				require.Equal(t, got.result, got.settled)
			}
		})
	}
}

// TestMemoryPerStream holds many streams open, each in the middle of an event, and measures what they take.
func TestMemoryPerStream(t *testing.T) {
	const streams = 2000
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var open []*Reader
	before := heap()
	for i := range streams {
		r := NewReader(Options{API: OpenAIChat, Status: 200, ContentType: "text/event-stream"})
		for p := []byte(`data: {"id":"chatcmpl-1","model":"gpt-4o","choices":[{"delta":{"content":"` + strings.Repeat("text ", i%500)); len(p) > 0; {
			n, _ := r.Next(p)
			p = p[n:]
		}
		open = append(open, r)
	}
	each := (heap() - before) / streams
	t.Logf("%d bytes a stream", each)
	require.Less(t, each, uint64(8<<10))
	for _, r := range open {
		r.Close()
	}
}
