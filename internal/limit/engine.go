package limit

import (
	"container/list"
	"slices"
	"sync"
	"time"

	"github.com/tollgate-llm/tollgate/internal/price"
)

// engine keeps counters and reservations in memory. The file store adds what must outlast the process; a Limiter uses one while
// its store is away.
type engine struct {
	mu       sync.Mutex
	sums     map[string]*sum
	rates    map[string]*rate
	parallel map[string]int64
	held     map[string]*list.Element // of *lease, by call id
	leases   *list.List               // ordered by their ends
	grown    bool                     // there are new counters since the last sweep
}

// sum is a budget's counter in one window.
type sum struct {
	spent, reserved price.Amount
	used            time.Time // when a call last took or spent something
}

// lease is a reservation and its end.
type lease struct {
	Held
	until time.Time
}

func newEngine() *engine {
	return &engine{
		sums: make(map[string]*sum), rates: make(map[string]*rate), parallel: make(map[string]int64),
		held: make(map[string]*list.Element), leases: list.New(),
	}
}

// reserve admits a call or returns *DeniedError.
func (e *engine) reserve(r *Reservation, now time.Time) (*Grant, error) {
	needs, of, err := needs(r, now)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, id := range r.finished {
		e.end(id)
	}
	e.reap(now)
	had := e.needsOf(r.ID)
	for i := range needs {
		needs[i].at = now.Unix()
		if has(had, needs[i].name) {
			continue
		}
		if d := e.check(r, &needs[i], now); d != nil {
			return nil, d
		}
	}
	e.hold(Held{ID: r.ID, At: now, need: needs}, now)
	e.sweep(now)
	states := make([]State, len(needs))
	for i := range needs {
		states[i] = e.state(&needs[i], now)
	}
	return grant(r, needs, of, states, now), nil
}

// check returns why a counter does not admit a call; nil when it does.
func (e *engine) check(r *Reservation, n *need, now time.Time) *DeniedError {
	if n.hard < 0 {
		return nil
	}
	l := &r.Limits[n.hard]
	st := e.state(n, now)
	if n.metric == Cost {
		if fits(st.Spent, st.Reserved, n.money, l.Money) {
			return nil
		}
		var retry time.Duration
		if !st.ResetsAt.IsZero() {
			retry = st.ResetsAt.Sub(now)
		}
		return n.denial(r, st, retry)
	}
	if st.Used < l.Max && st.Used+n.count <= l.Max {
		return nil
	}
	var retry time.Duration
	if c := e.rates[n.name]; c != nil {
		retry = c.free(now, n.count, l.Max)
	}
	return n.denial(r, st, retry)
}

// fits reports whether a budget that is not spent has room for one more call.
func fits(spent, reserved, need, budget price.Amount) bool {
	if spent.Cmp(budget) >= 0 {
		return false
	}
	total, err := spent.Add(reserved)
	if err == nil {
		total, err = total.Add(need)
	}
	return err == nil && total.Cmp(budget) <= 0
}

// state returns a counter's state.
func (e *engine) state(n *need, now time.Time) (st State) {
	switch n.metric {
	case Cost:
		if c := e.sums[n.name]; c != nil {
			st.Spent, st.Reserved = c.spent, c.reserved
		}
		if n.end != 0 {
			st.ResetsAt = time.Unix(n.end, 0).UTC()
		}
	case Parallel:
		st.Used = e.parallel[n.name]
	default:
		if c := e.rates[n.name]; c != nil {
			c.slide(now.Unix())
			st.Used, st.ResetsAt = c.sum, c.resets(now)
		}
	}
	return st
}

// needsOf returns what a call holds.
func (e *engine) needsOf(id string) []need {
	if el := e.held[id]; el != nil {
		return el.Value.(*lease).need
	}
	return nil
}

func has(needs []need, name string) bool {
	return slices.ContainsFunc(needs, func(n need) bool { return n.name == name })
}

// second returns the second in which the call took a need.
func (h *Held) second(n *need) int64 {
	if n.at != 0 {
		return n.at
	}
	return h.At.Unix()
}

// hold reserves what a call needs and does not have yet, regardless of limits.
func (e *engine) hold(h Held, now time.Time) {
	el := e.held[h.ID]
	for i := range h.need {
		n := &h.need[i]
		if el != nil && has(el.Value.(*lease).need, n.name) {
			continue
		}
		switch n.metric {
		case Cost:
			c := e.sum(n.name, now)
			c.reserved, _ = c.reserved.Add(n.money) // both are far too small to overflow
		case Parallel:
			e.parallel[n.name]++
		default:
			e.rate(n.name, now).add(h.second(n), n.count)
		}
		if el != nil {
			l := el.Value.(*lease)
			l.need = append(slices.Clip(l.need), *n)
		}
	}
	if el == nil {
		e.held[h.ID] = e.leases.PushBack(&lease{Held: h, until: now.Add(Lease)})
	}
}

// sum returns a budget's counter for a change.
func (e *engine) sum(name string, now time.Time) *sum {
	c := e.sums[name]
	if c == nil {
		c = new(sum)
		e.sums[name], e.grown = c, true
	}
	c.used = now
	return c
}

// rate returns a rate's counter as of now.
func (e *engine) rate(name string, now time.Time) *rate {
	c := e.rates[name]
	if c == nil {
		c = new(rate)
		e.rates[name], e.grown = c, true
	}
	c.slide(now.Unix())
	return c
}

// drop ends a reservation and returns what it held. of returns the call's actual usage of a rate; when it is nil, that is unknown
// and what the call had reserved counts.
func (e *engine) drop(id string, now time.Time, of func(name string, m Metric) int64) []need {
	el := e.held[id]
	if el == nil {
		return nil
	}
	delete(e.held, id)
	h := e.leases.Remove(el).(*lease)
	for i := range h.need {
		n := &h.need[i]
		switch n.metric {
		case Cost:
			c := e.sum(n.name, now)
			c.reserved = c.reserved.Sub(n.money)
		case Parallel:
			e.leaveParallel(n.name)
		default:
			if of != nil {
				e.rate(n.name, now).add(h.second(n), of(n.name, n.metric)-n.count)
			}
		}
	}
	return h.need
}

// reap ends reservations whose leases ran out.
func (e *engine) reap(now time.Time) {
	for el := e.leases.Front(); el != nil; el = e.leases.Front() {
		l := el.Value.(*lease)
		if l.until.After(now) {
			return
		}
		e.drop(l.ID, now, nil)
	}
}

// renew extends leases. A call without one gets its reservation back.
func (e *engine) renew(calls []*Held, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.reap(now)
	for _, h := range calls {
		e.hold(*h, now)
		e.sweep(now)
		el := e.held[h.ID]
		el.Value.(*lease).until = now.Add(Lease)
		e.leases.MoveToBack(el)
	}
}

// finish marks calls as finished.
func (e *engine) finish(ids ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, id := range ids {
		e.end(id)
	}
}

func (e *engine) end(id string) {
	el := e.held[id]
	if el == nil {
		return
	}
	l := el.Value.(*lease)
	for i := range l.need {
		if l.need[i].metric == Parallel {
			e.leaveParallel(l.need[i].name)
		}
	}
	l.Held = l.finished()
}

func (e *engine) leaveParallel(name string) {
	if e.parallel[name]--; e.parallel[name] <= 0 {
		delete(e.parallel, name)
	}
}

// finished returns what a finished call still holds.
func (h *Held) finished() Held {
	rest := *h
	rest.need = slices.DeleteFunc(slices.Clone(h.need), func(n need) bool { return n.metric == Parallel })
	return rest
}

// release gives back what calls have reserved.
func (e *engine) release(now time.Time, ids ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, id := range ids {
		e.drop(id, now, func(string, Metric) int64 { return 0 })
	}
}

// apply replaces what settled calls had reserved with their actual usage.
func (e *engine) apply(charges []Charge, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range charges {
		c := &charges[i]
		had := e.drop(c.ID, now, c.of)
		for _, name := range c.Counters {
			p, ok := parseCounter(name)
			switch {
			case !ok:
			case p.metric == Cost:
				if p.kept(now) {
					s := e.sum(name, now)
					s.spent, _ = s.spent.Add(c.Cost)
				}
			case p.metric.rate() && !has(had, name) && c.recent(now):
				e.rate(name, now).add(c.At.Unix(), c.used(p.metric))
			}
		}
	}
}

// recent reports whether a charge still counts in rates.
func (c *Charge) recent(now time.Time) bool { return c.At.Unix() > now.Unix()-rateSeconds }

// kept reports whether a window's spend is still kept.
func (p *parsed) kept(now time.Time) bool {
	return p.end == 0 || now.Before(time.Unix(p.end, 0).Add(keepWindow))
}

// sweep looks at a few counters when their number has grown and removes those that no longer hold anything, so that memory is
// bounded by what is in use.
func (e *engine) sweep(now time.Time) {
	if !e.grown {
		return
	}
	e.grown = false
	const few = 8
	left := few
	for name, c := range e.rates {
		if c.slide(now.Unix()); c.sum == 0 {
			delete(e.rates, name)
		}
		if left--; left == 0 {
			break
		}
	}
	left = few
	for name, c := range e.sums {
		p, ok := parseCounter(name)
		if c.reserved.IsZero() && (c.spent.IsZero() || !ok || !p.kept(now) || p.idle && now.Sub(c.used) > sessionKept) {
			delete(e.sums, name)
		}
		if left--; left == 0 {
			break
		}
	}
}

// status returns the states of limits.
func (e *engine) status(limits []Limit, now time.Time) ([]State, error) {
	states := make([]State, len(limits))
	e.mu.Lock()
	defer e.mu.Unlock()
	e.reap(now)
	for i := range limits {
		if err := limits[i].Window.check(); err != nil {
			return nil, err
		}
		n := need{metric: limits[i].Metric}
		n.name, n.start, n.end = limits[i].counter(now)
		states[i] = e.state(&n, now)
		states[i].Limit, states[i].Counter = limits[i], n.name
	}
	return states, nil
}

// known returns what is reserved of a budget and forgets what was spent of it, as the store knows that now.
func (e *engine) known(name string) price.Amount {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c := e.sums[name]; c != nil {
		c.spent = price.Amount{}
		return c.reserved
	}
	return price.Amount{}
}

// settle ends the reservations of settled calls; their spend is counted elsewhere.
func (e *engine) settle(charges []Charge, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range charges {
		e.drop(charges[i].ID, now, charges[i].of)
	}
}
