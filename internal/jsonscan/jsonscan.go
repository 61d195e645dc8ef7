// Package jsonscan walks over JSON once, checks it by the grammar of RFC 8259 and builds nothing. It writes strings as well.
package jsonscan

import (
	"bytes"
	"encoding/binary"
	"math/bits"

	"github.com/tidwall/gjson"
)

// maxDepth bounds the nesting of what is walked over. Deeper is as good as invalid.
const maxDepth = 512

// Cursor is a position in a JSON text. The methods that move beyond something report false where it is not valid; the cursor is
// of no use then.
type Cursor struct {
	JSON []byte
	At   int // the next byte

	depth int
}

// Peek moves beyond space and returns the next byte; 0 at the end.
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

// Ended reports whether nothing but space follows.
func (c *Cursor) Ended() bool { return c.Peek() == 0 && c.At == len(c.JSON) }

// Skip moves beyond the value that begins here.
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

// Members moves beyond the value that begins here. If it is an object, member, unless it is nil, is called with each
// member's name as it is written when its value is next, beyond which it must move.
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

// Elements moves beyond the value that begins here. If it is an array, element, unless it is nil, is called when an element
// is next, beyond which it must move.
func (c *Cursor) Elements(element func() bool) bool {
	if c.Peek() != '[' {
		return c.Skip()
	}
	if element == nil {
		element = c.Skip
	}
	return c.list(']', element)
}

// list moves beyond the object or the array that begins here.
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

// String moves beyond the string that begins here and returns it as it is written, with its quotes; nil when it is not
// valid.
func (c *Cursor) String() []byte {
	from := c.At
	if end := stringEnd(c.JSON, from+1); end > 0 {
		c.At = end
		return c.JSON[from:end]
	}
	return nil
}

// The same byte eight times over.
const (
	ones        = 0x0101010101010101
	tops        = 0x80 * ones
	spaces      = ' ' * ones
	quotes      = '"' * ones
	backslashes = '\\' * ones
)

// stringEnd returns what is behind the end of the string that holds b[at]; 0 when it has none or is not valid. It looks at
// eight bytes at once.
func stringEnd(b []byte, at int) int {
	for at+8 <= len(b) {
		w := binary.LittleEndian.Uint64(b[at:])
		q, e := w^quotes, w^backslashes
		// The lowest top bit that is set is that of the first byte that is a quote, a backslash or a control character.
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

// escape returns the length of the escape that b begins with, 0 when there is none.
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

// take moves beyond one byte if it is a or b.
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

// Is reports whether a string, as it is written, decodes to that text, which holds no backslash.
func Is(quoted []byte, text string) bool {
	if len(quoted) == len(text)+2 {
		return string(quoted[1:len(quoted)-1]) == text // an escape is longer than what it decodes to
	}
	return string(Text(quoted)) == text
}

// Text decodes a string as it is written. Without escapes it is a part of it.
func Text(quoted []byte) []byte {
	if len(quoted) < 2 {
		return nil
	}
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	return []byte(gjson.ParseBytes(quoted).Str)
}
