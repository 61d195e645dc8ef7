package lagobilling

import (
	"bytes"
	"strings"
)

// unasked removes `"usage":null` members, with the comma before them, from a stream: servers that were asked for usage send
// them in chunks without usage. It knows compact JSON and Python's spacing. The bytes cannot occur within a JSON string,
// whose quotes are escaped.
type unasked struct {
	tail    []byte // the end of the last piece, which may begin such a member
	scratch []byte
}

// nullUsage is the member in both spacings.
var nullUsage = [...]string{`,"usage":null`, `, "usage": null`}

// next returns what may pass of a piece, with what was held back of the previous one. The result is valid until the next
// call, and is the piece itself if nothing changes.
func (u *unasked) next(p []byte) []byte {
	if len(u.tail) > 0 {
		u.scratch = append(append(u.scratch[:0], u.tail...), p...)
		p, u.tail = u.scratch, u.tail[:0]
	}
	p = u.cut(p)
	from := max(0, len(p)-len(nullUsage[1])+1)
	for {
		i := bytes.IndexByte(p[from:], ',')
		if i < 0 {
			return p
		}
		from += i
		for _, member := range nullUsage {
			if end := p[from:]; len(end) < len(member) && string(end) == member[:len(end)] {
				u.tail = append(u.tail, end...)
				return p[:from]
			}
		}
		from++
	}
}

// cut returns a piece without the members. It copies only if there is one.
func (u *unasked) cut(p []byte) []byte {
	at, length := findNullUsage(p)
	if length == 0 {
		return p
	}
	out := u.scratch[:0] // p may alias the buffer: writes stay behind reads
	for length > 0 {
		out = append(out, p[:at]...)
		p = p[at+length:]
		at, length = findNullUsage(p)
	}
	u.scratch = append(out, p...)
	return u.scratch
}

// findNullUsage returns the position and length of the first such member; length 0 without one.
func findNullUsage(p []byte) (at, length int) {
	name := []byte(`usage":`) // quotes are so common that searching for them first takes longer
	for from := 0; ; from++ {
		i := bytes.Index(p[from:], name)
		if i < 0 {
			return 0, 0
		}
		from += i
		for _, member := range nullUsage {
			before := strings.IndexByte(member, '"') + 1
			if begin := from - before; begin >= 0 && len(p)-begin >= len(member) && string(p[begin:begin+len(member)]) == member {
				return begin, len(member)
			}
		}
	}
}

// forwardUnasked passes p to the client without the members that the gateway's own request for usage caused.
func (m *meter) forwardUnasked(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return m.forward(m.unasked.next(p))
}
