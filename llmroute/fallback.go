package llmroute

import "github.com/tollgate-llm/tollgate/llmroute/upstream"

// onRefusal returns the handler for a refused prompt, or nil if the model has no fallback for it.
func (d *dispatch) onRefusal() func(upstream.Refusal) bool {
	for _, list := range d.entry.model.fallbacks[upstream.NotRefused+1:] {
		if len(list) > 0 {
			return d.refused
		}
	}
	return nil
}

// refused replaces the plan after a refused prompt with the requested model's fallback list for that reason.
// Each list is used once. Within it, another refusal for the same reason leads to the next model. refused
// returns false if the refusal should be passed on.
func (d *dispatch) refused(why upstream.Refusal) bool {
	refused, left := &d.attempts[0], d.attempts[1:]
	if d.on != why {
		if d.used[why] {
			return false
		}
		left = d.serving(billable(withFallbacks(nil, d.entry.model.fallbacks[why], d.endpoint, d.call.Identity), d.call))
	}
	others := make([]attempt, 0, len(left))
	for _, a := range left {
		if a.entry.model != refused.entry.model || a.name != refused.name { // the other backends of the model have the same window
			others = append(others, a)
		}
	}
	if len(others) == 0 {
		return false
	}
	d.attempts, d.on, d.used[why] = others, why, true
	return true
}
