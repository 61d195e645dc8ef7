package body

import (
	"bytes"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

// guarded are the members that decide routing, price and payer. If one occurs twice, or differs in case, a provider might
// read it differently.
var guarded = []string{
	"model", "stream", "stream_options", "user", "n", "best_of", "max_tokens", "max_completion_tokens", "max_output_tokens",
	"litellm_metadata", "metadata", "safety_identifier", "service_tier", "background", "deferred", "speed",
	"generationConfig", "generation_config", "inferenceConfig", "anthropic_version", "options", "serviceTier", "performanceConfig",
	"prompt_cache_options",
}

// guard returns the guarded member with this name, or "" for any other.
func (p *parser) guard(raw []byte, nameAt int) (string, error) {
	name := raw
	if bytes.IndexByte(raw, '\\') >= 0 {
		name = []byte(unescape(raw))
	}
	for i, g := range guarded {
		if string(name) == g {
			if p.seen&(1<<i) != 0 {
				return "", p.failAt(nameAt, g, `the member "`+g+`" stands twice: the second one is`)
			}
			p.seen |= 1 << i
			return g, nil
		}
	}
	for _, g := range guarded {
		if sameFolded(name, g) {
			return "", p.failAt(nameAt, g, `the member "`+g+`" must be written `+manner(g))
		}
	}
	if sameFolded(name, hiddenBound) {
		return "", p.failAt(nameAt, hiddenBound, "llama.cpp would take "+hiddenBound+" in the place of max_tokens, which other servers read: send max_tokens")
	}
	return "", p.guardBound(name, nameAt)
}

// hiddenBound is llama.cpp's own bound. There it overrides the bounds of OpenAI's API; elsewhere it has no meaning.
const hiddenBound = "n_predict"

func manner(g string) string {
	if strings.ToLower(g) == g {
		return "in lower case"
	}
	return "so"
}

// maxBounds is the maximum number of members that begin with max_ and are not guarded by name.
const maxBounds = 16

// guardBound guards all other members that begin with max_, which may be a provider's own bounds.
func (p *parser) guardBound(name []byte, nameAt int) error {
	const prefix = "max_"
	if len(name) < len(prefix) || !strings.EqualFold(string(name[:len(prefix)]), prefix) {
		return nil
	}
	shown := clip(name)
	if !bytes.Equal(bytes.ToLower(name), name) {
		return p.failAt(nameAt, shown, `the member "`+shown+`" must be written in lower case`)
	}
	for _, met := range p.bounds {
		if bytes.Equal(met, name) {
			return p.failAt(nameAt, shown, `the member "`+shown+`" stands twice: the second one is`)
		}
	}
	if len(p.bounds) == maxBounds {
		return p.failAt(nameAt, shown, "too many members begin with max_: one more is")
	}
	p.bounds = append(p.bounds, name)
	return nil
}

// clip shortens a member's name for a message.
func clip(name []byte) string { return strings.ToValidUTF8(string(name[:min(len(name), 64)]), "") }

// sameFolded reports whether name equals g except for case. Case folding follows Unicode as in encoding/json, where `ſ` is
// an s.
func sameFolded(name []byte, g string) bool {
	return len(name) >= len(g) && len(name) <= 3*len(g) && (name[0]|0x20 == g[0]|0x20 || name[0] >= utf8.RuneSelf) &&
		strings.EqualFold(string(name), g)
}

// top parses a member of the body itself.
func (p *parser) top(raw []byte, nameAt, depth int) error {
	name, err := p.guard(raw, nameAt)
	if err != nil {
		return err
	}
	b, at := p.body, p.at
	switch name {
	case "":
		switch input, prompt := named(raw, "input"), named(raw, "prompt"); {
		case prompt && p.peek() == '[':
			b.Prompts, err = p.prompts(depth)
		case input && p.peek() == '[':
			_, err = p.prompts(depth)
		default:
			if err = p.other(raw, depth); input && p.data[at] == '"' {
				b.Input = Span{at, p.at}
			}
		}
		if err == nil && string(raw) == answerFormat && p.data[at] == '"' {
			b.AnswerFormat = string(p.data[at+1 : p.at-1][:min(p.at-at-2, llm.MaxName)])
		}
	case "model":
		err = p.model()
		b.ModelMember = Span{nameAt, p.at}
	case "stream":
		b.Stream, err = p.boolean(name)
	case "background", "deferred":
		var on bool
		on, err = p.boolean(name)
		b.Background = b.Background || on
	case "stream_options":
		if p.peek() == '{' {
			err = p.object(depth+1, p.streamOption)
		} else if err = p.value(depth); err == nil && string(p.data[at:p.at]) != "null" {
			err = p.failAt(at, name, "stream_options must be an object")
		}
		b.StreamOptions = Span{at, p.at}
	case "user":
		b.User, err = p.free(name)
	case "safety_identifier":
		b.SafetyUser, err = p.free(name)
	case "service_tier":
		b.Tier, err = p.text(name)
	case "serviceTier": // a string for Gemini, an object for Bedrock
		if p.peek() == '"' {
			b.Tier, err = p.text(name)
		} else {
			err = p.inner(depth, inner{"type", &b.Tier})
		}
	case "prompt_cache_options":
		err = p.inner(depth, inner{"ttl", &b.CacheTTL})
	case "performanceConfig":
		err = p.inner(depth, inner{"latency", &b.Latency})
	case "speed":
		var speed string
		if speed, err = p.text(name); b.Tier == "" {
			b.Tier = speed
		}
	case "litellm_metadata":
		err = p.inner(depth, inner{"user", &b.LiteLLMUser}, inner{"session_id", &b.Session})
	case "metadata":
		err = p.inner(depth, inner{"user_id", &b.MetadataUser}, inner{"session_id", &b.Session})
	case "n":
		b.N, err = p.whole(name)
	case "generationConfig", "generation_config", "inferenceConfig", "options":
		err = p.settings(name, depth)
		b.settings[settingsOf(name)] = Span{at, p.at}
	case "anthropic_version":
		b.Versioned = true
		err = p.value(depth)
		b.versionMember = Span{nameAt, p.at}
	case "best_of":
		b.BestOf, err = p.whole(name)
	default: // the max_* members
		err = p.bound("", name)
	}
	return err
}

// named reports whether a member has this name. If there are several, the last one counts, as in JSON parsers.
func named(raw []byte, name string) bool {
	if bytes.IndexByte(raw, '\\') >= 0 {
		return unescape(raw) == name
	}
	return string(raw) == name
}

// streamOption parses a member of stream_options.
func (p *parser) streamOption(raw []byte, nameAt, depth int) error {
	const name = "include_usage"
	text := raw
	if bytes.IndexByte(raw, '\\') >= 0 {
		text = []byte(unescape(raw))
	}
	if !sameFolded(text, name) {
		return p.value(depth)
	}
	if string(text) != name || p.opts {
		return p.failAt(nameAt, "stream_options", "include_usage must stand once, in lower case")
	}
	p.opts = true
	at := p.at
	on, err := p.boolean("stream_options.include_usage")
	p.body.IncludeUsage, p.body.UsageAsked = Span{at, p.at}, on
	return err
}

// settingsOf returns the index in Body.settings of an object that may contain an output bound.
func settingsOf(name string) int {
	switch name {
	case "inferenceConfig":
		return 1
	case "options":
		return 2
	}
	return 0 // Google's, in both spellings
}

// settings parses an object in which Gemini, Bedrock or Ollama bounds the cost of a call. Google's APIs accept each name in
// two spellings.
func (p *parser) settings(within string, depth int) error {
	if p.peek() != '{' {
		return p.value(depth)
	}
	var met [len(limits)]bool
	return p.object(depth+1, func(raw []byte, nameAt, depth int) error {
		text := raw
		if bytes.IndexByte(raw, '\\') >= 0 {
			text = []byte(unescape(raw))
		}
		if sameFolded(text, "routingConfig") || sameFolded(text, "routing_config") {
			return p.routing("routingConfig", depth)
		}
		for i, name := range limits {
			if !sameFolded(text, name) {
				continue
			}
			if string(text) != name || met[i] {
				return p.failAt(nameAt, name, `the member "`+name+`" must stand once, written so`)
			}
			met[i] = true
			if i < limitsOutput {
				return p.bound(within, name)
			}
			n, err := p.whole(name)
			p.body.Candidates = max(p.body.Candidates, n)
			return err
		}
		return p.value(depth)
	})
}

// limits are the relevant members of settings. The first limitsOutput bound the output, the others set the number of
// answers.
var limits = [...]string{"maxOutputTokens", "max_output_tokens", "maxTokens", "num_predict", "candidateCount", "candidate_count"}

const limitsOutput = 4

// inner is a member of an object and the destination of its text.
type inner struct {
	name string
	into *string
}

// inner reads members of an object if they are strings. The value itself may be of any type.
func (p *parser) inner(depth int, want ...inner) error {
	if p.peek() != '{' {
		return p.value(depth)
	}
	var found [2]bool
	return p.object(depth+1, func(raw []byte, nameAt, depth int) error {
		text := raw
		if bytes.IndexByte(raw, '\\') >= 0 {
			text = []byte(unescape(raw))
		}
		i := slices.IndexFunc(want, func(w inner) bool { return string(text) == w.name })
		if i < 0 {
			return p.value(depth)
		}
		name := want[i].name
		if found[i] {
			return p.failAt(nameAt, name, `the member "`+name+`" stands twice: the second one is`)
		}
		found[i] = true
		if p.peek() != '"' {
			return p.value(depth)
		}
		var err error
		*want[i].into, err = p.free(name)
		return err
	})
}

// model parses the model's name.
func (p *parser) model() (err error) {
	const name = "model"
	at := p.at
	if p.peek() != '"' {
		return p.failAt(at, name, "model must be a string")
	}
	if p.body.BodyModel, err = p.text(name); err != nil {
		return err
	}
	p.body.ModelName = p.body.BodyModel
	p.body.Model = Span{at, p.at}
	if p.body.ModelName == "" {
		return p.failAt(at, name, "model is empty")
	}
	return nil
}

// text parses a name that llm.CheckName accepts. Null is an empty name.
func (p *parser) text(name string) (string, error) {
	at := p.at
	s, escaped, err := p.take(name, llm.MaxName+1) // avoids copying a name that is too long
	if err != nil {
		return "", err
	}
	if err := llm.CheckName(s); err != nil {
		return "", p.failAt(at, name, name+" "+err.Error())
	}
	if escaped && strings.ContainsRune(s, utf8.RuneError) {
		return "", p.failAt(at, name, name+" holds half of a surrogate pair")
	}
	return s, nil
}

// MaxUser is the number of bytes kept of a text that names an end user. It may exceed a payer's limit, as it is not yet
// known whether the end user pays.
const MaxUser = 4 << 10

// free parses a text of any length and content and keeps MaxUser bytes of it. Null is an empty text.
func (p *parser) free(name string) (string, error) {
	s, _, err := p.take(name, MaxUser)
	return s, err
}

// take parses a string or null and returns at most the given number of bytes of it.
func (p *parser) take(name string, most int) (s string, escaped bool, err error) {
	at := p.at
	if p.peek() != '"' {
		if err := p.value(1); err != nil {
			return "", false, err
		}
		if string(p.data[at:p.at]) != "null" {
			return "", false, p.failAt(at, name, name+" must be a string")
		}
		return "", false, nil
	}
	raw, escaped, err := p.str(false)
	if err != nil {
		return "", false, err
	}
	if !escaped {
		return string(raw[:min(len(raw), most)]), false, nil
	}
	s = unescape(raw)
	return s[:min(len(s), most)], true, nil
}

// boolean parses true, false or null; null is false.
func (p *parser) boolean(name string) (bool, error) {
	at := p.at
	if err := p.value(1); err != nil {
		return false, err
	}
	switch string(p.data[at:p.at]) {
	case "true":
		return true, nil
	case "false", "null":
		return false, nil
	}
	return false, p.failAt(at, name, name+" must be true or false")
}

// whole parses a non-negative whole number, including forms such as 100.0 and 1e3. Null is 0.
func (p *parser) whole(name string) (int64, error) {
	at := p.at
	n, err := p.integer(name)
	if err == nil && n < 0 {
		return 0, p.failAt(at, name, name+" must be a whole number")
	}
	return n, err
}

// integer parses a whole number. Null is 0.
func (p *parser) integer(name string) (int64, error) {
	at := p.at
	if err := p.value(1); err != nil {
		return 0, err
	}
	text := string(p.data[at:p.at])
	if text == "null" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err == nil {
		return n, nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if n = int64(f); err != nil || math.Abs(f) > 1<<53 || float64(n) != f { // beyond 2^53 a float64 may be rounded
		return 0, p.failAt(at, name, name+" must be a whole number")
	}
	return n, nil
}
