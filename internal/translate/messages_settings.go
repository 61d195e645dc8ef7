package translate

import (
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// The versions of Anthropic's API. The new one takes no member of sampling, not even with its default.
const (
	versionSampling = "2023-06-01"
	versionNew      = "2026-10-21"
	versionBedrock  = "bedrock-2023-05-31" // of the body that InvokeModel takes
)

// The clouds' presets, which have Messages with habits of their own.
const (
	bedrock = "bedrock"
	vertex  = "vertex"
)

// setting is a member of the caller's body: its name, and its value as JSON, which is empty where it is absent.
type setting struct{ name, value string }

// limit sets the bound of the answer, which Messages requires. Of several members the first counts.
func (b *messagesBody) limit(settings ...setting) error {
	for _, s := range settings {
		if s.value == "" {
			continue
		}
		v := gjson.Parse(s.value)
		n := int64(v.Num)
		switch {
		case v.Type != gjson.Number || float64(n) != v.Num || n < 0:
			return invalid(s.name, "must be a whole number")
		case n == 0:
			return invalid(s.name, "is 0, by which Messages does not answer at all")
		case b.maxTokens == 0:
			b.maxTokens = n
		case n != b.maxTokens:
			if err := b.t.refuse(s.name, "differs from %s, and Messages has one bound", settings[0].name); err != nil {
				return err
			}
		}
	}
	if b.maxTokens == 0 {
		b.maxTokens = b.t.OutputLimit
	}
	if b.maxTokens == 0 {
		return invalid(settings[0].name, "is needed: Messages requires a bound, and the most that this model gives is not known")
	}
	return nil
}

// sample sets temperature and top_p, whose defaults of 1 are left out.
func (b *messagesBody) sample(settings ...setting) error {
	for _, s := range settings {
		if s.value == "" {
			continue
		}
		var err error
		v := gjson.Parse(s.value)
		switch {
		case v.Type != gjson.Number:
			err = invalid(s.name, "must be a number")
		case v.Num == 1:
			b.t.drop(s.name)
		case v.Num < 0 || v.Num > 1:
			err = b.t.refuse(s.name, "is %s, and Messages takes 0 to 1", s.value)
		case !b.model.sampling:
			err = b.t.refuse(s.name, "is set, and models of Anthropic's after 4.6 take only its default of 1")
		case b.sampling > 0 && !b.model.bothSample:
			err = b.t.refuse(s.name, "is set beside %s, and the model takes one of the two", settings[0].name)
		default:
			b.sampling++
			b.set(s.name, s.value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// set sets a member that needs no other.
func (b *messagesBody) set(name, value string) {
	b.settings = append(append(append(append(b.settings, `,"`...), name...), `":`...), value...)
}

// configure sets a member of output_config.
func (b *messagesBody) configure(name, value string) {
	if len(b.output) > 0 {
		b.output = append(b.output, ',')
	}
	b.output = append(append(append(append(b.output, '"'), name...), `":`...), value...)
}

// user sets the end user, by JSON strings. Of several members the first counts.
func (b *messagesBody) user(settings ...setting) error {
	var first setting
	for _, s := range settings {
		switch {
		case s.value == "":
		case s.value[0] != '"':
			return invalid(s.name, "must be a string")
		case first.value == "":
			first = s
			b.set("metadata", `{"user_id":`+s.value+`}`)
		case s.value != first.value:
			if err := b.t.refuse(s.name, "differs from %s, and Messages has one end user", first.name); err != nil {
				return err
			}
		}
	}
	return nil
}

// stop sets the sequences that end the answer, of a string or a list of them.
func (b *messagesBody) stop(s setting) error {
	if s.value == "" {
		return nil
	}
	v := gjson.Parse(s.value)
	list := []gjson.Result{v}
	if v.IsArray() {
		list = v.Array()
	}
	texts := make([]string, 0, len(list))
	for _, v := range list {
		if v.Type != gjson.String {
			return invalid(s.name, "must be a string or a list of strings")
		}
		if blank(v.Raw) {
			if err := b.t.refuse(s.name, "has a sequence without any but white space, which Messages does not take"); err != nil {
				return err
			}
			continue
		}
		texts = append(texts, v.Raw)
	}
	if len(texts) > 0 {
		b.set("stop_sequences", `[`+strings.Join(texts, ",")+`]`)
	}
	return nil
}

// tier sets the service tier: auto or default, as OpenAI's APIs name them.
func (b *messagesBody) tier(s setting) error {
	word := map[string]string{`"auto"`: `"auto"`, `"default"`: `"standard_only"`}[s.value]
	switch {
	case s.value == "":
	case word == "":
		return b.t.refuse(s.name, "is none of auto and default, which are what Messages has")
	case b.t.Provider == bedrock || b.t.Provider == vertex: // where the member is not taken
		b.t.drop(s.name)
	default:
		b.set("service_tier", word)
	}
	return nil
}

// format makes the answer JSON by a schema, where that is its form.
func (b *messagesBody) format(at, kind, schema string) error {
	if kind != "json_schema" {
		return nil
	}
	if schema == "" {
		return invalid(at, "needs a schema")
	}
	b.configure("format", `{"type":"json_schema","schema":`+schema+`}`)
	return nil
}

// tool adds a tool. cache is its cache_control, empty without one.
func (b *messagesBody) tool(t tool, cache string) {
	b.into(&b.tools)
	b.begin(`{"name":`)
	*b.out = appendString(*b.out, t.name)
	if t.description != "" {
		b.add(`,"description":`, t.description)
	}
	b.add(`,"input_schema":`, inputSchema(t.schema))
	if t.strict != "" {
		b.add(`,"strict":`, t.strict)
	}
	b.end(cache)
}

// inputSchema returns a tool's schema with the type that Messages requires. The rest stays as it is.
func inputSchema(schema string) string {
	if schema == "" {
		return `{"type":"object"}`
	}
	if gjson.Get(schema, "type").Exists() {
		return schema
	}
	rest := strings.TrimLeft(schema[1:], " \t\r\n")
	if rest == "}" {
		return `{"type":"object"}`
	}
	return `{"type":"object",` + rest
}

// choose sets the choice of tools, once they are known. calls is whether several calls may be made at once, as JSON.
func (b *messagesBody) choose(at string, c choice, parallel setting) error {
	some := len(b.tools) > 1
	switch parallel.value {
	case "", "true":
	case "false":
		if b.serial = some && c.mode != "none"; !b.serial {
			b.t.drop(parallel.name)
		}
	default:
		return invalid(parallel.name, "must be true or false")
	}
	if len(c.allowed) > 0 {
		return b.t.refuse(at, "allows some of the tools, and Messages has no such choice")
	}
	if c.mode == "required" {
		switch {
		case !some:
			return b.t.refuse(at, "forces a call, and there are no tools")
		case !b.model.forced:
			return b.t.refuse(at, "forces a call, which the model does not take")
		}
	} else if c.mode != "" && !some {
		b.t.drop(at)
		return nil
	}
	switch {
	case c.name != "":
		b.choice, b.named = "tool", c.name
	case c.mode == "required":
		b.choice = "any"
	default:
		b.choice = c.mode
	}
	return nil
}

// effort sets how much the model thinks, by the words of OpenAI's APIs; the bound and the turns are set before it. shown is whether the
// caller wants to see it.
func (b *messagesBody) effort(at, word string, shown bool) error {
	if word == "none" {
		return b.noThinking(at)
	}
	budget, known := thinkingBudgets[word]
	if !known && word != "" {
		return b.t.refuse(at, "is none of none, minimal, low, medium, high, xhigh and max")
	}
	if word == "minimal" {
		word = "low"
	}
	switch b.model.thinking {
	case thinkingNone:
		if word != "" {
			return b.t.refuse(at, "asks for thinking, and the model does not think")
		}
		return nil
	case thinkingBudget:
		return b.budget(at, budget)
	case thinkingUnknown, thinkingAsked:
		if word == "" {
			return nil // it may be off, and nobody asks for it
		}
		b.adaptive(shown)
	case thinkingDefault, thinkingBetween, thinkingAlways:
		if shown {
			b.adaptive(true)
		}
	}
	if word != "" {
		b.configure("effort", `"`+word+`"`)
	}
	return nil
}

// adaptive leaves it to the model how much it thinks.
func (b *messagesBody) adaptive(shown bool) {
	b.thinking = append(b.thinking, `{"type":"adaptive"`...)
	if shown && b.model.hides {
		b.thinking = append(b.thinking, `,"display":"summarized"`...)
	}
	b.thinking = append(b.thinking, '}')
}

// budget lets the model think within so many tokens; 0: not at all.
func (b *messagesBody) budget(at string, budget int64) error {
	if budget == 0 {
		return nil
	}
	if b.results && !b.thought {
		// The model refuses to go on with a call that it began without thinking, and clients with OpenAI's own types give none back.
		b.t.drop(at)
		return nil
	}
	if budget = min(budget, b.maxTokens-1); budget < leastBudget {
		return b.t.refuse(at, "needs a bound of more than %d tokens: the model thinks by a budget within it", leastBudget)
	}
	b.thinking = append(strconv.AppendInt(append(b.thinking, `{"type":"enabled","budget_tokens":`...), budget, 10), '}')
	return nil
}

// noThinking turns thinking off, as far as the model lets it.
func (b *messagesBody) noThinking(at string) error {
	switch b.model.thinking {
	case thinkingUnknown:
		return b.t.refuse(at, "turns thinking off, and it is not known whether the model can")
	case thinkingAlways:
		return b.t.refuse(at, "turns thinking off, which the model cannot")
	case thinkingNone:
		b.t.drop(at)
	case thinkingBetween:
		b.thinking = append(b.thinking, `{"type":"between_tools"}`...)
	case thinkingBudget, thinkingAsked, thinkingDefault:
		b.thinking = append(b.thinking, `{"type":"disabled"}`...)
	}
	return nil
}

// version tells the gateway which version of the API the body is of.
func (b *messagesBody) version() {
	name, value := "Anthropic-Version", versionSampling
	switch {
	case b.t.Provider == vertex: // it has its own in the body
		return
	case b.t.Provider == bedrock: // it has, too, and takes no other kind of answer
		name, value = "Accept", "application/json"
	case b.t.Provider == "anthropic" && b.sampling == 0:
		value = versionNew
	}
	if b.t.Headers == nil {
		b.t.Headers = make(map[string]string, 1)
	}
	b.t.Headers[name] = value
}
