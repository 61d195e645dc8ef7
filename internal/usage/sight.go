package usage

import (
	"bytes"
	"slices"
)

// part is how an event affects the part of the answer that it concerns.
type partMark uint8

const (
	partSilent partMark = iota // nothing: the answer stays as it was
	partOpen                   // a part begins or goes on
	partEnds                   // a part that the client sees ends: the answer may end with it
)

// EndInSight reports whether the content of the answer has passed, and only its end is still to come, above all its usage. It is true once
// the answer reports that it is finished, from the end of a text, a tool call or another part that the client sees until the next one
// begins, and from the first byte of an answer that is one JSON object, which was complete before it was sent. A part of an event counts
// as soon as it is read.
func (r *Reader) EndInSight() bool {
	if r.ended || r.finished || r.event.finish || r.framing == body {
		return true
	}
	if r.f.part != nil && r.kind.n > 0 {
		switch r.f.part(r, false) {
		case partEnds:
			return true
		case partOpen:
			return false
		case partSilent:
		}
	}
	return r.near
}

// Reasons reports whether the answer shows, by its model, an event, or text, that output tokens are spent on reasoning, of which
// the provider may show a part or none.
func (r *Reader) Reasons() bool { return r.reasons || r.reasoningUnits() > 0 }

// seePart records how an event that has ended affects its part.
func (r *Reader) seePart() {
	if r.f.part == nil {
		return
	}
	switch r.f.part(r, true) {
	case partEnds:
		r.near = true
	case partOpen:
		r.near = false
	case partSilent:
	}
}

// anthropicPart follows content blocks. Clients do not wait for blocks of thinking.
func anthropicPart(r *Reader, whole bool) partMark {
	switch string(r.kind.bytes()) {
	case "content_block_start":
		if whole {
			r.thinking = bytes.Contains(r.itemType.bytes(), []byte("thinking"))
			r.reasons = r.reasons || r.thinking
		}
		return partOpen
	case "content_block_delta":
		return partOpen
	case "content_block_stop":
		if !r.thinking {
			return partEnds
		}
	}
	return partSilent
}

// openAIResponsesPart follows output items and their content.
func openAIResponsesPart(r *Reader, whole bool) partMark {
	kind := r.kind.bytes()
	item := bytes.HasPrefix(kind, []byte("response.output_item."))
	if item && string(r.itemType.bytes()) == "reasoning" {
		r.reasons = r.reasons || whole
		return partSilent
	}
	switch {
	case bytes.HasPrefix(kind, []byte("response.reasoning")):
		return partSilent
	case bytes.HasSuffix(kind, []byte(".delta")), bytes.HasSuffix(kind, []byte(".added")):
		return partOpen
	case bytes.HasSuffix(kind, []byte(".done")) && (!item || whole):
		return partEnds
	}
	return partSilent
}

// bedrockPart follows the content blocks of converse-stream.
func bedrockPart(r *Reader, _ bool) partMark {
	switch string(r.kind.bytes()) {
	case "contentBlockStart", "contentBlockDelta":
		return partOpen
	case "contentBlockStop":
		return partEnds
	}
	return partSilent
}

// coherePart follows the contents and tool calls of a chat.
func coherePart(r *Reader, _ bool) partMark {
	kind := r.kind.bytes()
	switch {
	case bytes.HasSuffix(kind, []byte("-start")), bytes.HasSuffix(kind, []byte("-delta")):
		return partOpen
	case bytes.HasSuffix(kind, []byte("-end")):
		return partEnds
	}
	return partSilent
}

// Text reports whether the API's answers are text that can be counted as it is streamed. The cost of other answers is only known from
// their last bytes.
func (a API) Text() bool { return slices.Contains(textAPIs, a) }

var textAPIs = []API{OpenAIChat, OpenAIResponses, AnthropicMessages, GeminiGenerate, BedrockConverse, BedrockInvoke, CohereChat, OllamaNative}

// reasoners are names, or parts of names, of models that spend output tokens on reasoning that they do not show
// in full. Models whose reasoning is evident from a request or an answer need no entry.
var reasoners = [...]string{
	"gpt-5", "gpt-6", "gpt-oss", "codex", "deep-research", "reason", "think", "magistral", "deepseek-r", "-r1", "qwq", "qwen3",
	"grok-3-mini", "grok-4", "grok-5", "grok-code", "gemini-2.5", "gemini-3", "minimax-m", "glm-4.5", "glm-4.6", "glm-4.7", "glm-5",
}

// ReasoningModel reports whether a model is known by its name to spend output tokens on reasoning that its answers may not show.
func ReasoningModel(name string) bool {
	var buf [maxModelName]byte
	return reasoningModel(buf[:copy(buf[:], name)])
}

const maxModelName = 200 // no known model has a longer name

// reasoningModel is ReasoningModel for a name in a buffer, which it may change.
func reasoningModel(name []byte) bool {
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			name[i] = c | 0x20
		}
	}
	base := name[bytes.LastIndexAny(name, "/.:")+1:]
	o := len(base) >= 2 && base[0] == 'o' && '1' <= base[1] && base[1] <= '9' && (len(base) == 2 || base[2] == '-')
	return (o || hasReasoner(name)) &&
		!bytes.Contains(name, []byte("non-reasoning")) && !bytes.Contains(name, []byte("gpt-5-chat")) && !bytes.Contains(name, []byte("-instruct"))
}

// reasonersFrom are the reasoners by their first byte.
var reasonersFrom = func() (t [256][]string) {
	for _, part := range reasoners {
		t[part[0]] = append(t[part[0]], part)
	}
	return t
}()

// hasReasoner reports whether one of the reasoners is in a name. Every answer's model is looked at.
func hasReasoner(name []byte) bool {
	for i, c := range name {
		for _, part := range reasonersFrom[c] {
			if len(part) <= len(name)-i && string(name[i:i+len(part)]) == part {
				return true
			}
		}
	}
	return false
}
