package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// result is what was measured of a kind of load: the samples of each target, by round.
type result struct {
	*kind
	names   []string // of the targets, as they are shown
	samples map[string][]sample
}

// spread is a figure over the rounds.
type spread struct {
	Median float64 `json:"median"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
	// Noise is half of what lies between the quartiles: how far off the median may be.
	Noise float64 `json:"noise"`
}

// spreadOf takes a figure of each round.
func spreadOf(all []float64) spread {
	slices.Sort(all)
	n := len(all)
	return spread{Median: (all[(n-1)/2] + all[n/2]) / 2, Least: all[0], Most: all[n-1], Noise: (all[3*n/4] - all[n/4]) / 2}
}

// of returns a figure of a target.
func (r *result) of(name string, figure func(sample) float64) spread {
	all := make([]float64, 0, len(r.samples[name]))
	for _, s := range r.samples[name] {
		all = append(all, figure(s))
	}
	return spreadOf(all)
}

// against compares two targets within each round, by their ratio or their difference.
func (r *result) against(name, base string, figure func(sample) float64, compare func(a, b float64) float64) spread {
	all := make([]float64, 0, len(r.samples[name]))
	for i, s := range r.samples[name] {
		all = append(all, compare(figure(s), figure(r.samples[base][i])))
	}
	return spreadOf(all)
}

func ratio(a, b float64) float64      { return a / b }
func difference(a, b float64) float64 { return a - b }

// figure is a column of the report.
type figure struct {
	name, key, format string
	of                func(sample) float64
}

// figures are the columns for loads of as many calls as go, delays those for loads at a fixed rate.
var (
	figures = []figure{
		{"calls/s", "calls_per_second", "%.0f", func(s sample) float64 { return s.PerSecond }},
		{"p50 ms", "p50_ms", "%.2f", func(s sample) float64 { return float64(s.P50) / 1e6 }},
		{"p99 ms", "p99_ms", "%.2f", func(s sample) float64 { return float64(s.P99) / 1e6 }},
		{"first byte ms", "first_byte_ms", "%.2f", func(s sample) float64 { return float64(s.First) / 1e6 }},
		{"CPU µs/call", "cpu_us", "%.0f", cpu},
		{"peak MB", "peak_mb", "%.0f", func(s sample) float64 { return float64(s.Peak) / 1e6 }},
	}
	delays = []figure{
		{"p50 µs", "p50_us", "%.0f", func(s sample) float64 { return float64(s.P50) / 1e3 }},
		{"p99 µs", "p99_us", "%.0f", func(s sample) float64 { return float64(s.P99) / 1e3 }},
	}
)

func cpu(s sample) float64 { return float64(s.CPU) / float64(time.Microsecond) }

// bases are what the gateway is compared with.
var bases = []string{plain, plainSame, tuned}

// report prints the medians of all rounds, and what the gateway is to the others within rounds.
func report(w io.Writer, o *options, s *stage, results []*result, p proof) error {
	if o.json {
		return reportJSON(w, o, s, results, p)
	}
	var table strings.Builder
	for _, r := range results {
		r.print(&table)
	}
	fmt.Fprint(&table, "programs\tstart ms\tMB\t\n")
	for _, target := range s.targets {
		if target.start > 0 && target.name != limited {
			fmt.Fprintf(&table, "%s\t%.0f\t%.1f\t\n", target.name, float64(target.start)/1e6, float64(target.size)/1e6)
		}
	}
	if err := printTable(w, table.String()); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%d rounds of %s, %d calls at a time, %d CPUs; streams of %d content events, %s apart; a fixed rate is %d calls/s.\n"+
		"The gateway answered %d calls, and Lago has %d events.\n",
		o.rounds, o.duration, o.concurrency, runtime.NumCPU(), o.chunks, o.delay, o.rate, p.Calls, p.Events)
	return err
}

// printTable aligns the cells of rows, each of which ends with a tab.
func printTable(w io.Writer, rows string) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	if _, err := io.WriteString(t, rows); err != nil {
		return err
	}
	return t.Flush()
}

func (r *result) print(t *strings.Builder) {
	columns := figures
	if r.alone() {
		columns = delays
	}
	fmt.Fprint(t, r.Name+"\t")
	for _, f := range columns {
		fmt.Fprint(t, f.name+"\t")
		if r.alone() {
			fmt.Fprint(t, "added\tleast..most\t")
		}
	}
	for _, name := range r.names {
		fmt.Fprint(t, "\n"+name+"\t")
		for _, f := range columns {
			fmt.Fprintf(t, f.format+"\t", r.of(name, f.of).Median)
			if r.alone() {
				added := r.against(name, direct, f.of, difference)
				fmt.Fprintf(t, "%.0f\t%.0f..%.0f\t", added.Median, added.Least, added.Most)
			}
		}
	}
	fmt.Fprint(t, "\n")
	if !r.alone() {
		for _, base := range bases {
			r.printRatios(t, gateway, base)
		}
		for _, more := range []string{limited, traced} {
			if r.samples[more] != nil {
				r.printRatios(t, more, gateway)
			}
		}
	}
	fmt.Fprint(t, "\n")
}

func (r *result) printRatios(t *strings.Builder, name, base string) {
	fmt.Fprintf(t, "%s / %s\t", name, base)
	for _, f := range figures {
		fmt.Fprintf(t, "%.2f\t", r.against(name, base, f.of, ratio).Median)
	}
	fmt.Fprint(t, "\nleast..most\t")
	for _, f := range figures {
		s := r.against(name, base, f.of, ratio)
		fmt.Fprintf(t, "%.2f..%.2f\t", s.Least, s.Most)
	}
	fmt.Fprint(t, "\n")
}

func reportJSON(w io.Writer, o *options, s *stage, results []*result, p proof) error {
	type shown struct {
		Samples map[string][]sample          `json:"samples"`
		Ratios  map[string]map[string]spread `json:"ratios,omitempty"`   // of the gateway to others, by figure
		Added   map[string]map[string]spread `json:"added_us,omitempty"` // to the provider alone, by figure
	}
	all := make(map[string]shown)
	for _, r := range results {
		v := shown{r.samples, make(map[string]map[string]spread), make(map[string]map[string]spread)}
		if r.alone() {
			for _, name := range r.names {
				v.Added[name] = make(map[string]spread)
				for _, f := range delays {
					v.Added[name][f.key] = r.against(name, direct, f.of, difference)
				}
			}
		} else {
			for _, base := range bases {
				v.Ratios[base] = make(map[string]spread)
				for _, f := range figures {
					v.Ratios[base][f.key] = r.against(gateway, base, f.of, ratio)
				}
			}
		}
		all[r.Name] = v
	}
	programs := make(map[string]any)
	for _, t := range s.targets {
		programs[t.name] = map[string]any{"start_ns": t.start, "bytes": t.size}
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(map[string]any{
		"rounds": o.rounds, "duration_ns": o.duration, "concurrency": o.concurrency, "cpus": runtime.NumCPU(), "chunks": o.chunks,
		"delay_ns": o.delay, "rate": o.rate, "results": all, "programs": programs, "proof": p,
	})
}
