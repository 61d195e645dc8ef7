package lagobilling

import (
	"context"
	"fmt"
	"time"

	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

// booksPayers is the most payers that a check looks at.
const booksPayers = 10_000

// payerBooks is what the ledger holds of one payer.
type payerBooks struct {
	events      map[string]int // by code
	first       time.Time      // time of the earliest event
	unsent      int            // events that Lago does not have
	firstUnsent time.Time
}

// books reads the ledger and returns what it holds by payer, for at most booksPayers of them; more says that there are
// others.
func (a *Account) books(ctx context.Context, tell func(string, int, int)) (payers map[string]*payerBooks, more bool, err error) {
	payers = make(map[string]*payerBooks)
	n := 0
	states := []spool.State{spool.StatePending, spool.StateDone, spool.StateRejected}
	err = a.spool.Select(states, time.Time{}, time.Time{}, func(rec spool.Record) error {
		if n++; n%1000 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			tell("records read", n, 0)
		}
		if record.Discarded(rec.Payload) {
			return nil
		}
		return record.EachEvent(rec.Payload, func(e record.Event) error {
			sub := e.Subscription()
			p := payers[sub]
			if p == nil {
				if len(payers) >= booksPayers {
					more = true
					return nil
				}
				p = &payerBooks{events: make(map[string]int)}
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
		return nil, false, fmt.Errorf("account %s: %w", a.name, err)
	}
	return payers, more, nil
}
