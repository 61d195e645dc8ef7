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
	// probeEvery is how often the store is tried while it is away.
	probeEvery = time.Second
	// maxHeld is the maximum number of calls with a reservation, including calls whose records are not yet
	// applied.
	maxHeld = 200_000
	// maxKnown is how many budgets have their state remembered, for use while the store is away.
	maxKnown = 100_000
	// tellAtOnce is how many calls are reported to the store in one request.
	tellAtOnce = 100
	// finishedAlong is how many recently finished calls are sent with an admission, so that a caller who waits for one call to end
	// before it begins the next is not refused.
	finishedAlong = 32
)

// Options of a Limiter.
type Options struct {
	// Instance identifies this process among those that share the store.
	Instance string
	// Deny refuses calls while the store is away. Default: each instance goes on with its share of what was left
	// at the store's last report.
	Deny bool
	// Timeout is how long an admission waits for the store. Default: 500ms.
	Timeout time.Duration
	// OnFault is called once with the cause when the store goes away, and once with nil when it is back. It may
	// be nil.
	OnFault func(error)
}

// Limiter admits calls through a store, renews their reservations, and goes on without the store while it is away. It is safe for
// concurrent use.
type Limiter struct {
	store Store
	o     Options
	now   func() time.Time

	instances atomic.Int64           // 0: not yet known from the store
	peers     func() int64           // their number in the store's answer to the last admission; 0: unknown
	away      atomic.Pointer[outage] // nil while the store answers
	probe     chan struct{}
	gone      chan struct{} // signals that there are calls to report to the store

	turn sync.Mutex // one at a time renews or applies: an applied reservation must not be restored

	mu       sync.Mutex
	held     map[string]*Held
	owed     []*Held  // those that were admitted without the store and that it does not know
	finished []string // finished calls that the store may not know of yet; at most maxHeld
	released []string // calls to release in the store, at most maxHeld
	known    map[string]*known

	local *engine // what this instance has admitted; nil if it never decides without the store
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

// Run renews reservations, and tries the store while it is away, until the context ends.
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

// renew extends the leases of calls that have run for a while, or of all calls if the store was away. The store
// counts as back only once it has all of them, including those admitted without it.
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

// owe records calls that the store does not know.
func (l *Limiter) owe(calls ...*Held) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.owed = append(l.owed, calls...)
}

// takeOwed returns the calls that the store does not know, except those that no longer hold anything.
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

// Reserve admits a call, or returns *DeniedError, ErrAway, ErrTooLarge or ErrLimit. A call without limits needs no store. The
// reservation lasts until the call's record is applied; for a call without a record, Release gives it back.
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
		l.giveLater(r.ID) // the store may have received the request
	}
	return g, err
}

// keep records what a call holds and what is left for others.
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

// add records what a call holds in addition to what it held before. l.mu is held.
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

// learn records a budget's state as the store reported it.
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

// forget removes what calls hold here. It returns how many held something and which of them were admitted without the store.
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
			continue // it was not part of the reserved sum in the store's last report
		}
		for i := range h.need {
			if k := l.known[h.need[i].name]; k != nil {
				k.mine = k.mine.Sub(h.need[i].money)
			}
		}
	}
	return held, alone
}

// Release gives back everything that a call has reserved, because the call was not forwarded and gets no record.
// It does not wait for the store.
func (l *Limiter) Release(id string) {
	if held, _ := l.forget(id); held == 0 {
		return
	}
	if l.local != nil {
		l.local.release(l.now(), id)
	}
	l.giveLater(id)
}

// giveLater queues a call for release in the store. When the queue is full, the lease runs out instead.
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

// Abandon lets a call's reservation run out with its lease: its record could not be written, and it is unknown when it will be.
func (l *Limiter) Abandon(id string) {
	l.Finish(id)
	l.forget(id)
}

// Finish marks a call as finished, whatever its outcome. It does not wait for the store.
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

// tell reports the calls of a list to the store and removes them from the list. While the store is away, they wait.
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

// Apply implements Store. The calls of the batch no longer hold anything.
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
	// What this instance has used of its share stays used until the store reports what is left: records may be applied again before
	// the store admits calls again.
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

// Reset implements Store.
func (l *Limiter) Reset(ctx context.Context) error { return l.store.Reset(ctx) }

// Status returns the states of limits from the store.
func (l *Limiter) Status(ctx context.Context, limits ...Limit) ([]State, error) {
	return l.store.Status(ctx, limits)
}

// Totals returns the fields of totals.
func (l *Limiter) Totals(ctx context.Context, totals ...string) ([]map[string]price.Amount, error) {
	return l.store.Totals(ctx, totals...)
}

// Put replaces the spend of a money limit in its window.
func (l *Limiter) Put(ctx context.Context, lim Limit, spent price.Amount) error {
	return l.store.Put(ctx, lim, spent)
}
