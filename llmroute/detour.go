package llmroute

import (
	"github.com/tollgate-llm/tollgate/internal/endpoint"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/llmroute/upstream"
)

// detours are the ways that a call may take when a model refuses its prompt: the lists of the model that was asked for.
// Each is taken once; on it, another refusal for the same reason goes on to the next model.
type detours struct {
	entry *entry
	ep    *endpoint.Endpoint
	call  *llm.Call
	on    upstream.Refusal // the list that the attempts are from; none before the first detour
	taken [upstream.Refusals]bool
}

// detours returns those of a call, or nil where the model has none.
func (e *entry) detours(ep *endpoint.Endpoint, call *llm.Call) *detours {
	for _, list := range e.model.instead {
		if len(list) > 0 {
			return &detours{entry: e, ep: ep, call: call}
		}
	}
	return nil
}

// next returns the attempts to make when the first of tries was refused, in place of those that are left. There are none
// where the refusal is to be passed on.
func (d *detours) next(why upstream.Refusal, tries []try) []try {
	refused, left := &tries[0], tries[1:]
	if d.on != why {
		if d.taken[why] {
			return nil
		}
		left = billable(instead(nil, d.entry.model.instead[why], d.ep, d.call.Identity), d.call)
	}
	kept := make([]try, 0, len(left))
	for _, t := range left {
		if t.entry.model != refused.entry.model || t.name != refused.name { // its other backends have the same window
			kept = append(kept, t)
		}
	}
	if len(kept) > 0 {
		d.on, d.taken[why] = why, true
	}
	return kept
}
