package body

import (
	"io"
	"slices"
	"unicode/utf8"
)

// Payload is a body as it goes upstream: stretches of the client's bytes with what was spliced in between. It is never
// changed once made, so that several readers may read it at once.
type Payload struct {
	parts [7][]byte
	n     int
	size  int64
}

const (
	optionsMember = `"stream_options":{"include_usage":true},`
	optionsValue  = `{"include_usage":true}`
	usageMember   = `"include_usage":true`
)

type edit struct {
	span Span
	text string
}

// Edited returns the body with another model name, unless that is empty or the name already there, and, when usage is
// set, with stream_options.include_usage on. What needs no change stays byte for byte, and is not copied.
func (b *Body) Edited(model string, usage bool) *Payload {
	edits := make([]edit, 0, 2)
	if model != "" && model != b.ModelName {
		edits = append(edits, edit{b.Model, quote(model)})
	}
	if usage && !b.UsageAsked {
		edits = append(edits, b.usageEdit())
	}
	if len(edits) == 2 && edits[1].span.Start < edits[0].span.Start {
		edits[0], edits[1] = edits[1], edits[0]
	}
	p := &Payload{}
	from := 0
	for _, e := range edits {
		p.add(b.Data[from:e.span.Start])
		p.add([]byte(e.text))
		from = e.span.End
	}
	p.add(b.Data[from:])
	return p
}

// usageEdit turns include_usage on, and keeps what else stands in stream_options.
func (b *Body) usageEdit() edit {
	switch {
	case b.IncludeUsage.Present():
		return edit{b.IncludeUsage, "true"}
	case !b.StreamOptions.Present():
		// The body has a model, so that its object is not empty and the comma is right.
		at := 1 + firstNonSpace(b.Data, 0)
		return edit{Span{at, at}, optionsMember}
	case b.Data[b.StreamOptions.Start] != '{':
		return edit{b.StreamOptions, optionsValue}
	}
	at := b.StreamOptions.Start + 1
	if b.Data[firstNonSpace(b.Data, at)] == '}' {
		return edit{Span{at, at}, usageMember}
	}
	return edit{Span{at, at}, usageMember + ","}
}

func firstNonSpace(data []byte, at int) int {
	for data[at] == ' ' || data[at] == '\t' || data[at] == '\n' || data[at] == '\r' {
		at++
	}
	return at
}

func (p *Payload) add(part []byte) {
	if len(part) > 0 {
		p.parts[p.n] = part
		p.n++
		p.size += int64(len(part))
	}
}

// Len returns the length in bytes.
func (p *Payload) Len() int64 { return p.size }

// Bytes returns the whole as one slice, which must not be changed. It copies only where something was spliced in.
func (p *Payload) Bytes() []byte {
	if p.n == 1 {
		return p.parts[0]
	}
	return slices.Concat(p.parts[:p.n]...)
}

// Reader returns a new reader of the whole. Closing it does nothing.
func (p *Payload) Reader() io.ReadCloser { return &reader{payload: p} }

type reader struct {
	payload *Payload
	part    int
	at      int
}

func (r *reader) Read(buf []byte) (int, error) {
	n := 0
	for r.part < r.payload.n {
		if n == len(buf) {
			return n, nil
		}
		part := r.payload.parts[r.part]
		k := copy(buf[n:], part[r.at:])
		n += k
		if r.at += k; r.at == len(part) {
			r.part, r.at = r.part+1, 0
		}
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (r *reader) Close() error { return nil }

// quote returns s as a JSON string.
func quote(s string) string {
	const hex = "0123456789abcdef"
	out := make([]byte, 0, len(s)+2)
	out = append(out, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			out = append(out, '\\', byte(r))
		case r < 0x20:
			out = append(out, '\\', 'u', '0', '0', hex[r>>4], hex[r&0xf])
		default:
			out = utf8.AppendRune(out, r)
		}
	}
	return string(append(out, '"'))
}
