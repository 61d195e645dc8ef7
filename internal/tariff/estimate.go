package tariff

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// EstimateInput estimates the tokens of a request's text by the characters rule of package usage.
func EstimateInput(res *usage.Result, units int64) {
	res.Source = usage.Estimated
	res.Counts.Set(usage.Input, (units+999)/1000)
}

// Open freezes in an opened record how a call to a target is billed, and what its estimated input costs.
func (t *Tariff) Open(r *record.Record, target *llm.Target) {
	frozen := &record.Tariff{Factor: t.factor(r.Provider).text, Events: t.shape.kind, Code: t.shape.code}
	if t.shape.counts != Disjoint {
		frozen.TokenCounts = t.shape.counts
	}
	r.Tariff = frozen
	var res usage.Result
	EstimateInput(&res, r.InputUnits)
	b := bill{Record: r}
	cost, err := t.prices.Cost(query(target, b.upstream(), "", "", r.Opened), &res.Counts)
	if err != nil {
		frozen.Prices, frozen.Unpriced = t.prices.Version(), whyUnpriced(err)
		return
	}
	frozen.Prices, frozen.Note = cost.Version, strings.Join(cost.Notes, "; ")
	frozen.Estimate = make([]record.Line, len(cost.Lines))
	var texts texts
	texts.room(len(cost.Lines))
	for i := range cost.Lines {
		frozen.Estimate[i] = texts.line(&cost.Lines[i])
	}
}

var errNoTariff = errors.New("the record was opened by an earlier version, which froze no tariff, and no current configuration can price it")

// Estimate settles the opened record of an interrupted call: its input is billed by the record's frozen tariff. Records of
// an earlier version have none and are billed by fallback, which may be nil. billed: the payload has events.
func Estimate(r *record.Record, fallback *Tariff, now time.Time) (payload []byte, billed bool, err error) {
	if r.Tariff == nil && r.NotBilled == "" {
		if fallback == nil {
			return nil, false, errNoTariff
		}
		fallback.Open(r, &llm.Target{Provider: r.Provider, Upstream: r.Upstream, BaseURL: r.BaseURL, Prices: r.Written})
	}
	var frozen record.Tariff
	if r.Tariff != nil {
		frozen = *r.Tariff
	}
	var res usage.Result
	EstimateInput(&res, r.InputUnits)
	res.How = "the gateway ended before the call did: input counted from the request"
	r.ForgetOpened()
	r.Outcome, r.Settled = record.OutcomeInterrupted, now
	b := bill{Record: r, target: &llm.Target{Provider: r.Provider, Upstream: r.Upstream}}
	b.take(&res)
	if b.NotBilled == "" || b.NotBilled == record.NotBilledPayer {
		if err := b.priceFrozen(&frozen); err != nil {
			return nil, false, fmt.Errorf("the tariff of the record: %w", err)
		}
	}
	events := shape{kind: frozen.Events, counts: frozen.TokenCounts, code: frozen.Code}.appendEvents(nil, &b)
	return r.Append(nil, events), len(events) > 0, nil
}

// priceFrozen puts the frozen price of an estimate on a settled record.
func (b *bill) priceFrozen(frozen *record.Tariff) error {
	b.Prices, b.Unpriced, b.PriceNote = frozen.Prices, frozen.Unpriced, frozen.Note
	if frozen.Unpriced != "" {
		return nil
	}
	f, err := parseFactor(frozen.Factor)
	if err != nil {
		return err
	}
	b.charge = charge{known: true, source: sourcePrices}
	var base, total price.Amount
	for _, l := range frozen.Estimate {
		amount, err := price.ParseUSD(l.Base)
		if err != nil {
			return err
		}
		if err = b.charge.add(l, amount, f); err == nil {
			base, err = base.Add(amount)
		}
		if err != nil {
			b.setUnpriced(err)
			return nil //nolint:nilerr // an amount that does not fit is not billed, and the record has the reason
		}
	}
	if total, err = b.charge.total(base, f, frozen.Events); err != nil {
		b.setUnpriced(err)
		return nil //nolint:nilerr // as above
	}
	b.setCost(base, total, f)
	return nil
}
