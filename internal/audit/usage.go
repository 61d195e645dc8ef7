package audit

import (
	"context"
	"fmt"
	"time"

	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

// maxSubscriptions bounds the payers of one check.
const maxSubscriptions = 10_000

// subscriptionUsage is the ledger's usage of one subscription.
type subscriptionUsage struct {
	events      map[string]int // by code
	first       time.Time      // time of the earliest event
	unsent      int            // events that Lago does not have yet
	firstUnsent time.Time
}

// usage returns the ledger's usage by subscription, for at most maxSubscriptions of them; more reports that there are others.
func (a *Account) usage(ctx context.Context, report Progress) (payers map[string]*subscriptionUsage, more bool, err error) {
	payers = make(map[string]*subscriptionUsage)
	n := 0
	states := []spool.State{spool.StatePending, spool.StateDone, spool.StateRejected}
	err = a.Spool.Select(states, time.Time{}, time.Time{}, func(rec spool.Record) error {
		if n++; n%1000 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			report("records read", n, 0)
		}
		if record.Discarded(rec.Payload) {
			return nil
		}
		return record.EachEvent(rec.Payload, func(e record.Event) error {
			sub := e.Subscription()
			p := payers[sub]
			if p == nil {
				if len(payers) >= maxSubscriptions {
					more = true
					return nil
				}
				p = &subscriptionUsage{events: make(map[string]int)}
				payers[sub] = p
			}
			p.events[e.Code()]++
			at, ok := e.Time()
			if !ok {
				return nil
			}
			if p.first.IsZero() || at.Before(p.first) {
				p.first = at
			}
			if rec.State != spool.StateDone {
				p.unsent++
				if p.firstUnsent.IsZero() || at.Before(p.firstUnsent) {
					p.firstUnsent = at
				}
			}
			return nil
		})
	})
	if err != nil {
		return nil, false, fmt.Errorf("account %s: %w", a.Name, err)
	}
	return payers, more, nil
}
