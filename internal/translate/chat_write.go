package translate

import (
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// chatThinkingFormat is OpenRouter's name for signed thinking of Anthropic's in reasoning_details.
const chatThinkingFormat = "anthropic-claude-v1"

// chatBlocks counts the blocks of an answer as a request that gives it back has them: texts that follow each other are one.
type chatBlocks struct {
	kind   partKind
	open   bool
	index  int // of the last block
	some   bool
	offset int // the length of the texts so far, in bytes
	calls  int
}

// next begins a block unless one of the kind is open.
func (c *chatBlocks) next(kind partKind) {
	if c.open && c.kind == kind && kind != partCall {
		return
	}
	if c.some {
		c.index++
	}
	c.some, c.open, c.kind = true, true, kind
	if kind == partCall {
		c.calls++
	}
}

// text counts a text, which is what is between the quotes of a JSON string.
func (c *chatBlocks) text(text string) {
	c.next(partText)
	c.offset += decodedLen(text)
}

// decodedLen returns how many bytes the text between the quotes of a JSON string has.
func decodedLen(text string) int {
	if strings.IndexByte(text, '\\') < 0 {
		return len(text)
	}
	return len(gjson.Parse(`"` + text + `"`).Str)
}

// detail appends the entry of reasoning_details for a block of thinking, and ends the block.
func (c *chatBlocks) detail(dst []byte, seal string) []byte {
	block, ok := openBlock(seal)
	if !ok {
		return dst
	}
	c.next(partThinking)
	c.open = false
	b := gjson.Parse(block)
	if data := b.Get("data"); data.Exists() {
		dst = append(append(dst, `{"type":"reasoning.encrypted","data":`...), data.Raw...)
	} else {
		dst = append(append(dst, `{"type":"reasoning.text","text":`...), b.Get("thinking").Raw...)
		dst = append(append(dst, `,"signature":`...), b.Get("signature").Raw...)
	}
	dst = append(dst, `,"format":"`+chatThinkingFormat+`","index":`...)
	dst = strconv.AppendInt(dst, int64(c.index), 10)
	if c.offset > 0 {
		dst = strconv.AppendInt(append(dst, `,"content_offset":`...), int64(c.offset), 10)
	}
	return append(dst, '}')
}

// chatReason returns the finish_reason of an answer.
func chatReason(s stop) string {
	switch s {
	case stopLength, stopWindow:
		return "length"
	case stopCalls:
		return "tool_calls"
	case stopFilter:
		return "content_filter"
	case stopEnd, stopSequence:
	}
	return "stop"
}

// appendChatUsage appends usage.
func appendChatUsage(dst []byte, u tokens) []byte {
	number := func(before string, n int64) { dst = strconv.AppendInt(append(dst, before...), n, 10) }
	number(`{"prompt_tokens":`, u.input)
	number(`,"completion_tokens":`, u.output)
	number(`,"total_tokens":`, u.input+u.output)
	number(`,"prompt_tokens_details":{"cached_tokens":`, u.cached)
	number(`,"cache_write_tokens":`, u.written)
	number(`},"completion_tokens_details":{"reasoning_tokens":`, u.reasoning)
	return append(dst, `}}`...)
}

// explanation returns what a provider says of its refusal, as what is between the quotes of a JSON string.
func explanation(e ending) string {
	return inner(quoted(gjson.Get(e.details, "explanation")))
}

// chatStream writes the chunks of a stream of chat completions.
type chatStream struct {
	t      *Translation
	usage  bool   // it is to end with its usage
	head   []byte // what all chunks begin with
	blocks chatBlocks
}

func (w *chatStream) begin(dst []byte, id string, created int64) []byte {
	if w.head != nil {
		return dst
	}
	w.head = appendChatHead(append(w.head, "data: "...), w.t, "chat.completion.chunk", id, created)
	return w.endDelta(append(w.delta(dst), `"role":"assistant","content":""`...))
}

// appendChatHead appends the members that an answer and its chunks begin with.
func appendChatHead(dst []byte, t *Translation, object, id string, created int64) []byte {
	if created == 0 {
		created = t.Created
	}
	dst = append(append(dst, `{"id":"chatcmpl-`...), answerID(id, t.ID)...)
	dst = append(append(dst, `","object":"`...), object...)
	dst = strconv.AppendInt(append(dst, `","created":`...), created, 10)
	return appendString(append(dst, `,"model":`...), t.Model)
}

// delta begins a chunk; endDelta ends it.
func (w *chatStream) delta(dst []byte) []byte {
	return append(append(dst, w.head...), `,"choices":[{"index":0,"delta":{`...)
}

func (w *chatStream) endDelta(dst []byte) []byte {
	return append(dst, `},"logprobs":null,"finish_reason":null}]}`+"\n\n"...)
}

// piece appends a chunk with one member, a text.
func (w *chatStream) piece(dst []byte, name, text string) []byte {
	dst = append(append(append(w.delta(dst), '"'), name...), `":"`...)
	return w.endDelta(append(append(dst, text...), '"'))
}

func (w *chatStream) thinking(dst []byte, text string) ([]byte, error) {
	w.blocks.next(partThinking)
	if text == "" {
		return dst, nil
	}
	return w.piece(dst, "reasoning_content", text), nil
}

// sealed sends the whole entry at once, as clients in JavaScript keep the last value of a member that they do not know.
func (w *chatStream) sealed(dst []byte, seal string) ([]byte, error) {
	entry := w.blocks.detail(nil, seal)
	if entry == nil {
		return dst, nil
	}
	dst = append(append(w.delta(dst), `"reasoning_details":[`...), entry...)
	return w.endDelta(append(dst, ']')), nil
}

func (w *chatStream) text(dst []byte, text string) ([]byte, error) {
	if text == "" {
		return dst, nil
	}
	w.blocks.text(text)
	return w.piece(dst, "content", text), nil
}

func (w *chatStream) refusal(dst []byte, text string) ([]byte, error) {
	return w.piece(dst, "refusal", text), nil
}

func (w *chatStream) call(dst []byte, id, name string) ([]byte, error) {
	w.blocks.next(partCall)
	dst = w.callHead(dst)
	dst = appendString(append(dst, `,"id":`...), id)
	dst = appendString(append(dst, `,"type":"function","function":{"name":`...), name)
	return w.endDelta(append(dst, `,"arguments":""}}]`...)), nil
}

func (w *chatStream) callHead(dst []byte) []byte {
	return strconv.AppendInt(append(w.delta(dst), `"tool_calls":[{"index":`...), int64(w.blocks.calls-1), 10)
}

func (w *chatStream) arguments(dst []byte, piece string) ([]byte, error) {
	if w.blocks.calls == 0 {
		return dst, errNoCall
	}
	dst = append(append(w.callHead(dst), `,"function":{"arguments":"`...), piece...)
	return w.endDelta(append(dst, `"}}]`...)), nil
}

func (w *chatStream) close(dst []byte) ([]byte, error) { return dst, nil }

func (w *chatStream) ping(dst []byte) []byte { return append(dst, ": ping\n\n"...) }

func (w *chatStream) end(dst []byte, e ending) ([]byte, error) {
	if said := explanation(e); said != "" {
		dst = w.piece(dst, "refusal", said)
	}
	dst = append(w.delta(dst), `},"logprobs":null,"finish_reason":"`...)
	dst = append(append(dst, chatReason(e.stop)...), `"}]`...)
	dst = append(appendTier(dst, e), "}\n\n"...)
	if w.usage && e.tokens.known {
		dst = append(append(dst, w.head...), `,"choices":[],"usage":`...)
		dst = append(appendTier(appendChatUsage(dst, e.tokens), e), "}\n\n"...)
	}
	return append(dst, "data: [DONE]\n\n"...), nil
}

// appendTier appends the service tier that served, where it is known.
func appendTier(dst []byte, e ending) []byte {
	if e.tier == "" {
		return dst
	}
	return append(append(append(dst, `,"service_tier":"`...), e.tier...), '"')
}

func (w *chatStream) fail(dst []byte, f failure) []byte {
	return append(appendFailure(append(dst, "data: "...), Chat, f), "\n\n"...)
}

// chatWhole writes a whole answer of chat completions. The pieces go nowhere: only end appends.
type chatWhole struct {
	t       *Translation
	head    []byte
	blocks  chatBlocks
	content []byte // between the quotes of a JSON string, as those that follow
	reason  []byte
	refused []byte
	details []byte // entries with commas
	calls   []byte // the same; the last is open
	open    bool
}

func (w *chatWhole) begin(dst []byte, id string, created int64) []byte {
	w.head = appendChatHead(w.head, w.t, "chat.completion", id, created)
	return dst
}

func (w *chatWhole) thinking(dst []byte, text string) ([]byte, error) {
	w.blocks.next(partThinking)
	w.reason = append(w.reason, text...)
	return dst, nil
}

func (w *chatWhole) sealed(dst []byte, seal string) ([]byte, error) {
	if len(w.details) > 0 {
		w.details = append(w.details, ',')
	}
	w.details = w.blocks.detail(w.details, seal)
	return dst, nil
}

func (w *chatWhole) text(dst []byte, text string) ([]byte, error) {
	if text != "" {
		w.blocks.text(text)
		w.content = append(w.content, text...)
	}
	return dst, nil
}

func (w *chatWhole) refusal(dst []byte, text string) ([]byte, error) {
	w.refused = append(w.refused, text...)
	return dst, nil
}

func (w *chatWhole) call(dst []byte, id, name string) ([]byte, error) {
	w.blocks.next(partCall)
	if len(w.calls) > 0 {
		w.calls = append(w.calls, ',')
	}
	w.calls = appendString(append(w.calls, `{"id":`...), id)
	w.calls = appendString(append(w.calls, `,"type":"function","function":{"name":`...), name)
	w.calls = append(w.calls, `,"arguments":"`...)
	w.open = true
	return dst, nil
}

func (w *chatWhole) arguments(dst []byte, piece string) ([]byte, error) {
	if !w.open {
		return dst, errNoCall
	}
	w.calls = append(w.calls, piece...)
	return dst, nil
}

func (w *chatWhole) close(dst []byte) ([]byte, error) {
	if w.open {
		w.calls = append(w.calls, `"}}`...)
		w.open = false
	}
	return dst, nil
}

func (w *chatWhole) ping(dst []byte) []byte { return dst }

func (w *chatWhole) end(dst []byte, e ending) ([]byte, error) {
	dst = append(append(dst, w.head...), `,"choices":[{"index":0,"message":{"role":"assistant","content":`...)
	if len(w.content) == 0 && len(w.calls) > 0 {
		dst = append(dst, "null"...)
	} else {
		dst = append(append(append(dst, '"'), w.content...), '"')
	}
	if w.refused = append(w.refused, explanation(e)...); len(w.refused) > 0 {
		dst = appendField(dst, "refusal", string(w.refused))
	} else {
		dst = append(dst, `,"refusal":null`...)
	}
	if len(w.reason) > 0 {
		dst = appendField(dst, "reasoning_content", string(w.reason))
	}
	if len(w.details) > 0 {
		dst = append(append(append(dst, `,"reasoning_details":[`...), w.details...), ']')
	}
	if len(w.calls) > 0 {
		dst = append(append(append(dst, `,"tool_calls":[`...), w.calls...), ']')
	}
	dst = append(append(append(dst, `},"logprobs":null,"finish_reason":"`...), chatReason(e.stop)...), `"}]`...)
	if e.tokens.known {
		dst = appendChatUsage(append(dst, `,"usage":`...), e.tokens)
	}
	return append(appendTier(dst, e), '}'), nil
}

func (w *chatWhole) fail(dst []byte, f failure) []byte { return appendFailure(dst, Chat, f) }
