package translate

import (
	"sort"
	"strings"

	"github.com/tidwall/gjson"
)

// chatRequest is a request of chat completions, apart from the upstream's API. Members are JSON, empty where they are absent or null.
type chatRequest struct {
	members map[string]string
	turns   []turn
	tools   []chatTool
	choice  choice
	format  string // json_schema; empty: text
	schema  string // that of the answer
	usage   bool   // a stream is to end with its usage
}

type chatTool struct {
	tool
	cache string // a cache_control, as JSON
}

// setting returns a member of the body.
func (r *chatRequest) setting(name string) setting { return setting{name, r.members[name]} }

// readChat reads a request of chat completions. The rows of the pair decide what is taken.
func readChat(t *Translation, body []byte) (*chatRequest, error) {
	root, err := parse(body)
	if err != nil {
		return nil, err
	}
	r := &chatRequest{members: make(map[string]string)}
	values := make(map[string]gjson.Result)
	err = t.walk(place{}, root, func(name string, _ place, value gjson.Result) error {
		if value.Type != gjson.Null {
			r.members[name] = value.Raw
			values[name] = value
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	t.Streamed = values["stream"].Type == gjson.True
	for _, read := range []struct {
		name string
		by   func(*Translation, place, gjson.Result) error
	}{
		{"stream_options", r.readStreamOptions},
		{"prompt_cache_options", readNothing},
		{"tools", r.readTools},
		{"tool_choice", r.readChoice},
		{"response_format", r.readFormat},
		{"messages", r.readMessages},
	} {
		if value, ok := values[read.name]; ok {
			if err := read.by(t, place{read.name, read.name}, value); err != nil {
				return nil, err
			}
		}
	}
	return r, nil
}

// readNothing reads an object whose members need no more than the table's judgement.
func readNothing(t *Translation, at place, value gjson.Result) error {
	return t.walk(at, value, nothing)
}

func (r *chatRequest) readStreamOptions(t *Translation, at place, value gjson.Result) error {
	return t.walk(at, value, func(name string, _ place, value gjson.Result) error {
		if name == "include_usage" {
			r.usage = value.Type == gjson.True
		}
		return nil
	})
}

// each calls read for each element of an array that the table has as carried or mapped. The elements' kind is their member of that name.
func (t *Translation) each(at place, array gjson.Result, kind string, read func(at place, kind string, value gjson.Result) error) error {
	if !array.IsArray() {
		return invalid(at.path, "must be an array")
	}
	var err error
	i := 0
	array.ForEach(func(_, value gjson.Result) bool {
		name := value.Get(kind).Str
		at := at.element(i, name)
		i++
		var row *Row
		if row, err = t.judge(at, value); row != nil && err == nil {
			err = read(at, name, value)
		}
		return err == nil
	})
	return err
}

func (r *chatRequest) readTools(t *Translation, at place, list gjson.Result) error {
	return t.each(at, list, "type", func(at place, _ string, value gjson.Result) error {
		var to chatTool
		err := t.walk(at, value, func(name string, at place, value gjson.Result) error {
			switch name {
			case "function":
				return to.read(t, at, value)
			case "cache_control":
				return readCache(t, at, value, &to.cache)
			}
			return nil
		})
		if err == nil && to.name == "" {
			err = invalid(at.path, "needs a name")
		}
		r.tools = append(r.tools, to)
		return err
	})
}

// read reads the definition of a function.
func (to *tool) read(t *Translation, at place, value gjson.Result) error {
	return t.walk(at, value, func(name string, at place, value gjson.Result) error {
		switch name {
		case "name":
			if value.Type != gjson.String {
				return invalid(at.path, "must be a string")
			}
			to.name, to.own = value.Str, value.Str
		case "description":
			to.description = quoted(value)
		case "parameters":
			if !value.IsObject() && value.Type != gjson.Null {
				return invalid(at.path, "must be an object")
			}
			to.schema = present(value)
		case "strict":
			to.strict = present(value)
		}
		return nil
	})
}

func (r *chatRequest) readChoice(t *Translation, at place, value gjson.Result) error {
	if value.Type == gjson.String {
		switch value.Str {
		case "auto", "none", "required":
			r.choice.mode = value.Str
			return nil
		}
		return invalid(at.path, "must be none, auto, required or an object")
	}
	at = place{at.kind + "[" + value.Get("type").Str + "]", at.path}
	if row, err := t.judge(at, value); row == nil || err != nil {
		return err
	}
	return t.walk(at, value, func(name string, at place, value gjson.Result) error {
		if name != "function" {
			return nil
		}
		return t.walk(at, value, func(_ string, at place, value gjson.Result) error {
			for _, known := range r.tools {
				if known.name == value.Str {
					r.choice = choice{mode: "required", name: value.Str}
					return nil
				}
			}
			return invalid(at.path, "names no tool of this call")
		})
	})
}

func (r *chatRequest) readFormat(t *Translation, at place, value gjson.Result) error {
	at = place{at.kind + "[" + value.Get("type").Str + "]", at.path}
	if row, err := t.judge(at, value); row == nil || err != nil {
		return err
	}
	return t.walk(at, value, func(name string, at place, value gjson.Result) error {
		switch {
		case name == "type":
			r.format = value.Str
		case value.IsObject(): // json_schema
			return t.walk(at, value, func(_ string, at place, value gjson.Result) error {
				if !value.IsObject() {
					return invalid(at.path, "must be an object")
				}
				r.schema = value.Raw
				return nil
			})
		}
		return nil
	})
}

// readCache reads a cache_control, which some clients of chat completions set as Anthropic has it.
func readCache(t *Translation, at place, value gjson.Result, to *string) error {
	if value.Type == gjson.Null {
		return nil
	}
	dst := []byte{'{'}
	err := t.walk(at, value, func(name string, _ place, value gjson.Result) error {
		dst = appendRaw(dst, name, value.Raw)
		return nil
	})
	*to = string(append(dst, '}'))
	return err
}

func (r *chatRequest) readMessages(t *Translation, at place, list gjson.Result) error {
	return t.each(at, list, "role", func(at place, role string, value gjson.Result) error {
		m := chatMessage{t: t, at: at}
		if err := t.walk(at, value, m.member); err != nil {
			return err
		}
		switch role {
		case "system", "developer":
			m.turn.role = roleSystem
		case "user":
			m.turn.role = roleUser
		case "assistant":
			m.turn.role = roleAssistant
		case "tool":
			m.turn.role = roleOutputs
		}
		if err := m.content(); err != nil {
			return err
		}
		m.turn.at = at.path
		r.turns = append(r.turns, m.turn)
		return nil
	})
}

// chatMessage reads one message.
type chatMessage struct {
	t    *Translation
	at   place
	turn turn

	parts   []part
	text    gjson.Result // where the content is a string
	refusal string       // JSON
	calls   []part
	details []chatThinking
	id      string // that of the call whose result the message is
	cache   string
}

// chatThinking is an entry of reasoning_details.
type chatThinking struct {
	part   part
	index  int // of its block in the answer that it was of
	offset int // how many bytes of the content were before it
}

func (m *chatMessage) member(name string, at place, value gjson.Result) error {
	if value.Type == gjson.Null {
		return nil
	}
	switch name {
	case "content":
		if value.Type == gjson.String {
			m.text = value
			return nil
		}
		return m.t.each(at, value, "type", m.part)
	case "refusal":
		m.refusal = quoted(value)
	case "tool_call_id":
		m.id = value.Str
	case "cache_control":
		return readCache(m.t, at, value, &m.cache)
	case "tool_calls":
		return m.t.each(at, value, "type", m.call)
	case "reasoning_details":
		return m.t.each(at, value, "type", m.thinking)
	}
	return nil
}

func (m *chatMessage) part(at place, kind string, value gjson.Result) error {
	p := part{kind: partText, at: at.path}
	switch kind {
	case "refusal":
		p.kind = partRefusal
	case "image_url":
		p.kind = partImage
	case "file":
		p.kind = partFile
	}
	err := m.t.walk(at, value, func(name string, at place, value gjson.Result) error {
		switch name {
		case "text", "refusal":
			p.text = quoted(value)
		case "image_url", "file":
			return m.t.walk(at, value, func(name string, _ place, value gjson.Result) error {
				switch name {
				case "url", "file_data":
					p.url = quoted(value)
				case "detail":
					p.detail = quoted(value)
				case "filename":
					p.title = quoted(value)
				}
				return nil
			})
		case "prompt_cache_breakpoint":
			p.breakpoint = present(value)
			if p.breakpoint != "" {
				return m.t.walk(at, value, nothing)
			}
		case "cache_control":
			return readCache(m.t, at, value, &p.cache)
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case (p.kind == partText || p.kind == partRefusal) && p.text == "":
		return invalid(at.path, "needs its text as a string")
	case (p.kind == partImage || p.kind == partFile) && p.url == "":
		return invalid(at.path, "needs its data or its URL as a string")
	}
	if p.text != `""` {
		m.parts = append(m.parts, p)
	}
	return nil
}

func (m *chatMessage) call(at place, _ string, value gjson.Result) error {
	p := part{kind: partCall, at: at.path}
	err := m.t.walk(at, value, func(name string, at place, value gjson.Result) error {
		switch name {
		case "id":
			p.id = value.Str
		case "function":
			return m.t.walk(at, value, func(name string, _ place, value gjson.Result) error {
				switch name {
				case "name":
					p.name = value.Str
				case "arguments":
					p.arguments = value.Str
				}
				return nil
			})
		}
		return nil
	})
	m.calls = append(m.calls, p)
	return err
}

// thinking reads an entry of reasoning_details, in OpenRouter's form.
func (m *chatMessage) thinking(at place, kind string, value gjson.Result) error {
	d := chatThinking{part: part{kind: partThinking, at: at.path}, index: len(m.details)}
	if value.Get("format").Str != chatThinkingFormat {
		m.t.drop(at.path) // another provider's
		return nil
	}
	if err := m.t.walk(at, value, nothing); err != nil {
		return err
	}
	var block []byte
	switch kind {
	case "reasoning.text":
		if signature := quoted(value.Get("signature")); signature != "" {
			block = appendThinking(nil, inner(quoted(value.Get("text"))), inner(signature))
		}
	case "reasoning.encrypted":
		if data := quoted(value.Get("data")); data != "" {
			block = appendRedacted(nil, inner(data))
		}
	}
	if block == nil {
		m.t.drop(at.path)
		return nil
	}
	if v := value.Get("index"); v.Type == gjson.Number && v.Num >= 0 && v.Num < 1<<20 {
		d.index = int(v.Num)
	}
	if v := value.Get("content_offset"); v.Type == gjson.Number && v.Num >= 0 && v.Num < 1<<30 {
		d.offset = int(v.Num)
	}
	d.part.seal = sealBlock(block)
	m.details = append(m.details, d)
	return nil
}

// content puts the parts of the message in their order.
func (m *chatMessage) content() error {
	if m.text.Str != "" {
		m.parts = []part{{kind: partText, at: m.at.member("content").path, text: m.text.Raw}}
	}
	if m.refusal != "" {
		m.parts = append(m.parts, part{kind: partRefusal, at: m.at.member("refusal").path, text: m.refusal})
	}
	switch {
	case m.turn.role == roleOutputs:
		if m.id == "" {
			return invalid(m.at.path, "needs a tool_call_id")
		}
		m.turn.parts = []part{{kind: partOutput, at: m.at.path, id: m.id, parts: m.parts, cache: m.cache}}
		return nil
	case len(m.details) > 0:
		m.interleave()
	default:
		m.turn.parts = append(m.parts, m.calls...)
	}
	if last := len(m.turn.parts) - 1; m.cache != "" && last >= 0 {
		m.turn.parts[last].cache = m.cache
	}
	return nil
}

// interleave puts the blocks of thinking where they were among the text and the calls of the answer.
func (m *chatMessage) interleave() {
	sort.SliceStable(m.details, func(i, j int) bool { return m.details[i].index < m.details[j].index })
	rest := append(m.split(), m.calls...)
	for _, d := range m.details {
		for len(m.turn.parts) < d.index && len(rest) > 0 {
			m.turn.parts = append(m.turn.parts, rest[0])
			rest = rest[1:]
		}
		m.turn.parts = append(m.turn.parts, d.part)
	}
	m.turn.parts = append(m.turn.parts, rest...)
}

// split returns the parts of the content, parted where thinking was between them.
func (m *chatMessage) split() []part {
	if m.text.Str == "" || len(m.parts) != 1 {
		return m.parts
	}
	text := m.text.Str
	var parts []part
	from := 0
	cut := func(to int) {
		if to > from && to <= len(text) && strings.ToValidUTF8(text[from:to], "") == text[from:to] {
			p := m.parts[0]
			p.text = string(appendString(nil, text[from:to]))
			parts = append(parts, p)
			from = to
		}
	}
	for _, d := range m.details {
		if d.offset < len(text) {
			cut(d.offset)
		}
	}
	if from == 0 {
		return m.parts
	}
	cut(len(text))
	return parts
}
