package tariff

import (
	"errors"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// modelCost is what a call costs by the price data: the lines of the answer's own model first, then those of the others.
type modelCost struct {
	price.Cost
	models []string // the model of each line; empty for the answer's own
}

// tableCost prices the counts of each model that took part by its own prices. Those written for the backend are prices of the
// model that it serves: another one has its list price, or none.
func (t *Tariff) tableCost(b *bill, res *usage.Result) (modelCost, error) {
	q := query(b.target, b.upstream(), b.ResponseModel, b.Tier, b.Settled)
	if len(res.Parts) == 0 {
		c, err := t.prices.Cost(q, &res.Counts)
		return modelCost{Cost: c}, err
	}
	var sum modelCost
	if own := res.Counts.Less(res.Parts); !zero(&own) {
		c, err := t.prices.Cost(q, &own)
		if err != nil {
			return sum, err
		}
		sum = modelCost{c, make([]string, len(c.Lines))}
	}
	for i := range res.Parts {
		p := &res.Parts[i]
		if zero(&p.Counts) {
			continue
		}
		part := price.Query{Provider: q.Provider, BaseURL: q.BaseURL, Region: q.Region, Model: p.Model, Tier: q.Tier, At: q.At}
		c, err := t.partCost(part, &p.Counts)
		if err != nil {
			return sum, err
		}
		if err := sum.add(p.Model, &c); err != nil {
			return sum, err
		}
	}
	return sum, nil
}

// partCost prices what another model used. Where the call's tier has no price for it the standard one holds, which is noted:
// whether a tool's model is served in the tier is unknown. At an address without a list the maker's own holds.
func (t *Tariff) partCost(q price.Query, c *usage.Counts) (price.Cost, error) {
	first := price.Cost{}
	var firstErr error
	for _, try := range [...]struct {
		baseURL, tier, note string
	}{
		{q.BaseURL, q.Tier, ""},
		{q.BaseURL, "", "the standard tier's price used"},
		{"", q.Tier, "its maker's list price used"},
		{"", "", "its maker's list price in the standard tier used"},
	} {
		q.BaseURL, q.Tier = try.baseURL, try.tier
		cost, err := t.prices.Cost(q, c)
		if err == nil {
			if try.note != "" {
				cost.Notes = append(cost.Notes, record.Clip(q.Model)+": "+try.note)
			}
			return cost, nil
		}
		if firstErr == nil {
			first, firstErr = cost, err
		}
		if !errors.Is(err, price.ErrUnpriced) {
			break
		}
	}
	return first, firstErr
}

// add adds the cost of another model.
func (m *modelCost) add(model string, c *price.Cost) (err error) {
	if m.Total, err = m.Total.Add(c.Total); err != nil {
		return err
	}
	m.Lines = append(m.Lines, c.Lines...)
	for range c.Lines {
		m.models = append(m.models, model)
	}
	for _, n := range c.Notes {
		if !strings.Contains(strings.Join(m.Notes, "; "), n) {
			m.Notes = append(m.Notes, n)
		}
	}
	if m.Version == "" {
		m.Version = c.Version
	}
	return nil
}

// model returns the model of a line, empty for the answer's own.
func (m *modelCost) model(line int) string {
	if line < len(m.models) {
		return m.models[line]
	}
	return ""
}

// zero reports whether nothing was counted.
func zero(c *usage.Counts) bool {
	for _, n := range c.All() {
		if n > 0 {
			return false
		}
	}
	return true
}

// takeModels keeps in the record what other models used.
func (b *bill) takeModels(parts []usage.Part) {
	b.Models = nil
	for i := range parts {
		b.Models = append(b.Models, record.ModelCounts{Model: record.Clip(parts[i].Model), Counts: record.Counts{Counts: parts[i].Counts}})
	}
}

// stated reports whether a cost of zero that a provider states is taken. Some state it beside tokens that they charge; what the
// list has a price for is then priced by the list, but for the models that OpenRouter names as free.
func (t *Tariff) stated(b *bill, res *usage.Result) bool {
	if b.Counts.InputTokens()+b.Counts.OutputTokens() == 0 || strings.HasSuffix(b.ResponseModel, ":free") || strings.HasSuffix(b.upstream(), ":free") {
		return true
	}
	c, err := t.tableCost(b, res)
	return err != nil || c.Total == price.Amount{}
}
