package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// ratio is the gateway's figure divided by plain reverse_proxy's, taken within each round.
type ratio struct {
	Median float64 `json:"median"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
}

// ratios compares the rounds by one figure.
func (sc *scenario) ratios(figure func(sample) float64) ratio {
	all := make([]float64, 0, len(sc.proxy))
	for i, p := range sc.proxy {
		all = append(all, figure(sc.tollgate[i])/figure(p))
	}
	slices.Sort(all)
	return ratio{Median: middle(all), Least: all[0], Most: all[len(all)-1]}
}

// middle returns the median of sorted values.
func middle(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// median returns the median of one figure over the rounds.
func median(samples []sample, figure func(sample) float64) float64 {
	all := make([]float64, 0, len(samples))
	for _, s := range samples {
		all = append(all, figure(s))
	}
	slices.Sort(all)
	return middle(all)
}

// figures are the columns of the report.
var figures = []struct {
	name, key string
	format    string
	of        func(sample) float64
}{
	{"calls/s", "calls_per_second", "%.0f", func(s sample) float64 { return s.PerSecond }},
	{"p50 ms", "p50", "%.2f", func(s sample) float64 { return ms(s.P50) }},
	{"p99 ms", "p99", "%.2f", func(s sample) float64 { return ms(s.P99) }},
	{"first byte ms", "first_byte", "%.2f", func(s sample) float64 { return ms(s.First) }},
	{"CPU µs/call", "cpu", "%.0f", cpu},
	{"peak MB", "peak", "%.0f", func(s sample) float64 { return float64(s.Peak) / 1e6 }},
}

func cpu(s sample) float64 { return float64(s.CPU) / float64(time.Microsecond) }

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// report prints the medians of all rounds, and the ratios within rounds.
func report(w io.Writer, o *options, scenarios []*scenario, p proof) error {
	if o.json {
		return reportJSON(w, o, scenarios, p)
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	for _, sc := range scenarios {
		var b strings.Builder
		b.WriteString(sc.name + "\t")
		for _, f := range figures {
			b.WriteString(f.name + "\t")
		}
		for _, r := range []struct {
			name    string
			samples []sample
		}{{"reverse_proxy", sc.proxy}, {"tollgate", sc.tollgate}} {
			b.WriteString("\n" + r.name + "\t")
			for _, f := range figures {
				fmt.Fprintf(&b, f.format+"\t", median(r.samples, f.of))
			}
		}
		b.WriteString("\nratio\t")
		for _, f := range figures {
			fmt.Fprintf(&b, "%.2f\t", sc.ratios(f.of).Median)
		}
		b.WriteString("\nleast..most\t")
		for _, f := range figures {
			r := sc.ratios(f.of)
			fmt.Fprintf(&b, "%.2f..%.2f\t", r.Least, r.Most)
		}
		if _, err := fmt.Fprintln(t, b.String()+"\n"); err != nil {
			return err
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%d rounds of %s, %d calls at a time, %d CPUs; streams of %d content events, %s apart.\n"+
		"The gateway answered %d calls, and Lago has %d events.\n",
		o.rounds, o.duration, o.concurrency, runtime.NumCPU(), o.chunks, o.delay, p.Calls, p.Events)
	return err
}

func reportJSON(w io.Writer, o *options, scenarios []*scenario, p proof) error {
	type result struct {
		Proxy    []sample         `json:"reverse_proxy"`
		Tollgate []sample         `json:"tollgate"`
		Ratios   map[string]ratio `json:"ratios"`
	}
	results := make(map[string]result)
	for _, sc := range scenarios {
		r := result{Proxy: sc.proxy, Tollgate: sc.tollgate, Ratios: make(map[string]ratio)}
		for _, f := range figures {
			r.Ratios[f.key] = sc.ratios(f.of)
		}
		results[sc.name] = r
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(map[string]any{
		"rounds": o.rounds, "duration_ns": o.duration, "concurrency": o.concurrency, "cpus": runtime.NumCPU(), "chunks": o.chunks,
		"delay_ns": o.delay, "results": results, "proof": p,
	})
}

// check fails when a call costs more than it may.
func check(scenarios []*scenario) error {
	var errs []error
	for _, sc := range scenarios {
		most := mostUnstreamed
		if sc.stream {
			most = mostStreamed
		}
		if r := sc.ratios(cpu); r.Median > most {
			errs = append(errs, fmt.Errorf("%s: %.2f times the CPU of reverse_proxy; it may be %.2f", sc.name, r.Median, most))
		}
	}
	return errors.Join(errs...)
}
