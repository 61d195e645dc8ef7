package main

import (
	"fmt"
	"strings"
	"time"
)

// kind is a kind of load.
type kind struct {
	Name   string
	stream bool
	bytes  int           // of the question's text
	apart  time.Duration // of the events of a stream
	stamp  bool          // the delay of each event is measured, in place of calls
	rate   int           // calls a second, over all connections; 0 for as many as go
	limits bool          // the gateway's loads with limits on the key, and with traces, are more of them
}

// kinds are those of a run.
func kinds(o *options) []*kind {
	return []*kind{
		{Name: "unstreamed", bytes: 600, limits: o.limits || o.traces},
		{Name: "4 KB bodies", bytes: 4 << 10},
		{Name: "streamed", stream: true, bytes: 600, apart: o.delay},
		{Name: "at a fixed rate", bytes: 600, rate: o.rate},
		{Name: "chunks at a fixed rate", stream: true, stamp: true, bytes: 600, apart: chunkPause},
	}
}

const (
	// chunkPause is the pause between events whose delay is measured: far longer than that.
	chunkPause = 10 * time.Millisecond
	// quiet is how many connections there are where the delay is measured.
	quiet = 8
)

// alone reports whether the machine has little to do, so that what is measured is delay and not queueing.
func (k *kind) alone() bool { return k.rate > 0 || k.stamp }

// requests returns the bytes of the calls to make to an address, one a key.
func (k *kind) requests(o *options, addr string, keys []string) [][]byte {
	content := fmt.Sprintf("tokens=in:256,out:128,cached:64 chunks=%d bytes=512", o.chunks)
	options := ""
	if k.stream {
		content += " delay=" + k.apart.String()
		options = `,"stream":true`
		if o.askUsage {
			options += `,"stream_options":{"include_usage":true}`
		}
	}
	if k.stamp {
		content += " stamp=true"
	}
	content += " " + strings.Repeat("What does a call cost? ", k.bytes/23)
	body := `{"model":"gpt-4o","messages":[{"role":"user","content":"` + content + `"}]` + options + `}`
	all := make([][]byte, 0, len(keys))
	for _, key := range keys {
		all = append(all, fmt.Appendf(nil, "POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\n"+
			"Authorization: Bearer %s\r\nContent-Type: application/json\r\nAccept: */*\r\nContent-Length: %d\r\n\r\n%s",
			addr, key, len(body), body))
	}
	return all
}

// tail is how a whole answer ends.
func (k *kind) tail() []byte {
	if k.stream {
		return []byte("data: [DONE]\n\n")
	}
	return []byte("}")
}
