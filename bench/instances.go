package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// instances loads one instance of the gateway and then all that are wanted at once, which share Redis, the keys and Lago, by keys with
// five limits each. It prints what a call costs the instances and Redis in CPU.
func (s *stage) instances(ctx context.Context, w io.Writer, o *options) error {
	of := *o
	of.limits = true
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
	keys, err := first.makeKeys(ctx, fiveLimits)
	if err != nil {
		return err
	}
	for _, t := range all {
		t.keys = keys
	}
	var rows strings.Builder
	fmt.Fprint(&rows, "instances\tcalls/s\tCPU µs/call\tRedis µs/call\tp50 ms\tp99 ms\t\n")
	for _, n := range []int{1, o.instances} {
		r := &result{kind: &kind{Name: "instances"}, samples: make(map[string][]sample)}
		for round := range o.rounds + 1 { // the first warms up and is not counted
			say("round %d of %d, %d at once ...", round, o.rounds, n)
			m, ofRedis, err := s.loadTogether(ctx, &of, all[:n])
			if err != nil {
				return err
			}
			if round > 0 {
				r.samples["all"] = append(r.samples["all"], m)
				r.samples["redis"] = append(r.samples["redis"], sample{CPU: ofRedis})
			}
		}
		fmt.Fprintf(&rows, "%d\t", n)
		for _, f := range []struct {
			of     string
			figure int
		}{{"all", 0}, {"all", 4}, {"redis", 4}, {"all", 1}, {"all", 2}} {
			fmt.Fprintf(&rows, figures[f.figure].format+"\t", r.of(f.of, figures[f.figure].of).Median)
		}
		fmt.Fprint(&rows, "\n")
	}
	return printTable(w, rows.String())
}

// loadTogether loads instances at the same time, and returns what their calls cost them and Redis.
func (s *stage) loadTogether(ctx context.Context, o *options, all []*target) (m sample, redis time.Duration, err error) {
	k := &kind{bytes: 600}
	spent := func() (gateways, redis time.Duration, err error) {
		for _, t := range all {
			used, failed := t.cpu()
			gateways, err = gateways+used, errors.Join(err, failed)
		}
		redis, failed := s.redis.cpu()
		return gateways, redis, errors.Join(err, failed)
	}
	before, redisBefore, err := spent()
	if err != nil {
		return m, 0, err
	}
	timings, errs := make([][]timing, len(all)), make([]error, len(all))
	var took time.Duration
	var wg sync.WaitGroup
	for i, t := range all {
		l := &loader{addr: t.addr, requests: k.requests(o, t.addr, t.keys), concurrency: max(1, o.concurrency/len(all)), tail: k.tail()}
		wg.Go(func() {
			var mine time.Duration
			timings[i], mine, errs[i] = l.run(ctx, o.duration)
			if i == 0 {
				took = mine
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return m, 0, err
	}
	var calls []timing
	for _, t := range timings {
		calls = append(calls, t...)
	}
	*all[0].calls += len(calls)
	for _, t := range all {
		if err := s.awaitDelivery(ctx, t); err != nil {
			return m, 0, err
		}
	}
	after, redisAfter, err := spent()
	if err != nil {
		return m, 0, err
	}
	m = summarise(calls, took)
	m.CPU = (after - before) / time.Duration(len(calls))
	return m, (redisAfter - redisBefore) / time.Duration(len(calls)), nil
}
