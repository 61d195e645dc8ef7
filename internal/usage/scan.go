package usage

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// maxDepth is the maximum depth of a table, which a test checks. Values that no table names may be nested without a limit: they are
// skipped by counting brackets.
const maxDepth = 16

// state is what the scanner expects next.
type state uint8

const (
	stValue      state = iota // a value
	stFirst                   // a value, or the end of an empty array
	stKey                     // a member's name, or the end of the object
	stKeyText                 // inside a member's name
	stColon                   // the colon after a name
	stString                  // inside a string value
	stLiteral                 // inside a number, true, false or null
	stAfter                   // a comma, or the end of the container
	stSkip                    // inside a container without a node
	stSkipString              // inside a string there
	stDone                    // the root has closed
	stBad                     // this is not JSON
)

type frame struct {
	n     *node
	array bool
}

// scanner is a push scanner for one JSON value, which may be cut at any byte. It keeps only names, and scalars that a table needs.
type scanner struct {
	st     state
	esc    bool // a backslash waits for the character it escapes
	over   bool // the kept text did not fit
	top    uint8
	keyLen uint8
	valLen uint8
	depth  int64 // brackets open in the container that is being skipped
	cur    *node // the node of the next or current value
	jt     jsonText
	key    [40]byte
	val    [240]byte
	frames [maxDepth]frame
}

// reset prepares the scanner for a value of the table root.
func (s *scanner) reset(root *node) {
	s.st, s.esc, s.over, s.top, s.keyLen, s.valLen = stValue, false, false, 0, 0, 0
	s.cur = root
}

// run takes bytes up to the end of the root value, or to the first byte that cannot be JSON, and returns how many.
func (s *scanner) run(r *Reader, p []byte) int {
	i := 0
	for i < len(p) {
		switch s.st {
		case stValue, stFirst:
			i = s.value(r, p, i)
		case stKey:
			switch c := p[i]; c {
			case '"':
				i = s.members(r, p, i)
			case '}':
				i++
				s.pop(r)
			case ' ', '\t', '\n', '\r':
				i++
			default:
				s.st = stBad
			}
		case stKeyText:
			i = s.nameRest(p, i)
		case stColon:
			switch c := p[i]; c {
			case ':':
				i++
				s.st = stValue
			case ' ', '\t', '\n', '\r':
				i++
			default:
				s.st = stBad
			}
		case stString:
			i = s.str(r, p, i)
		case stLiteral:
			i = s.literal(r, p, i)
		case stAfter:
			f := s.frames[s.top-1]
			switch c := p[i]; {
			case c == ',':
				i++
				s.st = stKey
				if f.array {
					s.next(r, f.n)
				}
			case c == '}' && !f.array || c == ']' && f.array:
				i++
				s.pop(r)
			case c == ' ' || c == '\n' || c == '\t' || c == '\r':
				i++
			default:
				s.st = stBad
			}
		case stSkip:
			i = s.skip(p, i)
		case stSkipString:
			end, esc := endQuote(p, i, s.esc)
			if s.esc = esc; end < 0 {
				return len(p)
			}
			i = end + 1
			s.st = stSkip
		case stDone, stBad:
			return i
		}
	}
	return i
}

// next makes an element of array n due.
func (s *scanner) next(r *Reader, n *node) {
	if n.item != nil {
		n.item(r)
	}
	s.cur, s.st = n.elem, stValue
}

// value begins a value.
func (s *scanner) value(r *Reader, p []byte, i int) int {
	c := p[i]
	if c == ' ' || c == '\n' || c == '\t' || c == '\r' {
		return i + 1
	}
	if s.st == stFirst {
		if c == ']' {
			s.pop(r)
			return i + 1
		}
		s.next(r, s.frames[s.top-1].n)
	}
	n := s.cur
	switch {
	case c == '"':
		s.st, s.esc, s.valLen, s.over = stString, false, 0, false
		if n != nil && n.leaf == leafBase64 {
			r.b64.reset()
		}
		s.jt = jsonText{}
		r.text = hashBegin
		return s.str(r, p, i+1)
	case c == '{' || c == '[':
		if n != nil && n.open != nil {
			n.open(r, c)
		}
		array := c == '['
		if n == nil || array && n.elem == nil || !array && n.edges == nil || s.top == maxDepth {
			s.st, s.depth = stSkip, 1
			return i + 1
		}
		s.frames[s.top] = frame{n, array}
		s.top++
		s.st = stKey
		if array {
			s.st = stFirst
		}
		return i + 1
	case literalStart[c]:
		s.st, s.valLen, s.over = stLiteral, 0, false
		return s.literal(r, p, i)
	}
	s.st = stBad
	return i
}

// pop ends the innermost container.
func (s *scanner) pop(r *Reader) {
	s.top--
	f := s.frames[s.top]
	if !f.array && f.n.done != nil {
		f.n.done(r)
	}
	s.ended()
}

// ended notes that a value has ended.
func (s *scanner) ended() {
	s.st = stAfter
	if s.top == 0 {
		s.st = stDone
	}
}

// members reads members as long as they are simple: written without spaces, with a scalar for a value, and whole in p. It
// leaves the first other one to the states of run. Most of a stream's bytes pass here.
func (s *scanner) members(r *Reader, p []byte, i int) int {
	n := s.frames[s.top-1].n
	for {
		// p[i] is the quote before a name.
		var to *node
		j := i + 1
		if j+8 > len(p) {
			return s.name(p, j)
		}
		head := binary.LittleEndian.Uint64(p[j:])
		x := head ^ quotes
		if q := (x - lowBits) &^ x & highBits; q != 0 {
			j += bits.TrailingZeros64(q) / 8
			before := (q&-q)>>7 - 1 // the bytes before the quote
			to = n.memberByHead(head&before, p[i+1:j])
		} else {
			for j += 8; j < len(p) && p[j] != '"'; {
				j++
			}
			to = n.memberByHead(head, p[i+1:j])
		}
		if j+2 >= len(p) || p[j-1] == '\\' || p[j+1] != ':' {
			return s.name(p, i+1)
		}
		j += 2
		wanted := to != nil && to.leaf != leafNone
		end := j
		if p[j] == '"' {
			end = bytes.IndexByte(p[j+1:], '"') + j + 2
			if end == j+1 || p[end-2] == '\\' {
				end = j
			}
		} else if literalStart[p[j]] {
			for end < len(p) && literalByte[p[end]] {
				end++
			}
		}
		if end == j || end >= len(p) || wanted && (end-j > len(s.val) || (to.leaf == leafBase64 || to.leaf == leafQuery)) {
			s.cur, s.st = to, stValue
			return j
		}
		switch {
		case !wanted:
		case p[j] != '"':
			r.literal(to, p[j:end])
		case to.leaf == leafOutput:
			var jt jsonText
			r.textUnits(to.class, jt.add(p[j+1:end-1]))
		case to.leaf == leafCallName:
			var jt jsonText
			r.textUnits(asOutput, jt.add(p[j+1:end-1]))
			r.callName(p[j+1 : end-1])
		default:
			r.str(to, p[j+1:end-1])
		}
		if p[end] != ',' || end+1 >= len(p) || p[end+1] != '"' {
			s.st = stAfter
			return end
		}
		i = end + 1
	}
}

// name reads a member's name that begins at i.
func (s *scanner) name(p []byte, i int) int {
	n := s.frames[s.top-1].n
	for j := i; j < len(p) && j-i <= len(s.key); j++ {
		if p[j] == '"' {
			s.cur = n.member(p[i:j])
			s.st = stColon
			if j+1 < len(p) && p[j+1] == ':' {
				s.st = stValue
				return j + 2
			}
			return j + 1
		}
		if p[j] == '\\' {
			break
		}
	}
	s.keyLen, s.over, s.esc, s.st = 0, false, false, stKeyText
	return s.nameRest(p, i)
}

// nameRest reads a name that is cut, long or escaped. A name with an escape matches no table: no provider writes one.
func (s *scanner) nameRest(p []byte, i int) int {
	end, esc := endQuote(p, i, s.esc)
	s.esc = esc
	stop := end
	if end < 0 {
		stop = len(p)
	}
	if stop-i > len(s.key)-int(s.keyLen) {
		s.over = true
	} else if !s.over {
		s.keyLen += uint8(copy(s.key[s.keyLen:], p[i:stop]))
	}
	if end < 0 {
		return len(p)
	}
	s.cur = nil
	if !s.over {
		s.cur = s.frames[s.top-1].n.member(s.key[:s.keyLen])
	}
	s.st = stColon
	return end + 1
}

// str reads a string value, or the rest of it.
func (s *scanner) str(r *Reader, p []byte, i int) int {
	end, esc := endQuote(p, i, s.esc)
	s.esc = esc
	stop := end
	if end < 0 {
		stop = len(p)
	}
	if n := s.cur; n != nil && n.leaf != leafNone {
		switch n.leaf {
		case leafOutput:
			r.textUnits(n.class, s.jt.add(p[i:stop]))
		case leafCallName:
			r.textUnits(asOutput, s.jt.add(p[i:stop]))
			if s.keep(p[i:stop]); end >= 0 && !s.over {
				r.callName(s.val[:s.valLen])
			}
		case leafBase64:
			r.base64(p[i:stop])
		case leafQuery:
			if r.text = hash(r.text, p[i:stop]); end >= 0 {
				r.query(n, r.text)
			}
		case leafError, leafFinish, leafSeen:
			if stop > i {
				r.str(n, p[i:stop])
			}
		default:
			if s.valLen == 0 && !s.over && end >= 0 && stop-i <= len(s.val) {
				r.str(n, p[i:stop])
			} else if s.keep(p[i:stop]); end >= 0 && !s.over {
				r.str(n, s.val[:s.valLen])
			}
		}
	}
	if end < 0 {
		return len(p)
	}
	s.ended()
	return end + 1
}

// keep adds to the kept scalar.
func (s *scanner) keep(p []byte) {
	if len(p) > len(s.val)-int(s.valLen) {
		s.over = true
	}
	if !s.over {
		s.valLen += uint8(copy(s.val[s.valLen:], p))
	}
}

// literal reads a number, true, false or null, or the rest of one.
func (s *scanner) literal(r *Reader, p []byte, i int) int {
	j := i
	for j < len(p) && literalByte[p[j]] {
		j++
	}
	n := s.cur
	wanted := n != nil && n.leaf != leafNone
	if j == len(p) {
		if wanted {
			s.keep(p[i:j])
		}
		return j
	}
	if wanted {
		if s.valLen == 0 && !s.over && j-i <= len(s.val) {
			r.literal(n, p[i:j])
		} else if s.keep(p[i:j]); s.over {
			r.literal(n, tooLong)
		} else {
			r.literal(n, s.val[:s.valLen])
		}
	}
	s.ended()
	return j
}

// tooLong represents a number that does not fit: it is refused as a count and as a cost.
var tooLong = []byte("9e99")

// literalStart and literalByte hold the bytes that numbers, true, false and null begin with and are made of.
var literalStart, literalByte = byteSet("0123456789-tfn"), byteSet("0123456789+-.eEtrufalsn")

func byteSet(s string) (t [256]bool) {
	for _, c := range []byte(s) {
		t[c] = true
	}
	return t
}

const (
	lowBits  = 0x0101010101010101
	highBits = 0x8080808080808080
	letters  = 0x4040404040404040 // set in every bracket; never in digits and the punctuation of numbers
	quotes   = 0x2222222222222222

	backslashes = 0x5c5c5c5c5c5c5c5c
	spaces      = 0x2020202020202020
)

// plain reports whether none of eight bytes is a quote or has the bit that all brackets have.
func plain(w uint64) bool {
	q := w ^ quotes
	return w&letters|(q-lowBits)&^q&highBits == 0
}

// skip passes over a container that no table names. It steps over numbers eight bytes at a time and over strings with
// bytes.IndexByte.
func (s *scanner) skip(p []byte, i int) int {
	depth := s.depth
	for i < len(p) {
		for i+16 <= len(p) && plain(binary.LittleEndian.Uint64(p[i:])) && plain(binary.LittleEndian.Uint64(p[i+8:])) {
			i += 16
		}
		for stop := min(i+16, len(p)); i < stop; {
			c := p[i]
			i++
			switch c {
			case '"':
				end, esc := endQuote(p, i, false)
				if end < 0 {
					s.depth, s.esc, s.st = depth, esc, stSkipString
					return len(p)
				}
				i = end + 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					s.ended()
					return i
				}
			}
		}
	}
	s.depth = depth
	return i
}

// endQuote returns where the string ends in which position i lies, or -1 and whether the last byte escapes the next.
func endQuote(p []byte, i int, escaped bool) (at int, esc bool) {
	if i >= len(p) {
		return -1, escaped
	}
	if escaped {
		i++
	}
	for start := i; ; {
		at := bytes.IndexByte(p[i:], '"')
		if at < 0 {
			return -1, oddBackslashes(p[start:])
		}
		if at += i; at == start || p[at-1] != '\\' || !oddBackslashes(p[start:at]) {
			return at, false
		}
		i = at + 1
		start = i
	}
}

// oddBackslashes reports whether p ends in an odd number of backslashes.
func oddBackslashes(p []byte) bool {
	n := 0
	for n < len(p) && p[len(p)-1-n] == '\\' {
		n++
	}
	return n&1 == 1
}
