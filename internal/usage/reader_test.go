package usage

import (
	"bytes"
	"encoding/json"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestHolding does as the meter does when it strips: it holds bytes back while the reader says so. No byte of a UsageOnly
// event may have passed before its mark, and all others must have passed.
func TestHolding(t *testing.T) {
	stripped := 0
	for _, g := range goldens(t) {
		for variant, answer := range g.variants(t) {
			r := NewReader(g.options())
			var passed, held, want, event []byte
			for i := range answer {
				n, m := r.Next(answer[i : i+1])
				require.Equal(t, 1, n)
				event = append(event, answer[i])
				held = append(held, answer[i])
				if m == UsageOnly {
					// A byte order mark is the stream's, not the event's.
					require.Equal(t, strings.TrimPrefix(string(event), string(bom)), string(held), "%s, %s: a part of a stripped event had passed", g.Name, variant)
					stripped++
					want = append(want, event[:len(event)-len(held)]...)
					held, event = held[:0], event[:0]
					continue
				}
				if m == EventEnd {
					want, event = append(want, event...), event[:0]
				}
				if m != More || !r.Holding() {
					passed, held = append(passed, held...), held[:0]
				}
			}
			passed, want = append(passed, held...), append(want, event...)
			require.Equal(t, string(want), string(passed), "%s, %s", g.Name, variant)
			r.Close()
		}
	}
	require.Positive(t, stripped)
}

func TestHoldingEndsEarly(t *testing.T) {
	feed := func(text string) *Reader {
		r := NewReader(Options{API: OpenAIChat, Status: 200, ContentType: "text/event-stream"})
		n, m := r.Next([]byte(text))
		require.Equal(t, len(text), n)
		require.Equal(t, More, m)
		return r
	}
	cases := []struct {
		text string
		hold bool
	}{
		{`data: {"id":"x","choices":`, true},
		{`data: {"id":"x","choices":[`, true},
		{`data: {"id":"x","choices":[]`, true},
		{`data: {"id":"x","choices":[],"usage":{"prompt_tokens":`, true},
		{`data: {"id":"x","choices":[],"usage":{}}`, true},
		{`data: {"id":"x","usage":{},"choices":[]}` + "\n", true},
		{"da", true},
		{`data: {"id":"x","choices":[{`, false},
		{`data: {"id":"x","choices":[{"index":0,"delta":{"content":"He`, false},
		{`data: {"id":"x","choices":{`, false},
		{`data: {"id":"x","choices":[],"usage":null}`, false},
		{`data: {"id":"x"}`, false},
		{`data: [`, false},
		{`data: [DONE]`, false},
		{`data: hello`, false},
		{`: comment`, false},
		{`{"error":`, false},
		{`data: {"choices":[],"pad":"` + strings.Repeat("x", maxHold), false},
	}
	for _, c := range cases {
		r := feed(c.text)
		require.Equal(t, c.hold, r.Holding(), "%.60s", c.text)
		r.Close()
	}
	other := NewReader(Options{API: AnthropicMessages, Status: 200, ContentType: "text/event-stream"})
	defer other.Close()
	_, _ = other.Next([]byte(`data: {"type":`))
	require.False(t, other.Holding(), "only OpenAI's chat has such a chunk")
}

// TestResultOnTheWay asks for the result at every byte: it never counts less output than was reported, and an estimate
// grows with the text.
func TestResultOnTheWay(t *testing.T) {
	answer := []byte(`data: {"type":"message_start","message":{"usage":{"input_tokens":40,"output_tokens":1}}}` + "\n\n" +
		`data: {"type":"content_block_delta","delta":{"text":"` + strings.Repeat("word ", 40) + `"}}` + "\n\n" +
		`data: {"type":"message_delta","usage":{"output_tokens":77}}` + "\n\n" + `data: {"type":"message_stop"}` + "\n\n")
	r := NewReader(Options{API: AnthropicMessages, Status: 200, ContentType: "text/event-stream"})
	defer r.Close()
	var last int64
	for i := range answer {
		_, m := r.Next(answer[i : i+1])
		res := r.Result(Estimate{InputUnits: 9000})
		out := res.Counts.N(Output)
		require.GreaterOrEqual(t, out, last)
		last = out
		if m == End {
			require.Equal(t, Reported, res.Source)
			require.True(t, res.Complete)
		}
		if res.Source == Partial {
			require.EqualValues(t, 40, res.Counts.N(Input))
		}
	}
	require.EqualValues(t, 77, last)
}

// TestTables checks what the scanner takes for granted of the tables: their depth and the length of their names.
func TestTables(t *testing.T) {
	var walk func(api API, n *node, depth int, seen map[*node]bool)
	walk = func(api API, n *node, depth int, seen map[*node]bool) {
		if n == nil || seen[n] {
			return
		}
		seen[n] = true
		defer delete(seen, n)
		require.Less(t, depth, maxDepth, api)
		if n.edges != nil {
			for _, bucket := range n.edges {
				names := map[string]bool{}
				for _, e := range bucket {
					require.LessOrEqual(t, len(e.key), len(scanner{}.key), e.key)
					require.False(t, names[e.key], "%s has two nodes for %s", api, e.key)
					names[e.key] = true
					require.Same(t, e.to, n.member([]byte(e.key)))
					walk(api, e.to, depth+1, seen)
				}
			}
		}
		walk(api, n.elem, depth+1, seen)
	}
	for api, f := range formats {
		walk(api, f.root, 0, map[*node]bool{})
		walk(api, f.wrapper, 0, map[*node]bool{})
	}
	require.LessOrEqual(t, int(numSlots), 64)
}

func TestUnits(t *testing.T) {
	cases := map[string]int64{
		"":           0,
		"abcd":       1000,
		"привет":     2400,
		"你好":         1600,
		"안녕":         1400,
		"こんにちは":      3500,
		"é":          500,
		"—":          500,
		"😀":          2000,
		"नमस्ते":     3000,
		"a你b":        1300,
		"\xff\x80":   0,
		"ascii only": 2500,
	}
	for text, want := range cases {
		require.Equal(t, want, Units(text), text)
		for i := range len(text) + 1 {
			require.Equal(t, want, Units(text[:i])+Units([]byte(text[i:])), "cut at %d", i)
		}
		for _, quoted := range [][]byte{mustJSON(t, text), asciiJSON(text)} {
			quoted = quoted[1 : len(quoted)-1]
			if !json.Valid(mustJSON(t, text)) || strings.ContainsRune(text, '\xff') || text == "\xff\x80" {
				continue
			}
			for i := range len(quoted) + 1 {
				var c jsonText
				require.Equal(t, want, c.add(quoted[:i])+c.add(quoted[i:]), "%s cut at %d", quoted, i)
			}
		}
	}
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return b
}

// asciiJSON quotes a text with all but ASCII escaped.
func asciiJSON(text string) []byte {
	var b bytes.Buffer
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r < 0x80:
			b.WriteRune(r)
		case r < 0x10000:
			b.WriteString(`\u` + hex4(r))
		default:
			r -= 0x10000
			b.WriteString(`\u` + hex4(0xd800+r>>10) + `\u` + strings.ToUpper(hex4(0xdc00+r&0x3ff)))
		}
	}
	b.WriteByte('"')
	return b.Bytes()
}

func hex4(r rune) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15]})
}

// FuzzCounts compares the numbers that are read with math/big.
func FuzzCounts(f *testing.F) {
	for _, s := range []string{"0", "1", "12.0", "1e3", "1.5", "-1", "9007199254740992", "9007199254740993", "1e16", "0.0e9", "00012", "1E-2", "100e-2", "123456789012345678901234567890e-25", "1e999999", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var v json.Number
		if json.Unmarshal([]byte(s), &v) != nil || string(v) != s || len(s) > 40 {
			parseCount([]byte(s))
			return
		}
		if _, e, ok := strings.Cut(strings.ToLower(s), "e"); ok && len(e) > 3 {
			return
		}
		want, ok := new(big.Rat).SetString(s)
		require.True(t, ok)
		n, took := parseCount([]byte(s))
		valid := s[0] != '-' && want.IsInt() && want.Num().IsInt64() && want.Num().Int64() <= maxCount
		require.Equal(t, valid, took, s)
		if took {
			require.Zero(t, want.Cmp(new(big.Rat).SetInt64(n)), s)
		}
		ms, took := parseMillis([]byte(s))
		if took {
			exact := want.Mul(want, big.NewRat(1000, 1))
			diff, _ := exact.Sub(exact, new(big.Rat).SetInt64(ms)).Float64()
			require.LessOrEqual(t, math.Abs(diff), 0.5, s)
		}
	})
}

func TestPrices(t *testing.T) {
	for _, s := range []string{"0", "0.1", "12", "1e-7", "1.5E-05", "0.00000000001"} {
		require.Equal(t, s, priceText([]byte(s)))
	}
	for _, s := range []string{"", "-1", "1e999999999", "1e-9999", "9e99", "NaN", "1.2.3", "0x10", ".5", "true"} {
		require.Empty(t, priceText([]byte(s)))
	}
	require.Equal(t, "0.30", addPrices("0.1", "0.2")+"0")
	require.Equal(t, "0.00100005", addPrices("5E-8", "0.001"))
	require.Equal(t, "3", addPrices("1", "2"))
}

func TestCloseTwice(t *testing.T) {
	r := NewReader(Options{API: OpenAIChat})
	r.Close()
	r.Close()
	a, b := NewReader(Options{API: OpenAIChat}), NewReader(Options{API: "no such API"})
	require.NotSame(t, a, b)
	n, m := b.Next([]byte(`{"usage":{"prompt_tokens":1}}`))
	require.Equal(t, 29, n)
	require.Equal(t, End, m)
	res := b.Result(Estimate{InputUnits: 1})
	require.Equal(t, Estimated, res.Source, "an API without a reader is not free")
	a.Close()
	b.Close()
}
