package limit

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tollgate-llm/tollgate/internal/price"
)

// outage is why the store is away, and since when.
type outage struct {
	cause error
	since time.Time
}

// known is what was left of a budget when the store last reported it.
type known struct {
	left price.Amount
	mine price.Amount // what this instance had reserved of it at that time
}

func (l *Limiter) failed(err error) {
	if l.away.CompareAndSwap(nil, &outage{cause: err, since: l.now()}) {
		l.o.OnFault(err)
	}
	select {
	case l.probe <- struct{}{}:
	default:
	}
}

// Away returns why the store is away, or nil if it is not.
func (l *Limiter) Away() error {
	if o := l.away.Load(); o != nil {
		return o.cause
	}
	return nil
}

// alone decides without the store. Each limit is reduced to this instance's share of it or, for a budget, of
// what was left.
func (l *Limiter) alone(r *Reservation) (*Grant, error) {
	out := l.away.Load()
	if out == nil { // it has just come back
		out = &outage{cause: errors.New("the store was away"), since: l.now()}
	}
	if l.local == nil {
		return nil, fmt.Errorf("%w: %w", ErrAway, out.cause)
	}
	share := *r
	share.Limits = slices.Clone(r.Limits)
	now := l.now()
	for i := range share.Limits {
		if err := l.share(&share.Limits[i], out, now); err != nil {
			return nil, err
		}
	}
	g, err := l.local.reserve(&share, now)
	if denied, ok := errors.AsType[*DeniedError](err); ok {
		denied.Local = true
		at := slices.IndexFunc(r.Limits, func(o Limit) bool {
			return o.Scope == denied.Scope && o.Metric == denied.Metric && o.Model == denied.Model && o.Window == denied.Window && !o.Soft
		})
		denied.Limit = r.Limits[max(0, at)]
	}
	if err != nil {
		return nil, err
	}
	g.Local, g.Passed = true, nil
	for i := range g.States {
		g.States[i].Limit = r.Limits[i]
	}
	l.mu.Lock()
	h := l.add(g)
	l.owed = append(l.owed, h)
	l.mu.Unlock()
	if l.away.Load() == nil {
		l.wake()
	}
	return g, nil
}

// share returns this instance's part of a limit. For a budget it is a part of what was left at the store's last report; in a
// window that has begun since, everything is left.
func (l *Limiter) share(lim *Limit, out *outage, now time.Time) error {
	n := l.instances.Load()
	switch {
	case n == 0:
		return fmt.Errorf("%w: this instance has not reached the store yet: %w", ErrAway, out.cause)
	case lim.Soft:
		return nil
	case lim.Metric != Cost:
		lim.Max /= n
		return nil
	}
	name, start, _ := lim.counter(now)
	l.mu.Lock()
	k, there := l.known[name]
	l.mu.Unlock()
	if !there {
		if start <= out.since.Unix() {
			return fmt.Errorf("%w: this instance does not know what is left of the budget of a %s: %w", ErrAway, lim.Scope.Kind, out.cause)
		}
		k = &known{left: lim.Money}
	}
	sum, err := k.left.Share(uint64(n)).Add(k.mine) //nolint:gosec // at least one
	lim.Money = sum
	return err
}
