package translate

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/jsonscan"
)

// messagesBody builds the body of a call to Messages. What it writes of a turn does not depend on later ones but for marks of the
// cache, as signed thinking is bound to all that is before it.
type messagesBody struct {
	t     *Translation
	model claude

	system   []byte // the blocks of `system`, without the last bracket
	messages []byte // the same of `messages`; the last message is open
	tools    []byte // the same of `tools`
	out      *[]byte
	marks    []mark

	next    string // the role whose blocks follow
	role    string // of the last message
	results bool   // the last message has results of calls
	thought bool   // the last message of the assistant begins with thinking
	pending []part // calls whose results have not come
	calls   map[string]bool

	choice    string // auto, any, none or tool; empty: not set
	named     string // the tool of the choice
	serial    bool   // one call at a time
	maxTokens int64
	settings  []byte // members that need no other, each with a comma before it
	output    []byte // members of `output_config`
	thinking  []byte // the value of `thinking`
	sampling  int    // how many members of sampling there are
}

// mark is a cache_control, as a part of a buffer.
type mark struct {
	in         *[]byte
	start, end int
}

// maxMarks is how many marks of the cache Messages takes.
const maxMarks = 4

func newMessagesBody(t *Translation) *messagesBody {
	return &messagesBody{t: t, model: claudeOf(t.Provider, t.Upstream), calls: make(map[string]bool)}
}

// into makes the blocks that follow those of a list, which begins if it has none.
func (b *messagesBody) into(list *[]byte) {
	if *list == nil {
		*list = append(*list, '[')
	}
	b.out = list
}

// turn makes the blocks that follow those of a message by a role: of the last one, if it is the role's. at is the turn's place.
func (b *messagesBody) turn(role, at string) error {
	if len(b.pending) > 0 && (role != "assistant" || b.role != "assistant") {
		return invalid(b.pending[0].at, "has the id %q, and no result of that call is before %s", b.pending[0].id, at)
	}
	b.next = role
	b.into(&b.messages)
	return nil
}

// begin begins a block, or an element of the list that is open in it.
func (b *messagesBody) begin(text string) {
	if b.out == &b.messages && b.next != b.role {
		if b.role != "" {
			b.add(`]},`)
		}
		b.add(`{"role":"`, b.next, `","content":[`)
		b.role, b.results = b.next, false
		if b.role == "assistant" {
			b.thought = false
		}
	}
	if (*b.out)[len(*b.out)-1] != '[' {
		*b.out = append(*b.out, ',')
	}
	b.add(text)
}

func (b *messagesBody) add(texts ...string) {
	for _, s := range texts {
		*b.out = append(*b.out, s...)
	}
}

// end ends a block. cache is its cache_control, empty without one.
func (b *messagesBody) end(cache string) {
	if cache != "" {
		start := len(*b.out)
		b.add(`,"cache_control":`, cache)
		b.marks = append(b.marks, mark{b.out, start, len(*b.out)})
	}
	b.add(`}`)
}

// call writes a call of a tool.
func (b *messagesBody) call(p part) error {
	if p.id == "" || p.name == "" {
		return invalid(p.at, "needs an id and a name")
	}
	if b.calls[p.id] {
		return invalid(p.at, "has the id %q of an earlier call", p.id)
	}
	arguments := strings.TrimSpace(p.arguments)
	if arguments == "" {
		arguments = "{}"
	}
	if arguments[0] != '{' || !validJSON([]byte(arguments)) {
		return invalid(p.at, "has arguments that are no JSON object, which Messages wants")
	}
	b.calls[p.id] = true
	b.pending = append(b.pending, p)
	b.begin(`{"type":"tool_use","id":"`)
	b.add(toolID(p.id), `","name":`)
	*b.out = appendString(*b.out, p.name)
	b.add(`,"input":`, arguments)
	b.end(p.cache)
	return nil
}

// result writes the result of a call.
func (b *messagesBody) result(p part) error {
	found := false
	for i, c := range b.pending {
		if found = c.id == p.id; found {
			b.pending = append(b.pending[:i:i], b.pending[i+1:]...)
			break
		}
	}
	if !found {
		return invalid(p.at, "is the result of %q, and the turn of the assistant before it has no such call without a result", p.id)
	}
	b.into(&b.messages)
	b.next = "user"
	b.begin(`{"type":"tool_result","tool_use_id":"`)
	b.results = true
	b.add(toolID(p.id), `"`)
	bare := len(*b.out)
	b.add(`,"content":[`)
	full := len(*b.out)
	for _, inner := range p.parts {
		if err := b.part(inner); err != nil {
			return err
		}
	}
	if len(*b.out) == full {
		*b.out = (*b.out)[:bare]
	} else {
		b.add(`]`)
	}
	if p.failed {
		b.add(`,"is_error":true`)
	}
	b.end(p.cache)
	return nil
}

// think writes a block of thinking as it came.
func (b *messagesBody) think(p part) error {
	block, ok := openBlock(p.seal)
	if !ok {
		b.t.drop(p.at)
		return nil
	}
	b.begin("")
	if (*b.out)[len(*b.out)-1] == '[' {
		b.thought = true
	}
	b.add(block)
	return nil
}

// toolID returns the id of a call as Messages takes it: an id of other characters becomes a hash of it.
func toolID(id string) string {
	for i := range len(id) {
		switch c := id[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-':
		default:
			sum := sha256.Sum256([]byte(id))
			return "toolu_" + hex.EncodeToString(sum[:12])
		}
	}
	return id
}

// validJSON reports whether b is one JSON value.
func validJSON(b []byte) bool {
	c := jsonscan.Cursor{JSON: b}
	return c.Skip() && c.Ended()
}

// bytes returns the body. It is called once, last.
func (b *messagesBody) bytes() ([]byte, error) {
	switch {
	case b.role == "":
		return nil, invalid("messages", "has nothing that a user says, which Messages needs")
	case len(b.pending) > 0:
		return nil, invalid(b.pending[0].at, "has the id %q, and no result of that call follows", b.pending[0].id)
	case b.role == "assistant":
		return nil, invalid("messages", "ends with a message of the assistant, which Messages would go on with")
	}
	b.messages = append(b.messages, `]}]`...)
	for i := range len(b.marks) - maxMarks { // the latest stay
		m := b.marks[i]
		for at := m.start; at < m.end; at++ {
			(*m.in)[at] = ' '
		}
		b.t.drop("prompt_cache_breakpoint")
	}
	dst := make([]byte, 0, len(b.system)+len(b.messages)+len(b.tools)+len(b.settings)+len(b.output)+len(b.thinking)+256)
	inPath := b.t.Provider == bedrock // which names the model, and says whether it is a stream
	if inPath {
		dst = append(dst, `{"anthropic_version":"`+versionBedrock+`"`...)
	} else {
		dst = appendString(append(dst, `{"model":`...), b.t.Upstream)
	}
	dst = append(dst, `,"max_tokens":`...)
	dst = strconv.AppendInt(dst, b.maxTokens, 10)
	if b.t.Streamed && !inPath {
		dst = append(dst, `,"stream":true`...)
	}
	if len(b.tools) > 1 {
		dst = append(append(append(dst, `,"tools":`...), b.tools...), ']')
	}
	dst = b.appendChoice(dst)
	if len(b.system) > 1 {
		dst = append(append(append(dst, `,"system":`...), b.system...), ']')
	}
	dst = append(append(dst, `,"messages":`...), b.messages...)
	if len(b.thinking) > 0 {
		dst = append(append(dst, `,"thinking":`...), b.thinking...)
	}
	if len(b.output) > 0 {
		dst = append(append(append(dst, `,"output_config":{`...), b.output...), '}')
	}
	return append(append(dst, b.settings...), '}'), nil
}

// appendChoice appends the choice of tools.
func (b *messagesBody) appendChoice(dst []byte) []byte {
	choice := b.choice
	if b.serial && choice == "" && len(b.tools) > 1 {
		choice = "auto"
	}
	if choice == "" {
		return dst
	}
	dst = append(append(append(dst, `,"tool_choice":{"type":"`...), choice...), '"')
	if choice == "tool" {
		dst = appendRaw(dst, "name", string(appendString(nil, b.named)))
	}
	if b.serial && choice != "none" {
		dst = append(dst, `,"disable_parallel_tool_use":true`...)
	}
	return append(dst, '}')
}
