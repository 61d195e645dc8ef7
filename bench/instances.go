package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// together is the result of loading several instances at once, with or without limits on the keys.
type together struct {
	Instances int      `json:"instances"`
	Keys      int      `json:"keys"` // number of keys used in turn
	Limits    bool     `json:"limits"`
	Samples   []sample `json:"samples"`
	// The estimated capacity of the machines, from the median CPU per call.
	PerCPU   float64 `json:"calls_per_second_of_an_instances_cpu"`
	PerRedis float64 `json:"calls_per_second_of_redis"`
	keys     []string
}

// manyKeys is large enough that each record of a batch has a different key, the most expensive case for Redis.
const manyKeys = 1000

// instances loads one instance and then all instances at once, in turn. They share Redis, the keys and Lago. It prints
// the CPU that a call costs the instances and Redis: with keys without limits, with five limits each, and with five
// limits and many keys.
func (s *stage) instances(ctx context.Context, w io.Writer, o *options) error {
	first := s.find(gateway)
	all := []*target{first}
	for n := 2; n <= o.instances; n++ {
		name := fmt.Sprintf("%s %d", gateway, n)
		if err := s.startCaddy(ctx, o, name, "", s.gatewayConfig("", name)); err != nil {
			return err
		}
		t := s.find(name)
		t.calls = first.calls
		all = append(all, t)
	}
	var loads []*together
	for _, k := range []struct {
		keys   int
		fields string
	}{{teams, ""}, {teams, fiveLimits}, {manyKeys, fiveLimits}} {
		keys, err := first.makeKeys(ctx, k.keys, k.fields)
		if err != nil {
			return err
		}
		for _, n := range slices.Compact([]int{1, o.instances}) {
			loads = append(loads, &together{Instances: n, Keys: len(keys), Limits: k.fields != "", keys: keys})
		}
	}
	p := progress{whole: time.Duration(len(loads)*(o.rounds+1)) * planned(o.duration)}
	for round := range o.rounds + 1 { // the first warms up and is not counted
		for _, l := range loads {
			p.begin("round %d of %d, %d at once, %d keys", round, o.rounds, l.Instances, l.Keys)
			m, err := s.loadTogether(ctx, o, all[:l.Instances], l.keys)
			if err != nil {
				return err
			}
			if round > 0 {
				l.Samples = append(l.Samples, m)
			}
			p.ended(o.duration)
		}
	}
	proof, err := s.reconcile(ctx)
	if err != nil {
		return err
	}
	var rows strings.Builder
	fmt.Fprint(&rows, "instances\tkeys\tlimits\tcalls/s\tCPU µs/call\tRedis µs/call\tp50 ms\tp99 ms\tcalls/s of a CPU\tcalls/s of Redis\t\n")
	for _, l := range loads {
		fmt.Fprint(&rows, l.row())
	}
	if o.json {
		return printJSON(w, map[string]any{"rounds": o.rounds, "duration_ns": o.duration, "concurrency": o.concurrency, "cpus": runtime.NumCPU(), "results": loads, "proof": proof})
	}
	if err := printTable(w, rows.String()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "\n%d rounds of %s, %d calls at a time over all instances, %d CPUs for everything.\n"+
		"calls/s of a CPU: what one CPU of an instance carries, were it fully used; of Redis: what one Redis carries for any number of instances,\n"+
		"as it runs commands on one CPU. Both are computed from the CPU of a call.\nThe gateway answered %d calls, and Lago has %d events.\n",
		o.rounds, o.duration, o.concurrency, runtime.NumCPU(), proof.Calls, proof.Events)
	return err
}

// row computes the calls per CPU and returns the row of the table.
func (l *together) row() string {
	r := &result{samples: map[string][]sample{"": l.Samples}}
	var row strings.Builder
	limits := "none"
	if l.Limits {
		limits = "five"
	}
	fmt.Fprintf(&row, "%d\t%d\t%s\t", l.Instances, l.Keys, limits)
	of := func(figure func(sample) float64) float64 { return r.of("", figure).Median }
	l.PerCPU, l.PerRedis = 1e6/of(cpu), 1e6/of(ofRedis)
	fmt.Fprintf(&row, "%.0f\t%.0f\t%.1f\t%.2f\t%.2f\t%.0f\t%.0f\t\n", of(figures[0].of), of(cpu), of(ofRedis), of(figures[1].of), of(figures[2].of), l.PerCPU, l.PerRedis)
	return row.String()
}

// loadTogether loads instances at the same time.
func (s *stage) loadTogether(ctx context.Context, o *options, all []*target, keys []string) (m sample, err error) {
	k := &kind{bytes: 600, connections: max(1, o.concurrency/len(all))}
	before, err := s.spent(all...)
	if err != nil {
		return m, err
	}
	timings, errs := make([][]timing, len(all)), make([]error, len(all))
	begun := time.Now()
	var wg sync.WaitGroup
	for i, t := range all {
		l := k.loader(o, t)
		l.requests = k.requests(o, t, keys)
		wg.Go(func() { timings[i], _, errs[i] = l.run(ctx, o.duration) })
	}
	wg.Wait()
	took := time.Since(begun)
	if err := errors.Join(errs...); err != nil {
		return m, err
	}
	var calls []timing
	for _, t := range timings {
		calls = append(calls, t...)
	}
	*all[0].calls += len(calls)
	for _, t := range all {
		if err := s.awaitDelivery(ctx, t); err != nil {
			return m, err
		}
	}
	after, err := s.spent(all...)
	if err != nil {
		return m, err
	}
	m = summarise(calls, took)
	n := time.Duration(max(1, len(calls)))
	m.CPU, m.Redis = (after.targets-before.targets)/n, (after.redis-before.redis)/n
	return m, nil
}
