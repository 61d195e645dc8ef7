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
	bytes       int           // size of the question's text
	chunks      int           // content events of a stream
	apart       time.Duration // interval between the events of a stream
	stamp       bool          // measures the delay of each event instead of calls
	connections int
	every       time.Duration // fixed interval between the calls of a connection; 0: as soon as the last is answered
	limits      bool          // also loads the gateway with limits on the key, and with traces
	translated  bool          // loads only the gateway: with each API, and with each pair it translates
}

// kinds returns the kinds of load of a run.
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
	// quiet is the number of connections when delay is measured.
	quiet = 8
	// chunkPause is the pause between events whose delay is measured, far longer than the delay.
	chunkPause = 10 * time.Millisecond
	// chunkEvery is the interval at which a connection starts streams; a stream takes less. An eighth of it is not a
	// multiple of chunkPause, so events of different streams are 1.25 ms apart and do not queue.
	chunkEvery = 730 * time.Millisecond
)

// alone reports whether the machine is mostly idle, so that delay is measured and not queueing.
func (k *kind) alone() bool { return k.every > 0 }

// duration returns how long the kind's loads take. At a low rate a percentile needs more time.
func (k *kind) duration(o *options) time.Duration {
	if k.alone() {
		return 2 * o.duration
	}
	return o.duration
}

// requests returns the calls to make to a target as bytes, one per key.
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

// tail returns the end of a complete answer.
func (k *kind) tail(t *target) []byte {
	if k.stream {
		return []byte(t.asks.tail)
	}
	return []byte("}")
}
