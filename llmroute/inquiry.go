package llmroute

import (
	"cmp"
	"slices"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

// Targets returns the backends of each model, by the model's name. That of a pattern names the pattern upstream too.
func (h *Handler) Targets() []*llm.Target {
	var list []*llm.Target
	add := func(e *entry) {
		for i := range e.model.Backends {
			list = append(list, e.target(i, e.pattern))
		}
	}
	for _, e := range h.catalog.exact {
		add(e)
	}
	for _, e := range h.catalog.wild {
		add(e)
	}
	slices.SortStableFunc(list, func(a, b *llm.Target) int { return cmp.Compare(a.Model, b.Model) })
	return list
}
