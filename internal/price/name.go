package price

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/usage"
)

// slot identifies what a price is for: a kind of usage, or the call itself.
type slot uint8

// request is the slot of a price per call.
const (
	request  = slot(usage.NumKinds)
	numSlots = usage.NumKinds + 1
)

// Unit is the unit that a price is for.
type Unit uint8

// The units. A price is always stored in US dollars per one of these.
const (
	PerMillion Unit = iota // of tokens or characters
	PerOne                 // call, search, image, page, search unit or another fee
	PerHour                // of audio
	PerMinute              // of audio
	PerSecond              // of audio
)

// ratio returns mul and div, such that count * price in nano-USD * mul / div is an amount in 10^-15 USD. Time is counted
// in milliseconds. Only hours and minutes need a division, and so a rounding.
func (u Unit) ratio() (mul, div uint64) {
	switch u {
	case PerMillion:
		return 1, 1
	case PerOne:
		return 1e6, 1
	case PerHour:
		return 5, 18 // 10^6 / 3,600,000 ms
	case PerMinute:
		return 50, 3 // 10^6 / 60,000 ms
	case PerSecond:
		return 1000, 1 // 10^6 / 1,000 ms
	default:
		return 0, 1
	}
}

// String returns the unit in words.
func (u Unit) String() string {
	return [...]string{"million", "one", "hour", "minute", "second"}[u]
}

// names maps each price name that users write to its slot and unit. Token kinds and characters are added by their kind's
// own name, in US dollars per million.
var names = func() map[string]parsedName {
	m := map[string]parsedName{
		"request":       {slot: request, unit: PerOne},
		"web_searches":  {slot: slot(usage.WebSearches), unit: PerOne},
		"pages":         {slot: slot(usage.Pages), unit: PerOne},
		"images":        {slot: slot(usage.Images), unit: PerOne},
		"search_units":  {slot: slot(usage.SearchUnits), unit: PerOne},
		"audio_hours":   {slot: slot(usage.Milliseconds), unit: PerHour},
		"audio_minutes": {slot: slot(usage.Milliseconds), unit: PerMinute},
		"audio_seconds": {slot: slot(usage.Milliseconds), unit: PerSecond},
	}
	for k := range usage.Kind(usage.NumKinds) {
		if isToken(k) || k == usage.InputCharacters {
			m[k.String()] = parsedName{slot: slot(k), unit: PerMillion}
		}
		if k >= usage.MapsSearches {
			m[k.String()] = parsedName{slot: slot(k), unit: PerOne}
		}
	}
	return m
}()

// isToken reports whether the kind is counted in tokens.
func isToken(k usage.Kind) bool { return k <= usage.OutputVideo || k == usage.Citations }

// isTokenSlot reports whether the price is one of tokens.
func isTokenSlot(k slot) bool { return k != request && isToken(usage.Kind(k)) }

// parsedName is a parsed price name: kind[@tier][>tokens].
type parsedName struct {
	slot  slot
	unit  Unit
	tier  string // canonical, empty for the standard price
	above int64  // the price applies if the input has more tokens than this; zero for the base price
}

// parseName parses a price name such as input, input@flex, input>200000 or input@priority>272000.
func parseName(text string) (parsedName, error) {
	if n, ok := names[text]; ok {
		return n, nil
	}
	head, above, cliff := strings.Cut(text, ">")
	head, tier, tiered := strings.Cut(head, "@")
	n, ok := names[head]
	if !ok {
		return n, fmt.Errorf("unknown price name %.60q", text)
	}
	if tiered {
		if n.tier = canonicalTier(tier); tier == "" {
			return n, fmt.Errorf("price name %.60q has an empty tier", text)
		}
	}
	if cliff {
		v, err := strconv.ParseInt(above, 10, 64)
		if err != nil || v <= 0 {
			return n, fmt.Errorf("price name %.60q has no positive number of tokens after '>'", text)
		}
		n.above = v
	}
	return n, nil
}

// String returns the name as it is written.
func (n parsedName) String() string {
	text := slotName(n.slot)
	for name, m := range names {
		if m.slot == n.slot && m.unit == n.unit {
			text = name
		}
	}
	if n.tier != "" {
		text += "@" + n.tier
	}
	if n.above > 0 {
		text += ">" + strconv.FormatInt(n.above, 10)
	}
	return text
}

// canonicalTier returns the tier's name in lower case, empty for every spelling of the standard tier. Parts that change a price are
// joined by "+"; other parts are left out.
func canonicalTier(tier string) string {
	t := lower(tier)
	if !strings.Contains(t, "+") {
		return canonicalPart(t)
	}
	var parts []string
	for part := range strings.SplitSeq(t, "+") {
		if part = canonicalPart(part); part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, "+")
}

// canonicalPart is canonicalTier for one part. "auto" and Anthropic's "standard_only" do not select another tier; an answer names the
// tier that actually served. Vertex names its tiers as kinds of on-demand traffic.
func canonicalPart(t string) string {
	switch t = strings.TrimPrefix(t, "on_demand_"); t {
	case "", "standard", "default", "on_demand", "on-demand", "auto", "standard_only", "unspecified":
		return ""
	case "batches":
		return "batch"
	default:
		return t
	}
}

// cutPart returns a canonical tier without one of its parts, and whether it had it.
func cutPart(tier, part string) (string, bool) {
	if !strings.Contains(tier, part) {
		return tier, false
	}
	parts := strings.Split(tier, "+")
	kept := slices.DeleteFunc(parts, func(p string) bool { return p == part })
	return strings.Join(kept, "+"), len(kept) < len(parts)
}

// Price is a price in 10^-9 US dollars per unit.
type Price int64

const priceDecimals = 9

// ParsePrice parses the text of a price in US dollars, exactly: more than nine decimals are ErrInexact.
func ParsePrice(text string) (Price, error) {
	const unit = 1e6 // an amount has six more decimals
	if a, ok := parsePlain(text); ok && a.hi == 0 && a.lo%unit == 0 {
		return Price(a.lo / unit), nil //nolint:gosec // it is less than it was
	}
	p, exact, err := parsePrice(text, 0)
	if err == nil && !exact {
		return 0, fmt.Errorf("%w: price %.60q has more than %d", ErrInexact, text, priceDecimals)
	}
	return p, err
}

// parsePrice parses the text of a price and multiplies it with 10^shift, rounding half to even beyond nine decimals.
func parsePrice(text string, shift int) (p Price, exact bool, err error) {
	a, exact, err := parseDecimal(text, priceDecimals+shift)
	if errors.Is(err, ErrOverflow) || err == nil && (a.hi != 0 || a.lo > math.MaxInt64) {
		return 0, false, fmt.Errorf("price %.60q: %w", text, ErrOverflow)
	}
	return Price(a.lo), exact, err //nolint:gosec // checked above
}

// times returns the price multiplied by a factor, rounded half to even beyond nine decimals. A result that does not fit becomes the
// highest price.
func (p Price) times(by Price) Price {
	hi, lo := bits.Mul64(uint64(p), uint64(by)) //nolint:gosec // neither is ever negative
	a, err := Amount{hi, lo}.mulDiv(1, 1e9)
	if err != nil || a.hi != 0 || a.lo > math.MaxInt64 {
		return math.MaxInt64
	}
	return Price(a.lo) //nolint:gosec // checked above
}

// String returns the price in US dollars as a plain decimal.
func (p Price) String() string {
	var buf [maxDecimal]byte
	return string(p.append(buf[:0]))
}

// AppendText implements encoding.TextAppender with String.
func (p Price) AppendText(b []byte) ([]byte, error) { return p.append(b), nil }

func (p Price) append(b []byte) []byte {
	return Amount{lo: uint64(max(p, 0))}.appendDecimal(b, priceDecimals)
}
