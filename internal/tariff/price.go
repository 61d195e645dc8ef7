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
	billed price.Amount
}

// line returns a line of a cost with what is billed for it.
func line(l record.Line, base, billed price.Amount) chargeLine {
	l.Base = base.String()
	if billed != base {
		l.Cost = billed.String()
	}
	return chargeLine{l, billed}
}

// price puts a price on a settled record. A record that is not billed for want of a payer is priced as well, so that the
// ledger has its cost.
func (t *Tariff) price(b *bill, res *usage.Result) {
	if b.NotBilled != "" && b.NotBilled != record.NotBilledPayer {
		return
	}
	f := t.factor(b.Provider)
	b.Prices = t.prices.Version()
	err := t.providerCharge(b, res, f)
	if err == nil && !b.charge.known {
		err = t.tableCharge(b, res)
	}
	if err != nil {
		b.setUnpriced(err)
	}
}

func (b *bill) setUnpriced(err error) {
	b.charge = charge{}
	b.Cost, b.BaseCost, b.Factor, b.Lines = "", "", "", nil
	b.Unpriced = whyUnpriced(err)
}

func whyUnpriced(err error) string {
	return strings.TrimPrefix(err.Error(), price.ErrUnpriced.Error()+": ")
}

// providerCharge takes the cost that the provider itself reports, where it does and the Caddyfile has no price.
func (t *Tariff) providerCharge(b *bill, res *usage.Result, f factor) error {
	if res.Cost == "" {
		return nil
	}
	b.ProviderCost = record.Clip(res.Cost)
	if res.CostUnit != "usd" {
		b.ProviderUnit = res.CostUnit
	}
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
	b.charge = charge{known: true, source: sourceProvider, lines: []chargeLine{line(record.Line{Kind: "total", Count: tokens}, base, total)}}
	b.setCost(base, total, f)
	return nil
}

// tableCharge computes the cost from prices. Where lines are billed one by one, their sum is what is billed: each is rounded by
// itself, where a markup leaves more than 15 decimals. Otherwise the sum alone is rounded, and the largest line takes the
// difference.
func (t *Tariff) tableCharge(b *bill, res *usage.Result) error {
	c, err := t.tableCost(b, res)
	if err != nil {
		return err
	}
	f := t.factor(b.Provider)
	b.Prices = c.Version
	for _, n := range c.Notes {
		b.note(n)
	}
	b.charge = charge{known: true, source: sourcePrices, lines: make([]chargeLine, 0, len(c.Lines))}
	for i := range c.Lines {
		l := lineOf(&c.Lines[i])
		l.Model = c.model(i)
		if err := b.charge.add(l, c.Lines[i].Amount, f); err != nil {
			return err
		}
	}
	total, err := b.charge.total(c.Total, f, t.shape.kind)
	if err != nil {
		return err
	}
	b.setCost(c.Total, total, f)
	return nil
}

// add adds a line, billed by itself.
func (c *charge) add(l record.Line, base price.Amount, f factor) error {
	billed := base
	if f.num != f.den {
		var err error
		if billed, err = base.Scale(f.num, f.den); err != nil {
			return err
		}
	}
	c.lines = append(c.lines, line(l, base, billed))
	return nil
}

// total returns what is billed for all lines, whose base costs add up to base. Their billed costs add up to it.
func (c *charge) total(base price.Amount, f factor, kind string) (price.Amount, error) {
	if f.num == f.den {
		return base, nil
	}
	var sum price.Amount
	largest := 0
	for i := range c.lines {
		var err error
		if sum, err = sum.Add(c.lines[i].billed); err != nil {
			return sum, err
		}
		if c.lines[i].billed.Cmp(c.lines[largest].billed) > 0 {
			largest = i
		}
	}
	if kind == Cost || len(c.lines) == 0 {
		return sum, nil
	}
	total, err := base.Scale(f.num, f.den)
	if err != nil || total == sum {
		return total, err
	}
	l := &c.lines[largest]
	if l.billed, err = l.billed.Add(total.Sub(sum)); err != nil {
		return total, err
	}
	l.billed = l.billed.Sub(sum.Sub(total)) // one of the two differences is zero
	l.Cost = l.billed.String()
	return total, nil
}

func lineOf(l *price.Line) record.Line {
	return record.Line{
		Kind: l.Name(), Count: string(appendQuantity(nil, l.Kind, l.Count)), Price: l.Price.String(), Per: l.Unit.String(), Base: l.Amount.String(),
	}
}

// note adds to the record's note on its price.
func (b *bill) note(text string) {
	if b.PriceNote != "" {
		b.PriceNote += "; "
	}
	b.PriceNote += text
}

func (b *bill) setCost(base, total price.Amount, f factor) {
	b.Cost, b.Factor = total.String(), f.String()
	b.Lines = make([]record.Line, len(b.charge.lines))
	for i := range b.charge.lines {
		b.Lines[i] = b.charge.lines[i].Line
	}
	if base != total {
		b.BaseCost = base.String()
	}
}

// query is what is to be priced. The model that answered comes first: it is exactly what an alias or a deployment's
// name stands for. The name that the client asked for is the operator's own.
func query(t *llm.Target, upstream, answered, tier string, at time.Time) price.Query {
	q := price.Query{Provider: t.Provider, BaseURL: t.BaseURL, Region: t.Region, Model: upstream, Tier: tier, At: at, Written: t.Prices}
	if answered != "" && answered != upstream {
		q.Model, q.Fallback = answered, []string{upstream}
	}
	return q
}
