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

// Sources of a price, as named in events of shape cost.
const (
	sourcePrices   = "prices"   // the price data, the price file or the Caddyfile
	sourceProvider = "provider" // the provider reported the cost
)

// charge is the cost of a call, markup and discount included.
type charge struct {
	known  bool
	source string
	lines  []record.Line
	billed []price.Amount // for each line
	texts  texts
}

// texts formats a record's numbers into one shared buffer.
type texts struct{ strings.Builder }

// room reserves memory for that many lines.
func (t *texts) room(lines int) { t.Grow(32 + 48*lines) }

func (t *texts) add(text []byte) string {
	from := t.Len()
	t.Write(text)
	return t.String()[from:]
}

func (t *texts) amount(a price.Amount) string {
	var buf [40]byte
	text, _ := a.AppendText(buf[:0]) // it has no errors
	return t.add(text)
}

func (t *texts) price(p price.Price) string {
	var buf [40]byte
	text, _ := p.AppendText(buf[:0]) // it has no errors
	return t.add(text)
}

func (t *texts) quantity(k usage.Kind, n int64) string {
	var buf [24]byte
	return t.add(appendQuantity(buf[:0], k, n))
}

// line returns a line of a cost, before markup and discount.
func (t *texts) line(l *price.Line) record.Line {
	return record.Line{Kind: l.Name(), Count: t.quantity(l.Kind, l.Count), Price: t.price(l.Price), Per: l.Unit.String(), Base: t.amount(l.Amount)}
}

// price prices a settled record, also one without a payer, so that the ledger has its cost.
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

// providerCharge uses the cost that the provider reports, if it does and the Caddyfile has no price.
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
		return nil //nolint:nilerr // what cannot be parsed is no price; the record keeps the text
	}
	if base == (price.Amount{}) && !t.stated(b, res) {
		b.note("the provider states a cost of 0 for tokens that have a list price: the list price is used")
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
	b.charge = charge{known: true, source: sourceProvider}
	b.charge.put(record.Line{Kind: "total", Count: tokens, Base: base.String()}, base, total)
	b.setCost(base, total, f)
	return nil
}

// tableCharge computes the cost from prices. If lines are billed one by one, each is rounded where a markup leaves more than
// 15 decimals, and their sum is billed. Otherwise only the sum is rounded, and the largest line takes the difference.
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
	b.charge = charge{
		known: true, source: sourcePrices, lines: make([]record.Line, 0, len(c.Lines)), billed: make([]price.Amount, 0, len(c.Lines)),
	}
	b.charge.texts.room(len(c.Lines))
	for i := range c.Lines {
		l := b.charge.texts.line(&c.Lines[i])
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
	c.put(l, base, billed)
	return nil
}

func (c *charge) put(l record.Line, base, billed price.Amount) {
	if billed != base {
		l.Cost = c.texts.amount(billed)
	}
	c.lines, c.billed = append(c.lines, l), append(c.billed, billed)
}

// total returns the billed sum of all lines, whose base costs add up to base. Their billed costs add up to the result.
func (c *charge) total(base price.Amount, f factor, kind string) (price.Amount, error) {
	if f.num == f.den {
		return base, nil
	}
	var sum price.Amount
	largest := 0
	for i := range c.lines {
		var err error
		if sum, err = sum.Add(c.billed[i]); err != nil {
			return sum, err
		}
		if c.billed[i].Cmp(c.billed[largest]) > 0 {
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
	billed := &c.billed[largest]
	if *billed, err = billed.Add(total.Sub(sum)); err != nil {
		return total, err
	}
	*billed = billed.Sub(sum.Sub(total)) // one of the two differences is zero
	c.lines[largest].Cost = c.texts.amount(*billed)
	return total, nil
}

// note adds to the record's note on its price.
func (b *bill) note(text string) {
	if b.PriceNote != "" {
		b.PriceNote += "; "
	}
	b.PriceNote += text
}

func (b *bill) setCost(base, total price.Amount, f factor) {
	b.Cost, b.Factor, b.Lines = b.charge.texts.amount(total), f.text, b.charge.lines
	if base != total {
		b.BaseCost = b.charge.texts.amount(base)
	}
}

// query returns the price query of a record. The model that answered comes first, as it is what an alias or a deployment
// resolves to. The requested name is the operator's own.
func query(t *llm.Target, upstream, answered, tier string, at time.Time) price.Query {
	q := price.Query{Provider: t.Provider, BaseURL: t.BaseURL, Region: t.Region, Model: upstream, Tier: tier, At: at, Written: t.Prices}
	if answered != "" && answered != upstream {
		q.Model, q.Fallback = answered, []string{upstream}
	}
	return q
}
