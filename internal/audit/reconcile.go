package audit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/dustin/go-humanize/english"
	"github.com/google/uuid"
	"github.com/shopspring/decimal"
	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/lago"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/tariff"
)

// DefaultLag is how long Lago may take to count an event.
const DefaultLag = 5 * time.Minute

const (
	maxEvents = 500_000 // events held in memory
	idsShown  = 20      // ids in a report
)

// Query selects the events to compare.
type Query struct {
	Subscription string        // external id; empty: all
	Since, Until time.Time     // zero: unbounded
	Lag          time.Duration // Lago may not have counted younger events yet
}

// Line is the comparison for one subscription and code.
type Line struct {
	Account string `json:"account"`
	Payer   string `json:"payer"`
	Code    string `json:"code"`
	// Events and Units are what Lago should have.
	Events int    `json:"events"`
	Units  string `json:"units,omitempty"` // the total that Lago's metric should have
	// Unsent are events that Lago does not have yet or refused.
	Pending  int `json:"pending,omitempty"`
	Rejected int `json:"rejected,omitempty"`
	// AtLago are events of the ledger that Lago lists. Others are further events that it lists: of other instances, or of
	// records no longer in this ledger. Copies are events listed again with an equal timestamp.
	AtLago int `json:"at_lago"`
	Others int `json:"others,omitempty"`
	Copies int `json:"copies,omitempty"`
	// Usage is what Lago bills in the current period.
	UsageEvents int64    `json:"usage_events"`
	UsageUnits  string   `json:"usage_units,omitempty"`
	Missing     []string `json:"missing,omitempty"` // ids that Lago does not list, at most 20
	Twice       []string `json:"twice,omitempty"`   // ids that Lago lists with several timestamps, at most 20
	Differences []string `json:"differences,omitempty"`
}

// ReconcileReport is the body of a reconciliation's answer.
type ReconcileReport struct {
	OK          bool      `json:"ok"`
	Differences int       `json:"differences"`
	Since       time.Time `json:"since,omitzero"`
	Until       time.Time `json:"until,omitzero"`
	Lines       []Line    `json:"lines"`
}

// seenEvent is an event of ours that Lago should have.
type seenEvent struct {
	fresh bool  // so young that Lago may not list it yet
	at    int64 // when it happened, as Lago lists it, in Unix milliseconds; 0: not listed
	twice bool
}

// listed identifies an event of others that Lago lists.
type listed struct {
	id string
	at int64
}

// sums are totals of the current billing period.
type sums struct {
	events, units, cents decimal.Decimal
}

func (s *sums) add(units, cents decimal.Decimal) {
	s.events = s.events.Add(decimal.NewFromInt(1))
	s.units = s.units.Add(units)
	s.cents = s.cents.Add(cents)
}

// tally is the ledger's part of one subscription and code.
type tally struct {
	line        *Line
	ids         map[uuid.UUID]seenEvent
	others      map[listed]bool
	units       decimal.Decimal // in the whole window
	first, last time.Time
	// What must be counted, and what may be: events of the ledger, and others that Lago lists.
	ours, oursFresh, rest, restFresh sums
}

// reconciliation is a running reconciliation.
type reconciliation struct {
	a       *Account
	q       Query
	client  *lago.Client
	ctx     context.Context //nolint:containedctx // the lifetime of one reconciliation
	report  Progress
	metrics map[string]lago.BillableMetric
	tallies map[string]map[string]*tally // by payer and code
	usage   map[string]lago.Usage        // by payer; none: Lago knows no such subscription
	began   time.Time
	counted bool // Lago counts a resent event again, even with an equal timestamp
	held    int
}

// Reconcile compares the ledger with what Lago lists and bills, for each subscription and code. The account must have a Lago.
// Lago's figures may lag behind its events.
func (a *Account) Reconcile(ctx context.Context, q Query, report Progress) ([]Line, error) {
	r := &reconciliation{
		a: a, q: q, client: a.Lago, ctx: ctx, report: report, began: time.Now(),
		tallies: make(map[string]map[string]*tally), usage: make(map[string]lago.Usage), metrics: make(map[string]lago.BillableMetric),
	}
	org, err := r.client.Organization(ctx)
	if e, ok := errors.AsType[*lago.Error](err); err != nil && (!ok || e.Status != http.StatusForbidden) {
		return nil, fmt.Errorf("account %s: %w", a.Name, err)
	}
	r.counted = org.EventsStore == lago.ClickHouse && org.Deduplication != nil && !*org.Deduplication
	list, err := r.client.BillableMetrics(ctx)
	if err != nil {
		return nil, fmt.Errorf("account %s: %w", a.Name, err)
	}
	for _, m := range list {
		r.metrics[m.Code] = m
	}
	if err := r.read(); err != nil {
		return nil, fmt.Errorf("account %s: %w", a.Name, err)
	}
	var lines []Line
	payers := slices.Sorted(maps.Keys(r.tallies))
	for i, payer := range payers {
		report("payers compared", i, len(payers))
		if err := r.payer(payer); err != nil {
			return nil, fmt.Errorf("account %s: payer %s: %w", a.Name, payer, err)
		}
		for _, code := range slices.Sorted(maps.Keys(r.tallies[payer])) {
			lines = append(lines, *r.tallies[payer][code].line)
		}
	}
	return lines, nil
}

// read reads the ledger.
func (r *reconciliation) read() error {
	states := []spool.State{spool.StatePending, spool.StateDone, spool.StateRejected}
	n := 0
	return r.a.Spool.Select(states, r.q.Since, r.q.Until, func(rec spool.Record) error {
		if n++; n%1000 == 0 {
			if err := r.ctx.Err(); err != nil {
				return err
			}
			r.report("records read", n, 0)
		}
		if record.Discarded(rec.Payload) {
			return nil
		}
		return record.EachEvent(rec.Payload, func(e record.Event) error { return r.take(rec, e) })
	})
}

// take adds one event of the ledger.
func (r *reconciliation) take(rec spool.Record, e record.Event) error {
	payer, code := e.Subscription(), e.Code()
	if r.q.Subscription != "" && payer != r.q.Subscription {
		return nil
	}
	t, err := r.tallyOf(payer, code)
	if err != nil {
		return err
	}
	if rec.State == spool.StatePending {
		t.line.Pending++
		return nil
	}
	if rec.State == spool.StateRejected {
		t.line.Rejected++
		return nil
	}
	id, err := uuid.Parse(e.ID())
	if err != nil {
		return fmt.Errorf("record %d holds an event with an invalid id", rec.Seq)
	}
	at, ok := e.Time()
	if !ok {
		return fmt.Errorf("event %s has no timestamp", id)
	}
	if err := r.hold(); err != nil {
		return err
	}
	fresh := r.fresh(at)
	t.ids[id] = seenEvent{fresh: fresh}
	t.line.Events++
	units := r.units(code, e.Properties())
	t.units = t.units.Add(units)
	if t.first.IsZero() || at.Before(t.first) {
		t.first = at
	}
	if at.After(t.last) {
		t.last = at
	}
	if use, known := r.usage[payer]; known && inPeriod(use, at) {
		into := &t.ours
		if fresh {
			into = &t.oursFresh
		}
		into.add(units, plainDecimal(e.Cents()))
	}
	return nil
}

// hold bounds the memory of one reconciliation.
func (r *reconciliation) hold() error {
	if r.held++; r.held > maxEvents {
		return fmt.Errorf("there are more than %d events: compare a part of them, by since, until or payer", maxEvents)
	}
	return nil
}

// fresh reports whether Lago may not have counted an event yet.
func (r *reconciliation) fresh(at time.Time) bool { return at.After(r.began.Add(-r.q.Lag)) }

// tallyOf returns the tally of a payer and code. A new payer is looked up at Lago first, as its billing period determines
// what counts.
func (r *reconciliation) tallyOf(payer, code string) (*tally, error) {
	codes := r.tallies[payer]
	if codes == nil {
		if len(r.tallies) >= maxSubscriptions {
			return nil, fmt.Errorf("the ledger holds more than %d payers: compare a part of it, by since, until or payer", maxSubscriptions)
		}
		if err := r.lookUp(payer); err != nil {
			return nil, fmt.Errorf("payer %s: %w", payer, err)
		}
		codes = make(map[string]*tally)
		r.tallies[payer] = codes
	}
	t := codes[code]
	if t == nil {
		t = &tally{line: &Line{Account: r.a.Name, Payer: payer, Code: code}, ids: make(map[uuid.UUID]seenEvent), others: make(map[listed]bool)}
		codes[code] = t
	}
	return t, nil
}

func (r *reconciliation) lookUp(payer string) error {
	sub, err := r.client.Subscription(r.ctx, payer)
	if errors.Is(err, lago.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	r.usage[payer], err = r.client.CurrentUsage(r.ctx, sub.ExternalCustomerID, payer)
	return err
}

func inPeriod(use lago.Usage, at time.Time) bool {
	return !at.Before(use.From) && (use.To.IsZero() || at.Before(use.To))
}

// units is an event's quantity in Lago's metric.
func (r *reconciliation) units(code string, properties []byte) decimal.Decimal {
	switch m := r.metrics[code]; m.AggregationType {
	case tariff.CountAgg:
		return decimal.NewFromInt(1)
	case tariff.SumAgg:
		if m.Expression == "" {
			return plainDecimal(member(properties, m.FieldName))
		}
	}
	return decimal.Zero
}

// member returns a property as text, whatever characters its name has.
func member(properties []byte, name string) (text string) {
	gjson.ParseBytes(properties).ForEach(func(k, v gjson.Result) bool {
		if k.Str == name {
			text = v.String()
		}
		return k.Str != name
	})
	return text
}

func plainDecimal(s string) decimal.Decimal {
	d, err := decimal.NewFromString(s)
	if err != nil {
		return decimal.Zero // as Lago counts it
	}
	return d
}

// countedEvents is a number of events in words: 1 event, 2 events.
func countedEvents(n int) string { return strconv.Itoa(n) + " " + english.PluralWord(n, "event", "") }
