package main

import (
	"errors"
	"fmt"
	"io"
)

// goal is the most that the gateway may cost compared with another target.
type goal struct {
	kind, base string
	figure     figure
	compare    func(a, b float64) float64
	most       float64
}

// goals are those of -check. CPU is compared at the gateway's own GOGC on both sides, so that GOGC gains nothing.
var goals = []goal{
	{"unstreamed", plainSame, figures[4], ratio, 1},
	{"4 KB bodies", plainSame, figures[4], ratio, 1},
	{"streamed", plainSame, figures[4], ratio, 1},
	{"streamed", plain, figures[3], ratio, 1},
	{"unstreamed", plain, figures[5], ratio, 1.3},
	{"streamed", plain, figures[5], ratio, 1.3},
	{"chunks at a fixed rate", plain, delays[1], difference, 50},
}

// mostOfTranslated is the maximum ratio of a translated stream's CPU to an untranslated stream's in the same API.
const mostOfTranslated = 1.5

// mostOfStream is how much more memory an open stream may take than in plain reverse_proxy, in KB.
const mostOfStream = 4

// verdict is the result of a goal.
type verdict struct {
	What   string  `json:"what"`
	Median float64 `json:"median"`
	Noise  float64 `json:"noise"`
	Most   float64 `json:"most"`
	Held   string  `json:"held"` // reached, missed, or within the noise: above the goal by less than the noise
}

func judge(what string, s spread, most float64) verdict {
	v := verdict{What: what, Median: s.Median, Noise: s.Noise, Most: most, Held: "reached"}
	switch {
	case s.Median-s.Noise > most:
		v.Held = "missed"
	case s.Median > most:
		v.Held = "within the noise"
	}
	return v
}

func (v verdict) String() string {
	return fmt.Sprintf("%s: %.2f ± %.2f; the goal is %.2f", v.What, v.Median, v.Noise, v.Most)
}

// verdicts returns the results of the goals that were measured.
func verdicts(results []*result) []verdict {
	all := make([]verdict, 0, len(goals))
	for _, r := range results {
		for _, g := range goals {
			if g.kind != r.Name {
				continue
			}
			than := "to that of"
			if r.alone() {
				than = "beyond that of"
			}
			all = append(all, judge(fmt.Sprintf("%s, %s, %s %s", r.Name, g.figure.name, than, g.base), r.against(gateway, g.base, g.figure.of, g.compare), g.most))
		}
		for _, q := range r.pairs() {
			all = append(all, judge(fmt.Sprintf("%s, CPU, to that of %s", q.name, q.own), r.against(q.name, q.own, cpu, ratio), mostOfTranslated))
		}
	}
	return all
}

// check prints the results of the goals and fails if one is missed by more than the noise of the run.
func check(w io.Writer, all []verdict) error {
	var errs []error
	for _, v := range all {
		if _, err := fmt.Fprintf(w, "%-16s  %s\n", v.Held, v); err != nil {
			return err
		}
		if v.Held == "missed" {
			errs = append(errs, errors.New(v.String()))
		}
	}
	return errors.Join(errs...)
}
