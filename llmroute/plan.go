package llmroute

import (
	"math/rand/v2"
	"slices"

	"github.com/tollgate-llm/tollgate/internal/endpoint"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/llmroute/upstream"
)

// attempt is a planned attempt.
type attempt struct {
	entry   *entry
	name    string // the model's name after aliases
	api     llm.API
	via     *endpoint.Endpoint // the endpoint to translate the call to; nil if it is not translated
	backend int                // index in the model's backends
	round   int                // number of earlier attempts with the backend
}

func (t *attempt) server() *Backend { return t.entry.model.Backends[t.backend] }

// target returns the attempt's target.
func (t *attempt) target() *llm.Target {
	target := t.entry.target(t.backend, t.name)
	if t.via != nil {
		other := *target
		other.API, other.Endpoint = t.via.API, &t.via.Endpoint
		return &other
	}
	if target.API == t.api || !slices.Contains(t.server().server.Also, t.api) {
		return target
	}
	other := *target
	other.API = t.api
	return &other
}

// plan lists the attempts in order: the model's own backends, then those of the fallback models that the caller
// may use. It is empty if none of them serves the endpoint.
func plan(attempts []attempt, e *entry, name string, ep *endpoint.Endpoint, id *llm.Identity) []attempt {
	return withFallbacks(e.plan(attempts, name, ep), e.model.fallbacks[upstream.NotRefused], ep, id)
}

// withFallbacks appends the attempts with the fallback models that the caller may use.
func withFallbacks(attempts []attempt, models []fallback, ep *endpoint.Endpoint, id *llm.Identity) []attempt {
	for _, f := range models {
		if id.Allows(f.name) {
			attempts = f.entry.plan(attempts, f.name, ep)
		}
	}
	return attempts
}

// priced removes attempts that cannot be billed. If none can be billed, all stay and Open refuses the call.
func priced(attempts []attempt, call *llm.Call) []attempt {
	if kept := billable(attempts, call); len(kept) > 0 {
		return kept
	}
	return attempts
}

// billable returns the attempts that can be billed.
func billable(attempts []attempt, call *llm.Call) []attempt {
	if call.Priced == nil {
		return attempts
	}
	kept := make([]attempt, 0, len(attempts))
	for i := range attempts {
		if call.Priced(call, attempts[i].target()) {
			kept = append(kept, attempts[i])
		}
	}
	return kept
}

// plan appends the attempts with one model. Backends that speak the caller's API come before those that need
// translation. Among these, lower orders come first, and within an order backends are drawn by weight without
// repetition. If there are more retries than backends, the list starts over.
func (e *entry) plan(attempts []attempt, name string, ep *endpoint.Endpoint) []attempt {
	from := len(attempts)
	backends := e.model.Backends
	for i, b := range backends {
		if b.native(ep, e.upstream(i, name)) {
			attempts = append(attempts, attempt{entry: e, name: name, api: ep.API, backend: i})
		}
	}
	natives := len(attempts)
	shuffle(attempts[from:], backends)
	for i, b := range backends {
		if b.Translate == nil || b.native(ep, e.upstream(i, name)) {
			continue
		}
		if via := b.via(ep, e.upstream(i, name)); via != nil {
			attempts = append(attempts, attempt{entry: e, name: name, api: via.API, via: via, backend: i})
		}
	}
	shuffle(attempts[natives:], backends)
	n := len(attempts) - from
	if n == 0 {
		return attempts
	}
	wanted := n
	if e.model.retries >= 0 {
		wanted = 1 + e.model.retries
	}
	for i := n; i < wanted; i++ {
		again := attempts[from+i%n]
		again.round = i / n
		attempts = append(attempts, again)
	}
	return attempts[:from+wanted]
}

// shuffle sorts the attempts by order, and randomly by weight within an order.
func shuffle(attempts []attempt, backends []*Backend) {
	if len(attempts) < 2 {
		return
	}
	for i := range attempts {
		// The lowest remaining order, and the total weight of its backends.
		order, total := -1, 0
		for _, t := range attempts[i:] {
			switch b := backends[t.backend]; {
			case order < 0 || b.order < order:
				order, total = b.order, b.weight
			case b.order == order:
				total += b.weight
			}
		}
		pick := rand.IntN(total) //nolint:gosec // load balancing, not secrecy
		for j := i; ; j++ {
			b := backends[attempts[j].backend]
			if b.order != order {
				continue
			}
			if pick -= b.weight; pick < 0 {
				attempts[i], attempts[j] = attempts[j], attempts[i]
				break
			}
		}
	}
}

// candidates appends the targets that a call may reach, each once: first the planned one, last those that only a
// refused prompt leads to.
func (d *dispatch) candidates(to []*llm.Target) []*llm.Target {
	add := func(attempts []attempt) {
		for i := range attempts {
			if a := &attempts[i]; a.round == 0 {
				if target := a.target(); !slices.ContainsFunc(to, target.Same) {
					to = append(to, target)
				}
			}
		}
	}
	to = append(to, d.call.Target())
	add(d.attempts)
	for why, models := range d.entry.model.fallbacks {
		if upstream.Refusal(why) != upstream.NotRefused { // the attempts include these
			add(d.serving(withFallbacks(nil, models, d.endpoint, d.call.Identity)))
		}
	}
	return to
}
