package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// Events of open streams are streamPause apart, so that all streams of a target are open before the first ends.
const (
	streamPause  = 10 * time.Second
	streamEvents = 5
)

// held is a target's memory use.
type held struct {
	live     int64 // heap and stacks after a garbage collection, in bytes
	resident int64 // VmRSS, in bytes
}

// each is the memory that one open stream takes in a Caddy process, in KB.
type each struct {
	Live         float64 `json:"live_kb"`      // heap and stacks after a garbage collection
	Resident     float64 `json:"resident_kb"`  // VmRSS
	MoreLive     float64 `json:"live_kb_more"` // compared with plainSame
	MoreResident float64 `json:"resident_kb_more"`
}

// openStreams prints the memory per open stream of each Caddy.
func (s *stage) openStreams(ctx context.Context, w io.Writer, o *options) error {
	found := make(map[string]each)
	var names []string
	for _, target := range s.targets {
		if target.name != plainSame && !target.bills() {
			continue
		}
		say("opening %d streams of %s; they take a minute ...", o.streams, target.name)
		h, err := s.holdStreams(ctx, o, target)
		if err != nil {
			return fmt.Errorf("%s: %w", target.name, err)
		}
		const kb = 1 << 10
		e := each{Live: float64(h.live) / kb, Resident: float64(h.resident) / kb}
		if base, ok := found[plainSame]; ok {
			e.MoreLive, e.MoreResident = e.Live-base.Live, e.Resident-base.Resident
		}
		found[target.name] = e
		names = append(names, target.name)
	}
	proof, err := s.reconcile(ctx)
	if err != nil {
		return err
	}
	goal := judge("an open stream, live KB beyond that of "+plainSame, spread{Median: found[gateway].MoreLive}, mostOfStream)
	if o.json {
		err = printJSON(w, map[string]any{"streams": o.streams, "results": found, "proof": proof, "goals": []verdict{goal}})
	} else {
		var rows strings.Builder
		fmt.Fprintf(&rows, "%d open streams\tlive KB each\tadded\tresident KB each\tadded\t\n", o.streams)
		for _, name := range names {
			e := found[name]
			fmt.Fprintf(&rows, "%s\t%.1f\t%.1f\t%.1f\t%.1f\t\n", name, e.Live, e.MoreLive, e.Resident, e.MoreResident)
		}
		err = printTable(w, rows.String())
	}
	if err == nil && o.check {
		err = check(os.Stderr, []verdict{goal})
	}
	return err
}

// holdStreams opens the streams and returns the memory of each while all are open. All are read to their end.
func (s *stage) holdStreams(ctx context.Context, o *options, t *target) (*held, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*streamEvents*streamPause+time.Minute)
	defer cancel()
	k := &kind{stream: true, bytes: 600, chunks: streamEvents, apart: streamPause}
	requests := k.requests(o, t, t.keys)
	before, err := t.held(ctx)
	if err != nil {
		return nil, err
	}
	var begun, ended sync.WaitGroup
	errs := make([]error, o.streams)
	for i := range o.streams {
		begun.Add(1)
		ended.Go(func() {
			first := sync.OnceFunc(begun.Done)
			defer first()
			errs[i] = readStream(ctx, t.addr, requests[i%len(requests)], k.tail(t), first)
		})
		if i%100 == 99 {
			time.Sleep(10 * time.Millisecond) // a listener's backlog is limited
		}
	}
	begun.Wait()
	during, err := t.held(ctx)
	ended.Wait()
	if err := errors.Join(err, errors.Join(errs...)); err != nil {
		return nil, err
	}
	*t.calls += o.streams
	n := int64(o.streams)
	return &held{live: (during.live - before.live) / n, resident: (during.resident - before.resident) / n}, nil
}

// readStream makes a call on its own connection and reports its first event.
func readStream(ctx context.Context, addr string, request, tail []byte, first func()) (err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // a read under way then ends with an error
	if _, err := conn.Write(request); err != nil {
		return err
	}
	r := bufio.NewReaderSize(conn, 4<<10)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	if _, err := io.CopyN(io.Discard, res.Body, 1); err != nil {
		return err
	}
	first()
	rest, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK || !strings.HasSuffix(string(rest), string(tail)) {
		return fmt.Errorf("status %d: an answer is not whole: it ends with %q", res.StatusCode, rest[max(0, len(rest)-100):])
	}
	return nil
}

// held reads the memory of a Caddy after a garbage collection.
func (t *target) held(ctx context.Context) (*held, error) {
	for range 2 { // the second frees objects whose finalizers ran in the first
		if _, err := t.get(ctx, "/debug/pprof/heap?gc=1"); err != nil {
			return nil, err
		}
	}
	text, err := t.get(ctx, "/metrics")
	if err != nil {
		return nil, err
	}
	h := new(held)
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "go_memstats_heap_alloc_bytes" || name == "go_memstats_stack_inuse_bytes" {
			var v float64
			if _, err := fmt.Sscan(value, &v); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			h.live += int64(v)
		}
	}
	if h.live == 0 {
		return nil, errors.New("no go_memstats in /metrics")
	}
	h.resident, err = t.status("VmRSS:")
	return h, err
}

// get requests a path of the admin API.
func (t *target) get(ctx context.Context, path string) (body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.admin+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: status %d", path, res.StatusCode)
	}
	return io.ReadAll(res.Body)
}
