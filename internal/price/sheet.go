package price

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
	"time"
)

// rate is a price with its unit and its cliffs.
type rate struct {
	price  Price
	unit   Unit
	cliffs []cliff // ascending
}

// cliff replaces a price for the whole call if the input has more tokens than above.
type cliff struct {
	above int64
	price Price
}

// at returns the price for a call with that many input tokens.
func (r *rate) at(inputTokens int64) Price {
	p := r.price
	for _, c := range r.cliffs {
		if inputTokens > c.above {
			p = c.price
		}
	}
	return p
}

// multiplied returns the rate with its prices multiplied.
func (r *rate) multiplied(times Price) rate {
	m := rate{price: r.price.times(times), unit: r.unit, cliffs: make([]cliff, 0, len(r.cliffs))}
	for _, c := range r.cliffs {
		m.cliffs = append(m.cliffs, cliff{c.above, c.price.times(times)})
	}
	return m
}

// amount returns the exact amount for n units counted; hours and minutes are rounded half to even to 10^-15 USD.
func amount(n int64, p Price, u Unit) (Amount, error) {
	hi, lo := bits.Mul64(uint64(n), uint64(p)) //nolint:gosec // neither is ever negative
	return Amount{hi, lo}.mulDiv(u.ratio())
}

// sheet holds the rates of one tier, in the order of their slots. set has one bit for each slot.
type sheet struct {
	set   uint64
	rates []rate
}

// get returns the rate of a slot, or nil.
func (s *sheet) get(k slot) *rate {
	if s == nil || s.set&(1<<k) == 0 {
		return nil
	}
	return &s.rates[bits.OnesCount64(s.set&(1<<k-1))]
}

// put adds a rate. A slot that is taken is an error.
func (s *sheet) put(k slot, r rate) error {
	if s.set&(1<<k) != 0 {
		return twoPrices(k)
	}
	s.rates = slices.Insert(s.rates, bits.OnesCount64(s.set&(1<<k-1)), r)
	s.set |= 1 << k
	return nil
}

func twoPrices(k slot) error { return fmt.Errorf("two prices for %s", slotName(k)) }

// pricing is one list of prices: the standard sheet and one per other tier.
type pricing struct {
	standard sheet
	tiers    []tierSheet
	free     bool // the list is empty because the model costs nothing
}

type tierSheet struct {
	tier string
	sheet
}

// sheet returns the sheet of a tier, or nil.
func (p *pricing) sheet(tier string) *sheet {
	if p == nil {
		return nil
	}
	if tier == "" {
		return &p.standard
	}
	for i := range p.tiers {
		if p.tiers[i].tier == tier {
			return &p.tiers[i].sheet
		}
	}
	return nil
}

// named is one price with its parsed name.
type named struct {
	parsedName
	text  string // the name as written, for errors
	price Price
}

// newPricing sorts prices into sheets. A cliff without a base price is an error.
func newPricing(prices []named) (*pricing, error) {
	p := new(pricing)
	// Base prices sort before their cliffs, and cliffs ascend.
	slices.SortStableFunc(prices, func(a, b named) int {
		switch {
		case a.above < b.above:
			return -1
		case a.above > b.above:
			return 1
		default:
			return 0
		}
	})
	for _, n := range prices {
		s := p.sheet(n.tier)
		if s == nil {
			p.tiers = append(p.tiers, tierSheet{tier: n.tier})
			s = &p.tiers[len(p.tiers)-1].sheet
		}
		if n.above == 0 {
			if err := s.put(n.slot, rate{price: n.price, unit: n.unit}); err != nil {
				return nil, err
			}
			continue
		}
		r := s.get(n.slot)
		if r == nil || r.unit != n.unit {
			return nil, fmt.Errorf("price %q needs a price below its threshold too", n.text)
		}
		if last := len(r.cliffs) - 1; last >= 0 && r.cliffs[last].above == n.above {
			return nil, fmt.Errorf("two prices named %q", n.text)
		}
		r.cliffs = append(r.cliffs, cliff{n.above, n.price})
	}
	return p, nil
}

// variant is a price list that applies under a condition.
type variant struct {
	from       int64          // Unix milliseconds from which it applies; zero: always
	daily      bool           // it applies only between two times of day
	days       uint8          // and only on these days, Sunday the lowest bit; zero: on all
	zone       *time.Location // of the days; nil: UTC
	start, end int64          // milliseconds of the UTC day; the window wraps midnight when end is before start
	*pricing
}

const dayMillis = 24 * 60 * 60 * 1000

// holds reports whether the variant is in force at a time in Unix milliseconds.
func (v *variant) holds(ms int64) bool {
	if ms < v.from {
		return false
	}
	if !v.daily {
		return true
	}
	day := ((ms % dayMillis) + dayMillis) % dayMillis
	if v.days != 0 {
		t := time.UnixMilli(ms).UTC()
		if v.zone != nil {
			t = t.In(v.zone)
		}
		if v.days&(1<<t.Weekday()) == 0 {
			return false
		}
	}
	if v.end < v.start {
		return day >= v.start || day < v.end
	}
	return day >= v.start && day < v.end
}

// next returns the first time after the given one at which the variant begins to apply.
func (v *variant) next(after int64) (ms int64, ok bool) {
	if !v.daily {
		return v.from, v.from > after
	}
	first := max(after, v.from)
	for ms = first - first%dayMillis + v.start; ms <= first+8*dayMillis; ms += dayMillis {
		if ms > after && v.holds(ms) {
			return ms, true
		}
	}
	return 0, false
}

// parseDaily parses a daily window such as 16:30-00:30, in UTC, optionally with seconds. With the prefix "mon-fri " it applies only on
// these days.
func (v *variant) parseDaily(window string) error {
	window, workdays := strings.CutPrefix(window, "mon-fri ")
	if workdays {
		v.days = 1<<time.Monday | 1<<time.Tuesday | 1<<time.Wednesday | 1<<time.Thursday | 1<<time.Friday
	}
	from, to, _ := strings.Cut(window, "-")
	parse := func(s string) (int64, error) {
		for _, layout := range []string{"15:04", time.TimeOnly} {
			if t, err := time.Parse(layout, s); err == nil {
				return int64(t.Hour()*3600+t.Minute()*60+t.Second()) * 1000, nil
			}
		}
		return 0, fmt.Errorf("%q is not a time of day such as 16:30", s)
	}
	var err error
	if v.start, err = parse(from); err != nil {
		return err
	}
	v.end, err = parse(to)
	v.daily = true
	return err
}

// parseFrom parses the date, in UTC, from which the variant applies.
func (v *variant) parseFrom(date string) error {
	t, err := time.Parse(time.DateOnly, date)
	if err != nil {
		return fmt.Errorf("%q is not a date such as 2027-01-31", date)
	}
	v.from = t.UnixMilli()
	return nil
}

// entry is one model of a layer.
type entry struct {
	provider string
	id       string
	variants []variant
	minAudio int64  // shorter audio is billed as this many milliseconds
	replace  bool   // layers below do not add to this entry
	source   string // the name and version of the data, and its origin
	date     string // on which the data was the newest; empty if unknown
	regional Price  // price of a regional endpoint as a multiple of the price; zero if unknown
}

// at returns the prices in force at a time; nil if there are none.
func (e *entry) at(ms int64) *pricing {
	if v := e.variantAt(ms); v != nil {
		return v.pricing
	}
	return nil
}

// span returns for how long around a time, both in Unix milliseconds, the prices in force then stay: from since, up to until. It is
// empty where prices change by the time of day.
func (e *entry) span(ms int64) (since, until int64) {
	since, until = math.MinInt64, math.MaxInt64
	for i := range e.variants {
		v := &e.variants[i]
		switch {
		case v.daily:
			return 0, 0
		case v.from > ms:
			until = min(until, v.from)
		default:
			since = max(since, v.from)
		}
	}
	return since, until
}

// variantAt returns the price list in force at a time: the last variant that applies, or the first one if none does.
func (e *entry) variantAt(ms int64) *variant {
	for i := len(e.variants) - 1; i >= 0; i-- {
		if e.variants[i].holds(ms) {
			return &e.variants[i]
		}
	}
	if len(e.variants) > 0 {
		return &e.variants[0]
	}
	return nil
}
