package tariff

import (
	"strings"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

// ServedBy returns the target whose prices bill an answer. If the call lets the provider run another model, the answer may
// come from that one, which has its list price or none: prices configured for the backend apply to the requested model. Of
// the models that the call names, the longest prefix of the answering model's name counts: providers append a date, or omit
// the vendor.
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

// likeness returns the length of name if the answering model may be that one, otherwise 0.
func likeness(answered, name string) int {
	answered, name = bare(answered), bare(name)
	rest, ok := strings.CutPrefix(answered, name)
	if !ok || name == "" || rest != "" && rest[0] != '-' && rest[0] != '@' && rest[0] != ':' {
		return 0
	}
	return len(name)
}

// bare returns a model's name without its vendor prefix.
func bare(name string) string {
	return strings.ToLower(name[strings.LastIndexByte(name, '/')+1:])
}
