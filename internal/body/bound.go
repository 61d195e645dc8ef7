package body

import "slices"

// boundMembers are the members by which the APIs bound an answer, with the object that has them before a dot. Which of them
// hold is a matter of the endpoint: llm.BoundMembers.
var boundMembers = [...]string{
	"max_tokens", "max_completion_tokens", "max_output_tokens",
	"generationConfig.maxOutputTokens", "inferenceConfig.maxTokens", "options.num_predict",
}

// bound is what one of these members says.
type bound struct {
	n         int64 // 0: nothing
	unbounded Span  // a value that bounds nothing: null, or negative
	negative  bool  // that value is negative
	zero      Span  // a value of 0: only the prompt is read, or, to Ollama, no limit
}

// boundOf returns the place in Body.bounds of a member of the object within, empty for the body itself; -1 for any other member.
// Google's APIs know each name in two forms.
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

// MaxOutput returns the largest of the bounds that those members have; 0 where they have none.
func (b *Body) MaxOutput(members []string) (most int64) {
	for i, name := range boundMembers {
		if n := b.bounds[i].n; n > most && slices.Contains(members, name) {
			most = n
		}
	}
	return most
}

// Contradiction returns the one of those members that is 0 or negative beside one that bounds the answer; empty where there is none.
// Which of the two a server goes by is its own matter.
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

// unbounded reports whether none of those members bounds the answer, and returns their values that are to be replaced so that one
// does: all negative ones, or else the first null. Where zero is set, 0 bounds nothing.
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

// bound takes a bound of the answer, which may be negative: llama.cpp and Ollama know -1 as no limit. Null is none. A bound that
// a member of another API's has is checked and has no meaning.
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
