package translate

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/tidwall/gjson"
)

// chatReader reads an answer of chat completions, whole or in chunks, and writes its content in the caller's API. Chat completions has no
// order between text, reasoning and calls: what comes later is later, but that a call is whole before anything else begins.
type chatReader struct {
	t    *Translation
	to   content
	keep bool // the text of the reasoning goes into the seal, as the caller does not see it

	begun    bool
	finish   string // finish_reason
	sequence string // the stop sequence that matched, as JSON, where the backend names it
	tier     string
	tokens   tokens

	field   string // the member in which the reasoning comes
	sealing bool   // there is reasoning that is not sealed yet
	thought []byte // its text, if keep
	details reasoningDetails
	extra   string // extra_content of the message
	extras  []byte // extra_content of calls that is not sealed yet, as the members of an object

	calls []*chatCall
	open  *chatCall // the one whose arguments go to the caller
	held  int       // bytes of arguments and of late
	late  []latePiece
}

// latePiece is text or reasoning that came before a call was whole.
type latePiece struct {
	text    string
	thought bool
}

const maxCalls = 256

const errManyCalls = bound("the upstream's answer has too many calls")

// message takes the members of a delta, or of a whole message.
func (r *chatReader) message(dst []byte, m gjson.Result) ([]byte, error) {
	var content, refusal, details, calls gjson.Result
	field, thought := "", ""
	m.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "content":
			content = value
		case "refusal":
			refusal = value
		case "reasoning_content", "reasoning":
			if text := inner(quoted(value)); text != "" && thought == "" {
				field, thought = key.Str, text
			}
		case "reasoning_details":
			details = value
		case "tool_calls":
			calls = value
		case "extra_content":
			r.extra = present(value)
			r.sealing = r.sealing || r.extra != ""
		}
		return true
	})
	var err error
	if details.IsArray() && len(details.Raw) > 2 {
		if err = r.details.add(details); err != nil {
			return dst, err
		}
		r.sealing = true
		if thought == "" {
			thought = shownDetails(details)
		}
	}
	if thought != "" {
		if dst, err = r.think(dst, field, thought); err != nil {
			return dst, err
		}
	}
	if content.IsArray() { // as Mistral answers
		content.ForEach(func(_, p gjson.Result) bool {
			switch p.Get("type").Str {
			case "text":
				dst, err = r.text(dst, inner(quoted(p.Get("text"))))
			case "thinking":
				p.Get("thinking").ForEach(func(_, p gjson.Result) bool {
					dst, err = r.think(dst, "", inner(quoted(p.Get("text"))))
					return err == nil
				})
			}
			return err == nil
		})
	} else {
		dst, err = r.text(dst, inner(quoted(content)))
	}
	if err != nil {
		return dst, err
	}
	if text := inner(quoted(refusal)); text != "" {
		if dst, err = r.before(dst); err != nil {
			return dst, err
		}
		if dst, err = r.to.refusal(dst, text); err != nil {
			return dst, err
		}
	}
	if !calls.IsArray() { // some send null with each piece of text
		return dst, nil
	}
	calls.ForEach(func(_, call gjson.Result) bool {
		dst, err = r.call(dst, call)
		return err == nil
	})
	return dst, err
}

// think takes a piece of the reasoning.
func (r *chatReader) think(dst []byte, field, text string) ([]byte, error) {
	if text == "" {
		return dst, nil
	}
	if r.busy() {
		return dst, r.hold(latePiece{text, true})
	}
	dst, err := r.endCall(dst)
	if err != nil {
		return dst, err
	}
	if field != "" {
		r.field, r.sealing = field, true
		if r.keep {
			if r.held += len(text); r.held > maxHeld {
				return dst, errHeld
			}
			r.thought = append(r.thought, text...)
		}
	}
	return r.to.thinking(dst, text)
}

func (r *chatReader) text(dst []byte, text string) ([]byte, error) {
	if text == "" {
		return dst, nil
	}
	if r.busy() {
		return dst, r.hold(latePiece{text, false})
	}
	dst, err := r.before(dst)
	if err != nil {
		return dst, err
	}
	return r.to.text(dst, text)
}

// busy reports whether a call is open that is not whole.
func (r *chatReader) busy() bool { return r.open != nil && !r.open.scan.ended }

func (r *chatReader) hold(p latePiece) error {
	if r.held += len(p.text); r.held > maxHeld {
		return errHeld
	}
	r.late = append(r.late, p)
	return nil
}

// before ends what is open before text or a call begins: a call, reasoning.
func (r *chatReader) before(dst []byte) ([]byte, error) {
	dst, err := r.endCall(dst)
	if err != nil {
		return dst, err
	}
	return r.seal(dst)
}

// seal writes what the backend needs back of its reasoning so far.
func (r *chatReader) seal(dst []byte) ([]byte, error) {
	if !r.sealing {
		return dst, nil
	}
	r.sealing = false
	if r.t.Official {
		return dst, nil // it has no reasoning in its messages
	}
	s := seal{provider: r.t.Provider, field: r.field, extra: r.extra}
	if len(r.thought) > 0 {
		s.text = `"` + string(r.thought) + `"`
	}
	if len(r.details.list) > 0 {
		s.details = string(r.details.append(nil))
	}
	if len(r.extras) > 0 {
		s.calls = "{" + string(r.extras) + "}"
	}
	r.thought, r.details, r.extra, r.extras = r.thought[:0], reasoningDetails{size: r.details.size}, "", r.extras[:0]
	return r.to.sealed(dst, s.String())
}

// call takes a piece of a call.
func (r *chatReader) call(dst []byte, piece gjson.Result) ([]byte, error) {
	id, function := piece.Get("id").Str, piece.Get("function")
	name := function.Get("name").Str
	arguments := function.Get("arguments")
	text := inner(quoted(arguments))
	if arguments.IsObject() {
		text = inner(string(appendString(nil, arguments.Raw)))
	}
	index := int64(len(r.calls))
	if i := piece.Get("index"); i.Type == gjson.Number {
		index = i.Int()
	} else if id == "" && len(r.calls) > 0 {
		index = r.calls[len(r.calls)-1].index
	}
	c := r.at(index)
	if c == nil || c.another(id, name, text) {
		if len(r.calls) == maxCalls {
			return dst, errManyCalls
		}
		c = &chatCall{index: index}
		r.calls = append(r.calls, c)
	}
	if c.given == "" {
		c.given = id
	}
	if c.name == "" {
		c.name = name
	}
	if extra := piece.Get("extra_content"); extra.IsObject() {
		c.extra = extra.Raw
	}
	if c == r.open {
		return r.arguments(dst, c, text)
	}
	if c.closed {
		if c.scan.write(text); text != "" && !blankText(text) {
			return dst, errNoCall
		}
		return dst, nil
	}
	if r.held += len(text); r.held > maxHeld {
		return dst, errHeld
	}
	c.held = append(c.held, text...)
	if r.busy() {
		return dst, nil
	}
	return r.next(dst)
}

// at returns the last call of an index, nil where there is none.
func (r *chatReader) at(index int64) *chatCall {
	for _, c := range slices.Backward(r.calls) {
		if c.index == index {
			return c
		}
	}
	return nil
}

// opened reports whether the call of an index is the one whose arguments go to the caller.
func (r *chatReader) opened(index int64) bool { return r.open != nil && r.at(index) == r.open }

// blankText reports whether what is between the quotes of a JSON string is space alone.
func blankText(text string) bool {
	s := objectScan{ended: true}
	return !s.write(text)
}

// arguments gives a piece of the arguments of the call that is open.
func (r *chatReader) arguments(dst []byte, c *chatCall, text string) ([]byte, error) {
	if c.scan.write(text); text == "" {
		return dst, nil
	}
	dst, err := r.to.arguments(dst, text)
	if err != nil || r.busy() {
		return dst, err
	}
	return r.next(dst)
}

// next opens the calls that wait, as long as the one that is open is whole.
func (r *chatReader) next(dst []byte) ([]byte, error) {
	for _, c := range r.calls {
		if c.closed || c == r.open {
			continue
		}
		if r.busy() || c.name == "" {
			return dst, nil
		}
		var err error
		if dst, err = r.begin(dst, c); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// begin opens a call and gives what is held of its arguments.
func (r *chatReader) begin(dst []byte, c *chatCall) ([]byte, error) {
	dst, err := r.endCall(dst)
	if err != nil {
		return dst, err
	}
	c.id = r.idOf(c)
	if c.extra != "" {
		if len(r.extras) > 0 {
			r.extras = append(r.extras, ',')
		}
		r.extras = append(append(appendString(r.extras, c.id), ':'), c.extra...)
		r.sealing = true
	}
	if dst, err = r.seal(dst); err != nil {
		return dst, err
	}
	r.open = c
	if dst, err = r.to.call(dst, c.id, c.name); err != nil || len(c.held) == 0 {
		return dst, err
	}
	text := string(c.held)
	r.held -= len(text)
	c.held = nil
	c.scan.write(text)
	return r.to.arguments(dst, text)
}

// idOf returns the id of a call for the caller: the upstream's, but where it gives none, or the same one to several calls.
func (r *chatReader) idOf(c *chatCall) string {
	twice := false
	for _, other := range r.calls {
		twice = twice || other != c && other.id == c.given
	}
	if c.given != "" && !twice {
		return c.given
	}
	id := c.given
	if id == "" {
		id = "call_" + answerID(r.t.ID, "")
	}
	return id + "_" + strconv.Itoa(slices.Index(r.calls, c))
}

// endCall closes the call that is open, and gives what came before it was whole.
func (r *chatReader) endCall(dst []byte) ([]byte, error) {
	if r.open == nil {
		return dst, nil
	}
	r.open.closed = true
	r.open = nil
	dst, err := r.to.close(dst)
	late := r.late
	r.late = nil
	for _, p := range late {
		if err != nil {
			return dst, err
		}
		r.held -= len(p.text)
		if p.thought {
			dst, err = r.think(dst, r.field, p.text)
		} else {
			dst, err = r.text(dst, p.text)
		}
	}
	return dst, err
}

// close ends the content.
func (r *chatReader) close(dst []byte) ([]byte, error) {
	var err error
	for _, c := range r.calls {
		if c.closed || c == r.open {
			continue
		}
		if c.name == "" {
			return dst, errNoCall
		}
		if dst, err = r.begin(dst, c); err != nil {
			return dst, err
		}
	}
	if dst, err = r.before(dst); err != nil {
		return dst, err
	}
	return r.to.close(dst)
}

// head takes the members that stand beside the content.
func (r *chatReader) head(p *chatPiece) {
	switch {
	case p.usage.IsObject():
		r.tokens = chatTokens(r.t, p.usage)
	case p.timings.IsObject() && !r.tokens.known:
		r.tokens = timedTokens(p.timings)
	}
	if p.tier != "" {
		r.tier = p.tier
	}
	if p.sequence != "" {
		r.sequence = p.sequence
	}
}

// ending returns how the answer ended. What it holds decides before what the backend says of it.
func (r *chatReader) ending() (ending, error) {
	e := ending{tier: r.tier, tokens: r.tokens}
	switch r.finish {
	case "length", "max_tokens", "model_length":
		e.stop = stopLength
	case "content_filter", "safety", "refusal":
		e.stop = stopFilter
	case "error", "abort": // of OpenRouter and vLLM
		return e, failure{status: http.StatusBadGateway, message: "the backend broke its answer off: " + r.finish}
	default:
		switch {
		case len(r.calls) > 0:
			e.stop = stopCalls
		case r.sequence != "":
			e.stop, e.sequence = stopSequence, r.sequence
		}
	}
	return e, nil
}
