package usage

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestCompressedIsNotRead compresses every case: usage is never read out of such bytes, by chance or otherwise. What is
// billed then is the request, as an estimate with the reason.
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
		o.Header = nil
		for at := 0; at < b.Len(); at += rounds(1, 37) {
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

// randomJSON makes a value with the names that matter at every place.
func randomJSON(r *rand.Rand, depth int) any {
	names := []string{"usage", "choices", "prompt_tokens", "completion_tokens", "prompt_tokens_details", "cached_tokens", "model", "id", "error", "x", "delta", "message", "content", "usage "}
	texts := []string{"", "a", `"usage":{"prompt_tokens":9}`, `\`, "\n", "你好", `\"`, "}]", strings.Repeat(`\"`, 40), "\u2028", "😀"}
	switch n := r.IntN(10); {
	case depth > 0 && n < 4:
		o := map[string]any{}
		for range r.IntN(6) {
			o[names[r.IntN(len(names))]] = randomJSON(r, depth-1)
		}
		return o
	case depth > 0 && n < 6:
		a := []any{}
		for range r.IntN(4) {
			a = append(a, randomJSON(r, depth-1))
		}
		return a
	case n < 7:
		return texts[r.IntN(len(texts))]
	case n < 8:
		return []any{nil, true, false, -1.5, 1e300, 0.25}[r.IntN(6)]
	}
	return r.Int64N(1 << r.IntN(50))
}

// TestBodiesAgainstOracle compares with encoding/json, which keeps the whole body: usage is only what is at the root.
func TestBodiesAgainstOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 9))
	seen := 0
	for range rounds(20_000, 2000) {
		root := map[string]any{"choices": randomJSON(r, 3), "tools": randomJSON(r, 4)}
		for range r.IntN(3) {
			root[[]string{"usage", "x", "metadata", "model"}[r.IntN(4)]] = randomJSON(r, 4)
		}
		ours := r.IntN(2) == 0
		if ours {
			u := map[string]any{"prompt_tokens": r.Int64N(1000) + 1, "completion_tokens": r.Int64N(1000)}
			if r.IntN(2) == 0 {
				u["x"] = randomJSON(r, 3)
			}
			root["usage"] = u
		}
		answer, err := json.Marshal(root)
		require.NoError(t, err)
		if r.IntN(2) == 0 {
			answer, err = json.MarshalIndent(root, " \t", "\r\n ")
			require.NoError(t, err)
		}
		var parsed map[string]any
		require.NoError(t, json.Unmarshal(answer, &parsed))
		read := NewReader(Options{API: OpenAIChat, Status: 200, ContentType: "application/json"})
		var ended bool
		for p := answer; len(p) > 0; {
			n, m := read.Next(p[:min(len(p), 1+r.IntN(60))])
			ended = ended || m == End
			p = p[n:]
		}
		require.True(t, ended, "%s", answer)
		if read.inChoice && !ours { // a choice has usage, which counts where the answer itself has none
			read.Close()
			continue
		}
		usage, _ := parsed["usage"].(map[string]any)
		for name, s := range map[string]slot{"prompt_tokens": prompt, "completion_tokens": completion} {
			want, isNumber := usage[name].(float64)
			isCount := isNumber && want >= 0 && want == float64(int64(want)) && want <= maxCount
			require.Equal(t, isCount, read.kept.has(s), "%s of %s", name, answer)
			if isCount {
				require.EqualValues(t, want, read.kept.n[s], "%s of %s", name, answer)
				seen++
			}
		}
		read.Close()
	}
	require.Greater(t, seen, rounds(10_000, 1000))
}
