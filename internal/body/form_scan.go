package body

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/audio"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

type formState uint8

const (
	formStart   formState = iota // before the first boundary
	formHeader                   // in a part's header
	formContent                  // in a part's content
	formEnd                      // after the last boundary
)

const (
	maxPartHeader = 8 << 10
	maxParts      = 1000
)

// formFields are the fields that decide routing, price and payer. Each may occur once, in lower case. In a large form all
// but answerFormat must precede the files.
var formFields = []string{"model", "stream", "user", "n", answerFormat}

// answerFormat is the format of a transcription. It only decides whether the answer contains the audio's length.
const answerFormat = "response_format"

// formScanner scans a form in chunks that may be split anywhere. It refuses ambiguous syntax, which the provider might read
// differently.
type formScanner struct {
	needle string // two dashes and the boundary
	named  bool   // the model is known without the form's field
	body   *Body

	state   formState
	window  []byte // bytes not consumed yet
	taken   int    // bytes of the form before the window
	parts   int
	file    bool // a file began after the model was known
	inFile  bool
	field   string // name of the current part if it is one of formFields
	value   []byte
	valueAt int
	seen    []string
	sound   *audio.Meter // of the current file
	routed  bool         // the call is on its way: fields that decide about it are now refused
}

// feed scans the next bytes.
func (s *formScanner) feed(p []byte) error {
	s.window = append(s.window, p...)
	for {
		before := len(s.window)
		more, err := s.step()
		if err != nil {
			return err
		}
		if !more && before == len(s.window) {
			return nil
		}
	}
}

// take removes n bytes from the window.
func (s *formScanner) take(n int) {
	s.taken += n
	s.window = append(s.window[:0], s.window[n:]...)
}

// step scans up to the next boundary or the end of the window. It returns false if it needs more bytes.
func (s *formScanner) step() (bool, error) {
	w := s.window
	switch s.state {
	case formStart:
		if len(w) < len(s.needle)+2 {
			if !strings.HasPrefix(s.needle, string(w[:min(len(w), len(s.needle))])) {
				return false, formError("", "the form does not begin with its boundary")
			}
			return false, nil
		}
		if !bytes.HasPrefix(w, []byte(s.needle)) {
			return false, formError("", "the form does not begin with its boundary")
		}
		return true, s.boundary(0)
	case formHeader:
		end := bytes.Index(w, []byte("\r\n\r\n"))
		if end > maxPartHeader || end < 0 && len(w) > maxPartHeader+4 {
			return false, formError("", "a part of the form has too long a header")
		}
		if end < 0 {
			return false, nil
		}
		header := string(w[:end])
		s.take(end + 4)
		s.state = formContent
		return true, s.begin(header)
	case formContent:
		at := bytes.Index(w, []byte(s.needle))
		if at < 0 {
			// The last bytes may be the start of a line break and boundary.
			return false, s.content(max(0, len(w)-len(s.needle)-1))
		}
		if at < 2 || w[at-2] != '\r' || w[at-1] != '\n' {
			return false, formError("", "the form's boundary stands within a part")
		}
		if len(w) < at+len(s.needle)+2 {
			return false, s.content(at - 2)
		}
		if err := s.content(at - 2); err != nil {
			return false, err
		}
		if err := s.finish(); err != nil {
			return false, err
		}
		return true, s.boundary(2)
	case formEnd:
		if len(w) > 2 || !strings.HasPrefix("\r\n", string(w)) {
			return false, formError("", "the form has ended, but more follows")
		}
	}
	return false, nil
}

// boundary handles the boundary at this index of the window.
func (s *formScanner) boundary(at int) error {
	end := at + len(s.needle)
	switch string(s.window[end : end+2]) {
	case "\r\n":
		s.state = formHeader
	case "--":
		s.state = formEnd
	default:
		return formError("", "the form's boundary stands within a part")
	}
	s.take(end + 2)
	return nil
}

// begin starts a part.
func (s *formScanner) begin(header string) error {
	if s.parts++; s.parts > maxParts {
		return formError("", "the form has more than "+strconv.Itoa(maxParts)+" parts")
	}
	name, file, err := fieldOf(header)
	if err != nil {
		return err
	}
	s.inFile, s.field, s.value, s.valueAt = file, "", s.value[:0], s.taken
	s.sound = nil
	if file && name == "file" {
		if slices.Contains(s.seen, name) {
			return formError(name, `the form holds two files named "file": the length of one of them would not be known`)
		}
		s.seen = append(s.seen, name)
		s.sound = new(audio.Meter)
	}
	if file && (s.named || s.body.Model.Present()) {
		s.file = true
	}
	for _, f := range formFields {
		if !sameFolded([]byte(strings.TrimSpace(name)), f) {
			continue
		}
		switch {
		case name != f:
			return formError(f, "the field "+strconv.Quote(f)+" must be written in lower case")
		case file:
			return formError(f, "the field "+strconv.Quote(f)+" must not be a file")
		case slices.Contains(s.seen, f):
			return formError(f, "the field "+strconv.Quote(f)+" stands twice")
		case s.routed && f != answerFormat:
			return formError(f, "the field "+strconv.Quote(f)+" comes too late: in a form of more than 1 MB it must stand before the files")
		}
		s.seen = append(s.seen, f)
		s.field = f
	}
	return nil
}

// content consumes the next n bytes of a part.
func (s *formScanner) content(n int) error {
	if n == 0 {
		return nil
	}
	switch p := s.window[:n]; {
	case s.field != "":
		s.value = append(s.value, p[:min(n, llm.MaxName+1-len(s.value))]...) // one byte beyond the limit shows that it is too long
	case s.sound != nil:
		_, _ = s.sound.Write(p) // it never fails
	case !s.inFile && !s.routed:
		s.body.Units += usage.Units(p)
	}
	s.take(n)
	return nil
}

// finish ends a part.
func (s *formScanner) finish() error {
	b, value := s.body, string(s.value)
	if s.sound != nil {
		if ms, ok := s.sound.Milliseconds(); ok {
			b.Audio.Store(ms)
		}
		s.sound = nil
	}
	if s.field != "" && s.field != "user" { // whether the user pays is not known here
		if err := llm.CheckName(value); err != nil {
			return formError(s.field, s.field+" "+err.Error())
		}
	}
	switch s.field {
	case "model":
		if value == "" {
			return formError(s.field, "model is empty")
		}
		b.BodyModel, b.ModelName = value, value
		b.Model = Span{s.valueAt, s.valueAt + len(value)}
	case "user":
		b.User = value
	case answerFormat:
		if !s.routed { // the call may have been admitted because it was absent
			b.AnswerFormat = value
		}
	case "stream":
		if value != "true" && value != "false" && value != "" {
			return formError(s.field, "stream must be true or false")
		}
		b.Stream = value == "true"
	case "n":
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n < 0 {
			return formError(s.field, "n must be a whole number")
		}
		b.N = n
	}
	return nil
}
