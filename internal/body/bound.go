package body

import "slices"

// boundMembers are the members that bound an answer in any of the APIs, as `object.member` if nested. llm.BoundMembers
// returns those that apply at an endpoint.
var boundMembers = [...]string{
	"max_tokens", "max_completion_tokens", "max_output_tokens",
	"generationConfig.maxOutputTokens", "inferenceConfig.maxTokens", "options.num_predict",
}

// bound is the value of one of these members.
type bound struct {
	n         int64 // 0: no bound
	unbounded Span  // a value that sets no bound: null, or negative
	negative  bool  // unbounded is negative
	zero      Span  // a value of 0: only the prompt is read, or, for Ollama, no limit
}

// boundOf returns the index in Body.bounds of a member of the object within, or of the body itself if within is empty; -1
// for any other member. Google's APIs accept each name in two spellings.
func boundOf(within, member string) int {
	switch within {
	case "":
		return slices.Index(boundMembers[:3], member)
	case "generationConfig", "generation_config":
		if member == "maxOutputTokens" || member == "max_output_tokens" {
			return 3
		}
	case "inferenceConfig":
		if member == "maxTokens" {
			return 4
		}
	case "options":
		if member == "num_predict" {
			return 5
		}
	}
	return -1
}

// MaxOutput returns the largest bound set by the given members; 0 if none sets one.
func (b *Body) MaxOutput(members []string) (most int64) {
	for i, name := range boundMembers {
		if n := b.bounds[i].n; n > most && slices.Contains(members, name) {
			most = n
		}
	}
	return most
}

// Contradiction returns a given member that is 0 or negative while another one bounds the answer; empty if there is no such
// member. Servers differ in which of the two they apply.
func (b *Body) Contradiction(members []string) string {
	if b.MaxOutput(members) == 0 {
		return ""
	}
	for i, name := range boundMembers {
		if at := &b.bounds[i]; (at.negative || at.zero.Present()) && slices.Contains(members, name) {
			return name
		}
	}
	return ""
}

// unbounded reports whether none of the given members bounds the answer. It also returns the values to replace in order to
// set a bound: all negative ones, otherwise the first null. If zero is set, 0 does not count as a bound.
func (b *Body) unbounded(members []string, zero bool) (replace []Span, unbounded bool) {
	var null Span
	for i, name := range boundMembers {
		if !slices.Contains(members, name) {
			continue
		}
		switch at := &b.bounds[i]; {
		case at.n > 0 || at.zero.Present() && !zero:
			return nil, false
		case at.zero.Present():
			replace = append(replace, at.zero)
		case at.negative:
			replace = append(replace, at.unbounded)
		case !null.Present():
			null = at.unbounded
		}
	}
	if replace == nil && null.Present() {
		replace = append(replace, null)
	}
	return replace, true
}

// bound parses a bound of the answer. Negative values are allowed, as -1 means no limit to llama.cpp and Ollama. Null sets
// no bound. Bounds of other APIs are validated but have no effect.
func (p *parser) bound(within, name string) error {
	at := p.at
	n, err := p.integer(name)
	i := boundOf(within, name)
	if err != nil || i < 0 {
		return err
	}
	switch to := &p.body.bounds[i]; {
	case n > 0:
		to.n = max(to.n, n)
	case n < 0:
		to.unbounded, to.negative = Span{at, p.at}, true
	case p.data[at] == 'n':
		to.unbounded = Span{at, p.at}
	default:
		to.zero = Span{at, p.at}
	}
	return nil
}
