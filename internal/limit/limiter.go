package limit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tollgate-llm/tollgate/internal/price"
)

const (
	renewEvery = Lease / 3
	// probeEvery is how often a store that is away is tried.
	probeEvery = time.Second
	// maxHeld bounds the calls that have a reservation, those included whose records were not applied yet.
	maxHeld = 200_000
	// maxKnown bounds the budgets whose state is remembered for when the store is away.
	maxKnown = 100_000
	// tellAtOnce is how many calls the store is told of at once.
	tellAtOnce = 100
	// finishedAlong is how many calls that ended just now go along with an admission, so that who waits for the end of one
	// call to begin the next is not refused for it.
	finishedAlong = 32
)

// Options of a Limiter.
type Options struct {
	// Instance tells the processes that share a store apart.
	Instance string
	// Deny refuses calls while the store is away. By default each instance goes on from what it last knew, with its share
	// of what was left.
	Deny bool
	// Timeout is how long an admission waits for the store. Default: 500ms.
	Timeout time.Duration
	// OnFault is told once when the store goes away, with the cause, and once when it is back, with nil; may be nil.
	OnFault func(error)
}

// Limiter admits calls by a store, renews what they hold, and goes on alone while the store is away. Its methods may be
// called from many goroutines.
type Limiter struct {
	store Store
	o     Options
	now   func() time.Time

	instances atomic.Int64           // 0: the store has not told yet
	peers     func() int64           // how many there are, as the store last told with an admission; 0: it did not
	away      atomic.Pointer[outage] // nil while the store answers
	probe     chan struct{}
	gone      chan struct{} // the store is to be told of calls

	turn sync.Mutex // one at a time renews or applies: what was applied must not be brought back

	mu       sync.Mutex
	held     map[string]*Held
	owed     []*Held  // of these, calls that were admitted alone and that the store does not know
	finished []string // calls that are not under way any more, as the store may not know yet; at most maxHeld
	released []string // calls that the store is to be told of, at most maxHeld
	known    map[string]*known

	local *engine // of what this instance has admitted; nil where it never decides alone
}

// New returns a limiter over a store. Run must be running.
func New(store Store, o Options) *Limiter {
	if o.Timeout == 0 {
		o.Timeout = 500 * time.Millisecond
	}
	if o.OnFault == nil {
		o.OnFault = func(error) {}
	}
	l := &Limiter{
		store: store, o: o, now: time.Now, probe: make(chan struct{}, 1), gone: make(chan struct{}, 1),
		held: make(map[string]*Held), known: make(map[string]*known),
	}
	if _, alone := store.(*file); !alone && !o.Deny {
		l.local = newEngine()
	}
	l.peers = func() int64 { return 0 }
	if s, ok := store.(*redisStore); ok {
		l.now, l.peers = s.guess, s.others
	}
	return l
}

// Run renews what calls hold, and tries a store that is away, until the context ends.
func (l *Limiter) Run(ctx context.Context) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	l.renew(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.renew(ctx)
		case <-l.gone:
			l.mu.Lock()
			owed := len(l.owed)
			l.mu.Unlock()
			if owed > 0 {
				l.renew(ctx)
			}
			l.tell(ctx, &l.finished, l.store.Finish)
			l.tell(ctx, &l.released, l.store.Release)
		case <-l.probe:
			for ctx.Err() == nil && l.away.Load() != nil {
				l.renew(ctx)
				if l.away.Load() == nil {
					break
				}
				timer := time.NewTimer(probeEvery)
				select {
				case <-timer.C:
				case <-ctx.Done():
					timer.Stop()
				}
			}
		}
	}
}

// renew puts off the leases of calls that have run for a while; of all of them when the store was away. It comes back only
// when it has them, those included that were admitted alone meanwhile.
func (l *Limiter) renew(ctx context.Context) {
	l.turn.Lock()
	defer l.turn.Unlock()
	was := l.away.Load()
	before := l.now().Add(-renewEvery)
	l.mu.Lock()
	calls := slices.Collect(maps.Values(l.held))
	l.mu.Unlock()
	if l.local != nil {
		l.local.renew(calls, l.now())
	}
	if was == nil {
		calls = slices.DeleteFunc(calls, func(h *Held) bool { return h.At.After(before) })
	}
	for {
		owed := l.takeOwed()
		n, err := l.store.Renew(ctx, l.o.Instance, append(calls, owed...))
		if err != nil {
			l.owe(owed...)
			if ctx.Err() == nil {
				l.failed(err)
			}
			return
		}
		l.instances.Store(int64(max(1, n)))
		if calls = nil; len(owed) == 0 {
			break
		}
	}
	if was != nil && l.away.CompareAndSwap(was, nil) {
		l.o.OnFault(nil)
		l.wake()
	}
}

// owe notes calls that the store does not know.
func (l *Limiter) owe(calls ...*Held) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.owed = append(l.owed, calls...)
}

// takeOwed returns the calls that the store does not know, but for those that hold nothing any more.
func (l *Limiter) takeOwed() []*Held {
	l.mu.Lock()
	defer l.mu.Unlock()
	owed := slices.DeleteFunc(l.owed, func(h *Held) bool { return l.held[h.ID] == nil })
	for i, h := range owed {
		owed[i] = l.held[h.ID]
	}
	l.owed = nil
	return owed
}

// Reserve admits a call, or returns *DeniedError, ErrAway, ErrTooLarge or ErrLimit. A call without limits asks nobody. What was
// reserved is held until the call's record is applied; a call that gets no record is given back by Release.
func (l *Limiter) Reserve(ctx context.Context, r *Reservation) (*Grant, error) {
	if len(r.Limits) == 0 {
		return &Grant{ID: r.ID, At: l.now()}, nil
	}
	l.mu.Lock()
	full := len(l.held) >= maxHeld
	l.mu.Unlock()
	if full {
		return nil, fmt.Errorf("%w: %d calls have reservations", ErrAway, maxHeld)
	}
	if l.away.Load() != nil {
		return l.alone(r)
	}
	within, cancel := context.WithTimeout(ctx, l.o.Timeout)
	defer cancel()
	along := *r
	l.mu.Lock()
	along.finished = slices.Clone(l.finished[max(0, len(l.finished)-finishedAlong):])
	l.mu.Unlock()
	g, err := l.store.Reserve(within, &along)
	if n := l.peers(); n > 0 && l.away.Load() == nil {
		l.instances.Store(n)
	}
	var denied *DeniedError
	switch {
	case err == nil:
		l.keep(g)
		return g, nil
	case errors.As(err, &denied):
		l.learn(&denied.State)
		return nil, err
	case errors.Is(err, ErrTooLarge), errors.Is(err, ErrLimit):
		return nil, err
	case ctx.Err() != nil: // the caller has left, and the store may admit it yet
		l.giveLater(r.ID)
		return nil, ctx.Err()
	}
	l.failed(err)
	if g, err = l.alone(r); err != nil {
		l.giveLater(r.ID) // the store may have it in its buffers
	}
	return g, err
}

// keep notes what a call holds, and what is left for others.
func (l *Limiter) keep(g *Grant) {
	l.mu.Lock()
	h := l.add(g)
	l.mu.Unlock()
	if l.local == nil {
		return
	}
	l.local.renew([]*Held{h}, l.now())
	for i := range g.States {
		l.learn(&g.States[i])
	}
}

// add notes what a call holds, beside what it held before. l.mu is held.
func (l *Limiter) add(g *Grant) *Held {
	h := &Held{ID: g.ID, At: g.At, need: g.need, alone: g.Local}
	if before := l.held[g.ID]; before != nil {
		h = &Held{ID: g.ID, At: before.At, need: slices.Clip(before.need), alone: before.alone || g.Local}
		for i := range g.need {
			if !has(before.need, g.need[i].name) {
				h.need = append(h.need, g.need[i])
			}
		}
	}
	l.held[g.ID] = h
	return h
}

// learn notes where the store says that a budget is.
func (l *Limiter) learn(st *State) {
	if l.local == nil || st.Metric != Cost || st.Soft {
		return
	}
	name := st.Counter
	mine := l.local.known(name)
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := l.known[name]; k != nil {
		k.left, k.mine = st.Left(), mine
		return
	}
	for other := range l.known {
		if len(l.known) < maxKnown {
			break
		}
		delete(l.known, other)
	}
	l.known[name] = &known{left: st.Left(), mine: mine}
}

// forget ends what calls hold here, and returns how many did and which of them were admitted without the store.
func (l *Limiter) forget(ids ...string) (held int, alone map[string]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		h := l.held[id]
		if h == nil {
			continue
		}
		held++
		delete(l.held, id)
		if h.alone {
			if alone == nil {
				alone = make(map[string]bool)
			}
			alone[id] = true
			continue // it is no part of what was reserved when the store last told
		}
		for i := range h.need {
			if k := l.known[h.need[i].name]; k != nil {
				k.mine = k.mine.Sub(h.need[i].money)
			}
		}
	}
	return held, alone
}

// Release gives back all that a call has reserved, as it was not forwarded and gets no record. It does not wait for the
// store.
func (l *Limiter) Release(id string) {
	if held, _ := l.forget(id); held == 0 {
		return
	}
	if l.local != nil {
		l.local.release(l.now(), id)
	}
	l.giveLater(id)
}

// giveLater has the store told of a call that holds nothing. Beyond a bound its lease runs out instead.
func (l *Limiter) giveLater(ids ...string) {
	l.mu.Lock()
	if len(l.released)+len(ids) <= maxHeld {
		l.released = append(l.released, ids...)
	}
	l.mu.Unlock()
	l.wake()
}

func (l *Limiter) wake() {
	select {
	case l.gone <- struct{}{}:
	default:
	}
}

// Abandon lets what a call has reserved run out with its lease: its record could not be written, and nobody knows when it will be.
func (l *Limiter) Abandon(id string) {
	l.Finish(id)
	l.forget(id)
}

// Finish says that a call is not under way any more, whatever became of it. It does not wait for the store.
func (l *Limiter) Finish(id string) {
	l.mu.Lock()
	h := l.held[id]
	if h == nil || !slices.ContainsFunc(h.need, func(n need) bool { return n.metric == Parallel }) {
		l.mu.Unlock()
		return
	}
	rest := h.finished()
	l.held[id] = &rest
	if len(l.finished) < maxHeld {
		l.finished = append(l.finished, id)
	}
	l.mu.Unlock()
	if l.local != nil {
		l.local.finish(id)
	}
	l.wake()
}

// tell gives the store the calls of a list, and takes them from it; later where the store is away.
func (l *Limiter) tell(ctx context.Context, list *[]string, how func(context.Context, ...string) error) {
	for l.away.Load() == nil {
		l.mu.Lock()
		n := min(tellAtOnce, len(*list))
		ids := slices.Clone((*list)[:n])
		l.mu.Unlock()
		if n == 0 {
			return
		}
		if err := how(ctx, ids...); err != nil {
			if ctx.Err() == nil {
				l.failed(err)
			}
			return
		}
		l.mu.Lock()
		*list = slices.Delete(*list, 0, n)
		l.mu.Unlock()
	}
}

// Apply implements Store: see there. The calls of the batch hold nothing any more.
func (l *Limiter) Apply(ctx context.Context, b *Batch) (cursor uint64, err error) {
	l.turn.Lock()
	defer l.turn.Unlock()
	if cursor, err = l.store.Apply(ctx, b); err != nil || cursor != b.To {
		return cursor, err
	}
	ids := make([]string, len(b.Charges))
	for i := range b.Charges {
		ids[i] = b.Charges[i].ID
	}
	_, alone := l.forget(ids...)
	if l.local == nil {
		return cursor, nil
	}
	if alone == nil {
		l.local.settle(b.Charges, l.now())
		return cursor, nil
	}
	// What this instance has given out of its share stays given out until the store says what is left: records may be applied
	// again before calls are admitted by the store again.
	shared, own := make([]Charge, 0, len(b.Charges)), make([]Charge, 0, len(alone))
	for _, c := range b.Charges {
		if alone[c.ID] {
			own = append(own, c)
		} else {
			shared = append(shared, c)
		}
	}
	l.local.settle(shared, l.now())
	l.local.apply(own, l.now())
	return cursor, nil
}

// Cursor returns up to which number the records of a spool were applied.
func (l *Limiter) Cursor(ctx context.Context, spool string) (uint64, error) {
	return l.store.Cursor(ctx, spool)
}

// Reset implements Store: see there.
func (l *Limiter) Reset(ctx context.Context) error { return l.store.Reset(ctx) }

// Status returns where limits are, as the store has them.
func (l *Limiter) Status(ctx context.Context, limits ...Limit) ([]State, error) {
	return l.store.Status(ctx, limits)
}

// Totals returns the fields of totals.
func (l *Limiter) Totals(ctx context.Context, totals ...string) ([]map[string]price.Amount, error) {
	return l.store.Totals(ctx, totals...)
}

// Put replaces what a limit of money has as spent in its window.
func (l *Limiter) Put(ctx context.Context, lim Limit, spent price.Amount) error {
	return l.store.Put(ctx, lim, spent)
}
