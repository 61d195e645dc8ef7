package usage

import (
	"bytes"
	"strings"
)

// framing is how an answer's events are laid out in its bytes.
type framing uint8

const (
	unknown framing = iota // only white space so far
	events                 // server-sent events
	body                   // one JSON object
	lines                  // JSON objects, one a line
	array                  // a JSON array of objects (Gemini's stream)
	frames                 // AWS's binary event stream
	opaque                 // nothing that can be read
)

// sniff finds the framing by the first byte that is not white space; the Content-Type, which may be wrong, decides only if that byte
// does not. It returns how many bytes come before.
func (r *Reader) sniff(p []byte) int {
	kind, _, _ := strings.Cut(strings.ToLower(r.o.ContentType), ";")
	kind = strings.TrimSpace(kind)
	switch {
	case kind == "application/vnd.amazon.eventstream":
		r.framing = frames
		return 0
	case strings.HasPrefix(kind, "audio/"), strings.HasPrefix(kind, "image/"), strings.HasPrefix(kind, "video/"),
		kind == "application/octet-stream":
		r.framing = opaque
		if r.o.API == OpenAISpeech {
			r.sound = soundOf(kind, strings.ToLower(r.o.ContentType))
		}
		return 0
	}
	i := 0
	for i < len(p) && (white(p[i]) || bytes.IndexByte(bom, p[i]) >= 0) {
		i++
	}
	if i == len(p) {
		return i
	}
	sse := kind == "text/event-stream"
	spoken := r.o.API == OpenAITranscription && strings.HasPrefix(kind, "text/") && !sse
	switch c := p[i]; {
	case c == '{' && !spoken:
		r.framing = body
		if r.o.API == OllamaNative || strings.Contains(kind, "ndjson") || strings.Contains(kind, "jsonl") || kind == "application/stream+json" {
			r.framing = lines
		}
	case c == '[' && !spoken:
		r.framing = array
	case sse, !spoken && strings.IndexByte("deir:", c) >= 0:
		r.framing = events
	case c == 0 && (r.o.API == BedrockConverse || r.o.API == BedrockInvoke):
		r.framing = frames
	default:
		r.framing = opaque
	}
	switch {
	case p[i] == 0x1f && !spoken: // gzip; other codings look like nothing
		r.framing, r.broken, r.compressed = opaque, "the answer is compressed", true
	case r.framing == opaque && !spoken:
		r.broken = "the answer is neither JSON nor an event stream"
	}
	return i
}

// white reports whether c is JSON's white space.
func white(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

// bom is the byte order mark that may come before a stream or a body.
var bom = []byte("\xef\xbb\xbf")

// nextBody reads an answer that is one JSON object.
func (r *Reader) nextBody(p []byte) (int, Mark) {
	if r.ended {
		return len(p), More
	}
	n := r.sc.run(r, p)
	if r.sc.st != stDone {
		return len(p), More
	}
	r.eventDone()
	return n, r.end()
}

// nextLine reads a stream of JSON objects, one a line.
func (r *Reader) nextLine(p []byte) (int, Mark) {
	i := 0
	for i < len(p) {
		switch r.sc.st {
		case stDone, stBad:
			if p[i] == '{' && r.sc.st == stDone {
				r.eventDone()
				continue
			}
			if i++; p[i-1] == '\n' {
				r.eventDone()
				return i, EventEnd
			}
		default:
			if r.sc.st == stValue && r.sc.top == 0 && p[i] != '{' {
				if white(p[i]) {
					i++
				} else {
					r.sc.st = stBad
				}
				continue
			}
			i += r.sc.run(r, p[i:])
			if r.sc.st == stDone && r.f.ends != nil && r.f.ends(r) {
				r.final = true
				if m := r.end(); m != More {
					return i, m
				}
			}
		}
	}
	return i, More
}

// nextElement reads a stream that is one JSON array of objects.
func (r *Reader) nextElement(p []byte) (int, Mark) {
	if r.ended {
		return len(p), More
	}
	i := 0
	if r.sc.st == stValue && r.sc.top == 0 {
		for ; i < len(p); i++ {
			if p[i] == '[' && !r.inArray {
				r.inArray = true
			} else if !white(p[i]) && p[i] != ',' {
				break
			}
		}
		if i == len(p) {
			return i, More
		}
		if p[i] == ']' {
			return i + 1, r.end()
		}
		if p[i] != '{' {
			r.sc.st = stBad
		}
	}
	i += r.sc.run(r, p[i:])
	switch r.sc.st {
	case stDone:
		r.eventDone()
		return i, EventEnd
	case stBad:
		return len(p), More
	default:
		return i, More
	}
}
