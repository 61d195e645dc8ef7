package usage

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// The bounds of what is remembered of an event. One that is beyond them is read as any other.
const (
	maxPattern = 640
	maxGaps    = 16
	maxLessons = 8 // events looked at in vain, after which no more are
)

// pattern remembers one event of a stream. Most of those that follow differ from it in a few values alone: the text, a
// padding, a number that counts them. Such an event is the remembered one but for its text, and to find that
// it is one costs a comparison instead of a scan.
type pattern struct {
	size    uint16 // of text; 0 when nothing is remembered
	gaps    uint8
	lessons uint8 // events looked at since one followed
	gap     [maxGaps]gap
	text    [maxPattern]byte
}

// gap is a value of the remembered event that may be another: one that no table names, or text of the answer.
type gap struct {
	from, to uint16 // where it lies in the text, without its quotes
	literal  bool   // a number, true, false or null; else a string
	output   bool   // text that counts as class
	varies   bool   // it has been another: until then it is compared with the rest
	class    class
}

// forget drops the pattern: its event is no longer the latest.
func (t *pattern) forget() { t.size = 0 }

// follow takes the event at the beginning of p if it is as the remembered one, and returns its length; 0 if it is not, or
// not whole.
func (t *pattern) follow(r *Reader, p []byte) int {
	if t.size == 0 {
		return 0
	}
	var n [numClasses]int64
	at, from := 0, 0 // positions in p and in the text
	for i := range int(t.gaps) {
		g := &t.gap[i]
		if !g.varies {
			continue
		}
		same := t.text[from:g.from]
		if len(p)-at < len(same) || string(p[at:at+len(same)]) != string(same) {
			return t.loosen(r, p, at, from, int(g.from))
		}
		at += len(same)
		end := g.end(p, at)
		if end < 0 {
			return 0
		}
		if g.output {
			var jt jsonText
			n[g.class] += jt.add(p[at:end])
		}
		at, from = end, int(g.to)
	}
	same := t.text[from:t.size]
	if len(p)-at < len(same) || string(p[at:at+len(same)]) != string(same) {
		return t.loosen(r, p, at, from, int(t.size))
	}
	for c := range n {
		r.units[c] += n[c]
	}
	t.lessons = 0
	return at + len(same)
}

// end returns where the value in a gap ends that begins at position i, -1 when that is unknown.
func (g *gap) end(p []byte, i int) int {
	if g.literal {
		j := i
		for j < len(p) && literalByte[p[j]] {
			j++
		}
		if j == i || !literalStart[p[i]] {
			return -1
		}
		return j
	}
	for j := i; j+8 <= len(p); j += 8 {
		w := binary.LittleEndian.Uint64(p[j:])
		x := w ^ quotes
		// The lowest bit set is right: it is the first quote or control character.
		if stop := ((x-lowBits)&^x | (w-spaces)&^w) & highBits; stop != 0 {
			if j += bits.TrailingZeros64(stop) / 8; p[j] == '"' && p[j-1] != '\\' {
				return j
			}
			break
		}
	}
	end, _ := endQuote(p, i, false)
	if end < 0 || bytes.IndexByte(p[i:end], '\n') >= 0 || bytes.IndexByte(p[i:end], '\r') >= 0 {
		return -1
	}
	return end
}

// loosen looks for the gap in which p, from position at, differs from the text between from and to. If there is one, it
// varies from now on, and the event is compared again.
func (t *pattern) loosen(r *Reader, p []byte, at, from, to int) int {
	n := commonPrefix(p[at:], t.text[from:to])
	if at += n; at == len(p) {
		return 0
	}
	from += n
	for i := range int(t.gaps) {
		if g := &t.gap[i]; !g.varies && int(g.from) <= from && from <= int(g.to) {
			g.varies = true
			return t.follow(r, p)
		}
	}
	return 0
}

// commonPrefix returns how many bytes at the beginning of a and b are the same.
func commonPrefix(a, b []byte) int {
	n := 0
	for n+8 <= len(a) && n+8 <= len(b) {
		if x := binary.LittleEndian.Uint64(a[n:]) ^ binary.LittleEndian.Uint64(b[n:]); x != 0 {
			return n + bits.TrailingZeros64(x)/8
		}
		n += 8
	}
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// learn remembers an event, which has been read but has not been ended yet, if one like it carries only text: no usage, no
// error, no end. What it names, its model say, stays named until another event names something else, which forgets it.
func (t *pattern) learn(r *Reader, event []byte) {
	if t.lessons == maxLessons || len(event) > maxPattern {
		return
	}
	t.lessons++
	i := 0
	if bytes.HasPrefix(event, []byte("event:")) {
		i = bytes.IndexByte(event, '\n') + 1
	}
	data, ok := bytes.CutPrefix(event[i:], []byte("data:"))
	if !ok || bytes.IndexByte(data, '\n') != len(data)-2 || bytes.IndexByte(event, '\r') >= 0 {
		return
	}
	l := lesson{p: event}
	i = l.value(len(event)-len(data), r.f.root, 0)
	if i != len(event)-2 || !l.output {
		return
	}
	for g := range l.gaps {
		if l.gap[g].class == asDelta {
			l.gap[g].class = r.deltaClass()
		}
	}
	t.size, t.gaps, t.gap = uint16(copy(t.text[:], event)), l.gaps, l.gap
}

// lesson finds the gaps of an event that is one line of JSON and ends in a blank line.
type lesson struct {
	p      []byte
	gap    [maxGaps]gap
	gaps   uint8
	output bool // one of them is text
}

// value finds the gaps of the value at position i. It returns where the value ends, -1 when it says something that must be
// read each time, or is written in a way that is not worth the trouble.
func (l *lesson) value(i int, n *node, depth int) int {
	i = l.spaces(i)
	wanted := leafNone
	if n != nil {
		wanted = n.leaf
	}
	switch c := l.p[i]; {
	case c == '"':
		end, _ := endQuote(l.p, i+1, false)
		if end < 0 {
			return -1
		}
		g := gap{from: uint16(i + 1), to: uint16(end)}
		switch {
		case wanted == leafNone:
			l.add(g)
		case wanted == leafOutput:
			g.output, g.varies, g.class = true, true, n.class
			if l.output = true; !l.add(g) {
				return -1
			}
		case wanted == leafText && n.text <= toType:
		case (wanted == leafError || wanted == leafFinish) && end == i+1:
		default:
			return -1
		}
		return end + 1
	case literalStart[c]:
		end := i
		for literalByte[l.p[end]] {
			end++
		}
		if wanted == leafNone {
			l.add(gap{from: uint16(i), to: uint16(end), literal: true})
		} else if c != 'n' {
			return -1
		}
		return end
	case c != '{' && c != '[' || depth == maxDepth || n.acts():
		return -1
	case n == nil || c == '[' && n.elem == nil || c == '{' && n.edges == nil:
		s := scanner{st: stSkip, depth: 1}
		if i = s.skip(l.p, i+1); s.st != stDone {
			return -1
		}
		return i
	}
	return l.container(i, n, depth)
}

// container finds the gaps of an object or array that a table names.
func (l *lesson) container(i int, n *node, depth int) int {
	array, closing := l.p[i] == '[', l.p[i]+2
	if i = l.spaces(i + 1); l.p[i] == closing {
		return i + 1
	}
	for {
		to := n.elem
		if !array {
			if i = l.spaces(i); l.p[i] != '"' {
				return -1
			}
			end, _ := endQuote(l.p, i+1, false)
			if end < 0 || bytes.IndexByte(l.p[i:end], '\\') >= 0 {
				return -1
			}
			to = n.member(l.p[i+1 : end])
			if i = l.spaces(end + 1); l.p[i] != ':' {
				return -1
			}
			i++
		}
		if i = l.value(i, to, depth+1); i < 0 {
			return -1
		}
		switch i = l.spaces(i); l.p[i] {
		case ',':
			i++
		case closing:
			return i + 1
		default:
			return -1
		}
	}
}

// add adds a gap, if there is room. Values without one are compared as the rest is.
func (l *lesson) add(g gap) bool {
	if int(l.gaps) == len(l.gap) {
		return false
	}
	l.gap[l.gaps] = g
	l.gaps++
	return true
}

// spaces returns the position of the first byte from i that is no space.
func (l *lesson) spaces(i int) int {
	for l.p[i] == ' ' {
		i++
	}
	return i
}
