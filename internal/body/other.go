package body

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

// maxOthers is the maximum number of other models in a body.
const maxOthers = 32

// maxRequests is the maximum number of requests in a body that name their model.
const maxRequests = 1000

// kind is how a member holds the names of other models.
type kind uint8

const (
	noModel  kind = iota // holds none
	names                // a name, a list of names, or a list of objects with a name
	choice               // any value lets the provider choose another model
	tools                // a list of objects that have names themselves or in their settings
	anyDeep              // names at any depth
	fields               // an object with the same members as the body
	requests             // a list of requests, each with its model: Gemini's batchEmbedContents
)

// otherMembers are the members that run another model in the supported APIs:
//
//   - fallbacks, tools[].model (advisor): Anthropic's Messages API
//   - models, route, preset, plugins[], tools[].parameters: OpenRouter's API; models and preset also Perplexity's
//   - tools[].model (image_generation): OpenAI's Responses API
//   - compound_custom.models: Groq's chat completions
//   - guardrails[].moderation_llm_v1.model_name: Mistral's chat completions
//   - data_sources[].parameters.embedding_dependency.deployment_name: Azure's chat completions
//   - providerOptions.gateway.models: Vercel's AI Gateway
//   - additionalModelRequestFields: Bedrock's Converse, which passes them to the model's own API
//   - fallbacks, context_window_fallbacks, content_policy_fallbacks: LiteLLM's proxy as a backend
//
// Members such as Together's safety_model are found by their suffix.
var otherMembers = []struct {
	name string
	kind kind
}{
	{"models", names},
	{"fallbacks", names},
	{"context_window_fallbacks", names},
	{"content_policy_fallbacks", names},
	{"route", choice},
	{"preset", choice},
	{"tools", tools},
	{"plugins", tools},
	{"guardrails", anyDeep},
	{"compound_custom", anyDeep},
	{"data_sources", anyDeep},
	{"dataSources", anyDeep},
	{"provider_options", anyDeep},
	{"providerOptions", anyDeep},
	{"additionalModelRequestFields", fields},
	{"requests", requests},
}

// chosenTools are tools for which the provider chooses a model unless they name one.
var chosenTools = []string{"openrouter:advisor", "openrouter:subagent", "openrouter:fusion", "openrouter:image_generation"}

// otherKind returns how a member of the body holds other models. Case is ignored, as some providers ignore it.
func otherKind(name []byte) kind {
	for i := range otherMembers {
		if sameFolded(name, otherMembers[i].name) {
			return otherMembers[i].kind
		}
	}
	if namesModel(name) {
		return names
	}
	return noModel
}

// modelEnds are the suffixes of names of members that hold a model's name.
var modelEnds = []string{"model", "models", "model_name", "modelname", "model_id", "modelid", "deployment_name"}

// namesModel reports whether a member with this name holds a model or a list of models.
func namesModel(name []byte) bool {
	for _, end := range modelEnds {
		if len(name) >= len(end) && sameFolded(name[len(name)-len(end):], end) {
			return true
		}
	}
	return false
}

func plainName(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') >= 0 {
		return []byte(unescape(raw))
	}
	return raw
}

// other parses a member that is not guarded.
func (p *parser) other(raw []byte, depth int) error {
	name := plainName(raw)
	member := clip(name)
	switch otherKind(name) {
	case names:
		return p.modelNames(member, depth)
	case choice:
		return p.modelChoice(member, depth)
	case tools:
		return p.tools(member, depth)
	case anyDeep:
		return p.modelsWithin(member, depth)
	case requests:
		if p.peek() != '[' {
			return p.value(depth)
		}
		return p.elements(depth, p.request)
	case fields:
		if p.peek() != '{' {
			return p.value(depth)
		}
		return p.object(depth+1, func(raw []byte, _, depth int) error {
			if string(plainName(raw)) == "model" {
				return p.modelNames(member, depth)
			}
			return p.other(raw, depth)
		})
	default:
		at := p.at
		err := p.value(depth)
		if err == nil && slices.Contains(reasoningMembers, string(name)) {
			p.body.Reasoning = p.body.Reasoning || !slices.ContainsFunc(noReasoning, func(s string) bool { return bytes.Contains(p.data[at:p.at], []byte(s)) })
		}
		return err
	}
}

// request parses an element of `requests`, which may name its model.
func (p *parser) request(depth int) error {
	if p.peek() != '{' {
		return p.value(depth)
	}
	found := false
	return p.object(depth+1, func(raw []byte, nameAt, depth int) error {
		if !sameFolded(plainName(raw), "model") {
			return p.value(depth)
		}
		if found || string(plainName(raw)) != "model" {
			return p.failAt(nameAt, "requests", `the member "model" must stand once in each of the requests, in lower case`)
		}
		found = true
		at := p.at
		if p.peek() != '"' {
			return p.fail("a model's name is expected")
		}
		text, _, err := p.str(true)
		if err != nil {
			return err
		}
		if len(p.body.Inner) == maxRequests {
			return p.failAt(at, "requests", "more than "+strconv.Itoa(maxRequests)+" requests name their model")
		}
		p.body.Inner = append(p.body.Inner, Span{at, p.at})
		p.body.InnerModels = append(p.body.InnerModels, string(plainName(text)))
		return nil
	})
}

// reasoningMembers ask a model to reason: reasoning_effort in chat completions, reasoning in the Responses API and
// OpenRouter's, thinking in Anthropic's and DeepSeek's, enable_thinking in Qwen's.
var reasoningMembers = []string{"reasoning_effort", "reasoning", "thinking", "enable_thinking"}

// noReasoning are their values that turn reasoning off.
var noReasoning = []string{"null", "false", `"none"`, `"disabled"`}

// addOther records a model. An empty name means that the provider chooses it.
func (p *parser) addOther(at int, member, name string) error {
	for _, o := range p.body.Others {
		if o.Name == name && o.Member == member {
			return nil
		}
	}
	if len(p.body.Others) == maxOthers {
		return p.failAt(at, member, "the body names more than "+strconv.Itoa(maxOthers)+" other models")
	}
	p.body.Others = append(p.body.Others, llm.OtherModel{Member: member, Name: name})
	return nil
}

// modelNames parses a value that is a model's name, a list of names, or an object with names in it.
func (p *parser) modelNames(member string, depth int) error {
	at := p.at
	switch p.peek() {
	case '"':
		return p.modelName(member)
	case '[':
		return p.elements(depth, func(depth int) error { return p.modelNames(member, depth) })
	case '{':
		before := len(p.body.Others)
		empty := true
		err := p.object(depth+1, func(raw []byte, _, depth int) error {
			empty = false
			if name := plainName(raw); namesModel(name) || p.peek() == '[' {
				return p.modelNames(member, depth)
			}
			return p.value(depth)
		})
		if err != nil || empty || len(p.body.Others) > before {
			return err
		}
		return p.addOther(at, member, "")
	}
	if err := p.value(depth); err != nil {
		return err
	}
	switch string(p.data[at:p.at]) {
	case "null", "false":
		return nil
	}
	return p.addOther(at, member, "")
}

// modelName parses a string that is a model's name.
func (p *parser) modelName(member string) error {
	at := p.at
	raw, escaped, err := p.str(true)
	if err != nil {
		return err
	}
	name := string(raw[:min(len(raw), llm.MaxName+1)]) // avoids copying a name that is too long
	if escaped {
		name = unescape(raw)
	}
	if err := llm.CheckName(name); err != nil {
		return p.failAt(at, member, "a model's name in "+member+" "+err.Error())
	}
	switch name {
	case "":
		return nil
	case "default", "auto":
		name = ""
	}
	return p.addOther(at, member, name)
}

// modelChoice parses a value that lets the provider choose a model, unless it is null, false or empty.
func (p *parser) modelChoice(member string, depth int) error {
	at := p.at
	if err := p.value(depth); err != nil {
		return err
	}
	switch string(p.data[at:p.at]) {
	case "null", "false", `""`:
		return nil
	}
	return p.addOther(at, member, "")
}

// tools parses a list of tools or plugins. A tool names its model beside its type or in its settings. A JSON schema, in
// which a member `model` is an object, names none.
func (p *parser) tools(member string, depth int) error {
	if p.peek() != '[' {
		return p.value(depth)
	}
	return p.elements(depth, func(depth int) error {
		if p.peek() != '{' {
			return p.value(depth)
		}
		at, before := p.at, len(p.body.Others)
		kind := ""
		err := p.object(depth+1, func(raw []byte, _, depth int) error {
			name := plainName(raw)
			switch {
			case sameFolded(name, "type") && p.peek() == '"':
				raw, _, err := p.str(true)
				kind = strings.ToLower(string(raw))
				return err
			case p.peek() == '{':
				return p.object(depth+1, func(raw []byte, _, depth int) error { return p.toolModel(member, raw, depth) })
			}
			return p.toolModel(member, raw, depth)
		})
		if err != nil || len(p.body.Others) > before {
			return err
		}
		if slices.Contains(chosenTools, kind) {
			return p.addOther(at, member, "")
		}
		return nil
	})
}

// toolModel parses a member of a tool, or of an object in it.
func (p *parser) toolModel(member string, raw []byte, depth int) error {
	if c := p.peek(); (c == '"' || c == '[') && namesModel(plainName(raw)) {
		return p.modelNames(member, depth)
	}
	return p.value(depth)
}

// modelsWithin parses a value that may hold models' names at any depth.
func (p *parser) modelsWithin(member string, depth int) error {
	switch p.peek() {
	case '[':
		return p.elements(depth, func(depth int) error { return p.modelsWithin(member, depth) })
	case '{':
		return p.object(depth+1, func(raw []byte, _, depth int) error {
			if c := p.peek(); (c == '"' || c == '[') && namesModel(plainName(raw)) {
				return p.modelNames(member, depth)
			}
			return p.modelsWithin(member, depth)
		})
	}
	return p.value(depth)
}

// routing parses a Gemini routing configuration, which lets a model other than the one in the path answer.
func (p *parser) routing(member string, depth int) error {
	at, before := p.at, len(p.body.Others)
	if err := p.modelsWithin(member, depth); err != nil || string(p.data[at:p.at]) == "null" || len(p.body.Others) > before {
		return err
	}
	return p.addOther(at, member, "")
}
