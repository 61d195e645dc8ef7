package litellm

import (
	"fmt"
	"maps"
	"math/big"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// chargeBy are the values that LiteLLM accepts for LAGO_API_CHARGE_BY.
var chargeBy = []string{"end_user_id", "user_id", "team_id"}

// finish handles what depends on several sections or on the environment.
func (c *converter) finish() {
	if len(c.models) == 0 && len(c.errs) == 0 {
		c.fail(field{path: "model_list"}, "there is no model")
	}
	if c.env("DATABASE_URL") != "" {
		c.warn(field{path: "DATABASE_URL"}, noDatabase)
	}
	if d, ok := c.declared["DATABASE_URL"]; ok {
		c.warn(d, noDatabase)
	}
	c.checkMasterKey()
	c.cacheRedis()
	c.checkLago()
	c.checkAddress()
	c.checkAdjustments()
	c.settleLimits()
	c.unusedVariables()
}

// checkLago checks the environment variables of the callback now instead of at each call.
func (c *converter) checkLago() {
	by := c.chargeBy()
	if c.enforceUser.isTrue() && by != chargeBy[0] {
		c.fail(c.enforceUser, "calls without an end user are refused only where end users pay: take this out, or LAGO_API_CHARGE_BY="+by)
	}
	if !c.lago.present() {
		return
	}
	var missing []string
	for _, name := range []string{"LAGO_API_BASE", "LAGO_API_KEY", "LAGO_API_EVENT_CODE"} {
		if c.env(name) == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		c.warn(c.lago, "the callback lago needs "+strings.Join(missing, ", ")+" in the environment: the gateway does not start without")
	}
	at := field{path: "LAGO_API_CHARGE_BY"}
	if d, ok := c.declared[at.path]; ok {
		at = d
	}
	if !slices.Contains(chargeBy, by) {
		c.fail(at, fmt.Sprintf("%q says nobody who could pay: it must be one of %s", by, strings.Join(chargeBy, ", ")))
	} else if by != chargeBy[0] && !c.masterKey.set() {
		c.fail(at, "without a master key there are no keys, so that nobody has a "+by+": every call would be refused")
	}
}

// chargeBy returns the value of LAGO_API_CHARGE_BY. An empty value is an error.
func (c *converter) chargeBy() string {
	const name = "LAGO_API_CHARGE_BY"
	v := c.env(name)
	if _, declared := c.declared[name]; v == "" && !declared {
		if _, set := c.lookupEnv(name); !set {
			return chargeBy[0]
		}
	}
	return v
}

func (c *converter) checkAddress() {
	if n, err := strconv.ParseUint(c.port(), 10, 16); err != nil || n == 0 {
		c.fail(field{path: "PORT"}, fmt.Sprintf("%q is no port", c.port()))
	}
	if h := c.host(); strings.ContainsAny(h, " \t/{}`\"#,") {
		c.fail(field{path: "HOST"}, fmt.Sprintf("%q is no address", h))
	}
}

const defaultPort = "4000"

func (c *converter) port() string {
	if p := c.env("PORT"); p != "" {
		return p
	}
	return defaultPort
}

// host returns the address to listen on: every one, as LiteLLM does, but only the loopback where anyone may call.
func (c *converter) host() string {
	if h := c.env("HOST"); h != "" {
		return h
	}
	if !c.masterKey.set() {
		return "127.0.0.1"
	}
	return ""
}

// checkAdjustments refuses a discount or a markup of one provider where the same preset carries others too: they could not
// be told apart.
func (c *converter) checkAdjustments() {
	for _, a := range c.adjustments {
		if a.prefix == "" {
			continue
		}
		if d := c.shares(a.prefix); d != nil {
			c.fail(a.percent.at, fmt.Sprintf("this would hold for the models of %s too (line %d): both are backends %q here. Give the models prices of their own",
				d.prefix, d.at.line(), providers[d.prefix].preset))
		}
	}
}

// adjusted reports whether a preset has its own discount or markup.
func (c *converter) adjusted(preset string) bool {
	return slices.ContainsFunc(c.adjustments, func(a adjustment) bool { return a.prefix != "" && providers[a.prefix].preset == preset })
}

// fallbacksOf returns the models to go to after one, of the lists of that field: its own list, else that for all. Names
// that lead nowhere are left out.
func (c *converter) fallbacksOf(m *model, kind string) (at field, names []string) {
	lists := c.router.fallbacks[kind]
	if lists == nil {
		lists = c.lite.fallbacks[kind]
	}
	list, own := lists[m.name.text]
	if !own {
		list = lists["*"]
	}
	if !own && len(list.names) == 0 && kind == "fallbacks" {
		if list.names = c.router.defaults; list.names == nil {
			list.names = c.lite.defaults
		}
		if len(list.names) > 0 {
			list.at = list.names[0].at
		}
	}
	for _, w := range list.names {
		if to := c.find(w.text); to != nil && to != m && !slices.Contains(names, w.text) {
			names = append(names, w.text)
		}
	}
	return list.at, names
}

// checkFallbacks warns of fallbacks that lead nowhere.
func (c *converter) checkFallbacks() {
	for _, r := range []*reliability{&c.lite, &c.router} {
		for _, kind := range fallbackKinds {
			lists := r.fallbacks[kind.field]
			overruled := r == &c.lite && c.router.fallbacks[kind.field] != nil
			for _, name := range slices.Sorted(maps.Keys(lists)) {
				list := lists[name]
				switch {
				case overruled:
					c.warn(list.at, "is left out: router_settings."+kind.field+" holds, as in LiteLLM")
				case name != "*" && !slices.ContainsFunc(c.models, func(m *model) bool { return m.name.text == name }):
					c.warn(list.at, "is left out: model_list has no model of that name")
				default:
					c.checkTargets(list.names)
				}
			}
		}
		c.checkTargets(r.defaults)
	}
}

func (c *converter) checkTargets(list []word) {
	for _, w := range list {
		if c.find(w.text) == nil {
			c.warn(w.at, "is left out: model_list has no model "+w.text)
		}
	}
}

// amount returns how much of the load a deployment takes: any number that is not negative.
func (c *converter) amount(f field) word {
	if r := c.number(f, "a number"); r != nil {
		return word{r.RatString(), f}
	}
	return word{at: f}
}

const maxShare = 1_000_000

// share settles the weights of a group as LiteLLM's simple-shuffle does: by weight if one has it, else by rpm, else by tpm.
// Those without a share, which LiteLLM does not choose, come last; so do those without an order where others have one.
func (c *converter) share(m *model) {
	if len(m.deployments) < 2 {
		for _, d := range m.deployments {
			if w := first(d.rpm, d.tpm); w.set() && !c.limits.enforced.present() {
				c.warn(w.at, "is left out: it is a share of the load, and there is no other deployment; how many calls one has is not bounded")
			}
		}
		return
	}
	var shares []*big.Rat
	for _, by := range []func(*deployment) word{
		func(d *deployment) word { return d.weight },
		func(d *deployment) word { return d.rpm },
		func(d *deployment) word { return d.tpm },
	} {
		if !slices.ContainsFunc(m.deployments, func(d *deployment) bool { return by(d).set() && by(d).text != "0" }) {
			continue
		}
		for _, d := range m.deployments {
			r := new(big.Rat)
			if w := by(d); w.set() {
				r.SetString(w.text)
			}
			shares = append(shares, r)
		}
		break
	}
	highest := int64(1) // that of a backend without one
	ordered := slices.ContainsFunc(m.deployments, func(d *deployment) bool { return d.order.set() })
	for _, d := range m.deployments {
		if n, err := strconv.ParseInt(d.order.text, 10, 64); err == nil {
			highest = max(highest, n)
		}
	}
	weights := whole(shares)
	for i, d := range m.deployments {
		switch {
		case ordered && !d.order.set(), weights != nil && weights[i] == 0 && !ordered:
			d.order = word{strconv.FormatInt(highest+1, 10), d.at}
		}
		if weights != nil && weights[i] > 0 {
			d.weight = word{strconv.FormatInt(weights[i], 10), first(d.weight, d.rpm, d.tpm, word{"-", d.at}).at}
		} else {
			d.weight = word{}
		}
	}
}

// whole returns whole numbers in the proportions of the shares, as small as can be, and at most maxShare.
func whole(shares []*big.Rat) []int64 {
	if shares == nil {
		return nil
	}
	scale, divisor, most := big.NewInt(1), new(big.Int), new(big.Int)
	for _, r := range shares {
		g := new(big.Int).GCD(nil, nil, scale, r.Denom())
		scale.Mul(scale, new(big.Int).Div(r.Denom(), g))
	}
	numbers := make([]*big.Int, len(shares))
	for i, r := range shares {
		numbers[i] = new(big.Int).Div(new(big.Int).Mul(r.Num(), scale), r.Denom())
		divisor.GCD(nil, nil, divisor, numbers[i])
		if numbers[i].Cmp(most) > 0 {
			most = numbers[i]
		}
	}
	out := make([]int64, len(numbers))
	if divisor.Sign() == 0 {
		return out
	}
	limit := new(big.Int).Div(most, divisor)
	for i, n := range numbers {
		n = new(big.Int).Div(n, divisor)
		if limit.Cmp(big.NewInt(maxShare)) > 0 && n.Sign() > 0 {
			n.Div(n.Mul(n, big.NewInt(maxShare)), limit)
			if n.Sign() == 0 {
				n.SetInt64(1)
			}
		}
		out[i] = n.Int64()
	}
	return out
}

// cools reports whether the deployments of a group may be left out for a while after failures. Failures are counted by
// address: that is sound only where each has its own address, which no other group counts.
func (c *converter) cools(m *model, groups map[string]int) bool {
	seen := make(map[string]bool)
	for _, d := range m.deployments {
		a := c.address(d)
		if seen[a] || groups[a] > 1 {
			return false
		}
		seen[a] = true
	}
	return true
}

// addresses counts the groups with several deployments that go to each address.
func (c *converter) addresses() map[string]int {
	groups := make(map[string]int)
	for _, m := range c.models {
		if len(m.deployments) < 2 {
			continue
		}
		seen := make(map[string]bool)
		for _, d := range m.deployments {
			if a := c.address(d); !seen[a] {
				seen[a] = true
				groups[a]++
			}
		}
	}
	return groups
}

// address returns where a deployment's calls go, as far as it is known now.
func (c *converter) address(d *deployment) string {
	base := d.base.text
	if name, ok := strings.CutPrefix(base, "{env."); ok {
		name, rest, _ := strings.Cut(name, "}")
		v, _ := c.lookupEnv(name)
		base = v + rest
	}
	u, err := url.Parse(base)
	if base == "" || err != nil || u.Hostname() == "" {
		return d.prefix
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}
