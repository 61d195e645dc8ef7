package tariff

import (
	"slices"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/lago"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// Metric is a billable metric that the events of a configured shape require.
type Metric struct {
	Shape      string
	Code       string
	Name       string   // when setup creates it
	Field      string   // the property that it should sum
	Quantities []string // numeric properties
	texts      []string // other properties
	sometimes  []string // numeric properties that not every event has
	Needed     bool     // every account has events of this code; others may never occur
}

var commonTexts = []string{"model", "model_group", "provider", "key_alias", "team_id", "user_id", "call_id", "usage"}

// Metrics returns the billable metrics that the events need.
func (t *Tariff) Metrics() []Metric {
	texts := slices.Concat(commonTexts, t.properties)
	switch t.shape.kind {
	case PerTokenType:
		texts = append(texts, "api")
		list := make([]Metric, 0, usage.NumKinds)
		for k, code := range tokenCodes {
			kind := usage.Kind(k)
			list = append(list, Metric{
				Shape: t.shape.kind, Code: code, Name: metricName(code), Field: "value", Quantities: []string{"value"}, texts: texts,
				Needed: kind == usage.Input || kind == usage.Output,
			})
		}
		return list
	case Cost:
		return []Metric{{
			Shape: t.shape.kind, Code: t.shape.code, Name: metricName(t.shape.code), Field: "unit",
			Quantities: []string{"unit", "value", "base_cost", "unit_price"}, sometimes: []string{"unit_price"},
			texts: append(texts, "api", "token_type", "price_source", "unit_price_per"), Needed: true,
		}}
	}
	m := Metric{
		Shape: t.shape.kind, Code: t.shape.code, Name: metricName(t.shape.code), Field: "total_tokens", texts: texts, Needed: true,
		Quantities: []string{"total_tokens", "prompt_tokens", "completion_tokens", "input_tokens", "output_tokens"},
		sometimes:  []string{"response_cost"},
	}
	for _, name := range requestProperties {
		if name != "" {
			m.sometimes = append(m.sometimes, name)
		}
	}
	m.Quantities = append(m.Quantities, m.sometimes...)
	return []Metric{m}
}

// metricName makes a code readable: llm_input_tokens becomes LLM input tokens.
func metricName(code string) string {
	words := strings.ReplaceAll(code, "_", " ")
	if rest, ok := strings.CutPrefix(words, "llm "); ok {
		return "LLM " + rest
	}
	return words
}

// Aggregations of Lago that need no numeric property.
const (
	CountAgg       = "count_agg"
	SumAgg         = "sum_agg"
	uniqueCountAgg = "unique_count_agg"
	customAgg      = "custom_agg"
)

// Fits reports what is wrong with Lago's metric for these events: what would be accepted and not billed, or not billed as
// the shape intends. Both are empty if nothing is.
func (m *Metric) Fits(have lago.BillableMetric) (problem, warning string) {
	switch {
	case have.Expression != "":
		warning = "its quantity comes from the expression " + have.Expression +
			"; Lago refuses an event that lacks a variable of it, and it is then among the rejected records"
	case have.AggregationType == customAgg:
		warning = "it has a custom aggregation, which cannot be checked from here"
	case have.AggregationType == CountAgg:
		if m.Shape != PerRequest {
			problem = "it counts events, not quantities: the " + m.Field + " of its events would be accepted and never billed"
		}
	case have.AggregationType == uniqueCountAgg:
		if !slices.Contains(m.Quantities, have.FieldName) && !slices.Contains(m.texts, have.FieldName) {
			problem = m.noProperty(have)
		}
	case !slices.Contains(m.Quantities, have.FieldName):
		problem = m.noProperty(have)
	case m.Shape != PerRequest && have.FieldName != m.Field && have.FieldName != "value":
		warning = "it aggregates " + have.FieldName + ", but the quantity of its events is " + m.Field
	case slices.Contains(m.sometimes, have.FieldName):
		warning = "it aggregates " + have.FieldName + ", which not every event has: a call without it is accepted and bills nothing"
	}
	if problem == "" && m.Shape == Cost && have.AggregationType != SumAgg {
		problem = "its aggregation is " + have.AggregationType + ", but a dynamic charge, which bills the amounts of the events, needs " + SumAgg
	}
	for _, f := range have.Filters {
		if problem == "" && warning == "" && !slices.Contains(m.texts, f.Key) {
			warning = "it is filtered by " + f.Key + ", which its events do not have: all of them fall to the default price"
		}
	}
	return problem, warning
}

func (m *Metric) noProperty(have lago.BillableMetric) string {
	if slices.Contains(m.texts, have.FieldName) {
		return "it aggregates " + have.FieldName + ", which holds a text: events would be accepted and never counted. Let it sum " + m.Field
	}
	return "it aggregates " + have.FieldName + ", which the events do not have: they would be accepted and never counted. Let it sum " + m.Field
}
