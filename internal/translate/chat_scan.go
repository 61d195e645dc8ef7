package translate

import (
	"bytes"

	"github.com/tollgate-llm/tollgate/internal/jsonscan"
)

// chatScan finds the text and the reasoning of a chunk of chat completions that brings nothing else, without building anything: most
// chunks are such. Any other chunk is for readChatPiece.
type chatScan struct {
	tier    []byte // strings, quotes included; nil where absent or null
	text    []byte
	thought []byte
	field   string // the name of the member that thought is of

	cursor                 jsonscan.Cursor
	choices                int
	chosen                 bool // the delta was there
	top, inChoice, inDelta func(name []byte) bool
	element                func() bool
}

func newChatScan() *chatScan {
	s := &chatScan{}
	s.top, s.inChoice, s.inDelta, s.element = s.member, s.choiceMember, s.deltaMember, s.choice // bound once, as each binding is an allocation
	return s
}

// read reads a chunk. It reports false where the chunk holds more, is not JSON, or is unusual in any way.
func (s *chatScan) read(data []byte) bool {
	s.tier, s.text, s.thought, s.field, s.choices, s.chosen = nil, nil, nil, "", 0, false
	s.cursor = jsonscan.Cursor{JSON: data}
	return s.cursor.Peek() == '{' && s.cursor.Members(s.top) && s.cursor.Ended() && s.choices == 1 && s.chosen
}

func (s *chatScan) member(name []byte) bool {
	switch string(name) {
	case `"choices"`:
		return s.cursor.Peek() == '[' && s.cursor.Elements(s.element)
	case `"usage"`, `"error"`:
		return s.null()
	case `"service_tier"`:
		return s.string(&s.tier) && bytes.IndexByte(s.tier, '\\') < 0
	}
	return s.skip(name)
}

func (s *chatScan) choice() bool {
	s.choices++
	return s.choices == 1 && s.cursor.Peek() == '{' && s.cursor.Members(s.inChoice)
}

func (s *chatScan) choiceMember(name []byte) bool {
	switch string(name) {
	case `"index"`:
		s.cursor.Peek()
		from := s.cursor.At
		return s.cursor.Skip() && string(s.cursor.JSON[from:s.cursor.At]) == "0"
	case `"delta"`:
		again := s.chosen
		s.chosen = true
		return !again && s.cursor.Peek() == '{' && s.cursor.Members(s.inDelta)
	case `"finish_reason"`, `"stop_reason"`:
		return s.null()
	case `"message"`:
		return false
	}
	return s.skip(name)
}

func (s *chatScan) deltaMember(name []byte) bool {
	switch string(name) {
	case `"content"`:
		return s.string(&s.text)
	case `"reasoning_content"`:
		return s.thinking("reasoning_content")
	case `"reasoning"`:
		return s.thinking("reasoning")
	case `"refusal"`, `"reasoning_details"`, `"tool_calls"`:
		return s.null()
	case `"extra_content"`:
		return false
	}
	return s.skip(name)
}

// thinking moves beyond a piece of the reasoning, or null.
func (s *chatScan) thinking(field string) bool {
	if s.cursor.Peek() == 'n' {
		return s.cursor.Skip()
	}
	s.field = field
	return s.string(&s.thought)
}

// null moves beyond a value that is null.
func (s *chatScan) null() bool { return s.cursor.Peek() == 'n' && s.cursor.Skip() }

// string moves beyond a string, the only one of its name, or null.
func (s *chatScan) string(to *[]byte) bool {
	if *to != nil {
		return false
	}
	if s.cursor.Peek() != '"' {
		return s.null()
	}
	*to = s.cursor.String()
	return *to != nil
}

// skip moves beyond the value of another name. An escape in it could write any.
func (s *chatScan) skip(name []byte) bool {
	return bytes.IndexByte(name, '\\') < 0 && s.cursor.Skip()
}
