package translate

import (
	"crypto/sha256"
	"math/big"
	"strings"

	"github.com/tidwall/gjson"
)

// chatBody writes a request of chat completions.
type chatBody struct {
	t     *Translation
	facts chatFacts
	dst   []byte
	user  []part // the message of the user that is open
}

// newChatBody begins a request.
func newChatBody(t *Translation) *chatBody {
	b := &chatBody{t: t, facts: chatFactsOf(t)}
	b.dst = appendString(append(b.dst, `{"model":`...), t.Upstream)
	return b
}

// end ends the request.
func (b *chatBody) end() []byte { return append(b.dst, '}') }

// member adds a member unless its value, JSON, is empty.
func (b *chatBody) member(name, value string) {
	if value != "" {
		b.dst = appendRaw(b.dst, name, value)
	}
}

// text adds a member that is a string unless it is empty.
func (b *chatBody) text(name, value string) {
	if value != "" {
		b.dst = appendString(appendMember(b.dst, name), value)
	}
}

// official adds a member that OpenAI and Azure alone take. Elsewhere it is left out, and named as the caller's member.
func (b *chatBody) official(name, value, of string) {
	switch {
	case value == "":
	case b.t.Official:
		b.member(name, value)
	default:
		b.t.drop(of)
	}
}

// maxTokens adds the bound on the answer.
func (b *chatBody) maxTokens(value string) {
	if b.t.OutputMember == "" {
		b.member("max_tokens", value)
	} else {
		b.member(b.t.OutputMember, value)
	}
}

// messages adds the conversation. The system turns before all others are one message, since many templates take no second one. Texts of
// the user that follow each other are one message too.
func (b *chatBody) messages(turns []turn) error {
	b.dst = append(appendMember(b.dst, "messages"), '[')
	from := len(b.dst)
	lead := 0
	for lead < len(turns) && turns[lead].role == roleSystem {
		lead++
	}
	var parts []part
	for _, t := range turns[:lead] {
		parts = append(parts, t.parts...)
	}
	if err := b.system(parts); err != nil {
		return err
	}
	for i := lead; i < len(turns); i++ {
		if err := b.turn(&turns[i]); err != nil {
			return err
		}
	}
	b.flush()
	if len(b.dst) == from {
		return invalid("messages", "must hold a message")
	}
	b.dst = append(b.dst, ']')
	return nil
}

func (b *chatBody) turn(t *turn) error {
	switch t.role {
	case roleUser:
		for _, p := range t.parts {
			if p.kind != partText && p.kind != partImage && p.kind != partFile {
				return invalid(p.at, "is in a message of the user, which has text, images and files")
			}
		}
		b.user = append(b.user, t.parts...)
		if len(t.parts) == 0 {
			b.user = append(b.user, part{kind: partText, text: `""`})
		}
		return nil
	case roleSystem:
		if b.facts.lateSystem {
			b.flush()
			return b.system(t.parts)
		}
		for _, p := range t.parts {
			if p.kind != partText {
				return invalid(p.at, "is in a system message, which is text alone")
			}
			b.user = append(b.user, part{kind: partText, text: `"<system>\n` + inner(p.text) + `\n</system>"`})
		}
		return nil
	case roleAssistant:
		b.flush()
		return b.assistant(t)
	case roleOutputs:
		b.flush()
		return b.outputs(t)
	}
	return nil
}

// next begins the next message, up to its content.
func (b *chatBody) next(role string) {
	if b.dst[len(b.dst)-1] != '[' {
		b.dst = append(b.dst, ',')
	}
	b.dst = append(append(append(b.dst, `{"role":"`...), role...), `","content":`...)
}

func (b *chatBody) system(parts []part) error {
	for _, p := range parts {
		if p.kind != partText {
			return invalid(p.at, "is in a system message, which is text alone")
		}
	}
	if len(parts) > 0 {
		b.next("system")
		b.content(parts)
		b.dst = append(b.dst, '}')
	}
	return nil
}

// flush adds the message of the user that is open.
func (b *chatBody) flush() {
	if len(b.user) > 0 {
		b.next("user")
		b.content(b.user)
		b.dst = append(b.dst, '}')
		b.user = b.user[:0]
	}
}

// content adds the value of a message's content: a string where a text is all of it.
func (b *chatBody) content(parts []part) {
	if len(parts) == 1 && parts[0].kind == partText && (parts[0].breakpoint == "" || !b.t.Official) {
		b.breakpoint(parts[0], nil)
		b.dst = append(b.dst, parts[0].text...)
		return
	}
	b.dst = append(b.dst, '[')
	for i, p := range parts {
		if i > 0 {
			b.dst = append(b.dst, ',')
		}
		switch p.kind {
		case partImage:
			b.dst = append(append(b.dst, `{"type":"image_url","image_url":{"url":`...), p.url...)
			b.member("detail", p.detail)
			b.dst = append(b.dst, '}')
		case partFile:
			b.dst = append(append(b.dst, `{"type":"file","file":{"file_data":`...), p.url...)
			if p.title == "" {
				p.title = `"document.pdf"`
			}
			b.member("filename", p.title)
			b.dst = append(b.dst, '}')
		default:
			b.dst = append(append(b.dst, `{"type":"text","text":`...), p.text...)
		}
		b.dst = append(b.breakpoint(p, b.dst), '}')
	}
	b.dst = append(b.dst, ']')
}

// breakpoint appends a part's mark for the cache, where the provider takes it.
func (b *chatBody) breakpoint(p part, dst []byte) []byte {
	switch {
	case p.breakpoint == "":
	case b.t.Official:
		return appendRaw(dst, "prompt_cache_breakpoint", p.breakpoint)
	default:
		b.t.drop(p.at + ".prompt_cache_breakpoint")
	}
	return dst
}

// assistant adds a message of the model. Its texts are one, as they are in an answer of chat completions.
func (b *chatBody) assistant(t *turn) error {
	var text, refusal, thought []byte
	var seals []seal
	calls := 0
	for _, p := range t.parts {
		switch p.kind {
		case partText:
			text = append(text, inner(p.text)...)
		case partRefusal:
			if b.t.Official {
				refusal = append(refusal, inner(p.text)...)
			} else {
				text = append(text, inner(p.text)...)
			}
		case partCall:
			calls++
		case partThinking:
			s, ok := openSeal(p.seal)
			if !ok || s.provider != b.t.Provider || b.t.Official {
				b.t.drop(p.at + ".thinking")
				continue
			}
			if s.text == "" {
				s.text = p.text
			}
			thought = append(thought, inner(s.text)...)
			seals = append(seals, s)
		default:
			return invalid(p.at, "is in a message of the assistant, which chat completions has not")
		}
	}
	if calls == 0 && len(text) == 0 && len(refusal) == 0 && len(seals) == 0 && len(t.parts) > 0 {
		return nil // all that it had is left out
	}
	b.next("assistant")
	if calls > 0 && len(text) == 0 {
		b.dst = append(b.dst, "null"...)
	} else {
		b.dst = append(append(append(b.dst, '"'), text...), '"')
	}
	if len(refusal) > 0 {
		b.member("refusal", `"`+string(refusal)+`"`)
	}
	extras := b.reasoning(seals, string(thought), calls > 0)
	if calls == 0 {
		b.dst = append(b.dst, '}')
		return nil
	}
	b.dst = append(appendMember(b.dst, "tool_calls"), '[')
	for _, p := range t.parts {
		if p.kind != partCall {
			continue
		}
		if b.dst[len(b.dst)-1] != '[' {
			b.dst = append(b.dst, ',')
		} else if b.facts.signsCalls && len(extras) == 0 {
			extras = map[string]string{p.id: unsigned}
			b.t.drop(p.at + ".thought_signature")
		}
		b.dst = appendString(append(b.dst, `{"id":`...), b.callID(p.id))
		b.dst = append(b.dst, `,"type":"function","function":{"name":`...)
		b.dst = appendString(b.dst, p.name)
		b.dst = appendString(append(b.dst, `,"arguments":`...), p.arguments)
		b.dst = append(b.dst, '}')
		b.member("extra_content", extras[p.id])
		b.dst = append(b.dst, '}')
	}
	b.dst = append(b.dst, "]}"...)
	return nil
}

// reasoning adds what the provider needs back of its reasoning to a message of the model, and returns what its calls need, by id.
func (b *chatBody) reasoning(seals []seal, thought string, calls bool) (extras map[string]string) {
	field := ""
	var details reasoningDetails
	for _, s := range seals {
		if s.field != "" {
			field = s.field
		}
		if s.details != "" {
			_ = details.add(gjson.Parse(s.details)) // it was no longer when it was made; what is too long is left out
		}
		b.member("extra_content", s.extra)
		gjson.Parse(s.calls).ForEach(func(id, extra gjson.Result) bool {
			if extras == nil {
				extras = make(map[string]string)
			}
			extras[id.Str] = extra.Raw
			return true
		})
	}
	switch {
	case field == "reasoning_content" || field == "reasoning":
		b.member(field, `"`+thought+`"`)
	case b.facts.needsThought && calls:
		b.member("reasoning_content", `""`)
	}
	if len(details.list) > 0 {
		b.dst = details.append(appendMember(b.dst, "reasoning_details"))
	}
	return extras
}

// outputs adds those of a message's calls, each in one message, and what a message of that role cannot hold in one of the user.
func (b *chatBody) outputs(t *turn) error {
	for _, output := range t.parts {
		var texts []part
		for _, p := range output.parts {
			if p.kind == partText {
				texts = append(texts, p)
			} else {
				b.user = append(b.user, p)
			}
		}
		if len(texts) == 0 {
			texts = []part{{kind: partText, text: `""`}}
		}
		b.next("tool")
		b.content(texts)
		b.dst = appendString(appendMember(b.dst, "tool_call_id"), b.callID(output.id))
		b.dst = append(b.dst, '}')
	}
	return nil
}

// callID returns the id of a call as the provider takes it.
func (b *chatBody) callID(id string) string {
	if !b.facts.shortIDs || len(id) == shortID && !strings.ContainsFunc(id, notAlphanumeric) {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	text := new(big.Int).SetBytes(sum[:]).Text(62)
	return text[:shortID]
}

// shortID is the length of Mistral's ids.
const shortID = 9

func notAlphanumeric(c rune) bool { return notInName(c) || c == '_' || c == '-' }

// tools adds the tools and what is said of calling them. Without tools some backends refuse the rest, so that it is left out.
func (b *chatBody) tools(list []tool, c choice, parallel string) error {
	if len(list) == 0 {
		if c.mode == "required" {
			return invalid("tool_choice", "asks for a call, and there are no tools")
		}
		return nil
	}
	b.dst = append(appendMember(b.dst, "tools"), '[')
	for i, t := range list {
		if i > 0 {
			b.dst = append(b.dst, ',')
		}
		b.dst = appendString(append(b.dst, `{"type":"function","function":{"name":`...), t.name)
		b.member("description", t.description)
		if t.schema == "" {
			t.schema = `{"type":"object","properties":{}}`
		}
		b.member("parameters", t.schema)
		b.member("strict", t.strict)
		b.dst = append(b.dst, "}}"...)
	}
	b.dst = append(b.dst, ']')
	switch {
	case c.allowed != nil:
		if !b.t.Official {
			return invalid("tool_choice", "names allowed tools, which only OpenAI and Azure take")
		}
		b.dst = append(b.dst, `,"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":`...)
		b.dst = append(appendString(b.dst, c.mode), `,"tools":[`...)
		for i, name := range c.allowed {
			if i > 0 {
				b.dst = append(b.dst, ',')
			}
			b.dst = append(b.function(name), '}')
		}
		b.dst = append(b.dst, "]}}"...)
	case c.name != "":
		b.dst = append(b.dst, `,"tool_choice":`...)
		b.dst = append(b.function(c.name), '}')
	default:
		b.text("tool_choice", c.mode)
	}
	b.member("parallel_tool_calls", parallel)
	return nil
}

// function begins the naming of a function.
func (b *chatBody) function(name string) []byte {
	return append(appendString(append(b.dst, `{"type":"function","function":{"name":`...), name), '}')
}

// schema adds the form of the answer. name, description and strict may be empty.
func (b *chatBody) schema(name, description, schema, strict string) {
	b.dst = append(append(b.dst, `,"response_format":{"type":"json_schema","json_schema":{"name":`...), name...)
	b.member("description", description)
	b.member("schema", schema)
	b.member("strict", strict)
	b.dst = append(b.dst, "}}"...)
}

// isStrict reports whether OpenAI takes a JSON schema as a strict one: each object names all its members as required, and no others.
func isStrict(schema gjson.Result) bool {
	if schema.IsArray() {
		ok := true
		schema.ForEach(func(_, value gjson.Result) bool {
			ok = isStrict(value)
			return ok
		})
		return ok
	}
	if !schema.IsObject() {
		return true
	}
	properties := schema.Get("properties")
	if properties.IsObject() || schema.Get("type").Str == "object" {
		if schema.Get("additionalProperties").Type != gjson.False {
			return false
		}
		required := make(map[string]bool)
		for _, name := range schema.Get("required").Array() {
			required[name.Str] = true
		}
		all := true
		properties.ForEach(func(name, _ gjson.Result) bool {
			all = required[name.Str]
			return all
		})
		if !all {
			return false
		}
	}
	ok := true
	schema.ForEach(func(name, value gjson.Result) bool {
		switch name.Str {
		case "enum", "const", "default", "examples":
		default:
			ok = isStrict(value)
		}
		return ok
	})
	return ok
}
