package tariff

import (
	"errors"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// modelCost is the cost of a call by the price data: the lines of the answer's model first, then those of other models.
type modelCost struct {
	price.Cost
	models []string // the model of each line; empty for the answer's
}

// tableCost prices each participating model by its own prices. Prices configured for a backend apply to the model that it
// serves; others have their list price, or none.
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

// partCost prices the usage of another model. If it has no price in the call's tier, the standard tier's is used and noted,
// as it is unknown whether a tool's model is served in the tier. At a provider without a list, the vendor's list is used.
func (t *Tariff) partCost(q price.Query, c *usage.Counts) (price.Cost, error) {
	first := price.Cost{}
	var firstErr error
	for _, try := range [...]struct {
		baseURL, tier, note string
	}{
		{q.BaseURL, q.Tier, ""},
		{q.BaseURL, "", "the standard tier's price used"},
		{"", q.Tier, "its vendor's list price used"},
		{"", "", "its vendor's list price in the standard tier used"},
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

// model returns the model of a line, empty for the answer's.
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

// takeModels records the usage of other models.
func (b *bill) takeModels(parts []usage.Part) {
	b.Models = nil
	for i := range parts {
		b.Models = append(b.Models, record.ModelCounts{Model: record.Clip(parts[i].Model), Counts: record.Counts{Counts: parts[i].Counts}})
	}
}

// stated reports whether a provider's stated cost of zero is believed. Some state it for tokens that they charge, so a list
// price takes precedence, except for the models that OpenRouter names as free.
func (t *Tariff) stated(b *bill, res *usage.Result) bool {
	if b.Counts.InputTokens()+b.Counts.OutputTokens() == 0 || strings.HasSuffix(b.ResponseModel, ":free") || strings.HasSuffix(b.upstream(), ":free") {
		return true
	}
	c, err := t.tableCost(b, res)
	return err != nil || c.Total == price.Amount{}
}
