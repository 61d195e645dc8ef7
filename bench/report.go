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

// result holds the measurements of a kind of load: the samples of each target, by round.
type result struct {
	*kind
	names   []string // target names as shown
	samples map[string][]sample
}

// spread is the distribution of a figure over the rounds.
type spread struct {
	Median float64 `json:"median"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
	// Noise is half the interquartile range: how far off the median may be.
	Noise float64 `json:"noise"`
}

// spreadOf computes the spread of a figure's values, one a round.
func spreadOf(all []float64) spread {
	slices.Sort(all)
	n := len(all)
	return spread{Median: (all[(n-1)/2] + all[n/2]) / 2, Least: all[0], Most: all[n-1], Noise: (all[3*n/4] - all[n/4]) / 2}
}

// of returns the spread of a figure of one target.
func (r *result) of(name string, figure func(sample) float64) spread {
	all := make([]float64, 0, len(r.samples[name]))
	for _, s := range r.samples[name] {
		all = append(all, figure(s))
	}
	return spreadOf(all)
}

// against compares two targets within each round, by ratio or difference.
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

// figures are the columns for loads at full speed, delays those for loads at a fixed rate.
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

func cpu(s sample) float64     { return float64(s.CPU) / float64(time.Microsecond) }
func ofRedis(s sample) float64 { return float64(s.Redis) / float64(time.Microsecond) }

// figures returns the columns of the kind.
func (k *kind) figures() []figure {
	if k.alone() {
		return delays
	}
	return figures
}

// bases returns the targets that the gateway is compared with.
func (r *result) bases() (names []string) {
	for _, name := range r.names {
		if name != direct && !bills(name) && !r.translated {
			names = append(names, name)
		}
	}
	return names
}

// more returns the variants of the gateway with additional features, which are compared with the plain gateway.
func (r *result) more() (names []string) {
	for _, name := range []string{limited, traced} {
		if r.samples[name] != nil {
			names = append(names, name)
		}
	}
	return names
}

// pairs returns the translated targets of the kind, which are compared with untranslated ones.
func (r *result) pairs() (all []question) {
	for _, q := range translations {
		if q.own != "" && r.samples[q.name] != nil {
			all = append(all, q)
		}
	}
	return all
}

// report prints the medians of all rounds and the gateway's ratios to other targets within rounds.
func report(w io.Writer, o *options, s *stage, results []*result, p proof) error {
	if o.json {
		return reportJSON(w, o, s, results, p)
	}
	var table strings.Builder
	for _, r := range results {
		r.print(&table)
	}
	fmt.Fprint(&table, "programs\tstart ms\tMB\t\n")
	for _, t := range s.programs() {
		fmt.Fprintf(&table, "%s\t%.0f\t%.1f\t\n", t.name, float64(t.start)/1e6, float64(t.size)/1e6)
	}
	if err := printTable(w, table.String()); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%d rounds of %s, twice that at a fixed rate; %d calls at a time, %d streams, %d where the rate is fixed; %d CPUs.\n"+
		"Streams have %d content events, %s apart; a fixed rate is %d calls/s.\nThe gateway answered %d calls, and Lago has %d events.\n",
		o.rounds, o.duration, o.concurrency, 2*o.concurrency, quiet, runtime.NumCPU(), o.chunks, o.delay, o.rate, p.Calls, p.Events)
	return err
}

// programs returns the targets that are separate programs.
func (s *stage) programs() (all []*target) {
	for _, t := range s.targets {
		if t.start > 0 && t.name != limited {
			all = append(all, t)
		}
	}
	return all
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
	columns := r.figures()
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
	for _, base := range r.bases() {
		if r.alone() {
			r.printDifferences(t, base)
		} else {
			r.printRatios(t, gateway, base)
		}
	}
	for _, q := range r.pairs() {
		r.printRatios(t, q.name, q.own)
	}
	if !r.alone() {
		for _, more := range r.more() {
			r.printRatios(t, more, gateway)
		}
		r.printRedis(t)
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

// printDifferences prints what the gateway adds compared with another proxy.
func (r *result) printDifferences(t *strings.Builder, base string) {
	fmt.Fprintf(t, "%s less %s\t", gateway, base)
	for _, f := range delays {
		s := r.against(gateway, base, f.of, difference)
		fmt.Fprintf(t, "± %.0f\t%.0f\t%.0f..%.0f\t", s.Noise, s.Median, s.Least, s.Most)
	}
	fmt.Fprint(t, "\n")
}

// printRedis prints the CPU that the gateway's calls cost Redis.
func (r *result) printRedis(t *strings.Builder) {
	for _, name := range r.names {
		if !bills(name) {
			continue
		}
		fmt.Fprintf(t, "Redis, for %s\t", name)
		for _, f := range figures {
			if f.key == "cpu_us" {
				fmt.Fprintf(t, f.format, r.of(name, ofRedis).Median)
			}
			fmt.Fprint(t, "\t")
		}
		fmt.Fprint(t, "\n")
	}
}

// shown is the report of a kind in JSON.
type shown struct {
	Samples map[string][]sample          `json:"samples"`
	Figures map[string]map[string]spread `json:"figures"`                      // by target, over the rounds
	Ratios  map[string]map[string]spread `json:"ratios,omitempty"`             // gateway to others
	More    map[string]map[string]spread `json:"ratios_to_tollgate,omitempty"` // gateway with limits, and with traces
	Own     map[string]map[string]spread `json:"ratios_to_untranslated,omitempty"`
	Added   map[string]map[string]spread `json:"added_us,omitempty"`  // compared with the provider alone
	Beside  map[string]map[string]spread `json:"beside_us,omitempty"` // compared with other proxies
}

func (r *result) shown() shown {
	each := func(names []string, of func(name string, f figure) spread) map[string]map[string]spread {
		all := make(map[string]map[string]spread)
		for _, name := range names {
			all[name] = make(map[string]spread)
			for _, f := range r.figures() {
				all[name][f.key] = of(name, f)
			}
		}
		return all
	}
	v := shown{Samples: r.samples, Figures: each(r.names, func(name string, f figure) spread { return r.of(name, f.of) })}
	if r.alone() {
		v.Added = each(r.names, func(name string, f figure) spread { return r.against(name, direct, f.of, difference) })
		v.Beside = each(r.bases(), func(base string, f figure) spread { return r.against(gateway, base, f.of, difference) })
		return v
	}
	v.Ratios = each(r.bases(), func(base string, f figure) spread { return r.against(gateway, base, f.of, ratio) })
	v.Own = make(map[string]map[string]spread)
	for _, q := range r.pairs() {
		v.Own[q.name] = each([]string{q.name}, func(_ string, f figure) spread { return r.against(q.name, q.own, f.of, ratio) })[q.name]
	}
	v.More = each(r.more(), func(name string, f figure) spread { return r.against(name, gateway, f.of, ratio) })
	for _, name := range r.names {
		if bills(name) {
			v.Figures[name]["redis_cpu_us"] = r.of(name, ofRedis)
		}
	}
	return v
}

func reportJSON(w io.Writer, o *options, s *stage, results []*result, p proof) error {
	all := make(map[string]shown)
	for _, r := range results {
		all[r.Name] = r.shown()
	}
	programs := make(map[string]any)
	for _, t := range s.programs() {
		programs[t.name] = map[string]any{"start_ns": t.start, "bytes": t.size}
	}
	return printJSON(w, map[string]any{
		"rounds": o.rounds, "duration_ns": o.duration, "concurrency": o.concurrency, "cpus": runtime.NumCPU(), "chunks": o.chunks,
		"delay_ns": o.delay, "rate": o.rate, "results": all, "programs": programs, "proof": p, "goals": verdicts(results),
	})
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
