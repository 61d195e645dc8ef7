package usage

import "bytes"

// lineKind is the kind of the current line of an event stream.
type lineKind uint8

const (
	lineName    lineKind = iota // its field name is not known yet
	lineData                    // data
	lineEvent                   // the event's type
	lineIgnored                 // another field
	lineComment                 // a comment
	lineRaw                     // JSON without a field name: how Gemini reports an error in a stream
)

// pendingCR is what a carriage return at the end of the last slice waits for.
type pendingCR uint8

const (
	crNone  pendingCR = iota
	crLine            // a line feed would belong to the line that ended
	crEvent           // a line feed ends the event
)

// sse is the place in an event stream. Lines end in CR LF, LF or CR; a blank line ends an event.
type sse struct {
	line    lineKind
	cr      pendingCR
	crlf    bool // the line before ended in CR LF
	byCR    bool // lines end in a lone CR: it is searched for first
	fields  bool // the event has a field
	data    bool // the event has data
	glued   bool // two events could not be separated in time
	marker  uint8
	nameLen uint8
	name    [6]byte
}

// doneMarker begins the data that ends OpenAI's streams; some servers add spaces.
const doneMarker = "[DONE]"

// mayStrip reports whether the event's lines so far leave it possible to drop the event as a whole.
func (s *sse) mayStrip() bool {
	return (s.line != lineComment || s.fields) && s.line != lineRaw && s.marker == 0 && !s.glued
}

// nextSSE reads server-sent events.
func (r *Reader) nextSSE(p []byte) (int, Mark) {
	s := &r.sse
	i := 0
	if s.cr != crNone {
		was := s.cr
		s.cr = crNone
		if p[0] == '\n' {
			i, s.crlf = 1, true
			if was == crEvent {
				return 1, r.sseEvent()
			}
		} else if was == crEvent {
			r.glue()
		}
	}
	for i < len(p) {
		switch s.line {
		case lineName:
			i = r.sseName(p, i)
		case lineRaw:
			i += r.sc.run(r, p[i:])
			if r.sc.st == stDone || r.sc.st == stBad {
				r.eventDone()
				s.line, s.fields = lineComment, false // the rest of the line is a comment
			}
		default:
			end := s.lineEnd(p[i:])
			r.sseText(p[i : i+end])
			i += end
		}
		if i < len(p) && (p[i] == '\n' || p[i] == '\r') && s.line != lineRaw {
			n, m := r.sseLine(p, i)
			if i = n; m != More {
				return i, m
			}
		}
	}
	return i, More
}

// lineEnd returns where the line ends in p, len(p) when it does not.
func (s *sse) lineEnd(p []byte) int {
	first, second := byte('\n'), byte('\r')
	if s.byCR {
		first, second = second, first
	}
	if at := bytes.IndexByte(p, first); at >= 0 {
		p = p[:at]
	}
	if at := bytes.IndexByte(p, second); at >= 0 {
		p = p[:at]
	}
	return len(p)
}

// sseName reads the name of a field, up to its colon or the end of the line.
func (r *Reader) sseName(p []byte, i int) int {
	s := &r.sse
	if s.nameLen == 0 {
		if len(p)-i > 5 && string(p[i:i+5]) == "data:" {
			r.sseData()
			return i + 5
		}
		switch p[i] {
		case ':':
			s.line = lineComment
			return i + 1
		case '{':
			if !s.fields {
				s.line, s.fields = lineRaw, true
				return i
			}
		}
	}
	for ; i < len(p); i++ {
		switch c := p[i]; {
		case c == '\n' || c == '\r':
			return i
		case c == ':':
			s.fields = true
			switch string(s.name[:s.nameLen]) {
			case "data":
				r.sseData()
			case "event":
				s.line = lineEvent
			default:
				s.line = lineIgnored
			}
			return i + 1
		case int(s.nameLen) == len(s.name):
			s.line, s.fields = lineIgnored, true
			return i
		default:
			s.name[s.nameLen] = c
			s.nameLen++
		}
	}
	return i
}

// sseData begins a data line. Several of one event are joined by a line feed.
func (r *Reader) sseData() {
	s := &r.sse
	s.line, s.fields = lineData, true
	if s.data && s.marker == 0 {
		r.sc.run(r, lineFeed)
	}
	s.data = true
}

var lineFeed = []byte{'\n'}

// sseText takes a piece of a line's text.
func (r *Reader) sseText(p []byte) {
	s := &r.sse
	switch s.line {
	case lineData:
		if s.marker == 0 && r.sc.st == stValue && r.sc.top == 0 {
			for len(p) > 0 && (p[0] == ' ' || p[0] == '\t') {
				p = p[1:]
			}
			if len(p) == 0 {
				return
			}
			if p[0] != '{' && p[0] != '[' {
				r.sc.st = stBad
			}
		}
		if s.marker > 0 || len(p) > 0 && p[0] == '[' && r.sc.st == stValue && r.sc.top == 0 {
			for len(p) > 0 && int(s.marker) < len(doneMarker) {
				if p[0] != doneMarker[s.marker] {
					s.marker = 0
					r.sc.st = stBad
					return
				}
				s.marker++
				p = p[1:]
			}
			if int(s.marker) == len(doneMarker) {
				r.event.done, r.complete = true, true
			}
			return
		}
		if r.sc.run(r, p); r.sc.st == stDone && !r.event.done && r.f.ends != nil && r.f.ends(r) {
			r.event.done, r.complete, r.final = true, true, true
		}
	case lineEvent:
		if r.kind.n == 0 {
			p = bytes.TrimLeft(p, " ")
		}
		if !s.data {
			r.kind.n += uint8(copy(r.kind.b[r.kind.n:], p))
		}
	default: // nothing else matters
	}
}

// sseLine takes the line end at position i and returns what ended with it.
func (r *Reader) sseLine(p []byte, i int) (int, Mark) {
	s := &r.sse
	after := s.crlf
	blank := s.line == lineName && s.nameLen == 0
	was := s.line
	lone := p[i] == '\r' // until a line feed is seen
	s.byCR = lone
	i++
	open := lone && i == len(p)
	if lone && !open && p[i] == '\n' {
		i++
		lone = false
		s.byCR = false
		s.crlf = true
	} else {
		s.crlf = false
	}
	if open {
		s.cr = crLine
	}
	if s.line == lineName && s.nameLen > 0 {
		s.fields = true
	}
	s.line, s.nameLen = lineName, 0
	switch {
	case blank && open && after:
		s.cr = crEvent
		return i, More
	case blank && lone && after:
		r.glue()
		return i, More
	case blank:
		return i, r.sseEvent()
	case was == lineData && r.event.done:
		return i, r.end()
	case was == lineComment && !s.fields:
		if open {
			s.cr = crEvent
			return i, More
		}
		return i, EventEnd
	}
	return i, More
}

// sseEvent ends an event at its blank line.
func (r *Reader) sseEvent() Mark {
	m := EventEnd
	s := &r.sse
	e := &r.event
	if r.f.strips && r.sc.st == stDone && e.choices && !e.choice && e.usage && !r.failed && !s.glued && !e.done {
		m = UsageOnly
	}
	r.glue()
	s.glued = false
	return m
}

// failing reports whether the event under way is an error by its name: servers may leave its last line end out.
func (r *Reader) failing() bool {
	return r.framing == events && r.sse.data && string(r.kind.bytes()) == "error"
}

// glue ends an event without its own mark, because its end was seen too late.
func (r *Reader) glue() {
	s := &r.sse
	s.glued = s.fields || s.glued
	if s.fields {
		r.failed = r.failed || r.failing()
		r.eventDone()
	}
	s.fields, s.data, s.marker = false, false, 0
}
