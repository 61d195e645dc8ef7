package tariff

import (
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"
)

// Percent is a percentage with at most six decimals, for one provider or, without one, for all that have none of their own.
type Percent struct {
	Provider string
	Percent  string
}

var percentText = regexp.MustCompile(`^\d{1,4}(\.\d{1,6})?%?$`)

// factor is an exact multiplier of costs: 11/10 for a markup of ten percent.
type factor struct {
	num, den int64
	text     string // as records hold it; empty for 1/1
}

func newFactor(num, den int64) factor {
	f := factor{num: num, den: den}
	if num != den {
		f.text = strconv.FormatInt(num, 10) + "/" + strconv.FormatInt(den, 10)
	}
	return f
}

func parseFactor(text string) (factor, error) {
	if text == "" {
		return newFactor(1, 1), nil
	}
	num, den, _ := strings.Cut(text, "/")
	n, errNum := strconv.ParseInt(num, 10, 64)
	d, errDen := strconv.ParseInt(den, 10, 64)
	if errNum != nil || errDen != nil || n < 0 || d <= 0 {
		return factor{}, fmt.Errorf("the factor %q is not a fraction", text)
	}
	return newFactor(n, d), nil
}

// ParsePercent reads a percentage such as 12.5 or 12.5% and returns its exact value in millionths of a percent.
func ParsePercent(name, text string, highest int64) (int64, error) {
	if !percentText.MatchString(text) {
		return 0, fmt.Errorf("%s: %q is not a percentage with at most six decimals", name, text)
	}
	whole, frac, _ := strings.Cut(strings.TrimSuffix(text, "%"), ".")
	n, err := strconv.ParseInt(whole+(frac + "000000")[:6], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %q is not a percentage", name, text)
	}
	if n > highest*1_000_000 {
		return 0, fmt.Errorf("%s is %s, but must be between 0 and %d percent", name, text, highest)
	}
	return n, nil
}

// factors resolves markups and discounts per provider, with "" for all others. A provider's own markup or discount replaces
// the general one; a markup and a discount that both apply are multiplied.
func factors(markup, discount []Percent) (map[string]factor, error) {
	const hundred = 100 * 1_000_000
	markups, err := percents("markup", markup, 1000)
	if err != nil {
		return nil, err
	}
	discounts, err := percents("discount", discount, 100)
	if err != nil {
		return nil, err
	}
	out := make(map[string]factor)
	add := func(provider string) {
		up, ok := markups[provider]
		if !ok {
			up = markups[""]
		}
		down, ok := discounts[provider]
		if !ok {
			down = discounts[""]
		}
		f := big.NewRat(hundred+up, hundred)
		f.Mul(f, big.NewRat(hundred-down, hundred))
		out[provider] = newFactor(f.Num().Int64(), f.Denom().Int64())
	}
	add("")
	for p := range markups {
		add(p)
	}
	for p := range discounts {
		add(p)
	}
	return out, nil
}

func percents(name string, list []Percent, highest int64) (map[string]int64, error) {
	out := make(map[string]int64, len(list))
	for _, p := range list {
		if _, twice := out[p.Provider]; twice {
			return nil, fmt.Errorf("%s is given twice for the same provider", name)
		}
		n, err := ParsePercent(name, p.Percent, highest)
		if err != nil {
			return nil, err
		}
		out[p.Provider] = n
	}
	return out, nil
}
