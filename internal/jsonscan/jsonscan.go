// Package jsonscan walks over JSON that is known to be valid, and finds in it what is asked for without looking at the
// rest. It checks nothing.
package jsonscan

import (
	"bytes"
	"encoding/binary"
	"math/bits"

	"github.com/tidwall/gjson"
)

// Cursor stands in a JSON text. On a text that is not valid it finds nonsense, but never goes beyond its end.
type Cursor struct {
	JSON []byte
	At   int // the next byte
}

// Peek moves to the start of the next value, member name or closing bracket, and returns its first byte; 0 at the end.
// Where the text is valid, commas and colons say no more than space does.
func (c *Cursor) Peek() byte {
	for ; c.At < len(c.JSON); c.At++ {
		switch b := c.JSON[c.At]; b {
		case ' ', '\t', '\n', '\r', ',', ':':
		default:
			return b
		}
	}
	return 0
}

// Enter moves into the object or the array that begins here, of which open is the bracket. It reports whether there is one.
func (c *Cursor) Enter(open byte) bool {
	if c.Peek() != open {
		return false
	}
	c.At++
	return true
}

// String moves beyond the string that begins here and returns it as it is written, with its quotes. It is nil when the
// string has no end.
func (c *Cursor) String() []byte {
	from := c.At
	c.At = stringEnd(c.JSON, from+1)
	if c.At == 0 {
		c.At = len(c.JSON)
		return nil
	}
	return c.JSON[from:c.At]
}

// The same byte eight times over.
const (
	ones        = 0x0101010101010101
	tops        = 0x80 * ones
	quotes      = '"' * ones
	backslashes = '\\' * ones
)

// stringEnd returns what is behind the end of the string that holds b[at], 0 when it has none. It looks at eight bytes at
// once.
func stringEnd(b []byte, at int) int {
	for at+8 <= len(b) {
		w := binary.LittleEndian.Uint64(b[at:])
		q, e := w^quotes, w^backslashes
		// The lowest top bit that is set is that of the first byte that is zero in q or in e.
		found := ((q-ones)&^q | (e-ones)&^e) & tops
		if found == 0 {
			at += 8
			continue
		}
		at += bits.TrailingZeros64(found) / 8
		if b[at] == '"' {
			return at + 1
		}
		at += 2
	}
	for ; at < len(b); at++ {
		switch b[at] {
		case '"':
			return at + 1
		case '\\':
			at++
		}
	}
	return 0
}

// Skip moves beyond the value that begins here, and reports whether it has an end.
func (c *Cursor) Skip() bool {
	switch c.Peek() {
	case '"':
		return c.String() != nil
	case '{', '[':
		return c.leave(0)
	}
	for ; c.At < len(c.JSON); c.At++ {
		switch c.JSON[c.At] {
		case ' ', '\t', '\n', '\r', ',', '}', ']':
			return true
		}
	}
	return true
}

// Leave moves beyond the end of the object or the array that the cursor is in, and reports whether it has one.
func (c *Cursor) Leave() bool { return c.leave(1) }

func (c *Cursor) leave(depth int) bool {
	for c.At < len(c.JSON) {
		switch c.JSON[c.At] {
		case '"':
			if c.String() == nil {
				return false
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				c.At++
				return true
			}
		}
		c.At++
	}
	return false
}

// Find moves to the value of the object's next member of that name, and reports whether there is one. If not, it stands
// before the object's end.
func (c *Cursor) Find(name string) bool {
	for c.Peek() == '"' {
		if string(Text(c.String())) == name {
			c.Peek()
			return true
		}
		c.Skip()
	}
	return false
}

// Text returns what a string as it is written stands for. Without escapes it is a part of it.
func Text(quoted []byte) []byte {
	if len(quoted) < 2 {
		return nil
	}
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	return []byte(gjson.ParseBytes(quoted).Str)
}
