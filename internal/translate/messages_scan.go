package translate

import (
	"strconv"

	"github.com/tollgate-llm/tollgate/internal/jsonscan"
)

// messagesScan finds what matters of an event of a Messages stream, without building anything: most of them are a few letters of text.
type messagesScan struct {
	kind  []byte // of the event, quotes included
	index int    // of the block; -1 where absent
	delta []byte // the kind of a delta, quotes included
	text  []byte // the delta's text, arguments, thinking or signature, quotes included

	cursor     jsonscan.Cursor
	top, inner func(name []byte) bool
}

func newMessagesScan() *messagesScan {
	s := &messagesScan{}
	s.top, s.inner = s.member, s.deltaMember // bound once, as each binding is an allocation
	return s
}

// read reads an event; ok is false where it is no JSON.
func (s *messagesScan) read(data []byte) (ok bool) {
	s.kind, s.index, s.delta, s.text = nil, -1, nil, nil
	s.cursor = jsonscan.Cursor{JSON: data}
	return s.cursor.Members(s.top) && s.cursor.Ended()
}

func (s *messagesScan) member(name []byte) bool {
	switch string(name) {
	case `"type"`:
		return s.value(&s.kind)
	case `"index"`:
		s.cursor.Peek()
		from := s.cursor.At
		if !s.cursor.Skip() {
			return false
		}
		if n, err := strconv.Atoi(string(s.cursor.JSON[from:s.cursor.At])); err == nil {
			s.index = n
		}
		return true
	case `"delta"`:
		return s.cursor.Members(s.inner)
	}
	return s.cursor.Skip()
}

func (s *messagesScan) deltaMember(name []byte) bool {
	switch string(name) {
	case `"type"`:
		return s.value(&s.delta)
	case `"text"`, `"partial_json"`, `"thinking"`, `"signature"`:
		return s.value(&s.text)
	}
	return s.cursor.Skip()
}

// value moves beyond a value, and keeps it if it is a string.
func (s *messagesScan) value(to *[]byte) bool {
	if s.cursor.Peek() != '"' {
		return s.cursor.Skip()
	}
	*to = s.cursor.String()
	return *to != nil
}

// unquoted returns what is between the quotes of a JSON string.
func unquoted(b []byte) []byte {
	if len(b) < 2 {
		return nil
	}
	return b[1 : len(b)-1]
}
