// Package tariff determines the cost of a call and the events that bill it.
package tariff

import (
	"time"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// Config configures a tariff.
type Config struct {
	// Prices are the price data. Default: the built-in ones.
	Prices *price.Table
	// Events is the shape of the events: PerRequest (default), PerTokenType or Cost.
	Events string
	// TokenCounts is whether the counts of events per token type are Disjoint (default) or overlap: SDK.
	TokenCounts string
	// Code is the code of the billable metric. Default: DefaultCostCode for Cost, otherwise DefaultCode. Events per token
	// type have their own codes.
	Code string
	// Properties are the names of the configured properties.
	Properties []string
	// Markup is added to the cost, Discount taken off.
	Markup, Discount []Percent
}

// Tariff holds the prices, markup and shape of events of one configuration. It is immutable.
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

// factor returns the multiplier of costs at that provider.
func (t *Tariff) factor(provider string) factor {
	if f, ok := t.factors[provider]; ok {
		return f
	}
	return t.factors[""]
}

// Priced returns why a call to a target has no price, nil if it has one.
func (t *Tariff) Priced(target *llm.Target, tier string, at time.Time) error {
	return t.prices.Priced(query(target, target.Upstream, "", tier, at))
}

// PricesSound reports whether a call to a target has a price by the length of a recording or by its tokens.
func (t *Tariff) PricesSound(target *llm.Target, tier string, at time.Time) bool {
	return t.prices.Prices(query(target, target.Upstream, "", tier, at), usage.Milliseconds, usage.InputAudio)
}

// List returns the current prices of a target's model by name, in USD per unit and before markup.
func (t *Tariff) List(target *llm.Target) map[string]string {
	return t.prices.Standard(query(target, target.Upstream, "", "", time.Now()))
}

// Listed returns every price of a target, with its source, before markup and discount.
func (t *Tariff) Listed(target *llm.Target) ([]price.Listed, error) {
	return t.prices.List(query(target, target.Upstream, "", "", time.Now()))
}

// Quote returns an upper bound of the billed cost of quantities at a target, exact but for rounding. A requested tier may be
// granted or not, so the higher price counts.
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
	return total.Add(price.FromLimbs(0, uint64(len(c.Lines)))) // each line may be rounded up
}

// BillsAmounts reports whether events of that code carry the billed amount.
func (t *Tariff) BillsAmounts(code string) bool { return t.shape.kind == Cost && t.shape.code == code }

// Settle completes a record whose outcome is known with the answer's usage and cost, and appends its events to dst,
// comma-separated. sent: a provider has the call.
func (t *Tariff) Settle(dst []byte, r *record.Record, target *llm.Target, res *usage.Result, sent bool) []byte {
	b := bill{Record: r, target: target, unsent: !sent}
	b.take(res)
	t.price(&b, res)
	return t.shape.appendEvents(dst, &b)
}

// Version returns the version of the price data.
func (t *Tariff) Version() string { return t.prices.Version() }
