package llmroute

import (
	"cmp"
	"slices"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

// Targets returns the backends of each model by name. For a pattern, the upstream name is a pattern too.
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

// Available reports whether a target's backend takes calls: it is healthy by its checks, if any, and below its
// maximum number of requests.
func (h *Handler) Available(t *llm.Target) bool {
	in := func(e *entry) bool {
		return slices.ContainsFunc(e.model.Backends, func(b *Backend) bool { return b.name == t.Backend && b.sender.Available() })
	}
	for _, e := range h.catalog.exact {
		if e.pattern == t.Model {
			return in(e)
		}
	}
	return slices.ContainsFunc(h.catalog.wild, func(e *entry) bool { return e.pattern == t.Model && in(e) })
}
