package usage

import (
	"math"
	"slices"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// same is what must not depend on how an answer was cut.
type same struct {
	result    Result
	units     int64
	usageOnly int
	ended     bool
}

func (r replay) same() same { return same{r.result, r.units, r.usageOnly, r.end != ""} }

func cutsOf(cuts []byte, size int) []int {
	var at []int
	from := 0
	for _, c := range cuts {
		if from += int(c); from > size {
			break
		}
		at = append(at, from)
	}
	return at
}

// FuzzSplits cuts the golden answers anywhere, any number of times: what is read must stay the same.
func FuzzSplits(f *testing.F) {
	all := goldens(f)
	for i := range all {
		f.Add(uint16(i), []byte{1, 2, 3, 50, 0, 7, 200})
	}
	f.Fuzz(func(t *testing.T, n uint16, cuts []byte) {
		g := all[int(n)%len(all)]
		for _, answer := range g.variants(t) {
			whole := play(t, g.options(), g.estimate(), answer)
			cut := play(t, g.options(), g.estimate(), answer, cutsOf(cuts, len(answer))...)
			require.Equal(t, whole.same(), cut.same())
		}
	})
}

// FuzzBytes feeds any bytes to any reader: it must not panic, and how they are cut must not matter.
func FuzzBytes(f *testing.F) {
	apis := make([]API, 0, len(formats))
	for api := range formats {
		apis = append(apis, api)
	}
	slices.Sort(apis)
	types := []string{"application/json", "text/event-stream", "application/x-ndjson", "application/vnd.amazon.eventstream", "text/plain", "audio/mpeg", ""}
	for i, g := range goldens(f) {
		f.Add(uint8(slices.Index(apis, g.API)), uint8(i), g.bytes(f), []byte{byte(i), 3, 100})
	}
	f.Add(uint8(slices.Index(apis, OllamaNative)), uint8(2), []byte("{x\n\n0\n"), []byte{4, 1})
	f.Fuzz(func(t *testing.T, api, contentType uint8, answer, cuts []byte) {
		o := Options{API: apis[int(api)%len(apis)], Status: 200, ContentType: types[int(contentType)%len(types)]}
		whole := play(t, o, Estimate{InputUnits: 1000}, answer)
		cut := play(t, o, Estimate{InputUnits: 1000}, answer, cutsOf(cuts, len(answer))...)
		require.Equal(t, whole.same(), cut.same())
		for k := range Kind(NumKinds) {
			require.GreaterOrEqual(t, whole.result.Counts.N(k), int64(0))
		}
	})
}

// TestBound checks that a reader stays below 8 KB and allocates nothing while it reads, whatever passes, but one block of
// bounded size for an answer with fees, with another model's tokens, or that is spoken.
func TestBound(t *testing.T) {
	require.Less(t, unsafe.Sizeof(Reader{}), uintptr(8<<10))
	require.Less(t, unsafe.Sizeof(extra{}), uintptr(6<<10))
	for _, g := range goldens(t) {
		answer := g.bytes(t)
		r := NewReader(g.options())
		allocated := math.Inf(1)
		for range 3 { // what the runtime allocates meanwhile only adds
			allocated = min(allocated, testing.AllocsPerRun(1, func() {
				*r = Reader{o: r.o, f: r.f, open: true}
				r.begin()
				for p := answer; len(p) > 0; {
					n, _ := r.Next(p[:min(len(p), 100)])
					p = p[n:]
				}
			}))
		}
		blocks := 0.0
		switch {
		case r.sound != nil:
			blocks = 3 // and its type in lower case
		case r.extra != nil:
			blocks = 1
		}
		require.LessOrEqual(t, allocated, blocks, g.Name)
		r.Close()
	}
}
