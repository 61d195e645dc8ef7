package translate

import (
	"bytes"

	"github.com/tollgate-llm/tollgate/internal/jsonscan"
)

// chatScan finds the text and the reasoning of a chunk of chat completions that brings nothing else, or the next arguments of one call,
// without building anything: most chunks are such. Any other chunk is for readChatPiece.
type chatScan struct {
	tier    []byte // strings, quotes included; nil where absent or null
	text    []byte
	thought []byte
	field   string // the name of the member that thought is of

	called    int    // calls that get arguments: one or none
	index     int64  // that of the call; -1 where absent
	arguments []byte // as text

	cursor                                     jsonscan.Cursor
	choices                                    int
	chosen                                     bool // the delta was there
	top, inChoice, inDelta, inCall, inFunction func(name []byte) bool
	element, call                              func() bool
}

func newChatScan() *chatScan {
	s := &chatScan{}
	// Bound once, as each binding is an allocation.
	s.top, s.inChoice, s.inDelta, s.inCall, s.inFunction = s.member, s.choiceMember, s.deltaMember, s.callMember, s.functionMember
	s.element, s.call = s.choice, s.oneCall
	return s
}

// read reads a chunk. It reports false where the chunk holds more, is not JSON, or is unusual in any way.
func (s *chatScan) read(data []byte) bool {
	s.tier, s.text, s.thought, s.field, s.choices, s.chosen = nil, nil, nil, "", 0, false
	s.called, s.index, s.arguments = 0, -1, nil
	s.cursor = jsonscan.Cursor{JSON: data}
	return s.cursor.Peek() == '{' && s.cursor.Members(s.top) && s.cursor.Ended() && s.choices == 1 && s.chosen &&
		(s.called == 0 || s.index >= 0 && s.arguments != nil && len(unquoted(s.text)) == 0 && len(unquoted(s.thought)) == 0)
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
	case `"refusal"`, `"reasoning_details"`:
		return s.null()
	case `"tool_calls"`:
		if s.cursor.Peek() != '[' {
			return s.null()
		}
		return s.cursor.Elements(s.call)
	case `"extra_content"`:
		return false
	}
	return s.skip(name)
}

func (s *chatScan) oneCall() bool {
	s.called++
	return s.called == 1 && s.cursor.Peek() == '{' && s.cursor.Members(s.inCall)
}

func (s *chatScan) callMember(name []byte) bool {
	switch string(name) {
	case `"index"`:
		again := s.index >= 0
		c := s.cursor.Peek()
		from := s.cursor.At
		s.index = int64(c) - '0'
		return !again && c >= '0' && c <= '9' && s.cursor.Skip() && s.cursor.At == from+1 // of ten calls
	case `"function"`:
		return s.arguments == nil && s.cursor.Peek() == '{' && s.cursor.Members(s.inFunction)
	case `"id"`:
		return s.none()
	case `"extra_content"`:
		return false
	}
	return s.skip(name)
}

func (s *chatScan) functionMember(name []byte) bool {
	switch string(name) {
	case `"arguments"`:
		return s.cursor.Peek() == '"' && s.string(&s.arguments)
	case `"name"`:
		return s.none()
	}
	return s.skip(name)
}

// none moves beyond null or an empty string.
func (s *chatScan) none() bool {
	if s.cursor.Peek() == '"' {
		return len(s.cursor.String()) == 2
	}
	return s.null()
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
