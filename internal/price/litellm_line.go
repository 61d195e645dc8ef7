package price

import (
	"fmt"
	"strconv"
	"strings"
)

// IsLiteLLMPrice reports whether one of LiteLLM's fields is a price, by its name.
func IsLiteLLMPrice(field string) bool { return isPriceKey(field) || field == "tiered_pricing" }

// LiteLLMLine returns the `price` line equal to one of LiteLLM's price fields, such as
// input_cost_per_token_priority, of a model of that provider and mode (LiteLLM's words): the price's name, and the price in
// our unit. The price is exact: a number with more than nine decimals in our unit is an error, and so is a field without a line.
func LiteLLMLine(field, number, provider, mode string) (name, price string, err error) {
	n, key, ok := parseLiteKey(field)
	lk := liteKeys[key]
	if !ok || lk.modes != "" && !strings.Contains(lk.modes, " "+mode+" ") {
		return "", "", fmt.Errorf("%s has no `price` line for a model of mode %q", field, mode)
	}
	p, exact, err := parsePrice(number, lk.shift)
	if err != nil {
		return "", "", err
	}
	if !exact {
		return "", "", fmt.Errorf("%.60q has more than nine decimals in USD per %s", number, n.unit)
	}
	name, _, _ = strings.Cut(lk.name, "@")
	if n.tier != "" {
		name += "@" + n.tier
	}
	if n.above > 0 {
		// xAI bills the higher price from the threshold on, others above it.
		if provider == "xai" {
			n.above--
		}
		name += ">" + strconv.FormatInt(n.above, 10)
	}
	return name, p.String(), nil
}
