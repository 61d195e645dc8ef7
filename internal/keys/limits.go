package keys

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/price"
)

// Limits are what a record limits, whatever it is a record of. They are shared and never changed.
type Limits struct {
	Budgets []Budget
	Rates   []Rate

	raise price.Amount // temp_budget_increase: what max_budget is raised by
	until time.Time    // temp_budget_expiry
}

// Budget is a limit of money in a window.
type Budget struct {
	Field  string       // max_budget, soft_budget, budget_limits or model_max_budget
	Model  string       // a model's name or pattern; empty: all
	Every  string       // the window's length as it was written; empty: it has no end
	Window limit.Window // with its anchor
	Max    price.Amount

	resets time.Time // reset_at or budget_reset_at: when one of its windows ends; zero where the record does not have it
}

// Rate is a limit of requests, tokens or calls at once.
type Rate struct {
	Field  string // rpm_limit, tpm_limit, max_parallel_requests, model_rpm_limit, model_tpm_limit or model_max_budget
	Model  string // as of Budget
	Metric limit.Metric
	Max    int64

	untyped bool // of tokens, and the record does not name which: the configuration does
}

// maxBudget is the highest budget that stores hold: 2^53 - 1 millionths of a dollar. No spend comes near it.
var maxBudget = price.FromLimbs(1<<53-1, 0)

// maxCount is the highest count that stores hold.
const maxCount = 1 << 53

// ParseLimits reads the limits of a record: of its fields, and of the fields that LiteLLM keeps in metadata. The windows have
// no anchors yet: see Anchor. Amounts beyond what can be kept are taken for the highest, and those with more than 15 decimals
// are rounded, as databases hold such.
func ParseLimits(fields, metadata map[string]json.RawMessage) (*Limits, error) {
	l := new(Limits)
	p := limitParser{fields: fields, metadata: metadata, to: l}
	every := p.window("budget_duration", p.get("budget_duration"))
	p.budget("max_budget", "", every, p.get("max_budget"))
	p.budget("soft_budget", "", every, p.get("soft_budget"))
	p.rate("rpm_limit", "", limit.Requests, p.get("rpm_limit"))
	tokens := p.tokenMetric()
	p.rate("tpm_limit", "", tokens, p.get("tpm_limit"))
	p.rate("max_parallel_requests", "", limit.Parallel, p.get("max_parallel_requests"))
	p.windows()
	p.models(tokens)
	for field, metric := range map[string]limit.Metric{"model_rpm_limit": limit.Requests, "model_tpm_limit": tokens} {
		var byModel map[string]json.RawMessage
		p.decode(field, p.get(field), &byModel)
		for _, model := range slices.Sorted(maps.Keys(byModel)) {
			p.rate(field, model, metric, byModel[model])
		}
	}
	if raw := p.get("temp_budget_increase"); raw != nil {
		l.raise = p.amount("temp_budget_increase", raw)
		var text string
		p.decode("temp_budget_expiry", p.get("temp_budget_expiry"), &text)
		var ok bool
		if l.until, ok = parseMoment(text); !ok {
			p.fail("temp_budget_expiry", "must be a time")
		}
	}
	return l, p.err
}

// limitParser keeps the first fault.
type limitParser struct {
	fields, metadata map[string]json.RawMessage
	to               *Limits
	err              error
}

func (p *limitParser) fail(field, fault string) {
	if p.err == nil {
		p.err = fmt.Errorf("%s %s", field, fault)
	}
}

// get returns a field; nil where there is none, or null.
func (p *limitParser) get(name string) json.RawMessage {
	for _, m := range []map[string]json.RawMessage{p.fields, p.metadata} {
		if raw, ok := m[name]; ok && !null(raw) {
			return raw
		}
	}
	return nil
}

func (p *limitParser) decode(field string, raw json.RawMessage, to any) {
	if raw != nil && !null(raw) && json.Unmarshal(raw, to) != nil {
		p.fail(field, "is not of its type")
	}
}

func (p *limitParser) amount(field string, raw json.RawMessage) price.Amount {
	if _, fault := number(raw); fault != "" {
		p.fail(field, fault)
		return price.Amount{}
	}
	a, _, err := price.ParseReported(string(raw), "usd")
	if err != nil || a.Cmp(maxBudget) > 0 {
		return maxBudget // a number that does not fit: number has checked that it is one
	}
	return a
}

func (p *limitParser) budget(field, model, every string, raw json.RawMessage) {
	if raw == nil || null(raw) {
		return
	}
	p.to.Budgets = append(p.to.Budgets, Budget{Field: field, Model: model, Every: every, Max: p.amount(field, raw)})
}

func (p *limitParser) rate(field, model string, metric limit.Metric, raw json.RawMessage) {
	if raw == nil || null(raw) {
		return
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || n < 0 {
		p.fail(field, "must be a whole number that is not negative")
	}
	r := Rate{Field: field, Model: model, Metric: metric, Max: min(n, maxCount)}
	if metric == "" {
		r.Metric, r.untyped = limit.Tokens, true
	}
	p.to.Rates = append(p.to.Rates, r)
}

// tokenMetric returns what the record's limits of tokens count, by its token_rate_limit_type; empty where it has none.
func (p *limitParser) tokenMetric() limit.Metric {
	var text string
	p.decode("token_rate_limit_type", p.get("token_rate_limit_type"), &text)
	metric, ok := TokenMetric(text)
	if !ok {
		p.fail("token_rate_limit_type", "must be one of "+strings.Join(tokenTypes, ", "))
	}
	return metric
}

// TokenMetric returns what a token_rate_limit_type counts; empty for an empty one.
func TokenMetric(text string) (limit.Metric, bool) {
	switch text {
	case "":
		return "", true
	case "total":
		return limit.Tokens, true
	case "input":
		return limit.InputTokens, true
	case "output":
		return limit.OutputTokens, true
	}
	return "", false
}

// window reads a window's length as it was written.
func (p *limitParser) window(field string, raw json.RawMessage) string {
	if raw == nil || null(raw) {
		return ""
	}
	v, fault := windowText(raw)
	if fault != "" {
		p.fail(field, fault)
	}
	text, _ := v.(string)
	return text
}

// windows reads budget_limits: a list of {budget_duration, max_budget}.
func (p *limitParser) windows() {
	var list []map[string]json.RawMessage
	p.decode("budget_limits", p.get("budget_limits"), &list)
	for _, entry := range list {
		p.only("budget_limits", entry, "budget_duration", "max_budget", "reset_at")
		every := p.window("budget_limits", entry["budget_duration"])
		if every == "" || entry["max_budget"] == nil {
			p.fail("budget_limits", "must be a list of {budget_duration, max_budget}")
		}
		if slices.ContainsFunc(p.to.Budgets, func(b Budget) bool { return b.Field == "budget_limits" && b.Every == every }) {
			p.fail("budget_limits", "has the budget_duration "+every+" twice")
		}
		p.budget("budget_limits", "", every, entry["max_budget"])
		var text string
		if p.decode("budget_limits", entry["reset_at"], &text); text != "" && p.err == nil {
			resets, ok := parseMoment(text)
			if !ok {
				p.fail("budget_limits", "has a reset_at that is not a time")
			}
			p.to.Budgets[len(p.to.Budgets)-1].resets = resets
		}
	}
}

// models reads model_max_budget: {model: {max_budget, budget_duration, rpm_limit, tpm_limit}}, whose first two LiteLLM also calls
// budget_limit and time_period.
func (p *limitParser) models(tokens limit.Metric) {
	var byModel map[string]map[string]json.RawMessage
	p.decode("model_max_budget", p.get("model_max_budget"), &byModel)
	const field = "model_max_budget"
	for _, model := range slices.Sorted(maps.Keys(byModel)) {
		m := byModel[model]
		p.only(field, m, "max_budget", "budget_limit", "budget_duration", "time_period", "rpm_limit", "tpm_limit")
		either := func(a, b string) json.RawMessage {
			if m[a] != nil && !null(m[a]) {
				return m[a]
			}
			return m[b]
		}
		every := p.window(field, either("budget_duration", "time_period"))
		p.budget(field, model, every, either("max_budget", "budget_limit"))
		p.rate(field, model, limit.Requests, m["rpm_limit"])
		p.rate(field, model, tokens, m["tpm_limit"])
	}
}

func (p *limitParser) only(field string, m map[string]json.RawMessage, known ...string) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if !slices.Contains(known, name) {
			p.fail(field, "has an unknown member "+name)
		}
	}
}

// id names a budget's window within its record. A soft budget has that of the budget beside it.
func (b *Budget) id() string {
	field := b.Field
	if field == "soft_budget" {
		field = "max_budget"
	}
	return field + "|" + b.Model + "|" + b.Every
}

// Windows are the times at which the windows of a record's budgets began to be counted, by field, model and length.
type Windows map[string]time.Time

// After returns the windows of a record that was changed now: a budget that is new, or whose length is, begins now.
func (w Windows) After(before, after *Limits, now time.Time) Windows {
	out := make(Windows)
	for i := range after.Budgets {
		id := after.Budgets[i].id()
		if !after.Budgets[i].resets.IsZero() {
			continue
		}
		if at, ok := w[id]; ok {
			out[id] = at
		} else if before == nil || !slices.ContainsFunc(before.Budgets, func(b Budget) bool { return b.id() == id }) {
			out[id] = stamp(now)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// Anchor puts the windows where the record has their begin. A budget that it does not know, as it comes from LiteLLM, has
// windows that end at the record's budget_reset_at, or that begin with the record.
func (l *Limits) Anchor(w Windows, resets, created time.Time) {
	for i := range l.Budgets {
		b := &l.Budgets[i]
		at, ok := w[b.id()]
		switch {
		case ok:
		case !b.resets.IsZero():
			at = b.resets
		case !resets.IsZero() && b.Every != "" && b.Model == "" && b.Field != "budget_limits":
			at, b.resets = resets, resets
		case !created.IsZero():
			at = created
		default:
			at = time.Unix(0, 0)
		}
		b.Window, _ = limit.ParseWindow(b.Every, at) // the parser has checked it
	}
}

// Max returns max_budget as of now; false where there is none.
func (l *Limits) Max(now time.Time) (price.Amount, bool) {
	if l == nil {
		return price.Amount{}, false
	}
	for i := range l.Budgets {
		if b := &l.Budgets[i]; b.Field == "max_budget" {
			return l.max(b, now), true
		}
	}
	return price.Amount{}, false
}

func (l *Limits) max(b *Budget, now time.Time) price.Amount {
	if b.Field != "max_budget" || !now.Before(l.until) {
		return b.Max
	}
	sum, err := b.Max.Add(l.raise)
	if err != nil || sum.Cmp(maxBudget) > 0 {
		return maxBudget
	}
	return sum
}

// Of appends the limits for a call of one of the subject's models; without models, all of them. A limit of a model is of the name
// that it was set with.
func (l *Limits) Of(to []limit.Limit, s limit.Scope, call *Subject) []limit.Limit {
	if l == nil {
		return to
	}
	concerns := func(pattern string) bool {
		return pattern == "" || call.Models == nil ||
			slices.ContainsFunc(call.Models, func(m string) bool { return m == pattern || llm.Match(pattern, m) })
	}
	for i := range l.Budgets {
		if b := &l.Budgets[i]; concerns(b.Model) {
			to = append(to, limit.Limit{
				Scope: s, Metric: limit.Cost, Model: b.Model, Window: b.Window, Money: l.max(b, call.Now), Soft: b.Field == "soft_budget",
			})
		}
	}
	for i := range l.Rates {
		if r := &l.Rates[i]; concerns(r.Model) {
			metric := r.Metric
			if r.untyped && call.Tokens != "" {
				metric = call.Tokens
			}
			to = append(to, limit.Limit{Scope: s, Metric: metric, Model: r.Model, Max: r.Max})
		}
	}
	return to
}

// Counted returns the limits of money, of all models or of one, whose window under way is the one that LiteLLM counted in: a max_budget whose window
// has not ended since, and a budget of a model that has no end.
func (l *Limits) Counted(s limit.Scope, model string, now time.Time) (list []limit.Limit) {
	if l == nil {
		return nil
	}
	for i := range l.Budgets {
		b := &l.Budgets[i]
		switch {
		case b.Model != model, b.Field != "max_budget" && (model == "" || b.Every != ""):
			continue
		case b.Every != "" && !b.resets.IsZero() && !now.Before(b.resets):
			continue
		}
		list = append(list, limit.Limit{Scope: s, Metric: limit.Cost, Model: b.Model, Window: b.Window, Money: l.max(b, now)})
	}
	return list
}

// Empty reports whether nothing is limited.
func (l *Limits) Empty() bool { return l == nil || len(l.Budgets) == 0 && len(l.Rates) == 0 }

// windowText checks the length of a window.
func windowText(raw json.RawMessage) (any, string) {
	v, fault := text(raw)
	if s, ok := v.(string); ok {
		if _, ok := limit.ParseWindow(s, time.Time{}); !ok || s == "" {
			return nil, "must be " + periodUnits + ", or one of hourly, daily, weekly, monthly"
		}
	}
	return v, fault
}

// parseMoment reads a time as LiteLLM's clients write it; without a zone it is UTC.
func parseMoment(text string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// moment checks a time.
func moment(raw json.RawMessage) (any, string) {
	v, fault := text(raw)
	if s, ok := v.(string); ok {
		if _, ok := parseMoment(s); !ok {
			return nil, "must be a time, such as 2026-01-31T00:00:00Z"
		}
	}
	return v, fault
}

// limitsField checks a field that holds limits of models or of several windows. Their amounts are checked as those of the other
// fields are.
func limitsField(name string) check {
	return func(raw json.RawMessage) (any, string) {
		l, err := ParseLimits(map[string]json.RawMessage{name: raw}, nil)
		if err != nil {
			return nil, strings.TrimPrefix(err.Error(), name+" ")
		}
		if fault := exactNumbers(raw); fault != "" {
			return nil, fault
		}
		for _, r := range l.Rates {
			if r.Max == maxCount {
				return nil, tooHigh
			}
		}
		return raw, ""
	}
}

// exactNumbers checks every number within a value as amount does.
func exactNumbers(raw json.RawMessage) string {
	var list []json.RawMessage
	var members map[string]json.RawMessage
	switch {
	case json.Unmarshal(raw, &list) == nil:
	case json.Unmarshal(raw, &members) == nil:
		list = slices.Collect(maps.Values(members))
	default:
		if _, fault := number(raw); fault == "" {
			_, fault = amount(raw)
			return fault
		}
	}
	for _, r := range list {
		if fault := exactNumbers(r); fault != "" {
			return fault
		}
	}
	return ""
}
