package translate

import (
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// tool is a function that the model may call.
type tool struct {
	name        string // at the upstream; not JSON
	own         string // the caller's name for it; not JSON
	namespace   string // the caller's, empty without one; not JSON
	custom      bool   // its argument is free text: upstream a function with one string, `input`
	description string // a JSON string, empty without one
	schema      string // JSON, empty without one
	strict      string // JSON, empty without
}

// toolbox is the tools of a Responses request. The names that they have upstream follow from the request alone.
type toolbox struct {
	list   []tool
	byName map[string]int // by name upstream
	byOwn  map[string]int // by the caller's name without its namespace; -1 where several have it
}

const (
	maxToolName = 64 // of chat completions, in bytes
	// joint is between a namespace and a name in the name upstream.
	joint = "__"
	// customSchema is that of a custom tool as a function.
	customSchema = `{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false}`
)

// flatName is the name upstream of a tool in a namespace.
func flatName(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + joint + name
}

// add adds a tool. Its names are set but that upstream.
func (b *toolbox) add(at place, t tool) error {
	t.name = flatName(t.namespace, t.own)
	if t.own == "" {
		return invalid(at.path, "needs a name")
	}
	if len(t.name) > maxToolName {
		return invalid(at.path, "has the name %s upstream, which is longer than %d bytes", t.name, maxToolName)
	}
	if _, there := b.byName[t.name]; there {
		return invalid(at.path, "has the name %s upstream, as another tool does", t.name)
	}
	if b.byName == nil {
		b.byName, b.byOwn = make(map[string]int), make(map[string]int)
	}
	b.byName[t.name] = len(b.list)
	if _, there := b.byOwn[t.own]; there {
		b.byOwn[t.own] = -1
	} else {
		b.byOwn[t.own] = len(b.list)
	}
	b.list = append(b.list, t)
	return nil
}

// find returns the tool that a name upstream means: that of the name, else the only one whose name without its namespace it is.
func (b *toolbox) find(name string) (*tool, bool) {
	at, ok := b.byName[name]
	if !ok {
		if at, ok = b.byOwn[name]; !ok || at < 0 {
			return nil, false
		}
	}
	return &b.list[at], true
}

// readTools reads `tools` of a Responses request, or those of a namespace.
func (r *responsesRequest) readTools(t *Translation, at place, list gjson.Result, namespace string) error {
	if list.Type == gjson.Null {
		return nil
	}
	if !list.IsArray() {
		return invalid(at.path, "must be an array")
	}
	var err error
	i := 0
	list.ForEach(func(_, value gjson.Result) bool {
		kind := value.Get("type").Str
		at := at.element(i, kind)
		i++
		var row *Row
		if row, err = t.judge(at, value); row != nil && err == nil {
			err = r.readTool(t, at, kind, value, namespace)
		}
		return err == nil
	})
	return err
}

func (r *responsesRequest) readTool(t *Translation, at place, kind string, value gjson.Result, namespace string) error {
	to := tool{namespace: namespace, custom: kind == "custom"}
	var inside, format gjson.Result
	err := t.walk(at, value, func(name string, at place, value gjson.Result) error {
		switch name {
		case "name":
			to.own = value.String()
			if value.Type != gjson.String || strings.ContainsFunc(to.own, notInName) {
				return invalid(at.path, "must be letters, digits, _ and -")
			}
		case "description":
			to.description = quoted(value)
		case "parameters":
			if value.IsObject() {
				to.schema = value.Raw
			} else if value.Type != gjson.Null {
				return invalid(at.path, "must be an object")
			}
		case "strict":
			to.strict = present(value)
		case "format":
			format = value
		case "tools":
			inside = value
		}
		return nil
	})
	if err != nil {
		return err
	}
	if kind == "namespace" {
		if to.own == "" {
			return invalid(at.path, "needs a name")
		}
		return r.readTools(t, at.member("tools"), inside, to.own)
	}
	if to.custom {
		to.schema = customSchema
		if to.description, err = r.grammar(t, at.member("format"), format, to.description); err != nil {
			return err
		}
	}
	return r.tools.add(at, to)
}

func notInName(c rune) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-'
}

// grammar adds a custom tool's grammar to its description, as a function has none.
func (r *responsesRequest) grammar(t *Translation, at place, format gjson.Result, description string) (string, error) {
	if !format.IsObject() {
		return description, nil
	}
	var kind, syntax, definition string
	err := t.walk(at, format, func(name string, _ place, value gjson.Result) error {
		switch name {
		case "type":
			kind = value.Str
		case "syntax":
			syntax = value.Str
		case "definition":
			definition = quoted(value)
		}
		return nil
	})
	if err != nil || kind != "grammar" || definition == "" {
		return description, err
	}
	t.drop(at.kind + ".grammar") // nothing enforces it
	join := ""
	if description != "" {
		join = `\n\n`
	}
	return `"` + inner(description) + join + "The input follows this grammar" + inner(string(appendString(nil, syntaxName(syntax)))) + `:\n` + inner(definition) + `"`, nil
}

func syntaxName(syntax string) string {
	if syntax == "" {
		return ""
	}
	return " (" + syntax + ")"
}

// choice is which tools the model must or may call.
type choice struct {
	mode    string   // auto, none, required; empty: not said
	name    string   // the tool that it must call, by its name upstream; empty: any
	allowed []string // the tools that it may call, by their names upstream; empty: all
}

// readChoice reads `tool_choice` of a Responses request, once the tools are known.
func (r *responsesRequest) readChoice(t *Translation, at place, value gjson.Result) error {
	if value.Type == gjson.Null {
		return nil
	}
	if value.Type == gjson.String {
		switch value.Str {
		case "auto", "none", "required":
			r.choice.mode = value.Str
			return nil
		}
		return invalid(at.path, "must be none, auto, required or an object")
	}
	kind := value.Get("type").Str
	at = place{at.kind + "[" + kind + "]", at.path}
	if row := t.table.find(at.kind, value); row.Action == Refused {
		return invalid(at.path, "%s", row.Text) // without it the answer would be another one, so that Lossy does not leave it out
	}
	return t.walk(at, value, func(name string, at place, value gjson.Result) error {
		switch name {
		case "name":
			found, ok := r.tools.find(value.Str)
			if !ok {
				return invalid(at.path, "names no tool of this call")
			}
			r.choice.mode, r.choice.name = "required", found.name
		case "mode":
			r.choice.mode = value.Str
		case "tools":
			return r.readAllowed(at, value)
		}
		return nil
	})
}

func (r *responsesRequest) readAllowed(at place, list gjson.Result) error {
	for i, value := range list.Array() {
		found, ok := r.tools.find(value.Get("name").Str)
		if !ok {
			return invalid(at.path+"["+strconv.Itoa(i)+"]", "names no tool of this call")
		}
		r.choice.allowed = append(r.choice.allowed, found.name)
	}
	if len(r.choice.allowed) == 0 {
		return invalid(at.path, "must name a tool")
	}
	return nil
}
