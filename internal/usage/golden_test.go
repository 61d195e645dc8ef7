package usage

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// golden is a case of testdata/*.json: an answer, and what must be read out of it.
type golden struct {
	Name        string `json:"name"`
	API         API    `json:"api"`
	Provider    string `json:"provider"`
	ContentType string `json:"content_type"`
	Status      int    `json:"status"`

	Source  string            `json:"source"`  // where the answer was seen
	Headers map[string]string `json:"headers"` // of the answer
	Sent    string            `json:"sent"`    // the model name sent upstream
	BaseURL string            `json:"base_url"`
	TTL     string            `json:"cache_ttl"`
	Priced  bool              `json:"priced"` // the backend has configured prices

	// The answer, in one of five forms.
	JSON   json.RawMessage   `json:"json"`   // a JSON body, verbatim
	SSE    []json.RawMessage `json:"sse"`    // events: an object is the data of one, a text is an event, verbatim
	Lines  []json.RawMessage `json:"lines"`  // objects, one a line
	Frames []goldenFrame     `json:"frames"` // a binary event stream
	Text   *string           `json:"text"`   // any bytes
	Hex    []byte            `json:"base64"` // any bytes, in Base64

	InputUnits      int64 `json:"input_units"`
	InputCharacters int64 `json:"input_characters"`

	InputMilliseconds int64 `json:"input_milliseconds"`

	Want struct {
		Kinds     map[string]int64            `json:"kinds"`
		Parts     map[string]map[string]int64 `json:"parts"` // by model, within kinds
		Total     *int64                      `json:"total"` // what the provider bills, in tokens
		Source    Source                      `json:"source"`
		How       string                      `json:"how"`
		Model     string                      `json:"model"`
		ID        string                      `json:"id"`
		Tier      string                      `json:"tier"`
		Cost      string                      `json:"cost"`
		CostUnit  string                      `json:"cost_unit"`
		Error     bool                        `json:"error"`
		Complete  bool                        `json:"complete"`
		UsageOnly int                         `json:"usage_only"`
		End       string                      `json:"end"` // the last bytes up to End, or any text for the last frame; empty when there is none
		Units     *int64                      `json:"units"`
	} `json:"want"`
}

type goldenFrame struct {
	Type      string          `json:"type"`
	Message   string          `json:"message"` // message type, "event" when empty
	Payload   json.RawMessage `json:"payload"`
	Chunk     json.RawMessage `json:"chunk"` // an event to be put into the payload in Base64
	Corrupted bool            `json:"corrupted"`
}

// goldens reads all cases.
func goldens(t testing.TB) []golden {
	t.Helper()
	files, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	var all []golden
	for _, f := range files {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		var cases []golden
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		require.NoError(t, d.Decode(&cases), f)
		for i := range cases {
			cases[i].Name = strings.TrimSuffix(filepath.Base(f), ".json") + "/" + cases[i].Name
		}
		all = append(all, cases...)
	}
	return all
}

func compact(t testing.TB, raw json.RawMessage) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, json.Compact(&b, raw))
	return b.String()
}

// bytes returns the answer's bytes.
func (g *golden) bytes(t testing.TB) []byte {
	t.Helper()
	switch {
	case g.JSON != nil:
		return g.JSON
	case g.SSE != nil:
		var b strings.Builder
		for _, e := range g.SSE {
			if e[0] == '"' {
				var s string
				require.NoError(t, json.Unmarshal(e, &s))
				b.WriteString(s)
				continue
			}
			fmt.Fprintf(&b, "data: %s\n\n", compact(t, e))
		}
		return []byte(b.String())
	case g.Lines != nil:
		var b strings.Builder
		for _, l := range g.Lines {
			b.WriteString(compact(t, l) + "\n")
		}
		return []byte(b.String())
	case g.Frames != nil:
		var b []byte
		for _, f := range g.Frames {
			payload := []byte(f.Payload)
			if f.Chunk != nil {
				payload = fmt.Appendf(nil, `{"bytes":"%s","p":"abcdefgh"}`, base64.StdEncoding.EncodeToString([]byte(compact(t, f.Chunk))))
			}
			frame := encodeFrame(t, f.Type, f.Message, payload)
			if f.Corrupted {
				frame[len(frame)-1] ^= 1
			}
			b = append(b, frame...)
		}
		return b
	case g.Text != nil:
		return []byte(*g.Text)
	}
	return g.Hex
}

func (g *golden) options() Options {
	o := Options{
		API: g.API, Provider: g.Provider, Status: g.Status, ContentType: g.ContentType,
		Model: g.Sent, BaseURL: g.BaseURL, CacheTTL: g.TTL, Priced: g.Priced, Header: http.Header{},
	}
	for name, value := range g.Headers {
		o.Header.Set(name, value)
	}
	return o
}

func (g *golden) estimate() Estimate {
	return Estimate{InputUnits: g.InputUnits, InputCharacters: g.InputCharacters, InputMilliseconds: g.InputMilliseconds}
}

// replay is what came of one way to cut an answer.
type replay struct {
	result    Result
	settled   Result // what was known at End, when the meter settles
	units     int64
	usageOnly int
	end       string // the bytes that End was given for
	stripped  string // the answer without its UsageOnly events
}

// play feeds an answer cut at the given positions.
func play(t testing.TB, o Options, e Estimate, answer []byte, cuts ...int) replay {
	t.Helper()
	r := NewReader(o)
	defer r.Close()
	var (
		out   replay
		event []byte
		kept  []byte
		ends  int
		from  int
	)
	for _, to := range append(slices.Clone(cuts), len(answer)) {
		p := answer[from:to]
		from = to
		for len(p) > 0 {
			n, m := r.Next(p)
			if n <= 0 || n > len(p) || m == More && n < len(p) {
				require.FailNow(t, "Next took the wrong number of bytes", "%d of %d with mark %d", n, len(p), m)
			}
			event = append(event, p[:n]...)
			p = p[n:]
			switch m {
			case End:
				ends++
				out.end = string(event)
				out.settled = r.Result(e)
			case UsageOnly:
				out.usageOnly++
				event = event[:0]
			case EventEnd:
				kept = append(kept, event...)
				event = event[:0]
			}
		}
	}
	if ends > 1 {
		require.FailNow(t, "End is given once at most")
	}
	out.stripped = string(append(kept, event...))
	out.result = r.Result(e)
	if again := r.Result(e); !reflect.DeepEqual(out.result, again) {
		require.Equal(t, out.result, again, "asking twice changes nothing")
	}
	out.units = r.OutputUnits()
	return out
}

func kindsOf(c Counts) map[string]int64 {
	kinds := map[string]int64{}
	for k := range Kind(NumKinds) {
		if n, ok := c.Get(k); ok {
			kinds[k.String()] = n
		}
	}
	return kinds
}

func (g *golden) check(t *testing.T, got replay) {
	t.Helper()
	want, res := g.Want, got.result
	if got.end != "" {
		require.Equal(t, res, got.settled, "all is known when the call is settled")
	}
	if want.Kinds == nil {
		want.Kinds = map[string]int64{}
	}
	require.Equal(t, want.Kinds, kindsOf(res.Counts))
	if tokens := res.Counts.InputTokens() + res.Counts.OutputTokens(); tokens > 0 && res.Source == Reported {
		require.NotNil(t, want.Total, "a case of reported tokens says what they sum up to")
	}
	if want.Total != nil {
		require.Equal(t, *want.Total, res.Counts.InputTokens()+res.Counts.OutputTokens(), "the disjoint kinds sum to the provider's total")
	}
	parts := map[string]map[string]int64{}
	for _, p := range res.Parts {
		parts[p.Model] = kindsOf(p.Counts)
	}
	if want.Parts == nil {
		want.Parts = map[string]map[string]int64{}
	}
	require.Equal(t, want.Parts, parts)
	require.Equal(t, want.Source, res.Source)
	require.Equal(t, want.How, res.How)
	require.Equal(t, want.Model, res.Model)
	require.Equal(t, want.ID, res.ID)
	require.Equal(t, want.Tier, res.Tier)
	require.Equal(t, want.Cost, res.Cost)
	require.Equal(t, want.CostUnit, res.CostUnit)
	require.Equal(t, want.Error, res.Error)
	require.Equal(t, want.Complete, res.Complete)
	require.Equal(t, want.UsageOnly, got.usageOnly)
	if want.Units != nil {
		require.Equal(t, *want.Units, got.units)
	}
	switch {
	case want.End == "":
		require.Empty(t, got.end)
	case g.Frames != nil:
		require.True(t, got.end != "" && bytes.HasSuffix(g.bytes(t), []byte(got.end)), "End came after %q", got.end)
	default:
		require.True(t, strings.HasSuffix(got.end, want.End), "End came after %q", got.end)
	}
}

// variants are the forms of an answer that must be read alike.
func (g *golden) variants(t testing.TB) map[string][]byte {
	answer := g.bytes(t)
	v := map[string][]byte{"as written": answer}
	if g.SSE != nil {
		v["CRLF"] = bytes.ReplaceAll(answer, []byte("\n"), []byte("\r\n"))
		v["CR"] = bytes.ReplaceAll(answer, []byte("\n"), []byte("\r"))
		v["no space"] = bytes.ReplaceAll(answer, []byte("data: "), []byte("data:"))
		v["byte order mark"] = append(slices.Clone(bom), answer...)
		v["no last blank line"] = bytes.TrimSuffix(answer, []byte("\n"))
	}
	return v
}

// rounds is how often a test repeats what it does at random or at every place; with -short it is content with fewer.
func rounds(all, short int) int {
	if testing.Short() {
		return short
	}
	return all
}

// TestGolden replays each case whole, byte by byte and cut at every position.
func TestGolden(t *testing.T) {
	all := goldens(t)
	require.GreaterOrEqual(t, len(all), 120)
	for _, g := range all {
		t.Run(g.Name, func(t *testing.T) {
			for name, answer := range g.variants(t) {
				want := g
				switch name {
				case "CRLF":
					want.Want.End = strings.ReplaceAll(g.Want.End, "\n", "\r\n")
				case "CR":
					want.Want.End = strings.ReplaceAll(g.Want.End, "\n", "\r")
				case "no space":
					want.Want.End = strings.ReplaceAll(g.Want.End, "data: ", "data:")
				}
				whole := play(t, g.options(), g.estimate(), answer)
				if name == "no last blank line" && !strings.Contains(string(answer), "[DONE]") {
					want.Want.UsageOnly = whole.usageOnly // an event without its end has no mark
				}
				t.Log(name)
				want.check(t, whole)
				bytewise := make([]int, 0, len(answer))
				for i := range answer {
					bytewise = append(bytewise, i)
				}
				if len(answer) < 64<<10 {
					want.checkCut(t, whole, play(t, g.options(), g.estimate(), answer, bytewise...), name)
				}
				for i := 0; i < len(answer); i += 1 + len(answer)/rounds(2048, 32) {
					want.checkCut(t, whole, play(t, g.options(), g.estimate(), answer, i), name)
				}
			}
		})
	}
}

// checkCut compares a cut replay with the whole one. In a stream whose lines end in CR LF, End may come between the two:
// the line is complete for a client at either.
func (g *golden) checkCut(t *testing.T, whole, cut replay, variant string) {
	t.Helper()
	if variant == "CRLF" {
		whole.end, cut.end = strings.TrimRight(whole.end, "\r\n"), strings.TrimRight(cut.end, "\r\n")
	}
	if !reflect.DeepEqual(whole, cut) {
		require.Equal(t, whole, cut)
	}
}
