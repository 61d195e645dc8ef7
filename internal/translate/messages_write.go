package translate

import (
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// messagesWriter writes an answer of Messages: the events of a stream, and the whole answer.
type messagesWriter struct {
	t       *Translation
	id      string // the answer's without its prefix
	begun   bool
	open    blockKind
	index   int    // of the block that is open, or the next
	hidden  bool   // the reasoning is not shown at all
	omitted bool   // the reasoning's text is not shown
	refused bool   // the model refused
	stops   string // the stop sequences that were asked for, as a JSON array

	keep   bool   // whole is wanted
	held   []byte // the text of the block that is open, where whole is wanted
	head   []byte // the begin of that block
	broken bool   // the arguments of a call are no object
	whole  []byte // the blocks that are closed, with commas between; the answer, once it ended
}

// blockKind is the kind of the block that is open.
type blockKind uint8

const (
	blockNone blockKind = iota
	blockThinking
	blockText
	blockCall
)

func (w *messagesWriter) event(dst []byte, name string) []byte {
	dst = append(append(dst, "event: "...), name...)
	dst = append(append(dst, "\ndata: {\"type\":\""...), name...)
	return append(dst, '"')
}

// message appends the answer as it is before its content.
func (w *messagesWriter) message(dst []byte) []byte {
	dst = append(append(dst, `{"id":"msg_`...), w.id...)
	dst = append(dst, `","type":"message","role":"assistant","model":`...)
	return appendString(dst, w.t.Model)
}

func (w *messagesWriter) begin(dst []byte, id string, _ int64) []byte {
	if w.begun {
		return dst
	}
	w.begun = true
	w.id = answerID(id, w.t.ID)
	dst = append(w.event(dst, "message_start"), `,"message":`...)
	dst = w.message(dst)
	return endEvent(append(dst, `,"content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":0,"output_tokens":0}}`...))
}

func (w *messagesWriter) ping(dst []byte) []byte {
	if !w.begun {
		return append(dst, ": ping\n\n"...)
	}
	return endEvent(w.event(dst, "ping"))
}

// start opens a block whose begin is head, without its bracket.
func (w *messagesWriter) start(dst []byte, kind blockKind, head []byte, rest string) []byte {
	w.open = kind
	dst = w.at(w.event(dst, "content_block_start"))
	dst = append(append(append(dst, `,"content_block":`...), head...), rest...)
	if w.keep {
		w.head, w.held = append(w.head[:0], head...), w.held[:0]
	}
	return endEvent(append(dst, '}'))
}

func (w *messagesWriter) at(dst []byte) []byte {
	return strconv.AppendInt(append(dst, `,"index":`...), int64(w.index), 10)
}

// delta appends a piece of the block that is open.
func (w *messagesWriter) delta(dst []byte, kind, member, text string) []byte {
	dst = append(w.at(w.event(dst, "content_block_delta")), `,"delta":{"type":"`...)
	dst = append(append(append(dst, kind...), `","`...), member...)
	dst = append(append(append(dst, `":"`...), text...), `"}`...)
	return endEvent(dst)
}

// hold keeps a piece where the whole answer is wanted.
func (w *messagesWriter) hold(text string) error {
	if !w.keep {
		return nil
	}
	if len(w.whole)+len(w.held)+len(text) > maxAnswer {
		return errHeld
	}
	w.held = append(w.held, text...)
	return nil
}

func (w *messagesWriter) thinking(dst []byte, text string) ([]byte, error) {
	if text == "" || w.hidden {
		return dst, nil
	}
	dst, err := w.openThinking(dst)
	if err != nil || w.omitted {
		return dst, err
	}
	return w.delta(dst, "thinking_delta", "thinking", text), w.hold(text)
}

func (w *messagesWriter) openThinking(dst []byte) ([]byte, error) {
	if w.open == blockThinking {
		return dst, nil
	}
	dst, err := w.close(dst)
	return w.start(dst, blockThinking, []byte(`{"type":"thinking"`), `,"thinking":"","signature":""`), err
}

// sealed ends the reasoning with its signature. Reasoning without a text is a redacted block, whose data the client gives back too.
func (w *messagesWriter) sealed(dst []byte, seal string) ([]byte, error) {
	if w.hidden {
		return dst, nil
	}
	if w.open == blockThinking {
		return w.stopThinking(dst, seal), nil
	}
	dst, err := w.close(dst)
	if err != nil {
		return dst, err
	}
	head := appendString([]byte(`{"type":"redacted_thinking","data":`), seal)
	dst = w.start(dst, blockThinking, head, "")
	w.add(string(head) + "}")
	return w.stop(dst), nil
}

// stopThinking closes a block of thinking. The signature comes at once: the clients keep the last piece of it alone.
func (w *messagesWriter) stopThinking(dst []byte, signature string) []byte {
	if signature != "" {
		dst = w.delta(dst, "signature_delta", "signature", inner(string(appendString(nil, signature))))
	}
	if w.keep {
		block := append(append([]byte(`{"type":"thinking","thinking":"`), w.held...), `","signature":`...)
		w.add(string(appendString(block, signature)) + "}")
	}
	return w.stop(dst)
}

// add adds a block to the whole answer.
func (w *messagesWriter) add(block string) {
	if w.keep {
		if len(w.whole) > 0 {
			w.whole = append(w.whole, ',')
		}
		w.whole = append(w.whole, block...)
	}
}

// stop ends the block that is open.
func (w *messagesWriter) stop(dst []byte) []byte {
	dst = endEvent(w.at(w.event(dst, "content_block_stop")))
	w.open = blockNone
	w.index++
	return dst
}

func (w *messagesWriter) text(dst []byte, text string) ([]byte, error) {
	if text == "" {
		return dst, nil
	}
	if w.open != blockText {
		var err error
		if dst, err = w.close(dst); err != nil {
			return dst, err
		}
		dst = w.start(dst, blockText, []byte(`{"type":"text"`), `,"text":""`)
	}
	return w.delta(dst, "text_delta", "text", text), w.hold(text)
}

// refusal writes the text of a refusal as text: that it is one, the stop reason says.
func (w *messagesWriter) refusal(dst []byte, text string) ([]byte, error) {
	w.refused = w.refused || text != ""
	return w.text(dst, text)
}

func (w *messagesWriter) call(dst []byte, id, name string) ([]byte, error) {
	dst, err := w.close(dst)
	if err != nil {
		return dst, err
	}
	head := appendString([]byte(`{"type":"tool_use","id":`), id)
	head = appendString(append(head, `,"name":`...), name)
	return w.start(dst, blockCall, head, `,"input":{}`), nil
}

func (w *messagesWriter) arguments(dst []byte, piece string) ([]byte, error) {
	if piece == "" {
		return dst, nil
	}
	if w.open != blockCall {
		return dst, errNoCall
	}
	return w.delta(dst, "input_json_delta", "partial_json", piece), w.hold(piece)
}

func (w *messagesWriter) close(dst []byte) ([]byte, error) {
	switch w.open {
	case blockNone:
		return dst, nil
	case blockThinking:
		return w.stopThinking(dst, ""), nil
	case blockText:
		if w.keep {
			w.add(`{"type":"text","text":"` + string(w.held) + `"}`)
		}
	case blockCall:
		if w.keep {
			if input, ok := argumentsObject(w.held); ok {
				w.add(string(w.head) + `,"input":` + input + "}")
			} else {
				w.broken = true
			}
		}
	}
	return w.stop(dst), nil
}

// asked reports whether a text, as JSON, is a stop sequence that was asked for.
func (w *messagesWriter) asked(sequence string) bool {
	for _, s := range gjson.Parse(w.stops).Array() {
		if s.Str == gjson.Parse(sequence).Str {
			return true
		}
	}
	return false
}

// argumentsObject returns the JSON object that a call's arguments are, given as what is between the quotes of a JSON string.
func argumentsObject(arguments []byte) (object string, ok bool) {
	object = strings.TrimSpace(gjson.Parse(`"` + string(arguments) + `"`).Str)
	if object == "" {
		return "{}", true
	}
	_, err := parse([]byte(object))
	return object, err == nil && object[0] == '{'
}

var messagesStops = [...]string{
	stopEnd: "end_turn", stopSequence: "stop_sequence", stopLength: "max_tokens", stopWindow: "model_context_window_exceeded",
	stopCalls: "tool_use", stopFilter: "refusal",
}

func (w *messagesWriter) end(dst []byte, e ending) ([]byte, error) {
	dst, err := w.close(w.begin(dst, "", 0))
	if err != nil {
		return dst, err
	}
	if e.stop == stopSequence && !w.asked(e.sequence) {
		e.stop, e.sequence = stopEnd, ""
	}
	if w.refused && e.stop == stopEnd {
		e.stop = stopFilter
	}
	if w.broken && e.stop != stopLength && e.stop != stopWindow { // a call that was cut is left out, as it cannot be written
		return dst, errArguments
	}
	dst = append(w.event(dst, "message_delta"), `,"delta":{`...)
	dst = appendMessagesStop(dst, e)
	dst = append(dst, `},"usage":`...)
	dst = endEvent(appendMessagesUsage(dst, e.tokens))
	if w.keep {
		whole := append(w.message(nil), `,"content":[`...)
		whole = append(append(whole, w.whole...), `],`...)
		whole = append(appendMessagesStop(whole, e), `,"usage":`...)
		w.whole = append(appendMessagesUsage(whole, e.tokens), '}')
	}
	return endEvent(w.event(dst, "message_stop")), nil
}

// appendMessagesStop appends the members that say why the answer ended.
func appendMessagesStop(dst []byte, e ending) []byte {
	dst = append(append(append(dst, `"stop_reason":"`...), messagesStops[e.stop]...), `","stop_sequence":`...)
	if e.sequence == "" {
		dst = append(dst, "null"...)
	} else {
		dst = append(dst, e.sequence...)
	}
	if e.details != "" {
		dst = append(append(dst, `,"stop_details":`...), e.details...)
	}
	return dst
}

// appendMessagesUsage appends usage, whose input_tokens are those that the cache neither gave nor took.
func appendMessagesUsage(dst []byte, u tokens) []byte {
	number := func(before string, n int64) { dst = strconv.AppendInt(append(dst, before...), n, 10) }
	number(`{"input_tokens":`, max(0, u.input-u.cached-u.written))
	number(`,"cache_creation_input_tokens":`, u.written)
	number(`,"cache_read_input_tokens":`, u.cached)
	number(`,"output_tokens":`, u.output)
	if u.reasoning > 0 {
		number(`,"output_tokens_details":{"thinking_tokens":`, u.reasoning)
		dst = append(dst, '}')
	}
	return append(dst, '}')
}

func (w *messagesWriter) fail(dst []byte, f failure) []byte {
	return appendEvent(dst, "error", appendFailure(nil, Messages, f))
}
