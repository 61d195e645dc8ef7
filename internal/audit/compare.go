package audit

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/shopspring/decimal"

	"github.com/tollgate-llm/tollgate/internal/lago"
	"github.com/tollgate-llm/tollgate/internal/tariff"
)

// payer compares one payer with Lago.
func (r *reconciliation) payer(payer string) error {
	use, known := r.usage[payer]
	for _, code := range slices.Sorted(maps.Keys(r.tallies[payer])) {
		t := r.tallies[payer][code]
		t.line.Units = t.units.String()
		if t.line.Events > 0 {
			if err := r.list(payer, code, t, use); err != nil {
				return err
			}
		}
		r.compareEvents(t)
		m, metric := r.metrics[code]
		switch {
		case !known:
			t.differs("Lago knows no active subscription %s: its events are accepted and never billed", payer)
		case !metric:
			t.differs("Lago has no billable metric %s: its events are accepted and never billed", code)
		default:
			r.compareUsage(t, use, m)
		}
		r.held -= len(t.others)
		t.ids, t.others = nil, nil
	}
	return nil
}

// list reads what Lago lists for the time of the ledger's events, or from the start of the current period if the ledger
// reaches back that far.
func (r *reconciliation) list(payer, code string, t *tally, use lago.Usage) error {
	from, to := t.first, t.last
	if r.whole(use) {
		from, to = minTime(from, use.From), maxTime(to, r.began)
	}
	q := lago.EventsQuery{ExternalSubscriptionID: payer, Code: code, From: from.Truncate(time.Second), To: to.Add(time.Second)}
	n := 0
	return r.client.Events(r.ctx, q, func(e lago.Event) error {
		if n++; n%100 == 1 && n > 1 { // a page
			r.report("events of "+payer+" listed", n, 0)
		}
		return r.listed(t, use, e)
	})
}

// listed takes one event that Lago lists.
func (r *reconciliation) listed(t *tally, use lago.Usage, e lago.Event) error {
	at := e.Timestamp.UnixMilli()
	if id, err := uuid.Parse(e.TransactionID); err == nil {
		if seen, ours := t.ids[id]; ours {
			switch seen.at {
			case 0:
				seen.at = at
				t.line.AtLago++
			case at:
				t.line.Copies++
			default:
				seen.twice = true
			}
			t.ids[id] = seen
			return nil
		}
	}
	key := listed{e.TransactionID, at}
	if t.others[key] {
		t.line.Copies++
		return nil
	}
	if err := r.hold(); err != nil {
		return err
	}
	t.others[key] = true
	t.line.Others++
	if !inPeriod(use, e.Timestamp) {
		return nil
	}
	cents := decimal.Zero
	if e.PreciseAmountCents != nil {
		cents = plainDecimal(*e.PreciseAmountCents)
	}
	into := &t.rest
	if r.fresh(e.Timestamp) {
		into = &t.restFresh
	}
	into.add(r.units(e.Code, e.Properties), cents)
	return nil
}

// whole reports whether all events of the current period are listed, so that Lago must bill exactly those. Otherwise it must
// bill at least what the ledger holds.
func (r *reconciliation) whole(use lago.Usage) bool {
	return r.q.Until.IsZero() && !r.q.Since.After(use.From) && !r.began.Add(-r.a.Retain).After(use.From)
}

func minTime(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func maxTime(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func (t *tally) differs(format string, args ...any) {
	t.line.Differences = append(t.line.Differences, fmt.Sprintf(format, args...))
}

// compareEvents compares the ledger's events with those that Lago lists.
func (r *reconciliation) compareEvents(t *tally) {
	missing, twice := 0, 0
	for id, seen := range t.ids {
		if seen.at == 0 && !seen.fresh {
			if missing++; missing <= idsShown {
				t.line.Missing = append(t.line.Missing, id.String())
			}
		}
		if seen.twice {
			if twice++; twice <= idsShown {
				t.line.Twice = append(t.line.Twice, id.String())
			}
		}
	}
	slices.Sort(t.line.Missing)
	slices.Sort(t.line.Twice)
	if missing > 0 {
		t.differs("%s accepted by Lago but not listed; `caddy tollgate billing replay` sends again", countedEvents(missing))
	}
	if twice > 0 {
		t.differs("%s at Lago with several timestamps: billed more than once", countedEvents(twice))
	}
	if t.line.Copies > 0 && r.counted {
		t.differs("%s at Lago again, and clickhouse_deduplication_enabled is off: billed more than once", countedEvents(t.line.Copies))
	}
	if t.line.Rejected > 0 {
		t.differs("%s refused by Lago: see `caddy tollgate billing rejected`", countedEvents(t.line.Rejected))
	}
}

// compareUsage compares the events with what Lago bills in the current period.
func (r *reconciliation) compareUsage(t *tally, use lago.Usage, m lago.BillableMetric) {
	at := slices.IndexFunc(use.Charges, func(c lago.ChargeUsage) bool { return c.Metric.Code == m.Code })
	if at < 0 {
		t.differs("the plan of the subscription has no charge for the metric %s: its events are accepted and never billed", m.Code)
		return
	}
	c := use.Charges[at]
	t.line.UsageEvents, t.line.UsageUnits = c.EventsCount, c.Units
	whole := r.whole(use)
	compare := func(what string, bills, ours, oursFresh, rest, restFresh decimal.Decimal) {
		least, most := ours, ours.Add(oursFresh).Add(rest).Add(restFresh)
		if whole {
			least = ours.Add(rest)
		}
		switch {
		case bills.LessThan(least):
			t.differs("Lago bills %s %s in the current period; its events make %s", bills, what, least)
		case whole && bills.GreaterThan(most):
			t.differs("Lago bills %s %s in the current period; its events make only %s", bills, what, most)
		}
	}
	compare("events", decimal.NewFromInt(c.EventsCount), t.ours.events, t.oursFresh.events, t.rest.events, t.restFresh.events)
	if m.Expression == "" && (m.AggregationType == tariff.SumAgg || m.AggregationType == tariff.CountAgg) {
		compare("units", plainDecimal(c.Units), t.ours.units, t.oursFresh.units, t.rest.units, t.restFresh.units)
	}
	if c.Charge.Model == "dynamic" { // whole cents, whichever way Lago rounds
		compare("cents", decimal.NewFromInt(c.AmountCents),
			t.ours.cents.Floor(), t.oursFresh.cents.Ceil(), t.rest.cents.Floor(), t.restFresh.cents.Add(decimal.NewFromInt(2)).Ceil())
	}
}
