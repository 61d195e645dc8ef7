package lagobilling

import (
	"bytes"
	"strings"
)

// unasked takes out of a stream the members `"usage":null`, by which servers mark the chunks without usage when they were asked for it,
// with the comma before them, as compact JSON and as Python writes it. These bytes cannot be within a string of JSON, whose
// quotes are escaped.
type unasked struct {
	tail    []byte // the end of the last piece, which may be the beginning of such a member
	scratch []byte
}

// nullUsage are the members in both forms.
var nullUsage = [...]string{`,"usage":null`, `, "usage": null`}

// next returns what may pass of a piece, together with what was kept back of the piece before. The result is valid until the next call and
// is the piece itself where nothing changes.
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

// cut returns a piece without the members. It copies only where there is one.
func (u *unasked) cut(p []byte) []byte {
	at, length := findNullUsage(p)
	if length == 0 {
		return p
	}
	out := u.scratch[:0] // where p is in the same place, what is written there has been read
	for length > 0 {
		out = append(out, p[:at]...)
		p = p[at+length:]
		at, length = findNullUsage(p)
	}
	u.scratch = append(out, p...)
	return u.scratch
}

// findNullUsage returns the place of the first such member and its length, 0 where there is none.
func findNullUsage(p []byte) (at, length int) {
	name := []byte(`usage":`) // a quote is found so often that looking for one first takes longer
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

// forwardUnasked passes p to the client without the members that are there because the gateway asked for usage.
func (m *meter) forwardUnasked(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return m.forward(m.unasked.next(p))
}
