package translate

import (
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// messagesRequest is a request of Messages, apart from the upstream's API. Members that are strings of JSON are empty where they are
// absent or null.
type messagesRequest struct {
	turns  []turn // `system` first
	tools  []tool
	choice choice
	serial bool // one call at a time

	maxTokens, temperature, topP, topK, userID string // JSON
	stops                                      string // a JSON array
	stopCount                                  int
	tier                                       string // not JSON
	effort                                     string // of `output_config`; not JSON
	thinking, display                          string // of `thinking`: its type and display; not JSON
	budget                                     int64  // of `thinking`, in tokens
	schema                                     string // of the answer's text, as JSON
	streamed                                   bool
}

// billingHeader begins the block that Claude Code puts first in `system`. It differs from call to call, so that no cache of prefixes
// would ever hit behind it.
const billingHeader = "x-anthropic-billing-header:"

// readMessages reads a request of Messages. The rows of the pair decide what is taken.
func readMessages(t *Translation, body []byte) (*messagesRequest, error) {
	root, err := parse(body)
	if err != nil {
		return nil, err
	}
	r := &messagesRequest{}
	var system, messages, choice gjson.Result
	if err := t.walk(place{}, root, func(name string, at place, value gjson.Result) error {
		switch name {
		case "system":
			system = value
		case "messages":
			messages = value
		case "tool_choice":
			choice = value
		default:
			return r.member(t, name, at, value)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	if err := r.readChoice(t, place{"tool_choice", "tool_choice"}, choice); err != nil {
		return nil, err
	}
	reader := messageReader{t: t}
	if err := reader.system(place{"system", "system"}, system); err != nil {
		return nil, err
	}
	if err := reader.read(place{"messages", "messages"}, messages); err != nil {
		return nil, err
	}
	r.turns = reader.turns
	return r, nil
}

// member reads a member that is neither of the conversation nor the choice of tools.
func (r *messagesRequest) member(t *Translation, name string, at place, value gjson.Result) error {
	switch name {
	case "stream":
		r.streamed = value.Type == gjson.True
	case "max_tokens":
		r.maxTokens = present(value)
	case "temperature":
		r.temperature = present(value)
	case "top_p":
		r.topP = present(value)
	case "top_k":
		r.topK = present(value)
	case "service_tier":
		r.tier = value.Str
	case "stop_sequences":
		if value.IsArray() {
			r.stops, r.stopCount = value.Raw, len(value.Array())
		} else if value.Type != gjson.Null {
			return invalid(at.path, "must be an array")
		}
	case "tools":
		return r.readTools(t, at, value)
	case "context_management":
		return r.readEdits(t, at, value)
	}
	if !value.IsObject() {
		return nil
	}
	switch name {
	case "metadata":
		return t.walk(at, value, func(_ string, _ place, value gjson.Result) error {
			r.userID = quoted(value)
			return nil
		})
	case "thinking":
		return t.walk(at, value, func(name string, _ place, value gjson.Result) error {
			switch name {
			case "type":
				r.thinking = value.Str
			case "display":
				r.display = value.Str
			case "budget_tokens":
				r.budget = value.Int()
			}
			return nil
		})
	case "output_config":
		return t.walk(at, value, func(name string, at place, value gjson.Result) error {
			switch name {
			case "effort":
				r.effort = value.Str
			case "format":
				return r.readFormat(t, at, value)
			}
			return nil
		})
	}
	return nil
}

func (r *messagesRequest) readFormat(t *Translation, at place, value gjson.Result) error {
	if value.Type == gjson.Null {
		return nil
	}
	return t.walk(at, value, func(name string, at place, value gjson.Result) error {
		switch {
		case name == "type" && value.Str != "json_schema":
			return invalid(at.path, "must be json_schema")
		case name == "schema" && !value.IsObject():
			return invalid(at.path, "must be an object")
		case name == "schema":
			r.schema = value.Raw
		}
		return nil
	})
}

// readEdits reads `context_management`.
func (r *messagesRequest) readEdits(t *Translation, at place, value gjson.Result) error {
	if value.Type == gjson.Null {
		return nil
	}
	return t.walk(at, value, func(_ string, at place, list gjson.Result) error {
		for i, edit := range list.Array() {
			at := at.element(i, edit.Get("type").Str)
			if row, err := t.judge(at, edit); err != nil {
				return err
			} else if row == nil {
				continue
			}
			if err := t.walk(at, edit, nothing); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *messagesRequest) readTools(t *Translation, at place, list gjson.Result) error {
	if list.Type == gjson.Null {
		return nil
	}
	if !list.IsArray() {
		return invalid(at.path, "must be an array")
	}
	names := make(map[string]bool)
	for i, value := range list.Array() {
		kind := value.Get("type").Str
		if kind == "" {
			kind = "custom"
		}
		at := at.element(i, kind)
		row, err := t.judge(at, value)
		if err != nil {
			return err
		}
		if row == nil {
			continue
		}
		var to tool
		if err := t.walk(at, value, func(name string, at place, value gjson.Result) error {
			switch name {
			case "name":
				to.name = value.Str
			case "description":
				to.description = quoted(value)
			case "strict":
				to.strict = present(value)
			case "input_schema":
				if !value.IsObject() {
					return invalid(at.path, "must be an object")
				}
				to.schema = value.Raw
			}
			return nil
		}); err != nil {
			return err
		}
		switch {
		case to.name == "" || strings.ContainsFunc(to.name, notInName):
			return invalid(at.member("name").path, "must be letters, digits, _ and -")
		case len(to.name) > maxToolName:
			return invalid(at.member("name").path, "is longer than the %d bytes that chat completions takes", maxToolName)
		case names[to.name]:
			return invalid(at.member("name").path, "is that of another tool too")
		case to.schema == "":
			return invalid(at.path, "needs input_schema")
		}
		names[to.name] = true
		r.tools = append(r.tools, to)
	}
	return nil
}

func (r *messagesRequest) readChoice(t *Translation, at place, value gjson.Result) error {
	if value.Type == gjson.Null {
		return nil
	}
	var kind, name string
	if err := t.walk(at, value, func(member string, _ place, value gjson.Result) error {
		switch member {
		case "type":
			kind = value.Str
		case "name":
			name = value.Str
		case "disable_parallel_tool_use":
			r.serial = value.Type == gjson.True
		}
		return nil
	}); err != nil {
		return err
	}
	switch kind {
	case "auto", "none":
		r.choice.mode = kind
		return nil
	case "any":
		r.choice.mode = "required"
		return nil
	case "tool":
		for _, tool := range r.tools {
			if tool.name == name {
				r.choice.mode, r.choice.name = "required", name
				return nil
			}
		}
		return invalid(at.member("name").path, "names no tool of this call")
	}
	return invalid(at.member("type").path, "must be auto, any, tool or none")
}

// messageReader reads the messages of a Messages request.
type messageReader struct {
	t *Translation
	turnBuilder
}

// system reads `system`.
func (r *messageReader) system(at place, value gjson.Result) error {
	if value.Type == gjson.Null {
		return nil
	}
	parts, err := r.content(at, value)
	if err != nil {
		return err
	}
	kept := parts[:0]
	for i, p := range parts {
		if i == 0 && strings.HasPrefix(inner(p.text), billingHeader) {
			r.t.drop("system[" + billingHeader + "]")
			continue
		}
		kept = append(kept, p)
	}
	if len(kept) == 0 {
		return nil
	}
	return r.say(turn{role: roleSystem, at: at.path, parts: kept})
}

func (r *messageReader) read(at place, list gjson.Result) error {
	if !list.IsArray() {
		return invalid(at.path, "must be an array")
	}
	i := 0
	var err error
	list.ForEach(func(_, value gjson.Result) bool {
		at := at.element(i, value.Get("role").Str)
		i++
		var row *Row
		if row, err = r.t.judge(at, value); row != nil && err == nil {
			err = r.message(at, value)
		}
		return err == nil
	})
	if err != nil {
		return err
	}
	return r.end()
}

func (r *messageReader) message(at place, value gjson.Result) error {
	var role string
	var content gjson.Result
	if err := r.t.walk(at, value, func(name string, _ place, value gjson.Result) error {
		switch name {
		case "role":
			role = value.Str
		case "content":
			content = value
		}
		return nil
	}); err != nil {
		return err
	}
	parts, err := r.content(at.member("content"), content)
	if err != nil {
		return err
	}
	switch role {
	case "assistant":
		if err := r.answered(at); err != nil {
			return err
		}
		t := r.assistant(at)
		t.parts = append(t.parts, parts...)
		return nil
	case "system":
		if err := r.closeTurn(); err != nil {
			return err
		}
		if err := r.answered(at); err != nil {
			return err
		}
		return r.say(turn{role: roleSystem, parts: parts, at: at.path})
	}
	rest := make([]part, 0, len(parts))
	for _, p := range parts {
		if p.kind != partOutput {
			rest = append(rest, p)
		} else if err := r.answer(place{path: p.at + ".tool_use_id"}, p); err != nil {
			return err
		}
	}
	if len(rest) == 0 && len(parts) > 0 {
		return nil
	}
	return r.say(turn{role: roleUser, parts: rest, at: at.path})
}

// answered refuses a message that comes before the outputs of the calls before it.
func (r *messageReader) answered(at place) error {
	for id := range r.waits {
		return invalid(at.path, "comes before the tool_result of the call %q", id)
	}
	return nil
}

// content reads a message's content, that of a tool_result, or `system`.
func (r *messageReader) content(at place, content gjson.Result) ([]part, error) {
	parts, err := r.t.parts(at, content, r.part)
	if content.IsArray() {
		parts = slices.DeleteFunc(parts, func(p part) bool { return p.kind == partText && p.text == `""` })
	}
	return parts, err
}

func (r *messageReader) part(at place, kind string, value gjson.Result) (part, error) {
	p := part{at: at.path}
	needs := ""
	switch kind {
	case "text":
		p.kind, needs = partText, "text"
	case "image":
		p.kind, needs = partImage, "source"
	case "document":
		p.kind, needs = partFile, "source"
	case "thinking", "redacted_thinking":
		p.kind = partThinking
	case "tool_use":
		p.kind, needs = partCall, "id, name and input"
	case "tool_result":
		p.kind, needs = partOutput, "tool_use_id"
	}
	err := r.t.walk(at, value, func(name string, at place, value gjson.Result) (err error) {
		switch name {
		case "text", "thinking":
			p.text = quoted(value)
		case "signature", "data":
			p.seal = value.Str
		case "title":
			p.title = quoted(value)
		case "id", "tool_use_id":
			p.id = value.Str
		case "name":
			if p.name = value.Str; len(p.name) > maxToolName {
				return invalid(at.path, "is longer than the %d bytes that chat completions takes", maxToolName)
			}
		case "input":
			if p.arguments = value.Raw; !value.IsObject() {
				return invalid(at.path, "must be an object")
			}
		case "source":
			return r.source(at, value, &p)
		case "content":
			if value.Type != gjson.Null {
				p.parts, err = r.content(at, value)
			}
		case "is_error":
			p.failed = value.Type == gjson.True
		}
		return err
	})
	if err != nil {
		return p, err
	}
	var there bool
	switch p.kind {
	case partText:
		there = p.text != ""
	case partImage, partFile:
		there = p.url != ""
	case partCall:
		there = p.id != "" && p.name != "" && p.arguments != ""
	case partOutput:
		there = p.id != ""
	default:
		there = true
	}
	if !there {
		return p, invalid(at.path, "needs %s", needs)
	}
	return p, nil
}

// source reads that of an image or a document. A document that is text becomes text.
func (r *messageReader) source(at place, value gjson.Result, p *part) error {
	kind := value.Get("type").Str
	at = place{at.kind + "[" + kind + "]", at.path}
	if row := r.t.table.find(at.kind, value); row.Action == Refused {
		return invalid(at.path, "%s", row.Text) // a block without its source is none
	}
	var mediaType, data string
	if err := r.t.walk(at, value, func(name string, _ place, value gjson.Result) error {
		switch name {
		case "media_type":
			mediaType = quoted(value)
		case "data":
			data = quoted(value)
		case "url":
			p.url = quoted(value)
		}
		return nil
	}); err != nil {
		return err
	}
	switch {
	case kind == "text" && data != "":
		p.kind, p.text = partText, data
	case kind == "base64" && data != "" && mediaType != "":
		p.url = `"data:` + inner(mediaType) + ";base64," + inner(data) + `"`
	case p.url == "":
		return invalid(at.path, "needs its data or its url")
	}
	return nil
}
