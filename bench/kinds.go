package main

import (
	"fmt"
	"strings"
	"time"
)

// kind is a kind of load.
type kind struct {
	Name        string
	stream      bool
	bytes       int           // of the question's text
	chunks      int           // content events of a stream
	apart       time.Duration // of the events of a stream
	stamp       bool          // the delay of each event is measured, in place of calls
	connections int
	every       time.Duration // between the calls of a connection, by a clock; 0: as soon as the one before is answered
	limits      bool          // the gateway's loads with limits on the key, and with traces, are more of them
	translated  bool          // the gateway alone is loaded: with each API, and with each pair that it translates
}

// kinds are those of a run.
func kinds(o *options) []*kind {
	return []*kind{
		{Name: "unstreamed", bytes: 600, connections: o.concurrency, limits: o.limits || o.traces},
		{Name: "4 KB bodies", bytes: 4 << 10, connections: o.concurrency},
		{Name: "streamed", stream: true, bytes: 600, chunks: o.chunks, apart: o.delay, connections: 2 * o.concurrency},
		{Name: "translated", stream: true, bytes: 600, chunks: o.chunks, apart: o.delay, connections: 2 * o.concurrency, translated: true},
		{Name: "at a fixed rate", bytes: 600, connections: quiet, every: time.Second * quiet / time.Duration(o.rate)},
		{Name: "chunks at a fixed rate", stream: true, stamp: true, bytes: 600, chunks: 64, apart: chunkPause, connections: quiet, every: chunkEvery},
	}
}

const (
	// quiet is how many connections there are where the delay is measured.
	quiet = 8
	// chunkPause is the pause between events whose delay is measured: far longer than that.
	chunkPause = 10 * time.Millisecond
	// chunkEvery is when the next stream of a connection begins. A stream takes less. An eighth of it is no multiple of chunkPause, so
	// that the events of different streams are 1.25 ms apart and do not wait for each other.
	chunkEvery = 730 * time.Millisecond
)

// alone reports whether the machine has little to do, so that what is measured is delay and not queueing.
func (k *kind) alone() bool { return k.every > 0 }

// duration is how long the kind's loads are. A percentile takes more calls where few are made.
func (k *kind) duration(o *options) time.Duration {
	if k.alone() {
		return 2 * o.duration
	}
	return o.duration
}

// requests returns the bytes of the calls to make to a target, one a key.
func (k *kind) requests(o *options, t *target, keys []string) [][]byte {
	content := fmt.Sprintf("tokens=in:256,out:128,cached:64 chunks=%d bytes=512", max(1, k.chunks))
	options := ""
	if k.stream {
		content += " delay=" + k.apart.String()
		options = `,"stream":true`
		if o.askUsage && t.asks.path == chatPath {
			options += `,"stream_options":{"include_usage":true}`
		}
	}
	if k.stamp {
		content += " stamp=true"
	}
	content += " " + strings.Repeat("What does a call cost? ", k.bytes/23)
	body := fmt.Sprintf(t.asks.body, content, options)
	all := make([][]byte, 0, len(keys))
	for _, key := range keys {
		all = append(all, fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\n"+
			"Authorization: Bearer %s\r\nContent-Type: application/json\r\nAccept: */*\r\nContent-Length: %d\r\n\r\n%s",
			t.asks.path, t.addr, key, len(body), body))
	}
	return all
}

// tail is how a whole answer ends.
func (k *kind) tail(t *target) []byte {
	if k.stream {
		return []byte(t.asks.tail)
	}
	return []byte("}")
}
