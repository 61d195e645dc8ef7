package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// sample is the result of one load of one target.
type sample struct {
	Calls     int           `json:"calls"`
	PerSecond float64       `json:"calls_per_second"`
	P50       time.Duration `json:"p50_ns"`
	P99       time.Duration `json:"p99_ns"`
	First     time.Duration `json:"first_byte_p50_ns"` // to the first byte of the answer's body
	CPU       time.Duration `json:"cpu_ns_per_call"`   // user and system time of the target's processes, including delivery and totals
	Redis     time.Duration `json:"redis_cpu_ns_per_call"`
	Peak      int64         `json:"peak_bytes"`      // VmHWM since the load began
	Lag       time.Duration `json:"delivery_lag_ns"` // from the last answer until Lago had every event
}

// timing is how long one call took.
type timing struct {
	first, whole time.Duration
	chunks       []time.Duration // delay of each event of a stream but the first, if measured
}

// loader keeps a number of HTTP/1.1 connections alive. Each makes its next call as soon as the last is answered, or at a
// fixed rate.
type loader struct {
	addr        string
	requests    [][]byte // taken in turn
	concurrency int
	tail        []byte        // the end of a complete answer
	stamp       bool          // stream events carry the time they were sent
	every       time.Duration // interval between calls of a connection; 0: as fast as possible
}

// loader returns the loader for this kind of load on a target.
func (k *kind) loader(o *options, t *target) *loader {
	return &loader{addr: t.addr, requests: k.requests(o, t, t.keys), concurrency: k.connections, tail: k.tail(t), stamp: k.stamp, every: k.every}
}

// run loads the target for the given time. An incomplete answer is an error: a benchmark of failures means nothing.
func (l *loader) run(ctx context.Context, duration time.Duration) ([]timing, time.Duration, error) {
	begun := time.Now()
	end := begun.Add(duration)
	all := make([][]timing, l.concurrency)
	errs := make([]error, l.concurrency)
	var wg sync.WaitGroup
	for i := range l.concurrency {
		wg.Go(func() { all[i], errs[i] = l.client(ctx, i, end) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, 0, err // the others failed alike
		}
	}
	return slices.Concat(all...), time.Since(begun), nil
}

// client makes calls one after another on one connection.
func (l *loader) client(ctx context.Context, i int, end time.Time) (timings []timing, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", l.addr)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	r := bufio.NewReaderSize(conn, 16<<10)
	buf := make([]byte, 16<<10)
	due := time.Now().Add(l.every * time.Duration(i) / time.Duration(l.concurrency))
	for n := i * len(l.requests) / l.concurrency; due.Before(end) && ctx.Err() == nil; n++ {
		time.Sleep(time.Until(due))
		if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
			return timings, err
		}
		t, err := l.call(conn, r, buf, l.requests[n%len(l.requests)], due)
		if err != nil {
			return timings, err
		}
		timings = append(timings, t)
		if due = due.Add(l.every); l.every == 0 {
			due = time.Now()
		}
	}
	return timings, ctx.Err()
}

// call makes a call. Its time counts from when it was due, so a slow answer also delays the next call.
func (l *loader) call(conn net.Conn, r *bufio.Reader, buf, request []byte, due time.Time) (t timing, err error) {
	if _, err := conn.Write(request); err != nil {
		return t, err
	}
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	if res.StatusCode != http.StatusOK {
		words, err := io.ReadAll(io.LimitReader(res.Body, 1<<10))
		return t, errors.Join(fmt.Errorf("status %d: %s", res.StatusCode, words), err)
	}
	var last [32]byte // the last bytes read
	for {
		n, err := res.Body.Read(buf)
		if n > 0 && t.first == 0 {
			t.first = time.Since(due)
		}
		if l.stamp {
			t.chunks = appendDelays(t.chunks, buf[:n], time.Now())
		}
		if n >= len(last) {
			copy(last[:], buf[n-len(last):n])
		} else if n > 0 {
			copy(last[:], last[n:])
			copy(last[len(last)-n:], buf[:n])
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return t, err
		}
	}
	t.whole = time.Since(due)
	t.chunks = t.chunks[min(1, len(t.chunks)):] // the first comes with the header and counts as the time to the first byte
	if !bytes.HasSuffix(last[:], l.tail) {
		return t, fmt.Errorf("an answer is not whole: it ends with %q", last)
	}
	return t, nil
}

// summarise turns timings into a sample.
func summarise(timings []timing, took time.Duration) sample {
	whole := make([]time.Duration, len(timings))
	first := make([]time.Duration, len(timings))
	var chunks []time.Duration
	for i, t := range timings {
		whole[i], first[i] = t.whole, t.first
		chunks = append(chunks, t.chunks...)
	}
	if len(chunks) > 0 {
		whole = chunks
	}
	slices.Sort(whole)
	slices.Sort(first)
	return sample{
		Calls: len(timings), PerSecond: float64(len(timings)) / took.Seconds(),
		P50: percentile(whole, 50), P99: percentile(whole, 99), First: percentile(first, 50),
	}
}

// stamped is the text before the timestamp in a fake provider's event.
var stamped = []byte(`"id":"chatcmpl-`)

// appendDelays appends the delays of the events in p. An event split across reads counts once its id is complete.
func appendDelays(delays []time.Duration, p []byte, now time.Time) []time.Duration {
	for {
		i := bytes.Index(p, stamped)
		if i < 0 || len(p) < i+len(stamped)+16 {
			return delays
		}
		p = p[i+len(stamped):]
		if at, err := strconv.ParseInt(string(p[:16]), 16, 64); err == nil {
			delays = append(delays, now.Sub(time.Unix(0, at)))
		}
	}
}

// percentile returns the p-th percentile of sorted values.
func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}
