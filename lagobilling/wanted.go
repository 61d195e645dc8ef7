package lagobilling

import (
	"slices"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/lago"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// wantedMetric is a billable metric that events of a configured shape are counted by.
type wantedMetric struct {
	shape      string
	code       string
	name       string   // as setup creates it
	field      string   // what setup has it sum
	quantities []string // properties that hold numbers
	texts      []string // properties that do not
	sometimes  []string // quantities that not every event has
	needed     bool     // every account has events of this code; of the others some may never come
}

var commonTexts = []string{"model", "model_group", "provider", "key_alias", "team_id", "user_id", "call_id", "usage"}

// wanted returns the billable metrics of the handler's events.
func (h *Handler) wanted() []wantedMetric {
	texts := slices.Clone(commonTexts)
	for _, p := range h.properties {
		texts = append(texts, p.name)
	}
	switch h.shape.kind {
	case shapePerTokenType:
		texts = append(texts, "api")
		list := make([]wantedMetric, 0, usage.NumKinds)
		for k, code := range tokenCodes {
			kind := usage.Kind(k)
			list = append(list, wantedMetric{
				shape: h.shape.kind, code: code, name: metricName(code), field: "value", quantities: []string{"value"}, texts: texts,
				needed: kind == usage.Input || kind == usage.Output,
			})
		}
		return list
	case shapeCost:
		return []wantedMetric{{
			shape: h.shape.kind, code: h.shape.code, name: metricName(h.shape.code), field: "unit",
			quantities: []string{"unit", "value", "base_cost", "unit_price"}, sometimes: []string{"unit_price"},
			texts: append(texts, "api", "token_type", "price_source", "unit_price_per"), needed: true,
		}}
	}
	m := wantedMetric{
		shape: h.shape.kind, code: h.shape.code, name: metricName(h.shape.code), field: "total_tokens", texts: texts, needed: true,
		quantities: []string{"total_tokens", "prompt_tokens", "completion_tokens", "input_tokens", "output_tokens"},
		sometimes:  []string{"response_cost"},
	}
	for _, name := range requestProperties {
		if name != "" {
			m.sometimes = append(m.sometimes, name)
		}
	}
	m.quantities = append(m.quantities, m.sometimes...)
	return []wantedMetric{m}
}

// metricName makes a code readable: llm_input_tokens is LLM input tokens.
func metricName(code string) string {
	words := strings.ReplaceAll(code, "_", " ")
	if rest, ok := strings.CutPrefix(words, "llm "); ok {
		return "LLM " + rest
	}
	return words
}

// wantedMetrics returns the billable metrics of all handlers of the account, each code once.
func (a *Account) wantedMetrics() []wantedMetric {
	var all []wantedMetric
	seen := make(map[string]bool)
	for _, h := range a.handlers() {
		for _, m := range h.wanted() {
			if !seen[m.shape+" "+m.code] {
				seen[m.shape+" "+m.code] = true
				all = append(all, m)
			}
		}
	}
	return all
}

// Aggregations of Lago that look at no property, or at one that need not be a number.
const (
	countAgg       = "count_agg"
	sumAgg         = "sum_agg"
	uniqueCountAgg = "unique_count_agg"
	customAgg      = "custom_agg"
)

// fits says what is wrong with a metric of Lago's for these events: what would be accepted and not billed, or not billed
// as the shape means it. Both are empty when nothing is.
func (m *wantedMetric) fits(have lago.BillableMetric) (problem, warning string) {
	switch {
	case have.Expression != "":
		warning = "its quantity comes from the expression " + have.Expression +
			"; Lago refuses an event that lacks a variable of it, and it is then among the rejected records"
	case have.AggregationType == customAgg:
		warning = "it has a custom aggregation, which cannot be checked from here"
	case have.AggregationType == countAgg:
		if m.shape != shapePerRequest {
			problem = "it counts events, not quantities: the " + m.field + " of its events would be accepted and never billed"
		}
	case have.AggregationType == uniqueCountAgg:
		if !slices.Contains(m.quantities, have.FieldName) && !slices.Contains(m.texts, have.FieldName) {
			problem = m.noProperty(have)
		}
	case !slices.Contains(m.quantities, have.FieldName):
		problem = m.noProperty(have)
	case m.shape != shapePerRequest && have.FieldName != m.field && have.FieldName != "value":
		warning = "it aggregates " + have.FieldName + ", but the quantity of its events is " + m.field
	case slices.Contains(m.sometimes, have.FieldName):
		warning = "it aggregates " + have.FieldName + ", which not every event has: a call without it is accepted and bills nothing"
	}
	if problem == "" && m.shape == shapeCost && have.AggregationType != sumAgg {
		problem = "its aggregation is " + have.AggregationType + ", but a dynamic charge, which bills the amounts of the events, needs " + sumAgg
	}
	for _, f := range have.Filters {
		if problem == "" && warning == "" && !slices.Contains(m.texts, f.Key) {
			warning = "it is filtered by " + f.Key + ", which its events do not have: all of them fall to the default price"
		}
	}
	return problem, warning
}

func (m *wantedMetric) noProperty(have lago.BillableMetric) string {
	if slices.Contains(m.texts, have.FieldName) {
		return "it aggregates " + have.FieldName + ", which holds a text: events would be accepted and never counted. Let it sum " + m.field
	}
	return "it aggregates " + have.FieldName + ", which the events do not have: they would be accepted and never counted. Let it sum " + m.field
}
