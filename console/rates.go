package console

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

const (
	// ratesMinutes is the number of minutes on the Now page.
	ratesMinutes = 30
	// ratesRecords and ratesTime limit how many records are read for it, and for how long.
	ratesRecords = 200_000
	ratesTime    = time.Second
)

// minute sums up the records settled within one minute.
type minute struct {
	start         time.Time
	calls, failed int
	cost          price.Amount
}

// target is a backend of a model.
type target struct{ model, backend string }

// add adds a settled record.
func (m *minute) add(outcome string, cost price.Amount) (err error) {
	m.calls++
	if outcome == record.OutcomeError || outcome == record.OutcomeCut {
		m.failed++
	}
	m.cost, err = m.cost.Add(cost)
	return err
}

// rates are the last minutes. The last one is not over yet.
type rates struct {
	minutes []minute
	targets map[target]*minute // sums over all the minutes
	short   bool               // not all records could be read in time
}

var errEnough = errors.New("enough records were read")

// ratesOf sums up the settled records of the last minutes.
func ratesOf(ctx context.Context, a *account.Account, now time.Time) (*rates, error) {
	first := now.UTC().Truncate(time.Minute).Add(-(ratesMinutes - 1) * time.Minute)
	r := &rates{minutes: make([]minute, ratesMinutes), targets: make(map[target]*minute)}
	for i := range r.minutes {
		r.minutes[i].start = first.Add(time.Duration(i) * time.Minute)
	}
	ctx, cancel := context.WithTimeout(ctx, ratesTime)
	defer cancel()
	read := 0
	settled := []spool.State{spool.StatePending, spool.StateDone, spool.StateRejected}
	err := a.Spool().Select(settled, first, time.Time{}, func(rec spool.Record) error {
		if read++; read > ratesRecords || ctx.Err() != nil {
			return errEnough
		}
		text := gjson.GetManyBytes(rec.Payload, "settled", "outcome", "cost", "model", "backend")
		at, err := time.Parse(time.RFC3339Nano, text[0].Str)
		n := int(at.Sub(first) / time.Minute)
		if err != nil || at.Before(first) || n >= ratesMinutes {
			return nil // settled earlier and changed since, or unreadable, which the Calls page reports
		}
		var cost price.Amount
		if text[2].Str != "" {
			if cost, err = price.ParseUSD(text[2].Str); err != nil {
				return err
			}
		}
		to := target{text[3].Str, text[4].Str}
		if r.targets[to] == nil {
			r.targets[to] = new(minute)
		}
		return errors.Join(r.minutes[n].add(text[1].Str, cost), r.targets[to].add(text[1].Str, cost))
	})
	switch {
	case errors.Is(err, errEnough):
		r.short = true
	case err != nil && read == 0:
		return nil, err
	}
	return r, nil
}

// last returns the last complete minute.
func (r *rates) last() *minute { return &r.minutes[ratesMinutes-2] }

// charts draw the calls and their cost by minute.
func (r *rates) charts() ([]*chart, error) {
	var counts, costs heap
	for i := range r.minutes {
		m := &r.minutes[i]
		label := m.start.Format("15:04")
		if err := counts.add(label, "answered", unitsOf(m.calls-m.failed)); err != nil {
			return nil, err
		}
		if m.failed > 0 {
			if err := counts.add(label, "failed", unitsOf(m.failed)); err != nil {
				return nil, err
			}
		}
		if err := costs.add(label, "cost", m.cost); err != nil {
			return nil, err
		}
	}
	list, err := counts.chart("calls", "Calls a minute", "")
	if err != nil {
		return nil, err
	}
	cost, err := costs.chart("cost", "Cost per minute in USD", "$")
	return append(list, cost...), err
}

// unitsOf converts a count to an amount, the only type of value in charts.
func unitsOf(n int) price.Amount { return price.FromLimbs(uint64(n)*1e6, 0) } //nolint:gosec // not negative

// table returns the charts' values, the latest minute first. Minutes without settled records are left out.
func (r *rates) table() *table {
	t := &table{Caption: "The figures of each minute, UTC", Folded: true, Empty: "No call was settled.", Head: []string{"minute", "calls", "failed", "cost in USD"}}
	for _, m := range slices.Backward(r.minutes) {
		if m.calls > 0 {
			t.Rows = append(t.Rows, []cell{text(m.start.Format("15:04")), number(m.calls), number(m.failed), figure(m.cost.String())})
		}
	}
	return t
}
