package llmroute

import (
	"math/rand/v2"

	"github.com/tollgate-llm/tollgate/internal/endpoint"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/llmroute/upstream"
)

// try is one attempt that may be made.
type try struct {
	entry   *entry
	name    string // the model's name as it was meant
	api     llm.API
	backend int // the index within the entry's model
	round   int // how often this backend was tried before
}

func (t *try) server() *Backend { return t.entry.model.Backends[t.backend] }

// target describes the attempt.
func (t *try) target() *llm.Target {
	target := t.entry.target(t.backend, t.name)
	if target.API == t.api || t.server().server.Also != t.api {
		return target
	}
	other := *target
	other.API = t.api
	return &other
}

// plan lists the attempts in the order in which they are made: with the model's own backends, then with those of its
// fallback models that the caller may use. It is empty when none of them serves the endpoint.
func plan(tries []try, e *entry, name string, ep *endpoint.Endpoint, id *llm.Identity) []try {
	return instead(e.plan(tries, name, ep), e.model.instead[upstream.NotRefused], ep, id)
}

// instead appends the attempts with those of the models that the caller may use.
func instead(tries []try, models []fallback, ep *endpoint.Endpoint, id *llm.Identity) []try {
	for _, f := range models {
		if id.Allows(f.name) {
			tries = f.entry.plan(tries, f.name, ep)
		}
	}
	return tries
}

// priced leaves out the attempts that could not be billed. Where none could, they stay, and Open refuses the call.
func priced(tries []try, call *llm.Call) []try {
	if kept := billable(tries, call); len(kept) > 0 {
		return kept
	}
	return tries
}

// billable returns the attempts that could be billed.
func billable(tries []try, call *llm.Call) []try {
	if call.Priced == nil {
		return tries
	}
	kept := make([]try, 0, len(tries))
	for i := range tries {
		if call.Priced(call, tries[i].target()) {
			kept = append(kept, tries[i])
		}
	}
	return kept
}

// plan appends the attempts with one model: lower orders first, within an order by weighted chance without repetition,
// and round again when there are more retries than backends.
func (e *entry) plan(tries []try, name string, ep *endpoint.Endpoint) []try {
	from := len(tries)
	backends := e.model.Backends
	for i, b := range backends {
		if b.server.Serves(ep) {
			tries = append(tries, try{entry: e, name: name, api: ep.API, backend: i})
		}
	}
	n := len(tries) - from
	if n == 0 {
		return tries
	}
	if n > 1 {
		shuffle(tries[from:], backends)
	}
	wanted := n
	if e.model.retries >= 0 {
		wanted = 1 + e.model.retries
	}
	for i := n; i < wanted; i++ {
		again := tries[from+i%n]
		again.round = i / n
		tries = append(tries, again)
	}
	return tries[:from+wanted]
}

// shuffle puts the attempts in order.
func shuffle(tries []try, backends []*Backend) {
	for i := range tries {
		// The lowest order that is left, and the weight of all that have it.
		order, total := -1, 0
		for _, t := range tries[i:] {
			switch b := backends[t.backend]; {
			case order < 0 || b.order < order:
				order, total = b.order, b.weight
			case b.order == order:
				total += b.weight
			}
		}
		pick := rand.IntN(total) //nolint:gosec // load is shared, nothing is kept secret
		for j := i; ; j++ {
			b := backends[tries[j].backend]
			if b.order != order {
				continue
			}
			if pick -= b.weight; pick < 0 {
				tries[i], tries[j] = tries[j], tries[i]
				break
			}
		}
	}
}
