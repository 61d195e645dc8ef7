package translate

import (
	"fmt"
	"net/http"

	"github.com/tidwall/gjson"
)

// messagesAnswer reads an answer of Messages, whole or as a stream, and writes it in the caller's API.
type messagesAnswer struct {
	t    *Translation
	to   content
	scan *messagesScan

	begun  bool
	over   bool   // the end was written, or an error
	index  int    // of the block that is open; -1: none
	kind   string // of that block
	text   []byte // of a block of thinking, between its quotes
	signed []byte // its signature
	input  string // the arguments that a call began with
	pieces bool   // arguments came in pieces
	calls  int
	stop   string // stop_reason
	ending ending
	fresh  int64 // input_tokens
	later  bool  // a message_delta had usage
}

// badAnswer is an answer of the upstream's that is none in its API. The client is told why.
func badAnswer(format string, values ...any) error {
	return failure{status: http.StatusBadGateway, message: fmt.Sprintf(format, values...)}
}

func newMessagesAnswer(t *Translation, to content) *messagesAnswer {
	return &messagesAnswer{t: t, to: to, scan: newMessagesScan(), index: -1}
}

func (m *messagesAnswer) ping(dst []byte) []byte {
	if m.over {
		return dst
	}
	return m.to.ping(dst)
}

func (m *messagesAnswer) event(dst, _, data []byte) ([]byte, error) {
	if m.over {
		return dst, nil
	}
	s := m.scan
	if !s.read(data) {
		return dst, badAnswer("the backend sent an event that is not JSON")
	}
	kind := unquoted(s.kind)
	switch string(kind) {
	case "ping":
		return m.to.ping(dst), nil
	case "error":
		m.over = true
		return m.to.fail(dst, readFailure(0, data)), nil
	case "message_start":
		message := gjson.GetBytes(data, "message")
		m.begun = true
		m.usage(message.Get("usage"), false)
		return m.to.begin(dst, message.Get("id").Str, 0), nil
	}
	if !m.begun {
		return dst, badAnswer("the backend's answer does not begin with message_start")
	}
	switch string(kind) {
	case "content_block_start":
		var err error
		if m.index >= 0 { // its end is missing
			if dst, err = m.endBlock(dst); err != nil {
				return dst, err
			}
		}
		m.index = s.index
		return m.beginBlock(dst, gjson.GetBytes(data, "content_block"))
	case "content_block_delta":
		if s.index != m.index || m.index < 0 {
			return dst, badAnswer("the backend's answer has a piece of a block that is not open")
		}
		return m.delta(dst)
	case "content_block_stop":
		if s.index != m.index || m.index < 0 {
			return dst, badAnswer("the backend's answer has a piece of a block that is not open")
		}
		return m.endBlock(dst)
	case "message_delta":
		event := gjson.ParseBytes(data)
		m.stopped(event.Get("delta"))
		m.usage(event.Get("usage"), true)
	case "message_stop":
		return m.finish(dst)
	}
	return dst, nil // Anthropic adds kinds of events
}

// delta passes a piece of the block that is open on.
func (m *messagesAnswer) delta(dst []byte) ([]byte, error) {
	text := string(unquoted(m.scan.text))
	switch string(unquoted(m.scan.delta)) {
	case "text_delta":
		if m.kind != "text" {
			return dst, badAnswer("the backend's answer has a piece of a block that is not open")
		}
		return m.to.text(dst, text)
	case "input_json_delta":
		if m.kind != "tool_use" {
			return dst, badAnswer("the backend's answer has a piece of a block that is not open")
		}
		if text == "" {
			return dst, nil
		}
		m.pieces = true
		return m.to.arguments(dst, text)
	case "thinking_delta":
		if m.kind != "thinking" {
			return dst, badAnswer("the backend's answer has a piece of a block that is not open")
		}
		return m.think(dst, text)
	case "signature_delta":
		if len(text) > maxHeld {
			return dst, errHeld
		}
		m.signed = append(m.signed[:0], text...) // the last one is the whole, as Anthropic's own clients take it
	}
	return dst, nil
}

// think passes a piece of thinking on, and holds it for the block's seal.
func (m *messagesAnswer) think(dst []byte, text string) ([]byte, error) {
	if len(m.text)+len(text) > maxHeld {
		return dst, errHeld
	}
	m.text = append(m.text, text...)
	return m.to.thinking(dst, text)
}

func (m *messagesAnswer) beginBlock(dst []byte, block gjson.Result) ([]byte, error) {
	m.kind = block.Get("type").Str
	switch m.kind {
	case "text":
		return m.to.text(dst, inner(block.Get("text").Raw))
	case "thinking":
		m.text = m.text[:0]
		m.signed = append(m.signed[:0], inner(block.Get("signature").Raw)...)
		return m.think(dst, inner(block.Get("thinking").Raw))
	case "redacted_thinking":
		return m.to.sealed(dst, sealBlock(appendRedacted(nil, inner(block.Get("data").Raw))))
	case "tool_use":
		m.calls++
		m.pieces = false
		if m.input = block.Get("input").Raw; m.input == "" {
			m.input = "{}"
		}
		return m.to.call(dst, block.Get("id").Str, block.Get("name").Str)
	}
	return dst, badAnswer("the backend's answer has a block of the type %.40q, which %s has not", m.kind, m.t.Pair.Caller)
}

func (m *messagesAnswer) endBlock(dst []byte) ([]byte, error) {
	m.index = -1
	switch m.kind {
	case "thinking":
		return m.to.sealed(dst, sealBlock(appendThinking(nil, m.text, m.signed)))
	case "tool_use":
		var err error
		if !m.pieces {
			if dst, err = m.to.arguments(dst, inner(string(appendString(nil, m.input)))); err != nil {
				return dst, err
			}
		}
		return m.to.close(dst)
	}
	return dst, nil // texts that follow each other are one
}

// stopped notes why the answer ended, by the members of a message or of a message_delta.
func (m *messagesAnswer) stopped(v gjson.Result) {
	if reason := v.Get("stop_reason"); reason.Type == gjson.String {
		m.stop = reason.Str
	}
	if sequence := v.Get("stop_sequence"); sequence.Type == gjson.String {
		m.ending.sequence = sequence.Raw
		m.t.drop("stop_sequence") // neither caller's API says which one it was
	}
	if details := v.Get("stop_details"); details.IsObject() {
		m.ending.details = details.Raw
	}
}

// finish writes the end of a complete answer.
func (m *messagesAnswer) finish(dst []byte) ([]byte, error) {
	var err error
	if m.index >= 0 {
		if dst, err = m.endBlock(dst); err != nil {
			return dst, err
		}
	}
	switch m.stop {
	case "end_turn":
		m.ending.stop = stopEnd
	case "stop_sequence":
		m.ending.stop = stopSequence
	case "max_tokens":
		m.ending.stop = stopLength
	case "model_context_window_exceeded":
		m.ending.stop = stopWindow
	case "tool_use":
		m.ending.stop = stopCalls
	case "refusal":
		m.ending.stop = stopFilter
	case "":
		return dst, badAnswer("the backend's answer has no stop_reason")
	default:
		return dst, badAnswer("the backend's answer ended by %.40q, which %s has not", m.stop, m.t.Pair.Caller)
	}
	// What the answer holds counts more than what the upstream calls it: agents wait for results of calls that are not there, or make
	// none of those that are.
	switch {
	case m.calls > 0 && (m.ending.stop == stopEnd || m.ending.stop == stopSequence):
		m.ending.stop = stopCalls
	case m.calls == 0 && m.ending.stop == stopCalls:
		m.ending.stop = stopEnd
	}
	m.over = true
	return m.to.end(dst, m.ending)
}

func (m *messagesAnswer) ended() bool { return m.over }

func (m *messagesAnswer) end(dst []byte, cause error) ([]byte, error) {
	if m.over {
		return dst, nil
	}
	m.over = true
	if cause == nil {
		cause = errBrokenOff
	}
	return m.to.fail(dst, failureOf(cause)), cause
}

// answer reads a whole answer.
func (m *messagesAnswer) answer(dst, body []byte) ([]byte, error) {
	root, err := parse(body)
	if err != nil || root.Get("type").Str != "message" || !root.Get("content").IsArray() {
		return dst, badAnswer("it is no message")
	}
	m.begun = true
	dst = m.to.begin(dst, root.Get("id").Str, 0)
	root.Get("content").ForEach(func(_, block gjson.Result) bool {
		m.index = 0
		if dst, err = m.beginBlock(dst, block); err == nil {
			dst, err = m.endBlock(dst)
		}
		return err == nil
	})
	if err != nil {
		return dst, err
	}
	m.stopped(root)
	m.usage(root.Get("usage"), false)
	return m.finish(dst)
}
