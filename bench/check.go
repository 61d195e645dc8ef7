package main

import (
	"errors"
	"fmt"
	"io"
)

// goal is the most that the gateway may need, as a ratio to another target, or of a delay that is added to the provider's.
type goal struct {
	kind, base string
	figure     figure
	most       float64
}

// goals are those of -check. The collector's setting is the gateway's own on both sides, so that no gain is the collector's.
var goals = []goal{
	{"unstreamed", plainSame, figures[4], 1},
	{"4 KB bodies", plainSame, figures[4], 1},
	{"streamed", plainSame, figures[4], 1},
	{"streamed", plain, figures[3], 1},
	{"unstreamed", plain, figures[5], 1.3},
}

// mostChunkDelay is what the gateway may add to an event of a stream, in microseconds, at the 99th percentile.
const mostChunkDelay = 50

// check prints what is held of the goals, and fails where one is missed by more than the noise of the run.
func check(w io.Writer, results []*result) error {
	var errs []error
	say := func(what string, s spread, most float64) {
		line := fmt.Sprintf("%s: %.2f ± %.2f; the goal is %.2f", what, s.Median, s.Noise, most)
		if _, err := fmt.Fprintln(w, line); err != nil {
			errs = append(errs, err)
		}
		if s.Median-s.Noise > most {
			errs = append(errs, errors.New(line))
		}
	}
	for _, r := range results {
		for _, g := range goals {
			if g.kind == r.Name {
				say(fmt.Sprintf("%s, %s, to that of %s", r.Name, g.figure.name, g.base), r.against(gateway, g.base, g.figure.of, ratio), g.most)
			}
		}
		if r.stamp {
			say(r.Name+", added p99 µs", r.against(gateway, direct, delays[1].of, difference), mostChunkDelay)
		}
	}
	return errors.Join(errs...)
}
