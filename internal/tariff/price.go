package tariff

import (
	"strconv"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// Where a price comes from, as events of shape cost name it.
const (
	sourcePrices   = "prices"   // the price data, the price file or the Caddyfile
	sourceProvider = "provider" // the provider reported what the call cost
)

// charge is what a call costs, markup and discount included.
type charge struct {
	known  bool
	source string
	lines  []chargeLine
}

// chargeLine is a line of a cost with what is billed for it.
type chargeLine struct {
	record.Line
	cents string // cents of USD
	model string // another model than the answer's own; else empty
}

// price puts a price on a settled record. A record that is not billed for want of a payer is priced as well, so that the
// ledger says what it cost.
func (t *Tariff) price(b *bill, res *usage.Result) {
	if b.NotBilled != "" && b.NotBilled != record.NotBilledPayer {
		return
	}
	f := t.factor(b.Provider)
	b.Prices = t.prices.Version()
	err := t.providerCharge(b, res, f)
	if err == nil && !b.charge.known {
		err = t.tableCharge(b, res, f)
	}
	if err != nil {
		b.setUnpriced(err)
	}
}

func (b *bill) setUnpriced(err error) {
	b.charge = charge{}
	b.Cost, b.BaseCost = "", ""
	b.Unpriced = whyUnpriced(err)
}

func whyUnpriced(err error) string {
	return strings.TrimPrefix(err.Error(), price.ErrUnpriced.Error()+": ")
}

// providerCharge takes the cost that the provider itself reports, where it does and the Caddyfile has no price of its own.
func (t *Tariff) providerCharge(b *bill, res *usage.Result, f factor) error {
	if res.Cost == "" {
		return nil
	}
	b.ProviderCost = record.Clip(res.Cost)
	if len(b.target.Prices) > 0 || res.Source != usage.Reported {
		return nil
	}
	base, exact, err := price.ParseReported(res.Cost, res.CostUnit)
	if err != nil {
		return nil //nolint:nilerr // what cannot be read as money is no price; the record keeps the text
	}
	if base == (price.Amount{}) && !t.stated(b, res) {
		b.note("the provider states a cost of 0 for tokens that have a list price: it is not taken")
		return nil
	}
	if !exact {
		b.note("the reported cost was rounded to 15 decimals")
	}
	total, err := base.Scale(f.num, f.den)
	if err != nil {
		return err
	}
	tokens := strconv.FormatInt(b.Counts.InputTokens()+b.Counts.OutputTokens(), 10)
	b.charge = charge{known: true, source: sourceProvider, lines: []chargeLine{{
		Line: record.Line{Kind: "total", Count: tokens, Base: base.String()}, cents: total.Cents(),
	}}}
	b.setCost(base, total)
	return nil
}

// tableCharge computes the cost from prices. The sum of the lines that are billed one by one is what is billed: each is
// rounded by itself, where a markup leaves more than 15 decimals.
func (t *Tariff) tableCharge(b *bill, res *usage.Result, f factor) error {
	c, err := t.tableCost(b, res)
	if err != nil {
		return err
	}
	b.Prices = c.Version
	for _, n := range c.Notes {
		b.note(n)
	}
	b.charge = charge{known: true, source: sourcePrices}
	if t.shape.kind != Cost {
		total, err := c.Total.Scale(f.num, f.den)
		if err != nil {
			return err
		}
		b.setCost(c.Total, total)
		return nil
	}
	var total price.Amount
	b.charge.lines = make([]chargeLine, 0, len(c.Lines))
	for i, l := range c.Lines {
		billed, err := l.Amount.Scale(f.num, f.den)
		if err != nil {
			return err
		}
		if total, err = total.Add(billed); err != nil {
			return err
		}
		b.charge.lines = append(b.charge.lines, chargeLine{Line: lineOf(&l), cents: billed.Cents(), model: c.model(i)})
	}
	b.setCost(c.Total, total)
	return nil
}

func lineOf(l *price.Line) record.Line {
	return record.Line{
		Kind: l.Name(), Count: string(appendQuantity(nil, l.Kind, l.Count)), Price: l.Price.String(), Per: l.Unit.String(), Base: l.Amount.String(),
	}
}

// note adds to what the record says of its price.
func (b *bill) note(text string) {
	if b.PriceNote != "" {
		b.PriceNote += "; "
	}
	b.PriceNote += text
}

func (b *bill) setCost(base, total price.Amount) {
	b.Cost = total.String()
	if base != total {
		b.BaseCost = base.String()
	}
}

// query says what is to be priced. The model that answered comes first: it says exactly what an alias or a deployment's
// name stands for. The name that the client asked for is the operator's own and tells nothing.
func query(t *llm.Target, upstream, answered, tier string, at time.Time) price.Query {
	q := price.Query{Provider: t.Provider, BaseURL: t.BaseURL, Model: upstream, Tier: tier, At: at, Written: t.Prices}
	if answered != "" && answered != upstream {
		q.Model, q.Fallback = answered, []string{upstream}
	}
	return q
}
