package translate

import "github.com/tidwall/gjson"

// responsesRequest is a request of the Responses API, apart from the upstream's API. Members that are strings of JSON are empty where
// they are absent or null.
type responsesRequest struct {
	turns  []turn // instructions first
	tools  toolbox
	choice choice

	maxTokens, temperature, topP, parallel string // JSON
	effort, summary                        string // of `reasoning`; not JSON
	format                                 responsesFormat
	verbosity, tier                        string // not JSON
	user, safetyIdentifier, metadata       string // JSON
	cacheKey, cacheOptions, cacheRetention string // JSON
	moderation                             string // JSON
	encrypted                              bool   // reasoning is asked for in a form that can be given back
	streamed                               bool

	echo []byte // the members that the answer repeats, each with a comma before it
}

// responsesFormat is the form that the answer's text has.
type responsesFormat struct {
	kind                              string // json_schema, json_object; empty: text
	name, description, schema, strict string // JSON
}

// quoted returns a string as JSON, empty where the value is none.
func quoted(value gjson.Result) string {
	if value.Type == gjson.String {
		return value.Raw
	}
	return ""
}

// present returns a value as JSON, empty where it is null.
func present(value gjson.Result) string {
	if value.Type == gjson.Null {
		return ""
	}
	return value.Raw
}

// readResponses reads a request of the Responses API. The rows of the pair decide what is taken.
func readResponses(t *Translation, body []byte) (*responsesRequest, error) {
	root, err := parse(body)
	if err != nil {
		return nil, err
	}
	r := &responsesRequest{}
	var input, instructions, tools, toolChoice gjson.Result
	if err := t.walk(place{}, root, func(name string, at place, value gjson.Result) error {
		switch name {
		case "input":
			input = value
		case "instructions":
			instructions = value
		case "tools":
			tools = value
		case "tool_choice":
			toolChoice = value
		default:
			return r.member(t, name, at, value)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	if err := r.readTools(t, place{"tools", "tools"}, tools, ""); err != nil {
		return nil, err
	}
	if err := r.readChoice(t, place{"tool_choice", "tool_choice"}, toolChoice); err != nil {
		return nil, err
	}
	if text := quoted(instructions); text != "" && text != `""` {
		r.turns = append(r.turns, turn{role: roleSystem, at: "instructions", parts: []part{{kind: partText, at: "instructions", text: text}}})
	}
	items := itemReader{t, turnBuilder{turns: r.turns}}
	if err := items.read(place{"input", "input"}, input); err != nil {
		return nil, err
	}
	r.turns = items.turns
	r.echo = echoed(root)
	return r, nil
}

// member reads a member that is neither input nor tools.
func (r *responsesRequest) member(t *Translation, name string, at place, value gjson.Result) error {
	switch name {
	case "stream":
		r.streamed = value.Type == gjson.True
	case "max_output_tokens":
		r.maxTokens = present(value)
	case "temperature":
		r.temperature = present(value)
	case "top_p":
		r.topP = present(value)
	case "parallel_tool_calls":
		r.parallel = present(value)
	case "user":
		r.user = quoted(value)
	case "safety_identifier":
		r.safetyIdentifier = quoted(value)
	case "metadata":
		r.metadata = present(value)
	case "prompt_cache_key":
		r.cacheKey = quoted(value)
	case "prompt_cache_retention":
		r.cacheRetention = quoted(value)
	case "prompt_cache_options":
		if value.IsObject() {
			r.cacheOptions = value.Raw
			return t.walk(at, value, nothing)
		}
	case "moderation":
		r.moderation = present(value)
	case "service_tier":
		r.tier = value.Str
	case "include":
		return r.readInclude(t, at, value)
	case "reasoning":
		if value.Type == gjson.Null {
			return nil
		}
		return t.walk(at, value, func(name string, _ place, value gjson.Result) error {
			switch name {
			case "effort":
				r.effort = value.Str
			case "summary", "generate_summary":
				r.summary = value.Str
			}
			return nil
		})
	case "text":
		if value.Type == gjson.Null {
			return nil
		}
		return t.walk(at, value, func(name string, at place, value gjson.Result) error {
			switch name {
			case "verbosity":
				r.verbosity = value.Str
			case "format":
				return r.readFormat(t, at, value)
			}
			return nil
		})
	case "stream_options":
		if value.IsObject() {
			return t.walk(at, value, nothing)
		}
	}
	return nil
}

// nothing is for objects whose members need no more than the table's judgement.
func nothing(string, place, gjson.Result) error { return nil }

func (r *responsesRequest) readInclude(t *Translation, at place, list gjson.Result) error {
	for i, value := range list.Array() {
		row, err := t.judge(at.element(i, value.Str), value)
		if err != nil {
			return err
		}
		if row != nil && value.Str == "reasoning.encrypted_content" {
			r.encrypted = true
		}
	}
	return nil
}

func (r *responsesRequest) readFormat(t *Translation, at place, value gjson.Result) error {
	if value.Type == gjson.Null {
		return nil
	}
	at = place{at.kind + "[" + value.Get("type").Str + "]", at.path}
	if row, err := t.judge(at, value); row == nil || err != nil {
		return err
	}
	return t.walk(at, value, func(name string, at place, value gjson.Result) error {
		switch name {
		case "type":
			if value.Str != "text" {
				r.format.kind = value.Str
			}
		case "name":
			r.format.name = quoted(value)
		case "description":
			r.format.description = quoted(value)
		case "schema":
			if !value.IsObject() {
				return invalid(at.path, "must be an object")
			}
			r.format.schema = value.Raw
		case "strict":
			r.format.strict = present(value)
		}
		return nil
	})
}

// itemReader reads the items of a Responses request.
type itemReader struct {
	t *Translation
	turnBuilder
}

func (r *itemReader) read(at place, input gjson.Result) error {
	switch {
	case input.Type == gjson.String:
		r.turns = append(r.turns, turn{role: roleUser, at: at.path, parts: []part{{kind: partText, at: at.path, text: input.Raw}}})
		return nil
	case !input.IsArray():
		return invalid(at.path, "must be a string or an array")
	}
	var err error
	i := 0
	input.ForEach(func(_, item gjson.Result) bool {
		kind := item.Get("type").Str
		if kind == "" {
			kind = "message"
			if !item.Get("role").Exists() && item.Get("id").Exists() {
				kind = "item_reference"
			}
		}
		at := at.element(i, kind)
		i++
		var row *Row
		if row, err = r.t.judge(at, item); row != nil && err == nil {
			err = r.item(at, kind, item)
		}
		return err == nil
	})
	if err != nil {
		return err
	}
	return r.end()
}

func (r *itemReader) item(at place, kind string, item gjson.Result) error {
	switch kind {
	case "message":
		return r.message(at, item)
	case "reasoning":
		return r.reasoning(at, item)
	case "function_call", "custom_tool_call":
		return r.call(at, kind, item)
	case "function_call_output", "custom_tool_call_output":
		return r.output(at, item)
	}
	return invalid(at.path, "is not known here")
}

func (r *itemReader) message(at place, item gjson.Result) error {
	var role string
	var content gjson.Result
	if err := r.t.walk(at, item, func(name string, _ place, value gjson.Result) error {
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
		t := r.assistant(at)
		t.parts = append(t.parts, parts...)
		return nil
	case "user":
		return r.say(turn{role: roleUser, parts: parts, at: at.path})
	case "system", "developer":
		return r.say(turn{role: roleSystem, parts: parts, at: at.path})
	}
	return invalid(at.member("role").path, "must be user, assistant, system or developer")
}

// content reads a message's content, or an output.
func (r *itemReader) content(at place, content gjson.Result) ([]part, error) {
	return r.t.parts(at, content, r.part)
}

// parts reads a content: one text, or an array of parts, each by read. Parts that mean nothing upstream are left out.
func (t *Translation) parts(at place, content gjson.Result, read func(at place, kind string, value gjson.Result) (part, error)) ([]part, error) {
	if content.Type == gjson.String {
		return []part{{kind: partText, at: at.path, text: content.Raw}}, nil
	}
	if !content.IsArray() {
		return nil, invalid(at.path, "must be a string or an array")
	}
	var parts []part
	for i, value := range content.Array() {
		kind := value.Get("type").Str
		at := at.element(i, kind)
		row, err := t.judge(at, value)
		if err != nil {
			return nil, err
		}
		if row == nil {
			continue
		}
		p, err := read(at, kind, value)
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	return parts, nil
}

func (r *itemReader) part(at place, kind string, value gjson.Result) (part, error) {
	p := part{kind: partText, at: at.path}
	source := ""
	switch kind {
	case "refusal":
		p.kind = partRefusal
	case "input_image":
		p.kind, source = partImage, "image_url"
	case "input_file":
		p.kind, source = partFile, "file_data or file_url"
	}
	err := r.t.walk(at, value, func(name string, at place, value gjson.Result) error {
		switch name {
		case "text", "refusal":
			p.text = quoted(value)
		case "image_url", "file_data", "file_url":
			if p.url == "" {
				p.url = quoted(value)
			} else if quoted(value) != "" {
				return invalid(at.path, "is one source too many")
			}
		case "filename":
			p.title = quoted(value)
		case "detail":
			p.detail = quoted(value)
		case "prompt_cache_breakpoint":
			if value.IsObject() {
				p.breakpoint = value.Raw
				return r.t.walk(at, value, nothing)
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return p, err
	case source != "" && p.url == "":
		return p, invalid(at.path, "needs %s", source)
	case source == "" && p.text == "":
		return p, invalid(at.path, "needs its text")
	}
	return p, nil
}

// reasoning reads a reasoning item. Its texts are those of the summary, parted by an empty line.
func (r *itemReader) reasoning(at place, item gjson.Result) error {
	p := part{kind: partThinking, at: at.path}
	err := r.t.walk(at, item, func(name string, at place, value gjson.Result) error {
		switch name {
		case "summary":
			joined := []byte{'"'}
			for i, s := range value.Array() {
				if err := r.t.walk(at.element(i, s.Get("type").Str), s, nothing); err != nil {
					return err
				}
				if i > 0 {
					joined = append(joined, `\n\n`...)
				}
				joined = append(joined, inner(quoted(s.Get("text")))...)
			}
			p.text = string(append(joined, '"'))
		case "encrypted_content":
			p.seal = value.Str
		}
		return nil
	})
	if err != nil {
		return err
	}
	t := r.assistant(at)
	t.parts = append(t.parts, p)
	return nil
}

func (r *itemReader) call(at place, kind string, item gjson.Result) error {
	p := part{kind: partCall, at: at.path}
	var name, namespace string
	err := r.t.walk(at, item, func(member string, at place, value gjson.Result) error {
		switch member {
		case "call_id":
			p.id = value.Str
		case "name":
			name = value.Str
		case "namespace":
			namespace = value.Str
		case "arguments":
			if p.arguments = value.Str; value.Type != gjson.String {
				return invalid(at.path, "must be a string")
			}
		case "input":
			if value.Type != gjson.String {
				return invalid(at.path, "must be a string")
			}
			p.arguments = `{"input":` + value.Raw + `}`
		}
		return nil
	})
	if err != nil {
		return err
	}
	if p.id == "" || name == "" {
		return invalid(at.path, "needs call_id and name")
	}
	if p.name = flatName(namespace, name); len(p.name) > maxToolName {
		return invalid(at.path, "has the name %s upstream, which is longer than %d bytes", p.name, maxToolName)
	}
	if kind == "function_call" && p.arguments == "" {
		p.arguments = "{}"
	}
	t := r.assistant(at)
	t.parts = append(t.parts, p)
	return nil
}

func (r *itemReader) output(at place, item gjson.Result) error {
	p := part{kind: partOutput, at: at.path}
	var content gjson.Result
	err := r.t.walk(at, item, func(name string, _ place, value gjson.Result) error {
		switch name {
		case "call_id":
			p.id = value.Str
		case "output":
			content = value
		}
		return nil
	})
	if err != nil {
		return err
	}
	if p.parts, err = r.content(at.member("output"), content); err != nil {
		return err
	}
	return r.answer(at.member("call_id"), p)
}
