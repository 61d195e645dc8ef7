package tariff

import (
	"strings"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

// ServedBy returns the target by whose prices an answer is billed. A call that lets the provider run another model may be answered by that one; the prices
// written for the backend are those of the model that it was asked for, so such an answer has its list price, or none. Of the models that the call names, the
// one whose name is the longest beginning of the answered model's counts: providers add a date to a name, or leave out the maker before it.
func ServedBy(t *llm.Target, answered string, others []llm.OtherModel) *llm.Target {
	if len(t.Prices) == 0 || len(others) == 0 || answered == "" {
		return t
	}
	own := likeness(answered, t.Upstream)
	chosen := own == 0
	for _, o := range others {
		chosen = chosen || likeness(answered, o.Name) > own
	}
	if !chosen {
		return t
	}
	other := *t
	other.Upstream, other.Prices = answered, nil
	return &other
}

// likeness returns the length of name where the answered model may be that one, else 0.
func likeness(answered, name string) int {
	answered, name = bare(answered), bare(name)
	rest, ok := strings.CutPrefix(answered, name)
	if !ok || name == "" || rest != "" && rest[0] != '-' && rest[0] != '@' && rest[0] != ':' {
		return 0
	}
	return len(name)
}

// bare returns a model's name without the maker before it.
func bare(name string) string {
	return strings.ToLower(name[strings.LastIndexByte(name, '/')+1:])
}
