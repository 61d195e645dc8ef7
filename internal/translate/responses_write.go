package translate

import "strconv"

// responsesWriter writes an answer of the Responses API: the events of a stream, and the whole answer that the last of them holds.
type responsesWriter struct {
	t       *Translation
	request *responsesRequest

	id       string // the answer's without its prefix
	created  int64
	begun    bool
	sequence int

	output  []byte // the items that are whole, with commas between
	items   int    // how many
	open    itemKind
	parts   []byte // the parts of the message that is open, with commas between
	index   int    // of the part that is open
	held    []byte // the text of the part, the arguments or the reasoning that is open
	heading []byte // the members of the call that is open, but for its arguments
	custom  inputReader
	keep    bool   // whole is wanted
	whole   []byte // the answer, once it ended
}

// itemKind is the kind of an item or of a message's part that is open.
type itemKind uint8

const (
	itemNone itemKind = iota
	itemReasoning
	itemText
	itemRefusal
	itemCall
	itemCustom
)

// newResponsesWriter returns a writer of the answer to a request.
func newResponsesWriter(t *Translation, r *responsesRequest) *responsesWriter {
	return &responsesWriter{t: t, request: r}
}

// event appends the begin of an event, up to its own members. endEvent ends it.
func (w *responsesWriter) event(dst []byte, name string) []byte {
	dst = append(append(dst, "event: response."...), name...)
	dst = append(append(dst, "\ndata: {\"type\":\"response."...), name...)
	dst = append(dst, `","sequence_number":`...)
	dst = strconv.AppendInt(dst, int64(w.sequence), 10)
	w.sequence++
	return dst
}

// about appends which item an event is about.
func (w *responsesWriter) about(dst []byte) []byte {
	dst = append(dst, `,"item_id":`...)
	dst = w.itemID(dst)
	return w.at(dst)
}

func (w *responsesWriter) at(dst []byte) []byte {
	return strconv.AppendInt(append(dst, `,"output_index":`...), int64(w.items), 10)
}

// itemID appends the id of the item that is open, as JSON. It follows from the answer's id and the item's place.
func (w *responsesWriter) itemID(dst []byte) []byte {
	dst = append(append(dst, '"'), itemPrefixes[w.open]...)
	dst = append(append(dst, w.id...), '_')
	return append(strconv.AppendInt(dst, int64(w.items), 10), '"')
}

var itemPrefixes = [...]string{itemReasoning: "rs_", itemText: "msg_", itemRefusal: "msg_", itemCall: "fc_", itemCustom: "ctc_"}

func endEvent(dst []byte) []byte { return append(dst, "}\n\n"...) }

// appendField appends a member that is a string, with what is between its quotes.
func appendField(dst []byte, name, text string) []byte {
	dst = append(append(append(dst, `,"`...), name...), `":"`...)
	return append(append(dst, text...), '"')
}

func (w *responsesWriter) begin(dst []byte, id string, created int64) []byte {
	if w.begun {
		return dst
	}
	w.begun = true
	w.id = answerID(id, w.t.ID)
	if w.created = created; created == 0 {
		w.created = w.t.Created
	}
	dst = endEvent(w.response(append(w.event(dst, "created"), `,"response":`...), "in_progress", ending{}, nil, nil))
	return w.waiting(dst)
}

func (w *responsesWriter) waiting(dst []byte) []byte {
	return endEvent(w.response(append(w.event(dst, "in_progress"), `,"response":`...), "in_progress", ending{}, nil, nil))
}

// ping repeats the state, since Codex does not take a comment for a sign of life.
func (w *responsesWriter) ping(dst []byte) []byte {
	if !w.begun {
		return append(dst, ": ping\n\n"...)
	}
	return w.waiting(dst)
}

// response appends the answer as a JSON object.
func (w *responsesWriter) response(dst []byte, status string, e ending, output []byte, f *failure) []byte {
	dst = append(append(dst, `{"id":"resp_`...), w.id...)
	dst = append(dst, `","object":"response","created_at":`...)
	dst = strconv.AppendInt(dst, w.created, 10)
	dst = appendField(dst, "status", status)
	dst = append(dst, `,"error":`...)
	if f != nil {
		dst = append(dst, `{"code":`...)
		dst = appendString(dst, responsesCode(*f))
		dst = append(dst, `,"message":`...)
		dst = append(appendString(dst, f.message), '}')
	} else {
		dst = append(dst, "null"...)
	}
	dst = append(dst, `,"incomplete_details":`...)
	switch {
	case status != "incomplete":
		dst = append(dst, "null"...)
	case e.stop == stopFilter:
		dst = append(dst, `{"reason":"content_filter"}`...)
	default:
		dst = append(dst, `{"reason":"max_output_tokens"}`...)
	}
	dst = append(dst, `,"model":`...)
	dst = appendString(dst, w.t.Model)
	dst = append(dst, `,"output":[`...)
	dst = append(append(dst, output...), `],"usage":`...)
	dst = appendResponsesUsage(dst, e.tokens)
	if e.tier != "" {
		dst = append(dst, `,"service_tier":`...)
		dst = appendString(dst, e.tier)
	}
	if w.request != nil {
		dst = append(dst, w.request.echo...)
	}
	return append(dst, '}')
}

// appendResponsesUsage appends usage: all of its counts, or null where they are not known.
func appendResponsesUsage(dst []byte, u tokens) []byte {
	if !u.known {
		return append(dst, "null"...)
	}
	number := func(before string, n int64) { dst = strconv.AppendInt(append(dst, before...), n, 10) }
	number(`{"input_tokens":`, u.input)
	number(`,"input_tokens_details":{"cached_tokens":`, u.cached)
	number(`,"cache_write_tokens":`, u.written)
	number(`},"output_tokens":`, u.output)
	number(`,"output_tokens_details":{"reasoning_tokens":`, u.reasoning)
	number(`},"total_tokens":`, u.input+u.output)
	return append(dst, '}')
}

// hold keeps a piece of what is open, as the item and the answer's end repeat it.
func (w *responsesWriter) hold(text string) error {
	if len(w.output)+len(w.parts)+len(w.held)+len(text) > maxAnswer {
		return errHeld
	}
	w.held = append(w.held, text...)
	return nil
}

// added opens an item.
func (w *responsesWriter) added(dst []byte, kind itemKind) []byte {
	w.open, w.index, w.parts, w.held = kind, 0, w.parts[:0], w.held[:0]
	dst = append(w.at(w.event(dst, "output_item.added")), `,"item":`...)
	return endEvent(w.item(dst, "in_progress", ""))
}

// item appends the item that is open, as JSON. seal is that of a reasoning item.
func (w *responsesWriter) item(dst []byte, status, seal string) []byte {
	dst = w.itemID(append(dst, `{"id":`...))
	switch w.open {
	case itemNone:
	case itemReasoning:
		dst = append(dst, `,"type":"reasoning","summary":[`...)
		if len(w.held) > 0 {
			dst = append(append(append(dst, `{"type":"summary_text","text":"`...), w.held...), `"}`...)
		}
		dst = append(dst, ']')
		if w.request != nil && w.request.encrypted {
			if seal == "" {
				dst = append(dst, `,"encrypted_content":null`...)
			} else {
				dst = append(dst, `,"encrypted_content":`...)
				dst = appendString(dst, seal)
			}
		}
	case itemText, itemRefusal:
		dst = appendField(dst, "type", "message")
		dst = appendField(dst, "status", status)
		dst = append(dst, `,"role":"assistant","content":[`...)
		dst = append(append(dst, w.parts...), ']')
	case itemCall:
		dst = appendField(dst, "type", "function_call")
		dst = appendField(dst, "status", status)
		dst = append(dst, w.heading...)
		dst = append(append(append(dst, `,"arguments":"`...), w.held...), '"')
	case itemCustom:
		dst = appendField(dst, "type", "custom_tool_call")
		dst = appendField(dst, "status", status)
		dst = append(dst, w.heading...)
		dst = append(append(append(dst, `,"input":"`...), w.held...), '"')
	}
	return append(dst, '}')
}

// finish appends the end of the item that is open.
func (w *responsesWriter) finish(dst []byte, status, seal string) []byte {
	dst = append(w.at(w.event(dst, "output_item.done")), `,"item":`...)
	from := len(dst)
	dst = w.item(dst, status, seal)
	if w.items > 0 {
		w.output = append(w.output, ',')
	}
	w.output = append(w.output, dst[from:]...)
	w.items++
	w.open = itemNone
	return endEvent(dst)
}

func (w *responsesWriter) thinking(dst []byte, text string) ([]byte, error) {
	if text == "" {
		return dst, nil
	}
	var err error
	if w.open != itemReasoning {
		if dst, err = w.close(dst); err != nil {
			return dst, err
		}
		dst = w.added(dst, itemReasoning)
	}
	if len(w.held) == 0 {
		dst = w.about(w.event(dst, "reasoning_summary_part.added"))
		dst = endEvent(append(dst, `,"summary_index":0,"part":{"type":"summary_text","text":""}`...))
	}
	dst = w.about(w.event(dst, "reasoning_summary_text.delta"))
	dst = endEvent(appendField(append(dst, `,"summary_index":0`...), "delta", text))
	return dst, w.hold(text)
}

func (w *responsesWriter) sealed(dst []byte, seal string) ([]byte, error) {
	if w.open != itemReasoning {
		var err error
		if dst, err = w.close(dst); err != nil {
			return dst, err
		}
		if w.request == nil || !w.request.encrypted {
			return dst, nil // a reasoning item without text or seal says nothing
		}
		dst = w.added(dst, itemReasoning)
	}
	return w.closeReasoning(dst, "completed", seal), nil
}

func (w *responsesWriter) closeReasoning(dst []byte, status, seal string) []byte {
	if len(w.held) > 0 {
		text := string(w.held)
		dst = w.about(w.event(dst, "reasoning_summary_text.done"))
		dst = endEvent(appendField(append(dst, `,"summary_index":0`...), "text", text))
		dst = w.about(w.event(dst, "reasoning_summary_part.done"))
		dst = append(dst, `,"summary_index":0,"part":{"type":"summary_text"`...)
		dst = endEvent(append(appendField(dst, "text", text), '}'))
	}
	return w.finish(dst, status, seal)
}

func (w *responsesWriter) text(dst []byte, text string) ([]byte, error) {
	if text == "" {
		return dst, nil
	}
	dst, err := w.part(dst, itemText)
	if err != nil {
		return dst, err
	}
	dst = append(w.about(w.event(dst, "output_text.delta")), `,"content_index":`...)
	dst = strconv.AppendInt(dst, int64(w.index), 10)
	dst = endEvent(append(appendField(dst, "delta", text), `,"logprobs":[]`...))
	return dst, w.hold(text)
}

func (w *responsesWriter) refusal(dst []byte, text string) ([]byte, error) {
	if text == "" {
		return dst, nil
	}
	dst, err := w.part(dst, itemRefusal)
	if err != nil {
		return dst, err
	}
	dst = append(w.about(w.event(dst, "refusal.delta")), `,"content_index":`...)
	dst = strconv.AppendInt(dst, int64(w.index), 10)
	return endEvent(appendField(dst, "delta", text)), w.hold(text)
}

// part opens a message's part of a kind unless it is open.
func (w *responsesWriter) part(dst []byte, kind itemKind) ([]byte, error) {
	switch w.open {
	case kind:
		return dst, nil
	case itemText, itemRefusal:
		dst = w.closePart(dst)
		w.index++
		w.open = kind
	default:
		var err error
		if dst, err = w.close(dst); err != nil {
			return dst, err
		}
		dst = w.added(dst, kind)
	}
	dst = append(w.about(w.event(dst, "content_part.added")), `,"content_index":`...)
	dst = strconv.AppendInt(dst, int64(w.index), 10)
	return endEvent(w.onePart(append(dst, `,"part":`...))), nil
}

// onePart appends the part that is open, as JSON.
func (w *responsesWriter) onePart(dst []byte) []byte {
	if w.open == itemRefusal {
		dst = append(append(dst, `{"type":"refusal","refusal":"`...), w.held...)
		return append(dst, `"}`...)
	}
	dst = append(append(dst, `{"type":"output_text","text":"`...), w.held...)
	return append(dst, `","annotations":[],"logprobs":[]}`...)
}

// closePart ends the part of a message that is open.
func (w *responsesWriter) closePart(dst []byte) []byte {
	name, member := "output_text.done", "text"
	if w.open == itemRefusal {
		name, member = "refusal.done", "refusal"
	}
	dst = append(w.about(w.event(dst, name)), `,"content_index":`...)
	dst = strconv.AppendInt(dst, int64(w.index), 10)
	dst = append(append(append(append(dst, `,"`...), member...), `":"`...), w.held...)
	dst = append(dst, '"')
	if w.open == itemText {
		dst = append(dst, `,"logprobs":[]`...)
	}
	dst = append(w.about(w.event(endEvent(dst), "content_part.done")), `,"content_index":`...)
	dst = append(strconv.AppendInt(dst, int64(w.index), 10), `,"part":`...)
	from := len(dst)
	dst = w.onePart(dst)
	if len(w.parts) > 0 {
		w.parts = append(w.parts, ',')
	}
	w.parts = append(w.parts, dst[from:]...)
	w.held = w.held[:0]
	return endEvent(dst)
}

// call opens the item of a call: of the caller's tool by its own name.
func (w *responsesWriter) call(dst []byte, id, name string) ([]byte, error) {
	dst, err := w.close(dst)
	if err != nil {
		return dst, err
	}
	kind, namespace := itemCall, ""
	if w.request != nil {
		if t, ok := w.request.tools.find(name); ok {
			name, namespace = t.own, t.namespace
			if t.custom {
				kind, w.custom = itemCustom, inputReader{}
			}
		}
	}
	w.heading = appendString(append(w.heading[:0], `,"call_id":`...), id)
	w.heading = appendString(append(w.heading, `,"name":`...), name)
	if namespace != "" {
		w.heading = appendString(append(w.heading, `,"namespace":`...), namespace)
	}
	return w.added(dst, kind), nil
}

func (w *responsesWriter) arguments(dst []byte, piece string) ([]byte, error) {
	switch {
	case piece == "":
		return dst, nil
	case w.open == itemCustom:
		input, err := w.custom.write(piece)
		if err != nil {
			return dst, err
		}
		return w.input(dst, input)
	case w.open != itemCall:
		return dst, errNoCall
	}
	dst = endEvent(appendField(w.about(w.event(dst, "function_call_arguments.delta")), "delta", piece))
	return dst, w.hold(piece)
}

// input appends to the text that a custom tool is given.
func (w *responsesWriter) input(dst []byte, text string) ([]byte, error) {
	if text == "" {
		return dst, nil
	}
	dst = endEvent(appendField(w.about(w.event(dst, "custom_tool_call_input.delta")), "delta", text))
	return dst, w.hold(text)
}

func (w *responsesWriter) close(dst []byte) ([]byte, error) { return w.closeAs(dst, "completed") }

// closeAs ends the item that is open, with its status.
func (w *responsesWriter) closeAs(dst []byte, status string) ([]byte, error) {
	switch w.open {
	case itemNone:
		return dst, nil
	case itemReasoning:
		return w.closeReasoning(dst, status, ""), nil
	case itemText, itemRefusal:
		dst = w.closePart(dst)
	case itemCall:
		if len(w.held) == 0 && status == "completed" {
			var err error
			if dst, err = w.arguments(dst, "{}"); err != nil { // callers parse them
				return dst, err
			}
		}
		dst = w.about(w.event(dst, "function_call_arguments.done"))
		dst = append(append(dst, `,"arguments":"`...), w.held...)
		dst = endEvent(append(dst, '"'))
	case itemCustom:
		var err error
		if dst, err = w.input(dst, w.custom.rest()); err != nil {
			return dst, err
		}
		dst = append(w.about(w.event(dst, "custom_tool_call_input.done")), `,"input":"`...)
		dst = endEvent(append(append(dst, w.held...), '"'))
	}
	return w.finish(dst, status, ""), nil
}

func (w *responsesWriter) end(dst []byte, e ending) ([]byte, error) {
	dst = w.begin(dst, "", 0)
	status := "completed"
	if e.stop == stopLength || e.stop == stopWindow || e.stop == stopFilter {
		status = "incomplete"
	}
	dst, err := w.closeAs(dst, status)
	if err != nil {
		return dst, err
	}
	dst = append(w.event(dst, status), `,"response":`...)
	from := len(dst)
	dst = w.response(dst, status, e, w.output, nil)
	if w.keep {
		w.whole = append(w.whole, dst[from:]...)
	}
	return endEvent(dst), nil
}

// fail ends with response.failed, which Codex shows; it takes no error event.
func (w *responsesWriter) fail(dst []byte, f failure) []byte {
	dst = w.begin(dst, "", 0)
	dst = append(w.event(dst, "failed"), `,"response":`...)
	return endEvent(w.response(dst, "failed", ending{}, w.output, &f))
}
