package audit

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
	LevelOK      = "ok"
	LevelWarning = "warning"
	LevelProblem = "problem"
)

// Finding is one result of a check.
type Finding struct {
	Level   string `json:"level"` // ok, warning, problem
	About   string `json:"about"`
	Message string `json:"words"`
}

// CheckReport is the result of checking an account.
type CheckReport struct {
	Account  string    `json:"account"`
	Lago     string    `json:"lago,omitempty"`
	OK       bool      `json:"ok"` // there is no problem
	Findings []Finding `json:"findings"`
}

// CheckList is the body of a check's answer.
type CheckList struct {
	OK       bool          `json:"ok"`
	Accounts []CheckReport `json:"accounts"`
}

// check is a running check for everything that Lago silently accepts and does not bill.
type check struct {
	a        *Account
	client   *lago.Client
	ctx      context.Context //nolint:containedctx // the lifetime of one check
	report   Progress
	result   CheckReport
	metrics  map[string]lago.BillableMetric
	plans    map[string]*lago.Plan // nil: Lago did not answer
	reported map[string]bool       // problems of plans that were reported for another payer
	good     int                   // payers without a problem
}

// Check asks the account's Lago about everything that billing depends on, and reports what it would accept and never bill. An
// error means that the ledger could not be read.
func (a *Account) Check(ctx context.Context, report Progress) (CheckReport, error) {
	p := &check{a: a, client: a.Lago, ctx: ctx, report: report, plans: make(map[string]*lago.Plan), reported: make(map[string]bool)}
	p.result.Account = a.Name
	if p.client == nil {
		p.add(LevelWarning, "Lago", "no api_base is configured: records stay in the ledger and nothing is billed")
		return p.done()
	}
	p.result.Lago = p.client.Base()
	if !p.organization() {
		return p.done()
	}
	p.batches()
	payers, more, err := a.usage(ctx, report)
	if err != nil {
		return p.result, err
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
		p.add(LevelWarning, "payers", fmt.Sprintf("only the first %d payers of the ledger were checked", maxSubscriptions))
	}
	if err := ctx.Err(); err != nil {
		return p.result, err
	}
	return p.done()
}

func (p *check) add(level, about, words string) {
	p.result.Findings = append(p.result.Findings, Finding{level, about, words})
}

func (p *check) done() (CheckReport, error) {
	p.result.OK = !slices.ContainsFunc(p.result.Findings, func(f Finding) bool { return f.Level == LevelProblem })
	return p.result, nil
}

// unasked notes that Lago did not answer. A key without permission to read bills all the same.
func (p *check) unasked(about string, err error) {
	if e, ok := errors.AsType[*lago.Error](err); ok && e.Status == http.StatusForbidden {
		p.add(LevelWarning, about, "the API key may not read this, so it was not checked: "+e.Words)
		return
	}
	p.add(LevelProblem, about, "could not be asked: "+err.Error())
}

// organization asks for the key's organization and its events store.
func (p *check) organization() bool {
	org, err := p.client.Organization(p.ctx)
	if err != nil {
		if e, ok := errors.AsType[*lago.Error](err); ok && e.Status == http.StatusForbidden {
			p.unasked("organization", err)
			return true
		}
		p.add(LevelProblem, "API key", err.Error())
		return false
	}
	p.add(LevelOK, "API key", "it belongs to the organization "+org.Name)
	switch {
	case org.EventsStore == lago.Postgres:
		p.add(LevelOK, "events store", "postgres: an event that is sent again counts once")
	case org.EventsStore != lago.ClickHouse:
		p.add(LevelWarning, "events store", "Lago does not report which it has")
	case org.Deduplication == nil:
		p.add(LevelWarning, "events store", "clickhouse: see that clickhouse_deduplication_enabled is on for this organization (its default is off, and this "+
			"Lago does not report); without it an event that is sent again may be billed twice")
	case !*org.Deduplication:
		p.add(LevelProblem, "events store", "clickhouse with clickhouse_deduplication_enabled off: an event that is sent again may be billed twice; turn it on")
	default:
		p.add(LevelOK, "events store", "clickhouse, with deduplication: an event that is sent again counts once")
	}
	return true
}

// batches tests whether the key may write, and how many events a batch may hold.
func (p *check) batches() {
	const most = 100
	for n := most; n > 0; n /= 2 {
		ok, tooMany, err := p.client.Probe(p.ctx, n)
		switch {
		case tooMany:
			continue
		case err != nil:
			p.add(LevelProblem, "sending events", err.Error())
		case ok && n == most:
			p.add(LevelOK, "sending events", "the key may send events, 100 in a batch")
		case ok:
			p.add(LevelWarning, "sending events", fmt.Sprintf("this Lago takes only %d events or a few more in a batch (LAGO_EVENTS_BATCH_MAX_LENGTH); "+
				"delivery learns that, but is slower for it", n))
		}
		return
	}
	p.add(LevelProblem, "sending events", "this Lago takes no event in a batch")
}

// metricsFit checks the billable metrics of the configured shapes. It returns false if Lago does not answer.
func (p *check) metricsFit(used map[string]int) bool {
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
	required := p.a.requiredMetrics()
	for i := range required {
		m := &required[i]
		about := "metric " + m.Code
		have, ok := p.metrics[m.Code]
		switch problem, warning := m.Fits(have); {
		case !ok && used[m.Code] > 0:
			p.add(LevelProblem, about, "Lago has no such billable metric: accepted and never billed, "+countedEvents(used[m.Code])+" of the ledger so far")
		case !ok && m.Needed:
			p.add(LevelProblem, about, "Lago has no such billable metric: its events are accepted and never billed; `caddy tollgate billing setup` creates it")
		case !ok:
			rare = append(rare, m.Code)
		case problem != "":
			p.add(LevelProblem, about, problem)
		case warning != "":
			p.add(LevelWarning, about, warning)
		default:
			words := have.AggregationType
			if have.FieldName != "" {
				words += " of " + have.FieldName
			}
			p.add(LevelOK, about, words)
		}
	}
	if len(rare) > 0 {
		p.add(LevelWarning, "metrics", "Lago has no billable metric for "+strings.Join(rare, ", ")+
			": usage of these kinds, if it comes, is accepted and never billed")
	}
	p.strangeCodes(required, used)
	return true
}

// strangeCodes reports codes of the ledger that the configuration no longer uses and Lago does not bill.
func (p *check) strangeCodes(required []tariff.Metric, used map[string]int) {
	for _, code := range slices.Sorted(maps.Keys(used)) {
		known := slices.ContainsFunc(required, func(m tariff.Metric) bool { return m.Code == code })
		if _, ok := p.metrics[code]; !ok && !known {
			p.add(LevelProblem, "metric "+code, "the ledger holds "+countedEvents(used[code])+" of this code, of an earlier configuration; Lago has no such "+
				"billable metric: accepted and never billed")
		}
	}
}

// payers checks the subscription and plan of every payer.
func (p *check) payers(payers map[string]*subscriptionUsage) {
	names := slices.Sorted(maps.Keys(payers))
	for i, name := range names {
		p.report("payers checked", i, len(names))
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
		p.add(LevelOK, "payers", fmt.Sprintf("%d of %d payers of the ledger have an active subscription whose plan charges what they use", p.good, len(names)))
	}
	if len(names) == 0 {
		p.add(LevelWarning, "payers", "the ledger names none yet, so no subscription and no plan was checked; check again after the first calls")
	}
}

func (p *check) payer(name string, b *subscriptionUsage) error {
	total := 0
	for _, n := range b.events {
		total += n
	}
	about := "payer " + name
	sub, err := p.client.Subscription(p.ctx, name)
	if errors.Is(err, lago.ErrNotFound) {
		p.add(LevelProblem, about, "Lago knows no active subscription with this external id: accepted and never billed, "+countedEvents(total)+" of the ledger so far")
		return nil
	}
	if err != nil {
		return err
	}
	fine := true
	early := sub.StartedAt != nil && b.first.Before(sub.StartedAt.Truncate(time.Millisecond))
	switch {
	case early && sub.PreviousPlanCode != "": // subscriptions from before a change of plan have the same external id
		p.add(LevelWarning, about, fmt.Sprintf("its plan changed from %s to %s at %s: events before that are billed by %s", sub.PreviousPlanCode, sub.PlanCode,
			sub.StartedAt.Format(time.RFC3339), sub.PreviousPlanCode))
	case early:
		fine = false
		p.add(LevelProblem, about, fmt.Sprintf("its subscription started at %s, after its first event (%s): what comes before the start is accepted and never billed",
			sub.StartedAt.Format(time.RFC3339), b.first.UTC().Format(time.RFC3339)))
	}
	if b.unsent > 0 && sub.PeriodStart != nil && b.firstUnsent.Before(*sub.PeriodStart) {
		p.add(LevelWarning, about, fmt.Sprintf("events that Lago does not have yet are of before %s, when its billing period began: if the invoice of "+
			"the period before is final, they are accepted and never billed (see `late`)", sub.PeriodStart.Format(time.RFC3339)))
	}
	codes := []string{sub.PlanCode}
	if early && sub.PreviousPlanCode != "" {
		codes = append(codes, sub.PreviousPlanCode)
	}
	if sub.NextPlanCode != "" {
		codes = append(codes, sub.NextPlanCode)
	}
	for _, code := range slices.Compact(codes) {
		charged, err := p.plan(name, code, b)
		if err != nil {
			return err
		}
		fine = fine && charged
	}
	if fine {
		p.good++
	}
	return nil
}

// plan checks the charges for a payer's usage. It returns whether all of it is billed.
func (p *check) plan(payer, code string, b *subscriptionUsage) (fine bool, err error) {
	plan, known := p.plans[code]
	if !known {
		got, err := p.client.Plan(p.ctx, code)
		if errors.Is(err, lago.ErrNotFound) {
			p.plans[code] = nil
			p.add(LevelWarning, "plan "+code, "Lago no longer has it, so its charges were not checked (payer "+payer+")")
			return false, nil
		}
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
		if key := code + " " + metric; !p.reported[key] {
			p.reported[key] = true
			p.add(LevelProblem, "plan "+code, words+" (payer "+payer+", and all others on it)")
		}
	}
	for _, metric := range slices.Sorted(maps.Keys(b.events)) {
		if _, ok := p.metrics[metric]; !ok {
			fine = false // reported already
			continue
		}
		at, count := -1, 0
		for i, c := range plan.Charges {
			if c.MetricCode == metric {
				at, count = i, count+1
			}
		}
		switch {
		case count > 1:
			wrong(metric, fmt.Sprintf("it has %d charges for the metric %s: each of them bills every event, so they are billed %d times", count, metric, count))
		case at < 0:
			wrong(metric, "it has no charge for the metric "+metric+": events are accepted and never billed")
		case p.hasAmounts(metric) && plan.Charges[at].Model != "dynamic":
			wrong(metric, fmt.Sprintf("it bills the metric %s by a %s charge: the exact amounts of the events are not billed; use a dynamic charge",
				metric, plan.Charges[at].Model))
		}
	}
	return fine, nil
}

// hasAmounts reports whether events of that code carry amounts.
func (p *check) hasAmounts(code string) bool {
	return slices.ContainsFunc(p.a.Tariffs, func(t *tariff.Tariff) bool { return t.BillsAmounts(code) })
}

// inAdvance warns once for each plan.
func (p *check) inAdvance(plan *lago.Plan) {
	for _, c := range plan.Charges {
		if c.PayInAdvance && slices.ContainsFunc(p.a.requiredMetrics(), func(m tariff.Metric) bool { return m.Code == c.MetricCode }) {
			p.add(LevelWarning, "plan "+plan.Code, "its charge for "+c.MetricCode+
				" is paid in advance: a fee can be lost when Lago fails after it stored the event; charge in arrears")
		}
	}
}

// requiredMetrics returns the billable metrics that the account's events require, each code once.
func (a *Account) requiredMetrics() []tariff.Metric {
	var all []tariff.Metric
	seen := make(map[string]bool)
	for _, t := range a.Tariffs {
		for _, m := range t.Metrics() {
			if !seen[m.Shape+" "+m.Code] {
				seen[m.Shape+" "+m.Code] = true
				all = append(all, m)
			}
		}
	}
	return all
}
