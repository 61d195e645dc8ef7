package body

import (
	"cmp"
	"io"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Payload is a body as sent upstream: ranges of the client's bytes with inserted text in between. It is immutable, and safe
// for several readers at once, unless part of it is still to be received.
type Payload struct {
	parts [][]byte
	space [7][]byte // enough parts for most bodies
	size  int64
	rest  *Rest
}

const (
	optionsMember = `"stream_options":{"include_usage":true}`
	optionsValue  = `{"include_usage":true}`
	usageMember   = `"include_usage":true`
)

// Change describes the edits to a body.
type Change struct {
	// Model replaces the model named in the body. Empty: unchanged. If the body names none, it replaces anthropic_version
	// unless Version is set; this turns a call in Vertex AI's form into one in Anthropic's.
	Model string
	// Inner replaces the model of each element of `requests` that names one. Empty: unchanged.
	Inner string
	// NoModel removes the member that names the model.
	NoModel bool
	// Usage sets stream_options.include_usage to true.
	Usage bool
	// OutputCap is inserted as the bound on the answer's tokens if the body sets none; 0: not inserted. CapMember is the
	// member that holds it, and CapWithin the object that contains the member; empty: the body itself.
	OutputCap            int64
	CapMember, CapWithin string
	// Bounds are the members that bound the answer at the call's endpoint. With NoZero, 0 does not count as a bound.
	Bounds []string
	NoZero bool
	// Version is inserted as anthropic_version if the body has none. Empty: not inserted.
	Version string
}

type edit struct {
	span Span
	text string
}

// Edited returns the body with the given model name, unless that is empty, and with stream_options.include_usage set if
// usage is true. Everything else stays byte for byte the same, without a copy.
func (b *Body) Edited(model string, usage bool) *Payload {
	return b.Changed(Change{Model: model, Usage: usage})
}

// Changed returns the body with the changes applied. Everything else stays byte for byte the same, without a copy.
func (b *Body) Changed(c Change) *Payload {
	edits := make([]edit, 0, 3)
	var first string // new members, which go first
	add := func(member string) {
		if first != "" {
			first += ","
		}
		first += member
	}
	version := c.Version != "" && !b.Versioned && b.form == ""
	switch {
	case c.NoModel && b.Model.Present() && version:
		edits = append(edits, edit{b.ModelMember, `"anthropic_version":` + quote(c.Version)})
		version = false
	case c.NoModel && b.Model.Present():
		edits = append(edits, edit{b.withComma(b.ModelMember), ""})
	case c.NoModel, c.Model == "", c.Model == b.BodyModel:
	case b.form != "" && b.Model.Present():
		edits = append(edits, edit{b.Model, c.Model})
	case b.form != "":
		edits = append(edits, edit{text: "--" + b.form + "\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n" + c.Model + "\r\n"})
	case b.Model.Present():
		edits = append(edits, edit{b.Model, quote(c.Model)})
	case b.Versioned && c.Version == "":
		edits = append(edits, edit{b.versionMember, `"model":` + quote(c.Model)})
	default:
		add(`"model":` + quote(c.Model))
	}
	for i, s := range b.Inner {
		if c.Inner != "" && c.Inner != b.InnerModels[i] {
			edits = append(edits, edit{s, quote(c.Inner)})
		}
	}
	if version {
		add(`"anthropic_version":` + quote(c.Version))
	}
	if c.Usage && !b.UsageAsked && b.form == "" {
		if b.StreamOptions.Present() {
			edits = append(edits, b.usageEdit())
		} else {
			add(optionsMember)
		}
	}
	if c.OutputCap > 0 && b.form == "" {
		edits = b.capped(edits, &c, add)
	}
	if first != "" {
		at := 1 + firstNonSpace(b.Data, 0)
		if b.Data[firstNonSpace(b.Data, at)] != '}' {
			first += ","
		}
		edits = append(edits, edit{Span{at, at}, first})
	}
	slices.SortFunc(edits, func(a, b edit) int { return cmp.Or(a.span.Start-b.span.Start, a.span.End-b.span.End) })
	p := &Payload{rest: b.rest}
	p.parts = p.space[:0]
	from := 0
	for _, e := range edits {
		p.add(b.Data[from:e.span.Start])
		p.add([]byte(e.text))
		from = e.span.End
	}
	p.add(b.Data[from:])
	if b.rest != nil {
		b.rest.offer(p)
	}
	return p
}

// capped appends the edits that bound the answer, unless the body does. add inserts a new member into the body.
func (b *Body) capped(edits []edit, c *Change, add func(member string)) []edit {
	replace, unbounded := b.unbounded(c.Bounds, c.NoZero)
	if !unbounded {
		return edits
	}
	member := quote(c.CapMember) + ":" + strconv.FormatInt(c.OutputCap, 10)
	settings := b.settings[settingsOf(c.CapWithin)]
	switch {
	case len(replace) > 0:
		for _, s := range replace {
			edits = append(edits, edit{s, strconv.FormatInt(c.OutputCap, 10)})
		}
	case c.CapWithin == "":
		add(member)
	case !settings.Present():
		add(quote(c.CapWithin) + ":{" + member + "}")
	case b.Data[settings.Start] == '{':
		at := settings.Start + 1
		if b.Data[firstNonSpace(b.Data, at)] != '}' {
			member += ","
		}
		edits = append(edits, edit{Span{at, at}, member})
	default: // null
		edits = append(edits, edit{settings, "{" + member + "}"})
	}
	return edits
}

// withComma extends a member's span by one adjacent comma, so that it can be removed.
func (b *Body) withComma(s Span) Span {
	if at := firstNonSpace(b.Data, s.End); b.Data[at] == ',' {
		return Span{s.Start, firstNonSpace(b.Data, at+1)}
	}
	at := s.Start - 1
	for at >= 0 && b.Data[at] != ',' && b.Data[at] != '{' {
		at--
	}
	if b.Data[at] == ',' {
		return Span{at, s.End}
	}
	return s
}

// usageEdit sets include_usage to true and keeps the other members of stream_options.
func (b *Body) usageEdit() edit {
	switch {
	case b.IncludeUsage.Present():
		return edit{b.IncludeUsage, "true"}
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
		p.parts = append(p.parts, part)
		p.size += int64(len(part))
	}
}

// Len returns the length in bytes; -1 if it is not known yet.
func (p *Payload) Len() int64 {
	switch {
	case p.rest == nil:
		return p.size
	case p.rest.left < 0:
		return -1
	}
	return p.size + p.rest.left
}

// Spent reports whether the payload cannot be sent again because part of a streamed form was consumed.
func (p *Payload) Spent() bool {
	if p.rest == nil {
		return false
	}
	p.rest.mu.Lock()
	defer p.rest.mu.Unlock()
	return p.rest.begun
}

// Whole reports whether the whole payload is in memory.
func (p *Payload) Whole() bool { return p.rest == nil }

// Bytes returns the part of the payload in memory, as one slice that must not be changed. It is the whole payload unless a
// form is still being received. It copies only if text was inserted.
func (p *Payload) Bytes() []byte {
	if len(p.parts) == 1 {
		return p.parts[0]
	}
	return slices.Concat(p.parts...)
}

// Reader returns a new reader of the whole payload. Its Close does nothing. The type is deliberately not one that net/http
// recognises as in memory: over HTTP/1, net/http would buffer such a payload of known length and report the request as
// written before it was.
func (p *Payload) Reader() io.ReadCloser { return &reader{payload: p} }

type reader struct {
	payload *Payload
	part    int
	at      int
}

func (r *reader) Read(buf []byte) (int, error) {
	n := 0
	for r.part < len(r.payload.parts) {
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
	switch {
	case n > 0 || len(buf) == 0:
		return n, nil
	case r.payload.rest != nil:
		return r.payload.rest.next(r.payload, buf)
	}
	return 0, io.EOF
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
