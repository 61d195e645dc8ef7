package usage

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// known is all that a reader has learned of an answer.
type known struct {
	result                                     Result
	units                                      [numClasses]int64
	kept, cur, other, sums                     tally
	searches, atUsage                          int64
	failed, finished, final, ended, complete   bool
	event                                      event
	model, id, tier, geo, speed, item, action  string
	kind                                       uint8
	holding                                    bool
	framing                                    framing
	state                                      state
	line                                       lineKind
	cr                                         pendingCR
	byCR, fields, data, glued, between, closed bool
}

func (r *Reader) known() known {
	return known{
		result: r.Result(Estimate{InputUnits: 1000}), units: r.units, kept: r.kept, cur: r.cur, other: r.other, sums: r.sums,
		searches: r.searches, atUsage: r.atUsage,
		failed: r.failed, finished: r.finished, final: r.final, ended: r.ended, complete: r.complete, event: r.event,
		model: string(r.model.bytes()), id: string(r.id.bytes()), tier: string(r.tier.bytes()), geo: string(r.geo.bytes()),
		speed: string(r.speed.bytes()), item: string(r.itemType.bytes()), action: string(r.action.bytes()), kind: r.kind.n,
		holding: r.Holding(), framing: r.framing, state: r.sc.st,
		line: r.sse.line, cr: r.sse.cr, byCR: r.sse.byCR, fields: r.sse.fields, data: r.sse.data, glued: r.sse.glued, between: r.sse.between,
		closed: r.open,
	}
}

// compareRepeats reads an answer in pieces, once with and once without comparing events with the one before. What is known
// must be the same after each mark, and what it comes to the same as byte by byte. It returns how many events were taken
// for repeated.
func compareRepeats(t *testing.T, o Options, pieces ...[]byte) (followed int) {
	t.Helper()
	o.Status = 200
	r, plain := NewReader(o), NewReader(o)
	defer r.Close()
	defer plain.Close()
	plain.last.lessons = maxLessons
	usageOnly := 0
	for at, p := range pieces {
		for len(p) > 0 {
			if try := *r; try.sse.between && try.last.follow(&try, p) > 0 {
				followed++
			}
			want, wantMark := plain.Next(p)
			n, mark := r.Next(p)
			if want != n || wantMark != mark || !reflect.DeepEqual(plain.known(), r.known()) {
				require.Equal(t, want, n, "%q after %q", p, pieces[:at])
				require.Equal(t, wantMark, mark, "%q after %q", p, pieces[:at])
				require.Equal(t, plain.known(), r.known(), "%q after %q", p, pieces[:at])
			}
			if mark == UsageOnly {
				usageOnly++
			}
			p = p[n:]
		}
	}
	answer := bytes.Join(pieces, nil)
	cuts := make([]int, len(answer))
	for i := range cuts {
		cuts[i] = i
	}
	bytewise := play(t, o, Estimate{InputUnits: 1000}, answer, cuts...)
	require.Equal(t, bytewise.same(), same{r.Result(Estimate{InputUnits: 1000}), r.OutputUnits(), usageOnly, r.ended}, "%q", pieces)
	return followed
}

// repeating are the events of streams of all kinds, with %s in place of what differs between them, and whether they can be told by comparing.
var repeating = []struct {
	api     API
	follows bool
	event   string
}{
	{OpenAIChat, true, `data: {"id":"x","object":"chat.completion.chunk","created":17,"model":"gpt-4o","choices":[{"index":0,"delta":{"content":"%s"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"%s"}` + "\n\n"},
	{OpenAIChat, true, `data: {"choices":[{"delta":{"content":"%s","reasoning":"%s"},"index":%s}],"model":"m","error":null}` + "\n\n"},
	{OpenAIChat, false, `data:{"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "%s"}}]}}], "n": %s, "model": "%s"}` + "\n\n"},
	{AnthropicMessages, true, "event: content_block_delta\ndata: " + `{"type":"content_block_delta","index":%s,"delta":{"type":"text_delta","text":"%s"}}` + "\n\n"},
	{OpenAIResponses, true, "event: response.output_text.delta\ndata: " + `{"type":"response.output_text.delta","sequence_number":%s,"delta":"%s","logprobs":[]}` + "\n\n"},
	{OpenAIResponses, true, `data: {"type":"response.reasoning_text.delta","item_id":"%s","delta":"%s"}` + "\n\n"},
	{OpenAIResponses, true, `data: {"delta":"%s","type":"response.audio.delta"}` + "\n\n"},
	{OpenAIResponses, false, `data: {"type":"response.output_text.delta","delta":"%s","output":[]}` + "\n\n"},
	{OpenAIChat, true, `data: {"choices":[{"delta":{"content":"%s"}}],"n":%s` + strings.Repeat(`,"x":0`, 20) + "}\n\n"},
	{OpenAIChat, false, `data: {"n":0` + strings.Repeat(`,"x":0`, 20) + `,"choices":[{"delta":{"content":"%s"}}]}` + "\n\n"},
	{CohereChat, false, `data: {"message":{"content":` + strings.Repeat("[", 20) + `{"text":"%s"}` + strings.Repeat("]", 20) + "}}\n\n"},
	{BedrockInvoke, false, `data: {"generation":"%s","generation_token_count":5}` + "\n\n"},
	{GeminiGenerate, true, `data: {"candidates": [{"content": {"parts": [{"text": "%s"}],"role": "model"},"index": %s}],"modelVersion": "g"}` + "\n\n"},
	{CohereChat, true, `data: {"type":"content-delta","index":%s,"delta":{"message":{"content":{"text":"%s"}}}}` + "\n\n"},
}

// odd are events and parts of events that may come in the midst of those that repeat.
var odd = []string{
	": comment\n", "\n", "event: ping\ndata: {}\n\n", "data: [DONE]\n\n", "id: 7\n\n", "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7}}\n\n",
	`data: {"model":"another","id":"y","type":"x"}` + "\n\n", `data: {"choices":[{"delta":{},"finish_reason":"stop"}]}` + "\n\n",
	`data: {"error":{"message":"x"}}` + "\n\n", "data: {\n", "\r\n", "\r", "data: {\"model\":\"m\"}\r\n\r\n", "data: {\"model\":\"gpt-4o\"}\r\r", "event: error\n", "data: {\"generation_token_count\":9}\n\n",
	`data: {"type":"message_delta","usage":{"output_tokens":9}}` + "\n\n", `data: {"choices":[],"service_tier":"flex","timings":{"prompt_n":3}}` + "\n\n",
}

// TestRepeats compares random streams of events that are alike, but for some of their values, and often cut or broken.
func TestRepeats(t *testing.T) {
	r := rand.New(rand.NewPCG(10, 11))
	values := []string{
		"", " word", "你好", `\"`, `\\`, `\n\u00e9`, "7", "12.5e3", "null", "true", "-1", "+1", `"`, `\`, "\n", "\r", "{", `","usage":{"prompt_tokens":5},"x":"`, "x\x00", strings.Repeat("long ", 150),
		`she said \"yes\"`, `and \\\\`, `then "no"`, "a raw\ttab in it", "a long line\nthat ends", "another long line\rthat ends",
	}
	followed := map[API]int{}
	for range rounds(12_000, 2400) {
		kind := repeating[r.IntN(len(repeating))]
		var pieces [][]byte
		plain := values[:3+r.IntN(len(values)-2)]
		for range 2 + r.IntN(10) {
			parts := strings.Split(kind.event, "%s")
			text := parts[0]
			for _, part := range parts[1:] {
				text += plain[r.IntN(len(plain))] + part
			}
			switch r.IntN(12) {
			case 0:
				text = odd[r.IntN(len(odd))] + text
			case 1:
				other := repeating[r.IntN(len(repeating))]
				text += strings.ReplaceAll(other.event, "%s", values[r.IntN(len(values))])
			case 2:
				b := []byte(text)
				b[r.IntN(len(b))] = "\"\\,:{}[]\r\n 0nx"[r.IntN(14)]
				text = string(b)
			case 3:
				at := r.IntN(len(text))
				pieces = append(pieces, []byte(text[:at]))
				text = text[at:]
			}
			pieces = append(pieces, []byte(text))
		}
		followed[kind.api] += compareRepeats(t, Options{API: kind.api, ContentType: "text/event-stream"}, pieces...)
	}
	for _, kind := range repeating {
		if !kind.follows {
			continue
		}
		require.Greater(t, followed[kind.api], rounds(100, 20), kind.api)
	}
}

// TestRepeatsAreFollowed checks that the events of a stream are compared with one another, and not scanned.
func TestRepeatsAreFollowed(t *testing.T) {
	for _, kind := range repeating {
		var pieces [][]byte
		for i := range 20 {
			pieces = append(pieces, []byte(strings.ReplaceAll(kind.event, "%s", fmt.Sprint(i))))
		}
		got := compareRepeats(t, Options{API: kind.api, ContentType: "text/event-stream"}, pieces...)
		if !kind.follows {
			require.Zero(t, got, kind.event)
			continue
		}
		require.Equal(t, 18, got, "all but the first and the one that is remembered: %s", kind.event)
	}
}

// FuzzRepeats lays an event over another, again and again, in any API.
func FuzzRepeats(f *testing.F) {
	apis := slices.Sorted(maps.Keys(formats))
	for i, kind := range repeating {
		a := strings.ReplaceAll(kind.event, "%s", "1")
		b := strings.ReplaceAll(kind.event, "%s", "23")
		f.Add(uint8(slices.Index(apis, kind.api)), []byte(a), []byte(b), []byte(odd[i]))
	}
	for _, g := range goldens(f) {
		events := bytes.SplitAfter(g.bytes(f), []byte("\n\n"))
		for i := 2; i < len(events) && g.SSE != nil; i++ {
			f.Add(uint8(slices.Index(apis, g.API)), events[i-1], events[i], events[i-2])
		}
	}
	f.Fuzz(func(t *testing.T, api uint8, a, b, c []byte) {
		o := Options{API: apis[int(api)%len(apis)], ContentType: "text/event-stream"}
		compareRepeats(t, o, c, a, a, b, a, c, b, b, a)
	})
}
