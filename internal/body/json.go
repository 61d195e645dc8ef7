package body

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math/bits"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/tollgate-llm/tollgate/internal/usage"
)

// parser parses a JSON text once, by the grammar of RFC 8259, without building values.
type parser struct {
	data []byte
	at   int
	body *Body
	seen uint32 // bit set of the guarded members seen, by index
	opts bool   // include_usage was seen

	member []byte   // the name of the member being read
	bounds [][]byte // members seen that begin with max_ and are not guarded by name
}

func (p *parser) fail(problem string) error { return p.failAt(p.at, "", problem) }

func (p *parser) failAt(at int, param, problem string) error {
	before := p.data[:min(at, len(p.data))]
	return &Error{
		Param: param, Problem: problem,
		Line:   1 + bytes.Count(before, []byte{'\n'}),
		Column: 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]),
	}
}

func (p *parser) space() {
	for p.at < len(p.data) {
		switch p.data[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

// peek returns the next byte, 0 at the end. A zero byte is invalid everywhere, so the two need not be distinguished.
func (p *parser) peek() byte {
	if p.at < len(p.data) {
		return p.data[p.at]
	}
	return 0
}

// member is called with the raw name of a member when its value is next, and parses the value.
type member func(name []byte, nameAt, depth int) error

// object parses an object at the given depth; its opening brace is next. take may be nil.
func (p *parser) object(depth int, take member) error {
	if depth > MaxDepth {
		return p.fail("nesting is deeper than " + strconv.Itoa(MaxDepth) + " levels")
	}
	p.at++
	if p.space(); p.peek() == '}' {
		p.at++
		return nil
	}
	for {
		nameAt := p.at
		if p.peek() != '"' {
			return p.expected("a member's name in double quotes")
		}
		name, _, err := p.str(false)
		if err != nil {
			return err
		}
		if p.space(); p.peek() != ':' {
			return p.expected("a colon after the member's name")
		}
		p.at++
		p.space()
		p.member = name
		if take == nil {
			err = p.value(depth)
		} else {
			err = take(name, nameAt, depth)
		}
		if err != nil {
			return err
		}
		p.space()
		switch p.peek() {
		case '}':
			p.at++
			return nil
		case ',':
			comma := p.at
			p.at++
			if p.space(); p.peek() == '}' {
				return p.failAt(comma, "", "trailing comma before }")
			}
		default:
			return p.expected("a comma or }")
		}
	}
}

// array parses an array at the given depth; its opening bracket is next.
func (p *parser) array(depth int) error { return p.elements(depth-1, p.value) }

// elements parses an array in a container at the given depth; its opening bracket is next. take parses each element.
func (p *parser) elements(depth int, take func(depth int) error) error {
	depth++
	if depth > MaxDepth {
		return p.fail("nesting is deeper than " + strconv.Itoa(MaxDepth) + " levels")
	}
	p.at++
	if p.space(); p.peek() == ']' {
		p.at++
		return nil
	}
	for {
		if err := take(depth); err != nil {
			return err
		}
		p.space()
		switch p.peek() {
		case ']':
			p.at++
			return nil
		case ',':
			comma := p.at
			p.at++
			if p.space(); p.peek() == ']' {
				return p.failAt(comma, "", "trailing comma before ]")
			}
		default:
			return p.expected("a comma or ]")
		}
	}
}

// expected returns the error for an unexpected token.
func (p *parser) expected(what string) error {
	if p.at >= len(p.data) {
		return p.fail("the body ends where " + what + " is expected")
	}
	r, size := utf8.DecodeRune(p.data[p.at:])
	if r == utf8.RuneError && size == 1 {
		return p.fail("text is not valid UTF-8")
	}
	return p.fail(what + " is expected, not " + strconv.QuoteRune(r))
}

// value parses any value in a container at the given depth.
func (p *parser) value(depth int) error {
	switch c := p.peek(); {
	case c == '{':
		return p.object(depth+1, nil)
	case c == '[':
		return p.array(depth + 1)
	case c == '"':
		_, _, err := p.str(true)
		return err
	case c == '-' || '0' <= c && c <= '9':
		return p.number()
	case c == 't':
		return p.literal("true")
	case c == 'f':
		return p.literal("false")
	case c == 'n':
		return p.literal("null")
	}
	return p.expected("a value")
}

func (p *parser) literal(word string) error {
	if len(p.data)-p.at < len(word) || string(p.data[p.at:p.at+len(word)]) != word {
		return p.fail("a value is expected, and text needs double quotes")
	}
	p.at += len(word)
	return nil
}

func (p *parser) digits() int {
	from := p.at
	for p.at < len(p.data) && '0' <= p.data[p.at] && p.data[p.at] <= '9' {
		p.at++
	}
	return p.at - from
}

func (p *parser) number() error {
	from := p.at
	if p.peek() == '-' {
		p.at++
	}
	zero := p.peek() == '0'
	if n := p.digits(); n == 0 || zero && n > 1 {
		return p.failAt(from, "", "a number is malformed")
	}
	if p.peek() == '.' {
		p.at++
		if p.digits() == 0 {
			return p.failAt(from, "", "a number is malformed")
		}
	}
	if p.peek()|0x20 == 'e' {
		p.at++
		if c := p.peek(); c == '+' || c == '-' {
			p.at++
		}
		if p.digits() == 0 {
			return p.failAt(from, "", "a number is malformed")
		}
	}
	return nil
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special marks the bytes of w that end a run of plain text: quotes, backslashes and control characters. Only the lowest bit
// set is reliable; a borrow may falsify those above it.
func special(w uint64) uint64 {
	quote, back := w^('"'*ones), w^('\\'*ones)
	return ((w-0x20*ones)&^w | (quote-ones)&^quote | (back-ones)&^back) & highs
}

// str parses a string whose opening quote is next and returns the bytes between the quotes. If count is set, the text is
// added to the body's units.
func (p *parser) str(count bool) (raw []byte, escaped bool, err error) {
	data, from := p.data, p.at+1
	i, piece := from, from // piece is the start of the text since the last escape
	var all uint64
	var units int64
	for {
		for i+8 <= len(data) {
			w := binary.LittleEndian.Uint64(data[i:])
			all |= w
			if m := special(w); m != 0 {
				i += bits.TrailingZeros64(m) >> 3
				break
			}
			i += 8
		}
		for i < len(data) && data[i] >= 0x20 && data[i] != '"' && data[i] != '\\' {
			all |= uint64(data[i])
			i++
		}
		if i >= len(data) {
			return nil, false, p.failAt(p.at, "", "a string has no closing quote: it begins")
		}
		if data[i] < 0x20 {
			return nil, false, p.failAt(i, "", "a control character in a string must be escaped")
		}
		if data[i] == '"' {
			break
		}
		n, unit := escape(data[i:])
		if n == 0 {
			return nil, false, p.failAt(i, "", "an escape in a string is malformed")
		}
		if count {
			units += usage.Units(data[piece:i]) + escapeUnits(unit)
		}
		escaped = true
		i += n
		piece = i
	}
	raw = data[from:i]
	if all&highs != 0 && !utf8.Valid(raw) {
		return nil, false, p.failAt(from, "", "a string is not valid UTF-8: it begins")
	}
	if count && (escaped || all&highs != 0 || !encoded(raw) || !holdsData(p.member)) {
		p.body.Units += units + usage.Units(data[piece:i])
	}
	p.at = i + 1
	return raw, escaped, nil
}

// dataEnds are the suffixes of names of members that hold data: images, audio, documents, and reasoning encrypted by a
// provider.
var dataEnds = []string{
	"data", "url", "uri", "bytes", "base64", "b64_json", "image", "images", "mask", "audio", "video", "file", "signature", "encrypted_content",
}

// holdsData reports whether a member with this name holds data. In other members a long string without spaces is text, since
// prompts can look like that.
func holdsData(name []byte) bool {
	for _, end := range dataEnds {
		if len(name) >= len(end) && sameFolded(name[len(name)-len(end):], end) {
			return true
		}
	}
	return false
}

// encoded reports whether an ASCII string is data rather than text: images, audio and documents in base64 are long and have
// no spaces.
func encoded(raw []byte) bool {
	return len(raw) >= 1024 && bytes.IndexByte(raw, ' ') < 0
}

// escape returns the length of the escape at the start of b, 0 if it is malformed, and its UTF-16 code unit. Escapes of one
// letter all return a space.
func escape(b []byte) (n int, unit rune) {
	if len(b) < 2 {
		return 0, 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2, ' '
	case 'u':
		if len(b) < 6 {
			return 0, 0
		}
		for _, c := range b[2:6] {
			switch {
			case '0' <= c && c <= '9':
				c -= '0'
			case 'a' <= c|0x20 && c|0x20 <= 'f':
				c = c | 0x20 - 'a' + 10
			default:
				return 0, 0
			}
			unit = unit<<4 | rune(c)
		}
		return 6, unit
	}
	return 0, 0
}

// escapeUnits returns the units of an escaped UTF-16 code unit. A surrogate pair is counted once, at its first half.
func escapeUnits(unit rune) int64 {
	switch {
	case unit >= 0xdc00 && unit < 0xe000:
		return 0
	case unit >= 0xd800 && unit < 0xdc00:
		unit = 0x10000 // all characters beyond the basic plane count the same
	}
	var buf [utf8.UTFMax]byte
	return usage.Units(buf[:utf8.EncodeRune(buf[:], unit)])
}

// unescape returns the text of a parsed string.
func unescape(raw []byte) string {
	var s string
	// The string is known to be valid, so this cannot fail.
	_ = json.Unmarshal(slices.Concat([]byte{'"'}, raw, []byte{'"'}), &s)
	return s
}
