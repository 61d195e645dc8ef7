package price

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/internal/usage"
)

// tokenSlots has the bits of the token kinds.
const tokenSlots uint64 = 1<<(usage.OutputVideo+1) - 1 | 1<<usage.Citations

// maxSheets bounds the layers that one cost is computed from: configuration, price files, embedded data.
const maxSheets = 10

// applied holds the sheets that price a query, the topmost first. It does not change once it is made.
type applied struct {
	written        *[numSlots]rate // of the configuration, in the tier
	writtenSet     uint64
	writtenFees    *[numSlots]rate // of the configuration, in the standard tier
	writtenFeeSet  uint64
	tier, standard [maxSheets]*sheet
	multiplied     [maxSheets]bool // the sheet's prices of tokens are multiplied by times
	times          Price           // zero stands for one
	n              int
	set            uint64 // slots priced in the tier, in any layer
	free           bool
	entry          *entry // the topmost
	minAudio       int64
	listed         string // the provider whose list fees apply; empty if none do
	who            *who
	explicit       bool // cached tokens were read from a cache that the request set up
	explicitRead   rate // their price, if there is one
	explicitPriced bool
	err            error             // why there is no price
	since, until   int64             // the time for which it holds, in Unix milliseconds; none where prices change by the time of day
	config         map[string]string // keeps the address that is part of appliedKey from being used again
}

// appliedKey is what an applied depends on, beside the time. A configuration's prices never change, so their address identifies them.
type appliedKey struct {
	provider, baseURL, region, model, fallback, tier string
	written                                          uintptr
}

// applied returns the sheets that price the query.
func (t *Table) applied(q *Query) (*applied, error) {
	at := q.At.UnixMilli()
	if q.At.IsZero() {
		at = time.Now().UnixMilli()
	}
	key := appliedKey{q.Provider, q.BaseURL, q.Region, q.Model, "", q.Tier, reflect.ValueOf(q.Written).Pointer()}
	if len(q.Fallback) > 0 {
		key.fallback = q.Fallback[0]
	}
	if a, ok := t.known.peek(key); ok && at >= a.since && at < a.until {
		return a, a.err
	}
	a := &applied{config: q.Written, until: math.MaxInt64}
	a.err = t.apply(a, q, at)
	if len(q.Fallback) <= 1 && max(len(q.Model), len(key.fallback), len(q.Tier)) <= maxName && at < a.until {
		key.model, key.fallback, key.tier = strings.Clone(key.model), strings.Clone(key.fallback), strings.Clone(key.tier)
		key.provider, key.baseURL, key.region = strings.Clone(key.provider), strings.Clone(key.baseURL), strings.Clone(key.region)
		t.known.put(key, a)
	}
	return a, a.err
}

// rate returns the rate that a slot is billed at and a note on how it was found; ok is false if there is none.
func (a *applied) rate(k slot) (r rate, note string, ok bool) {
	if a.explicitPriced && k == slot(usage.CacheRead) {
		return a.explicitRead, "", true
	}
	for _, f := range a.standIns(k) {
		if a.set&(1<<f.slot) == 0 {
			continue
		}
		if f.slot == slot(usage.Input) && k != f.slot && a.entry != nil {
			if times, ok := cacheMultiple(a.who, a.entry.id, k, a.explicit); ok {
				if r, _, ok := a.rate(f.slot); ok {
					return r.multiplied(times), slotName(k) + " has no price: the provider's multiple of the input price used", true
				}
			}
		}
		if a.writtenSet&(1<<f.slot) != 0 {
			return a.written[f.slot], f.note, true
		}
		for i, s := range a.tier[:a.n] {
			if r := s.get(f.slot); r != nil {
				if a.times != 0 && a.multiplied[i] && isTokenSlot(f.slot) {
					return r.multiplied(a.times), f.note, true
				}
				return *r, f.note, true
			}
		}
	}
	// Fees per call and per search do not depend on the speed or the region of inference.
	if isFee(k) {
		if a.writtenFeeSet&(1<<k) != 0 {
			return a.writtenFees[k], standardNotes[k], true
		}
		for _, s := range a.standard[:a.n] {
			if r := s.get(k); r != nil {
				return *r, standardNotes[k], true
			}
		}
	}
	return rate{}, "", false
}

// standIns returns the prices that a kind is billed at, best first.
func (a *applied) standIns(k slot) []fallback {
	if other, ok := standIn(a.entry, k); ok && a.set&(1<<k) == 0 {
		return fallbacks[other][:1]
	}
	return fallbacks[k]
}

// isFee reports whether a price is the same in every tier that does not set it.
func isFee(k slot) bool { return k == slot(usage.WebSearches) || k >= slot(usage.MapsSearches) }

// apply collects the sheets that price the query at a time.
func (t *Table) apply(a *applied, q *Query, at int64) error {
	tier := canonicalTier(q.Tier)
	tier, a.explicit = cutPart(tier, usage.ExplicitCache)
	if len(q.Written) > 0 {
		if err := a.applyWritten(q.Written, tier); err != nil {
			return err
		}
	}
	w := t.identify(q.Provider, q.BaseURL, q.Region)
	if w.listed != nil {
		a.listed = w.listed.id
	}
	a.who = w
	times, known := t.uplift(w, q)
	a.times = times
	for _, l := range t.layers {
		if l.listed && !known {
			continue
		}
		e := l.entry(w, q)
		if e == nil || a.n == maxSheets {
			continue
		}
		a.multiplied[a.n] = l.listed
		if a.entry == nil {
			a.entry = e
		}
		a.minAudio = max(a.minAudio, e.minAudio)
		since, until := e.span(at)
		a.since, a.until = max(a.since, since), min(a.until, until)
		p := e.at(at)
		a.push(p.sheet(tier), p.sheet(""))
		a.explicitFrom(p, tier)
		// Models that are free at Google's own API are billed on Vertex.
		if p != nil && p.free && tier == "" && w.preset != "vertex" {
			a.free = true
		}
		if e.replace {
			break
		}
	}
	if a.set == 0 && !a.free {
		return unpriced(w.preset, firstName(q), tier)
	}
	return nil
}

// unpriced returns the error that names what has no price.
func unpriced(preset, name, tier string) error {
	if tier != "" {
		return fmt.Errorf("%w: no price for tier %.60q of model %.100q of %s", ErrUnpriced, tier, name, preset)
	}
	return fmt.Errorf("%w: no price for model %.100q of %s", ErrUnpriced, name, preset)
}

// push adds a layer's sheet of the tier and its standard one; both may be nil.
func (a *applied) push(tier, standard *sheet) {
	a.tier[a.n], a.standard[a.n] = tier, standard
	a.n++
	if tier != nil {
		a.set |= tier.set
	}
}

// explicitFrom takes the price of reading from a cache that the request set up, if no layer above has one.
func (a *applied) explicitFrom(p *pricing, tier string) {
	if !a.explicit || a.explicitPriced {
		return
	}
	if r := p.sheet(explicitTier(tier)).get(slot(usage.CacheRead)); r != nil {
		a.explicitRead, a.explicitPriced = *r, true
	}
}

// explicitTier returns the tier of that price.
func explicitTier(tier string) string { return strings.TrimPrefix(tier+"+"+usage.ExplicitCache, "+") }

// applyWritten adds the prices written in the configuration.
func (a *applied) applyWritten(written map[string]string, tier string) error {
	a.written, a.writtenFees = new([numSlots]rate), new([numSlots]rate)
	for name, text := range written {
		n, err := parseName(name)
		if err != nil {
			return err
		}
		if n.above > 0 {
			a.writtenSet, a.writtenFeeSet, a.set = 0, 0, 0
			p, err := parsePrices(written)
			if err == nil {
				a.push(p.sheet(tier), p.sheet(""))
				a.explicitFrom(p, tier)
			}
			return err
		}
		p, err := ParsePrice(text)
		if err != nil {
			return fmt.Errorf("price %s: %w", name, err)
		}
		bit := uint64(1) << n.slot
		if n.tier == tier {
			if a.writtenSet&bit != 0 {
				return twoPrices(n.slot)
			}
			a.written[n.slot] = rate{price: p, unit: n.unit}
			a.writtenSet |= bit
			a.set |= bit
		}
		if a.explicit && n.slot == slot(usage.CacheRead) && n.tier == explicitTier(tier) {
			a.explicitRead, a.explicitPriced = rate{price: p, unit: n.unit}, true
		}
		if n.tier == "" && isFee(n.slot) {
			a.writtenFees[n.slot] = rate{price: p, unit: n.unit}
			a.writtenFeeSet |= bit
		}
	}
	return nil
}

// parsePrices parses prices by name.
func parsePrices(written map[string]string) (*pricing, error) {
	prices := make([]named, 0, len(written))
	for name, text := range written {
		n, err := parseName(name)
		if err != nil {
			return nil, err
		}
		p, err := ParsePrice(text)
		if err != nil {
			return nil, fmt.Errorf("price %s: %w", name, err)
		}
		prices = append(prices, named{n, name, p})
	}
	return newPricing(prices)
}
