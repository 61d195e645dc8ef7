package usage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	gosse "github.com/tmaxmax/go-sse"
)

// oracle reads a chat stream with go-sse and encoding/json, which hold all of it.
type oracle struct {
	usage     map[string]any
	usageOnly int
	units     int64
	done      bool
	broken    bool
}

func readOracle(t *testing.T, answer []byte) oracle {
	t.Helper()
	var o oracle
	for e, err := range gosse.Read(bytes.NewReader(answer), &gosse.ReadConfig{MaxEventSize: 1 << 20}) {
		require.NoError(t, err)
		if strings.HasPrefix(e.Data, doneMarker) {
			o.done = true
			continue
		}
		var chunk map[string]any
		if json.Unmarshal([]byte(e.Data), &chunk) != nil {
			continue
		}
		if _, ok := chunk["error"]; ok {
			o.broken = true
		}
		usage, hasUsage := chunk["usage"].(map[string]any)
		choices, hasChoices := chunk["choices"].([]any)
		if hasUsage && hasChoices && len(choices) == 0 {
			o.usageOnly++
		}
		if hasUsage && (o.usage == nil || usage["prompt_tokens"] != 0.0 || usage["completion_tokens"] != 0.0) {
			o.usage = usage
		}
		for _, c := range choices {
			delta, _ := c.(map[string]any)["delta"].(map[string]any)
			text, _ := delta["content"].(string)
			o.units += Units(text)
		}
	}
	return o
}

// TestAgainstOracle reads random chat streams, with all that the format allows, as go-sse and encoding/json do.
func TestAgainstOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	pieces := []string{"Hello", "", " wörld", "你好", "\n\n", `"usage":{"prompt_tokens":9999}`, "data: [DONE]\n\n", "😀", "\\", "\u2028", strings.Repeat("long ", 200)}
	for range rounds(3000, 300) {
		newline := []string{"\n", "\r\n", "\r"}[r.IntN(3)]
		var b strings.Builder
		line := func(s string) { b.WriteString(s + newline) }
		if r.IntN(4) == 0 {
			b.Write(bom)
		}
		for range r.IntN(12) {
			switch r.IntN(8) {
			case 0:
				line(": comment")
				if r.IntN(2) == 0 {
					line("")
				}
				continue
			case 1:
				line("")
				continue
			case 2:
				line("event: message")
			case 3:
				line("id: 7")
			}
			chunk := map[string]any{"id": "x", "choices": []any{}}
			if r.IntN(4) > 0 {
				chunk["choices"] = []any{map[string]any{"index": 0, "delta": map[string]any{"content": pieces[r.IntN(len(pieces))]}, "logprobs": []any{map[string]any{"token": "{["}}}}
			}
			switch r.IntN(4) {
			case 0:
				chunk["usage"] = map[string]any{"prompt_tokens": r.IntN(3) * 7, "completion_tokens": r.IntN(3)}
			case 1:
				chunk["usage"] = nil
			}
			var data []byte
			if r.IntN(3) == 0 {
				data, _ = json.MarshalIndent(chunk, "", " ")
			} else {
				data = mustJSON(t, chunk)
			}
			space := []string{"", " "}[r.IntN(2)]
			for l := range strings.SplitSeq(string(data), "\n") {
				line("data:" + space + l)
			}
			line("")
		}
		if r.IntN(2) == 0 {
			line("data: [DONE]")
			line("")
		}
		answer := []byte(b.String())
		want := readOracle(t, answer)
		var cuts []int
		for at := r.IntN(50); at < len(answer); at += 1 + r.IntN(50) {
			cuts = append(cuts, at)
		}
		got := play(t, Options{API: OpenAIChat, Status: 200, ContentType: "text/event-stream"}, Estimate{}, answer, cuts...)
		about := fmt.Sprintf("%q", answer)
		require.Equal(t, want.usageOnly, got.usageOnly, about)
		require.Equal(t, want.units, got.units, about)
		require.Equal(t, want.done, got.end != "", about)
		if want.usage != nil {
			require.EqualValues(t, want.usage["prompt_tokens"], got.result.Counts.N(Input), about)
			if got.result.Source == Reported {
				require.EqualValues(t, want.usage["completion_tokens"], got.result.Counts.N(Output), about)
			}
		} else {
			require.NotEqual(t, Reported, got.result.Source, about)
		}
		require.Equal(t, want.usageOnly, readOracle(t, answer).usageOnly-readOracle(t, []byte(got.stripped)).usageOnly, "what is left holds no usage chunk")
		require.Equal(t, want.units, readOracle(t, []byte(got.stripped)).units, "and all of the text")
	}
}
