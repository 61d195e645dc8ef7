// Package jsonscan scans JSON in one pass without building values, and checks it against the grammar of RFC 8259. It also
// writes strings.
package jsonscan

import (
	"bytes"
	"encoding/binary"
	"math/bits"

	"github.com/tidwall/gjson"
)

// maxDepth is the nesting limit. Deeper values are treated as invalid.
const maxDepth = 512

// Cursor is a position in a JSON text. Methods that skip something return false if it is not valid; the cursor must not be
// used after that.
type Cursor struct {
	JSON []byte
	At   int // index of the next byte

	depth int
}

// Peek skips space and returns the next byte; 0 at the end.
func (c *Cursor) Peek() byte {
	for ; c.At < len(c.JSON); c.At++ {
		switch b := c.JSON[c.At]; b {
		case ' ', '\t', '\n', '\r':
		default:
			return b
		}
	}
	return 0
}

// Ended reports whether only space follows.
func (c *Cursor) Ended() bool { return c.Peek() == 0 && c.At == len(c.JSON) }

// Skip skips the value at the cursor.
func (c *Cursor) Skip() bool {
	switch c.Peek() {
	case '"':
		return c.String() != nil
	case '{':
		return c.Members(nil)
	case '[':
		return c.Elements(nil)
	case 't':
		return c.word("true")
	case 'f':
		return c.word("false")
	case 'n':
		return c.word("null")
	}
	return c.number()
}

// Members skips the value at the cursor. If it is an object and member is not nil, member is called with each member's name
// as written, quotes included. The cursor is then at the value, which member must skip.
func (c *Cursor) Members(member func(name []byte) bool) bool {
	if c.Peek() != '{' {
		return c.Skip()
	}
	return c.list('}', func() bool {
		if c.Peek() != '"' {
			return false
		}
		name := c.String()
		if name == nil || c.Peek() != ':' {
			return false
		}
		c.At++
		if member == nil {
			return c.Skip()
		}
		return member(name)
	})
}

// Elements skips the value at the cursor. If it is an array and element is not nil, element is called at each element, which
// it must skip.
func (c *Cursor) Elements(element func() bool) bool {
	if c.Peek() != '[' {
		return c.Skip()
	}
	if element == nil {
		element = c.Skip
	}
	return c.list(']', element)
}

// list skips the object or array at the cursor.
func (c *Cursor) list(end byte, part func() bool) bool {
	if c.depth == maxDepth {
		return false
	}
	c.At++
	if c.Peek() == end {
		c.At++
		return true
	}
	c.depth++
	for part() {
		switch c.Peek() {
		case ',':
			c.At++
		case end:
			c.At++
			c.depth--
			return true
		default:
			return false
		}
	}
	return false
}

// String skips the string at the cursor and returns it as written, quotes included; nil if it is not valid.
func (c *Cursor) String() []byte {
	from := c.At
	if end := stringEnd(c.JSON, from+1); end > 0 {
		c.At = end
		return c.JSON[from:end]
	}
	return nil
}

// One byte repeated eight times.
const (
	ones        = 0x0101010101010101
	tops        = 0x80 * ones
	spaces      = ' ' * ones
	quotes      = '"' * ones
	backslashes = '\\' * ones
)

// stringEnd returns the index after the closing quote of the string that contains b[at]; 0 if it has none or is not valid.
// It examines eight bytes at once.
func stringEnd(b []byte, at int) int {
	for at+8 <= len(b) {
		w := binary.LittleEndian.Uint64(b[at:])
		q, e := w^quotes, w^backslashes
		// The lowest top bit set belongs to the first byte that is a quote, a backslash or a control character.
		found := ((q-ones)&^q | (e-ones)&^e | (w-spaces)&^w) & tops
		if found == 0 {
			at += 8
			continue
		}
		at += bits.TrailingZeros64(found) / 8
		if b[at] == '"' {
			return at + 1
		}
		n := escape(b[at:])
		if n == 0 {
			return 0
		}
		at += n
	}
	for at < len(b) {
		switch {
		case b[at] == '"':
			return at + 1
		case b[at] >= ' ' && b[at] != '\\':
			at++
			continue
		}
		n := escape(b[at:])
		if n == 0 {
			return 0
		}
		at += n
	}
	return 0
}

// escape returns the length of the escape at the start of b; 0 if there is none.
func escape(b []byte) int {
	if b[0] != '\\' || len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(b) < 6 {
			return 0
		}
		for _, d := range b[2:6] {
			if (d < '0' || d > '9') && (d|0x20 < 'a' || d|0x20 > 'f') {
				return 0
			}
		}
		return 6
	}
	return 0
}

func (c *Cursor) word(w string) bool {
	if !bytes.HasPrefix(c.JSON[c.At:], []byte(w)) {
		return false
	}
	c.At += len(w)
	return true
}

func (c *Cursor) number() bool {
	c.take('-', '-')
	if !c.take('0', '0') && !c.digits() {
		return false
	}
	if c.take('.', '.') && !c.digits() {
		return false
	}
	if c.take('e', 'E') {
		c.take('+', '-')
		return c.digits()
	}
	return true
}

// take skips one byte if it is a or b.
func (c *Cursor) take(a, b byte) bool {
	if c.At < len(c.JSON) && (c.JSON[c.At] == a || c.JSON[c.At] == b) {
		c.At++
		return true
	}
	return false
}

func (c *Cursor) digits() bool {
	from := c.At
	for c.At < len(c.JSON) && c.JSON[c.At] >= '0' && c.JSON[c.At] <= '9' {
		c.At++
	}
	return c.At > from
}

// Is reports whether a string as written decodes to text. text must not contain a backslash.
func Is(quoted []byte, text string) bool {
	if len(quoted) == len(text)+2 {
		return string(quoted[1:len(quoted)-1]) == text // an escape is longer than what it decodes to
	}
	return string(Text(quoted)) == text
}

// Text decodes a string as written. Without escapes the result is a subslice of it.
func Text(quoted []byte) []byte {
	if len(quoted) < 2 {
		return nil
	}
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	return []byte(gjson.ParseBytes(quoted).Str)
}
