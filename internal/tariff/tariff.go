// Package tariff decides what a call costs and which events bill it.
package tariff

import (
	"time"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// Config is what a tariff is made of.
type Config struct {
	// Prices are the price data. Default: the built-in ones.
	Prices *price.Table
	// Events is the shape of the events: PerRequest (default), PerTokenType or Cost.
	Events string
	// TokenCounts is whether the counts of events per token type are Disjoint (default) or overlap: SDK.
	TokenCounts string
	// Code is the code of the billable metric. Default: DefaultCostCode for Cost, otherwise DefaultCode. Events per token
	// type have codes of their own.
	Code string
	// Properties are the names of the operator's own properties.
	Properties []string
	// Markup is added to the cost, and Discount taken off.
	Markup, Discount []Percent
}

// Tariff holds the prices, the markup and the shape of the events of one configuration. It does not change.
type Tariff struct {
	prices     *price.Table
	factors    map[string]factor
	shape      shape
	properties []string
}

// New returns a tariff.
func New(c Config) (*Tariff, error) {
	t := &Tariff{prices: c.Prices, shape: shape{kind: c.Events, counts: c.TokenCounts, code: c.Code}, properties: c.Properties}
	if t.prices == nil {
		t.prices = price.Default()
	}
	if t.shape.code == "" {
		if t.shape.code = DefaultCode; t.shape.kind == Cost {
			t.shape.code = DefaultCostCode
		}
	}
	var err error
	t.factors, err = factors(c.Markup, c.Discount)
	return t, err
}

// With returns the tariff with other price data.
func (t *Tariff) With(prices *price.Table) *Tariff {
	now := *t
	now.prices = prices
	return &now
}

// factor returns what a cost at that provider is multiplied with.
func (t *Tariff) factor(provider string) factor {
	if f, ok := t.factors[provider]; ok {
		return f
	}
	return t.factors[""]
}

// Priced returns why there is no price for a call to a target, nil when there is one.
func (t *Tariff) Priced(target *llm.Target, tier string, at time.Time) error {
	return t.prices.Priced(query(target, target.Upstream, "", tier, at))
}

// PricesSound reports whether a call to a target has a price by the length of a recording or by its tokens.
func (t *Tariff) PricesSound(target *llm.Target, tier string, at time.Time) bool {
	return t.prices.Prices(query(target, target.Upstream, "", tier, at), usage.Milliseconds, usage.InputAudio)
}

// List returns what the model of a target costs now, in USD per unit and without markup, by the name of the price.
func (t *Tariff) List(target *llm.Target) map[string]string {
	return t.prices.Standard(query(target, target.Upstream, "", "", time.Now()))
}

// Listed returns every price that calls to a target are billed by, with its source, before markup and discount.
func (t *Tariff) Listed(target *llm.Target) ([]price.Listed, error) {
	return t.prices.List(query(target, target.Upstream, "", "", time.Now()))
}

// Quote returns what quantities would cost at a target, as it would be billed: no less, and more by rounding alone. A tier that
// the client asks for may be granted or not: the higher price counts.
func (t *Tariff) Quote(target *llm.Target, tier string, at time.Time, counts *usage.Counts) (price.Amount, error) {
	most, err := t.quote(target, "", at, counts)
	if err != nil || tier == "" {
		return most, err
	}
	if asked, err := t.quote(target, tier, at, counts); err == nil && asked.Cmp(most) > 0 {
		most = asked
	}
	return most, nil
}

func (t *Tariff) quote(target *llm.Target, tier string, at time.Time, counts *usage.Counts) (price.Amount, error) {
	c, err := t.prices.Cost(query(target, target.Upstream, "", tier, at), counts)
	if err != nil {
		return price.Amount{}, err
	}
	f := t.factor(target.Provider)
	total, err := c.Total.Scale(f.num, f.den)
	if err != nil {
		return price.Amount{}, err
	}
	return total.Add(price.FromLimbs(0, uint64(len(c.Lines)))) // each line may be rounded up by itself
}

// BillsAmounts reports whether events of that code carry the amount that is billed.
func (t *Tariff) BillsAmounts(code string) bool { return t.shape.kind == Cost && t.shape.code == code }

// Settle completes a record whose outcome is known with what the answer used and what that costs, and appends its events to
// dst, comma-separated. sent: a provider has the call.
func (t *Tariff) Settle(dst []byte, r *record.Record, target *llm.Target, res *usage.Result, sent bool) []byte {
	b := bill{Record: r, target: target, unsent: !sent}
	b.take(res)
	t.price(&b, res)
	return t.shape.appendEvents(dst, &b)
}

// Version returns the version of the price data.
func (t *Tariff) Version() string { return t.prices.Version() }
