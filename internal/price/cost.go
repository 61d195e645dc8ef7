package price

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/tollgate-llm/tollgate/internal/usage"
)

// Query describes what to price.
type Query struct {
	Provider string // the backend's preset: openai, anthropic, ...
	BaseURL  string // the backend's base URL; it distinguishes OpenAI-compatible providers
	Region   string // the cloud's region or location, if configured; empty: determined by the base URL
	Model    string // the name to try first: the one in the answer
	// Fallback has other names to try, in this order: the one sent upstream, the requested one.
	Fallback []string
	Tier     string    // the service tier or region that served; see canonicalTier for the names of the standard tier
	At       time.Time // when the call was settled, which selects dated and time-of-day prices; zero is now
	// Written has the prices written in the configuration for the backend: price name to US dollars per unit of that name
	// (docs/prices.md), such as "input": "2.50" or "output@flex": "5". CheckWritten reports whether they are well-formed.
	// The map must not change after a query has had it.
	Written map[string]string
}

// Cost is the exact cost of one call.
type Cost struct {
	Total    Amount
	Lines    []Line // one per kind with a count and a price, in the order of the kinds, the price per call last
	Version  string // the data that the prices come from
	Provider string // the provider of the entry that the prices come from; its own id in the data
	Model    string // the id of that entry
	Notes    []string
}

// Line is the cost of one kind.
type Line struct {
	Kind    usage.Kind // meaningless when Request is set
	Request bool       // the price of the call itself
	Count   int64      // in the kind's own unit; for audio with a minimum charge, at least that minimum
	Price   Price      // in US dollars per Unit
	Unit    Unit
	Amount  Amount
}

// Name returns the name of the kind, or "request".
func (l Line) Name() string {
	if l.Request {
		return slotName(request)
	}
	return l.Kind.String()
}

func slotName(k slot) string {
	if k == request {
		return "request"
	}
	return usage.Kind(k).String()
}

// fallback is a price that replaces a missing one, with a note about it. Most need no note, because that is how the provider bills.
type fallback struct {
	slot slot
	note string
}

// fallbacks are the prices that a kind is billed at, best first.
var fallbacks = func() (f [numSlots][]fallback) {
	for k := range slot(numSlots) {
		f[k] = []fallback{{slot: k}}
	}
	add := func(k usage.Kind, noted bool, to ...usage.Kind) {
		for _, s := range to {
			fb := fallback{slot: slot(s)}
			if noted {
				fb.note = fmt.Sprintf("%s has no price: %s price used", k, s)
			}
			f[k] = append(f[k], fb)
		}
	}
	const quiet, noted = false, true
	add(usage.CacheRead, noted, usage.Input)
	add(usage.CacheWrite, quiet, usage.CacheWrite5m) // a write of unknown time to live counts as five minutes
	add(usage.CacheWrite, noted, usage.Input)
	add(usage.CacheWrite5m, quiet, usage.CacheWrite)
	add(usage.CacheWrite5m, noted, usage.Input)
	add(usage.CacheWrite1h, noted, usage.CacheWrite, usage.CacheWrite5m, usage.Input)
	add(usage.CacheWrite12h, noted, usage.CacheWrite)
	add(usage.InputImage, quiet, usage.Input)
	add(usage.InputVideo, noted, usage.Input)
	// A medium with its own price but no cached one is billed uncached: the cached price of text could be far too low.
	add(usage.CacheReadAudio, noted, usage.InputAudio)
	add(usage.CacheReadImage, noted, usage.InputImage)
	add(usage.CacheReadImage, quiet, usage.CacheRead)
	add(usage.CacheReadImage, noted, usage.Input)
	add(usage.CacheReadVideo, noted, usage.InputVideo)
	add(usage.CacheReadVideo, quiet, usage.CacheRead)
	add(usage.CacheReadVideo, noted, usage.Input)
	add(usage.Reasoning, quiet, usage.Output)
	add(usage.Citations, noted, usage.Output)
	add(usage.AnnotatedPages, noted, usage.Pages)
	return f
}()

// Notes on kinds that are counted but not charged, and on prices that replace a tier's.
var unchargedNotes, standardNotes = func() (u, s [numSlots]string) {
	for k := range slot(numSlots) {
		u[k] = slotName(k) + " has no price: not charged"
		s[k] = slotName(k) + " has no price in this tier: standard price used"
	}
	return u, s
}()

const (
	noteFree       = "the price data lists this model as free of charge"
	noteImages     = "images not charged: the answer counts output tokens"
	noteCharacters = "characters not charged: the model is priced by tokens"
	noteAudio      = "audio is shorter than the billed minimum"
	noteLength     = "the length of the audio is not charged: its tokens are"
	noteSpoken     = "the length of the speech is not charged: its characters are"
	noteHeard      = "input_audio not charged: the length of the audio is"
	noteSearched   = "web_searches not charged: the price per request holds them"
)

// CheckWritten reports the first error in prices written in the configuration: an unknown name, a number that is not a
// non-negative decimal with at most nine decimals, two prices for one thing, a threshold without a base price.
func CheckWritten(written map[string]string) error {
	_, err := parsePrices(written)
	return err
}

// Priced reports whether there is any price for the query: nil, or an error that wraps ErrUnpriced.
func (t *Table) Priced(q Query) error {
	_, err := t.applied(&q)
	return err
}

// Prices reports whether one of the kinds has its own price for the query, not a fallback.
func (t *Table) Prices(q Query, kinds ...usage.Kind) bool {
	a, err := t.applied(&q)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(kinds, func(k usage.Kind) bool { return a.set&(1<<k) != 0 })
}

// Cost returns the exact cost of the counts. The error wraps ErrUnpriced when the model, the tier or a kind of token has no
// price, and ErrOverflow when an amount does not fit. A count of zero makes no line.
func (t *Table) Cost(q Query, c *usage.Counts) (Cost, error) {
	a, err := t.applied(&q)
	if err != nil {
		return Cost{}, err
	}
	cost := Cost{Version: t.version, Provider: lower(q.Provider)}
	switch {
	case len(q.Written) > 0 && a.entry == nil:
		cost.Version, cost.Model = "configuration", firstName(&q)
	case len(q.Written) > 0:
		cost.Version = t.versionWritten
		fallthrough
	default:
		cost.Provider, cost.Model = a.entry.provider, a.entry.id
	}
	if err := a.price(&cost, c); err != nil {
		return Cost{}, err
	}
	if a.free && a.set == 0 {
		cost.Notes = append(cost.Notes, noteFree)
	}
	return cost, nil
}

// price adds the lines and the total.
func (a *applied) price(cost *Cost, c *usage.Counts) error {
	var kinds int
	var input uint64
	var unpriced usage.Kind
	var missing bool
	for k, n := range c.All() {
		if n > 0 {
			kinds++
			if k <= usage.CacheReadVideo {
				input += uint64(n)
				if input > math.MaxInt64 {
					return fmt.Errorf("input tokens: %w", ErrOverflow)
				}
			}
		}
	}
	cost.Lines = make([]Line, 0, kinds+1)
	for k, n := range c.All() {
		if n == 0 {
			continue
		}
		if k == usage.Images && (c.N(usage.OutputImage) > 0 || c.N(usage.Output) > 0) {
			cost.Notes = append(cost.Notes, noteImages)
			continue
		}
		if note := a.beside(k, c, cost.Model); note != "" {
			cost.Notes = append(cost.Notes, note)
			continue
		}
		r, note, ok := a.rate(slot(k))
		if !ok && isFee(slot(k)) {
			if r, ok = a.fee(k, cost.Model); ok && r.price > 0 {
				note = k.String() + " at the provider's list price"
			}
		}
		if !ok {
			if !missing || isToken(k) && !isToken(unpriced) {
				unpriced = k
			}
			missing = true
			if isToken(k) && a.set&tokenSlots != 0 || isFee(slot(k)) {
				return fmt.Errorf("%w: %s of %s/%s has no price", ErrUnpriced, k, cost.Provider, cost.Model)
			}
			if !a.free {
				note = unchargedNotes[k]
			}
		}
		if note != "" {
			cost.Notes = append(cost.Notes, note)
		}
		if !ok {
			continue
		}
		if k == usage.Milliseconds && n < a.minAudio {
			n = a.minAudio
			cost.Notes = append(cost.Notes, noteAudio)
		}
		if err := cost.add(Line{Kind: k, Count: n}, r, int64(input)); err != nil { //nolint:gosec // checked above
			return err
		}
	}
	if r, note, ok := a.rate(request); ok && !(a.bySize(c) && a.writtenSet&(1<<request) == 0) {
		if note != "" {
			cost.Notes = append(cost.Notes, note)
		}
		if err := cost.add(Line{Request: true, Count: 1}, r, int64(input)); err != nil { //nolint:gosec // checked above
			return err
		}
	}
	if missing && len(cost.Lines) == 0 && !a.free {
		return fmt.Errorf("%w: %s of %s/%s has no price", ErrUnpriced, unpriced, cost.Provider, cost.Model)
	}
	return nil
}

// beside returns why a kind is not charged separately, because another kind includes it; empty if it is.
func (a *applied) beside(k usage.Kind, c *usage.Counts, model string) string {
	priced := func(k usage.Kind) bool { return a.set&(1<<k) != 0 }
	switch k {
	case usage.InputCharacters:
		if c.N(usage.Input) > 0 && priced(usage.Input) {
			return noteCharacters
		}
	case usage.Milliseconds:
		if c.N(usage.InputAudio) > 0 && (priced(usage.InputAudio) || !priced(usage.Milliseconds)) {
			return noteLength
		}
		if c.N(usage.InputCharacters) > 0 && !priced(usage.Milliseconds) && priced(usage.InputCharacters) {
			return noteSpoken
		}
	case usage.InputAudio:
		if c.N(usage.Milliseconds) > 0 && priced(usage.Milliseconds) && !priced(usage.InputAudio) {
			return noteHeard
		}
	case usage.WebSearches:
		if a.set&(1<<request) != 0 && !priced(usage.WebSearches) && searchModel(model) {
			return noteSearched
		}
	default:
	}
	return ""
}

// fee returns the list price of a fee that no layer prices.
func (a *applied) fee(k usage.Kind, model string) (rate, bool) {
	if k == usage.WebSearchesPreview && a.writtenFeeSet&(1<<usage.WebSearches) != 0 {
		return a.writtenFees[usage.WebSearches], true
	}
	p, ok := listFee(a.listed, model, k)
	return rate{price: p, unit: PerOne}, ok
}

// bySize reports whether the fee per request is priced by the size of its search.
func (a *applied) bySize(c *usage.Counts) bool {
	return c.N(usage.SearchRequestsLow)+c.N(usage.SearchRequestsMedium)+c.N(usage.SearchRequestsHigh) > 0
}

// add appends a line, priced, and adds it to the total.
func (c *Cost) add(l Line, r rate, input int64) (err error) {
	l.Price, l.Unit = r.at(input), r.unit
	if l.Amount, err = amount(l.Count, l.Price, l.Unit); err == nil {
		c.Total, err = c.Total.Add(l.Amount)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", l.Name(), err)
	}
	c.Lines = append(c.Lines, l)
	return nil
}

// firstName returns the first name of the query that is not empty.
func firstName(q *Query) string {
	if q.Model != "" {
		return q.Model
	}
	for _, n := range q.Fallback {
		if n != "" {
			return n
		}
	}
	return ""
}
