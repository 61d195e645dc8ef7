package lagobilling

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/internal/lago"
	"github.com/tollgate-llm/tollgate/internal/tariff"
)

// Levels of what a check finds.
const (
	levelOK      = "ok"
	levelWarning = "warning"
	levelProblem = "problem"
)

// finding is one thing that a check found.
type finding struct {
	Level string `json:"level"` // ok, warning, problem
	About string `json:"about"`
	Words string `json:"words"`
}

// checkReport is what the check of an account found.
type checkReport struct {
	Account  string    `json:"account"`
	Lago     string    `json:"lago,omitempty"`
	OK       bool      `json:"ok"` // there is no problem
	Findings []finding `json:"findings"`
}

// checkList is the body of a check.
type checkList struct {
	OK       bool          `json:"ok"`
	Accounts []checkReport `json:"accounts"`
}

// preflight is a check under way: it looks at all that Lago accepts without a word and does not bill.
type preflight struct {
	a       *Account
	client  *lago.Client
	ctx     context.Context //nolint:containedctx // the life of one check
	tell    func(what string, n, of int)
	report  checkReport
	metrics map[string]lago.BillableMetric
	plans   map[string]*lago.Plan // nil: Lago could not be asked
	told    map[string]bool       // what is wrong with a plan, and was told for another payer
	good    int                   // payers with nothing wrong
}

// check asks the account's Lago about everything that bills depend on. An error means that the ledger could not be read.
func (a *Account) check(ctx context.Context, tell func(string, int, int)) (checkReport, error) {
	p := &preflight{a: a, client: a.lago(), ctx: ctx, tell: tell, plans: make(map[string]*lago.Plan), told: make(map[string]bool)}
	p.report.Account = a.name
	if p.client == nil {
		p.add(levelWarning, "Lago", "no api_base is configured: records stay in the ledger and nothing is billed")
		return p.done()
	}
	p.report.Lago = p.client.Base()
	if !p.organization() {
		return p.done()
	}
	p.batches()
	payers, more, err := a.books(ctx, tell)
	if err != nil {
		return p.report, err
	}
	used := make(map[string]int)
	for _, b := range payers {
		for code, n := range b.events {
			used[code] += n
		}
	}
	if p.metricsFit(used) {
		p.payers(payers)
	}
	if more {
		p.add(levelWarning, "payers", fmt.Sprintf("only %d payers of the ledger were looked at; there are more", booksPayers))
	}
	if err := ctx.Err(); err != nil {
		return p.report, err
	}
	return p.done()
}

func (p *preflight) add(level, about, words string) {
	p.report.Findings = append(p.report.Findings, finding{level, about, words})
}

func (p *preflight) done() (checkReport, error) {
	p.report.OK = !slices.ContainsFunc(p.report.Findings, func(f finding) bool { return f.Level == levelProblem })
	return p.report, nil
}

// unasked notes that Lago could not be asked. A key that may not read is no reason to bill nothing.
func (p *preflight) unasked(about string, err error) {
	if e, ok := errors.AsType[*lago.Error](err); ok && e.Status == http.StatusForbidden {
		p.add(levelWarning, about, "the API key may not read this, so it was not checked: "+e.Words)
		return
	}
	p.add(levelProblem, about, "could not be asked: "+err.Error())
}

// organization asks who the key belongs to and which store of events that has.
func (p *preflight) organization() bool {
	org, err := p.client.Organization(p.ctx)
	if err != nil {
		if e, ok := errors.AsType[*lago.Error](err); ok && e.Status == http.StatusForbidden {
			p.unasked("organization", err)
			return true
		}
		p.add(levelProblem, "API key", err.Error())
		return false
	}
	p.add(levelOK, "API key", "it belongs to the organization "+org.Name)
	switch {
	case org.EventsStore == lago.Postgres:
		p.add(levelOK, "events store", "postgres: an event that is sent again counts once")
	case org.EventsStore != lago.ClickHouse:
		p.add(levelWarning, "events store", "Lago does not say which it has")
	case org.Deduplication == nil:
		p.add(levelWarning, "events store", "clickhouse: see that clickhouse_deduplication_enabled is on for this organization (its default is off, and this "+
			"Lago does not tell); without it an event that is sent again may be billed twice")
	case !*org.Deduplication:
		p.add(levelProblem, "events store", "clickhouse with clickhouse_deduplication_enabled off: an event that is sent again may be billed twice; turn it on")
	default:
		p.add(levelOK, "events store", "clickhouse, with deduplication: an event that is sent again counts once")
	}
	return true
}

// batches asks whether the key may write, and how many events a batch may hold.
func (p *preflight) batches() {
	const most = 100
	for n := most; n > 0; n /= 2 {
		ok, tooMany, err := p.client.Probe(p.ctx, n)
		switch {
		case tooMany:
			continue
		case err != nil:
			p.add(levelProblem, "sending events", err.Error())
		case ok && n == most:
			p.add(levelOK, "sending events", "the key may send events, 100 in a batch")
		case ok:
			p.add(levelWarning, "sending events", fmt.Sprintf("this Lago takes only %d events or a few more in a batch (LAGO_EVENTS_BATCH_MAX_LENGTH); "+
				"delivery learns that, but is slower for it", n))
		}
		return
	}
	p.add(levelProblem, "sending events", "this Lago takes no event in a batch")
}

// metricsFit looks at the billable metrics of the configured shapes. It returns false when Lago cannot be asked.
func (p *preflight) metricsFit(used map[string]int) bool {
	list, err := p.client.BillableMetrics(p.ctx)
	if err != nil {
		p.unasked("billable metrics", err)
		return false
	}
	p.metrics = make(map[string]lago.BillableMetric, len(list))
	for _, m := range list {
		p.metrics[m.Code] = m
	}
	var rare []string
	wanted := p.a.wantedMetrics()
	for i := range wanted {
		m := &wanted[i]
		about := "metric " + m.Code
		have, ok := p.metrics[m.Code]
		switch problem, warning := m.Fits(have); {
		case !ok && used[m.Code] > 0:
			p.add(levelProblem, about, "Lago has no such billable metric: accepted and never billed, "+countedEvents(used[m.Code])+" of the ledger so far")
		case !ok && m.Needed:
			p.add(levelProblem, about, "Lago has no such billable metric: its events are accepted and never billed; `caddy tollgate billing setup` creates it")
		case !ok:
			rare = append(rare, m.Code)
		case problem != "":
			p.add(levelProblem, about, problem)
		case warning != "":
			p.add(levelWarning, about, warning)
		default:
			words := have.AggregationType
			if have.FieldName != "" {
				words += " of " + have.FieldName
			}
			p.add(levelOK, about, words)
		}
	}
	if len(rare) > 0 {
		p.add(levelWarning, "metrics", "Lago has no billable metric for "+strings.Join(rare, ", ")+
			": usage of these kinds, if it comes, is accepted and never billed")
	}
	p.strangeCodes(wanted, used)
	return true
}

// strangeCodes names codes of the ledger that the configuration does not make any more and Lago does not bill.
func (p *preflight) strangeCodes(wanted []tariff.Metric, used map[string]int) {
	for _, code := range slices.Sorted(maps.Keys(used)) {
		known := slices.ContainsFunc(wanted, func(m tariff.Metric) bool { return m.Code == code })
		if _, ok := p.metrics[code]; !ok && !known {
			p.add(levelProblem, "metric "+code, "the ledger holds "+countedEvents(used[code])+" of this code, of an earlier configuration; Lago has no such "+
				"billable metric: accepted and never billed")
		}
	}
}

// payers looks every payer's subscription and plan up.
func (p *preflight) payers(payers map[string]*payerBooks) {
	names := slices.Sorted(maps.Keys(payers))
	for i, name := range names {
		p.tell("payers asked for", i, len(names))
		if p.ctx.Err() != nil {
			return
		}
		if err := p.payer(name, payers[name]); err != nil {
			p.unasked("payer "+name, err)
			if e, ok := errors.AsType[*lago.Error](err); ok && e.Verdict != lago.Poison {
				return
			}
		}
	}
	if p.good > 0 {
		p.add(levelOK, "payers", fmt.Sprintf("%d of %d payers of the ledger have an active subscription whose plan charges what they use", p.good, len(names)))
	}
	if len(names) == 0 {
		p.add(levelWarning, "payers", "the ledger names none yet, so no subscription and no plan was checked; check again after the first calls")
	}
}

func (p *preflight) payer(name string, b *payerBooks) error {
	total := 0
	for _, n := range b.events {
		total += n
	}
	about := "payer " + name
	sub, err := p.client.Subscription(p.ctx, name)
	if errors.Is(err, lago.ErrNotFound) {
		p.add(levelProblem, about, "Lago knows no active subscription with this external id: accepted and never billed, "+countedEvents(total)+" of the ledger so far")
		return nil
	}
	if err != nil {
		return err
	}
	fine := true
	if sub.StartedAt != nil && b.first.Before(sub.StartedAt.Truncate(time.Millisecond)) {
		fine = false
		p.add(levelProblem, about, fmt.Sprintf("its subscription started at %s, after its first event (%s): what comes before the start is accepted and never billed",
			sub.StartedAt.Format(time.RFC3339), b.first.UTC().Format(time.RFC3339)))
	}
	if b.unsent > 0 && sub.PeriodStart != nil && b.firstUnsent.Before(*sub.PeriodStart) {
		p.add(levelWarning, about, fmt.Sprintf("events that Lago does not have yet are of before %s, when its billing period began: if the invoice of "+
			"the period before is final, they are accepted and never billed (see `late`)", sub.PeriodStart.Format(time.RFC3339)))
	}
	charged, err := p.plan(name, sub.PlanCode, b)
	if fine && charged && err == nil {
		p.good++
	}
	return err
}

// plan looks at the charges for what a payer uses. It returns whether all of it is billed.
func (p *preflight) plan(payer, code string, b *payerBooks) (fine bool, err error) {
	plan, known := p.plans[code]
	if !known {
		got, err := p.client.Plan(p.ctx, code)
		if err != nil {
			p.plans[code] = nil
			return false, err
		}
		plan = &got
		p.plans[code] = plan
		p.inAdvance(plan)
	}
	if plan == nil {
		return false, nil
	}
	fine = true
	wrong := func(metric, words string) {
		fine = false
		if key := code + " " + metric; !p.told[key] {
			p.told[key] = true
			p.add(levelProblem, "plan "+code, words+" (payer "+payer+", and all others on it)")
		}
	}
	for _, metric := range slices.Sorted(maps.Keys(b.events)) {
		if _, ok := p.metrics[metric]; !ok {
			fine = false // told already
			continue
		}
		at := slices.IndexFunc(plan.Charges, func(c lago.Charge) bool { return c.MetricCode == metric })
		switch {
		case at < 0:
			wrong(metric, "it has no charge for the metric "+metric+": events are accepted and never billed")
		case p.hasAmounts(metric) && plan.Charges[at].Model != "dynamic":
			wrong(metric, fmt.Sprintf("it bills the metric %s by a %s charge: the exact amounts of the events are not billed; use a dynamic charge",
				metric, plan.Charges[at].Model))
		}
	}
	return fine, nil
}

// hasAmounts reports whether events of that code carry their own amounts.
func (p *preflight) hasAmounts(code string) bool {
	return slices.ContainsFunc(p.a.tariffs(), func(t *tariff.Tariff) bool { return t.BillsAmounts(code) })
}

// inAdvance warns once for each plan.
func (p *preflight) inAdvance(plan *lago.Plan) {
	for _, c := range plan.Charges {
		if c.PayInAdvance && slices.ContainsFunc(p.a.wantedMetrics(), func(m tariff.Metric) bool { return m.Code == c.MetricCode }) {
			p.add(levelWarning, "plan "+plan.Code, "its charge for "+c.MetricCode+
				" is paid in advance: a fee can be lost when Lago fails after it stored the event; charge in arrears")
		}
	}
}

// wantedMetrics returns the billable metrics that the account's events need, each code once.
func (a *Account) wantedMetrics() []tariff.Metric {
	var all []tariff.Metric
	seen := make(map[string]bool)
	for _, t := range a.tariffs() {
		for _, m := range t.Metrics() {
			if !seen[m.Shape+" "+m.Code] {
				seen[m.Shape+" "+m.Code] = true
				all = append(all, m)
			}
		}
	}
	return all
}
