package litellm

import (
	"encoding/json"
	"slices"
	"strings"
)

// limits are a file's budgets and limits, as lines of the Caddyfile.
type limits struct {
	gateway        []line // lines in `limits` of keyauth
	settings       []line // lines in `limits` of keyauth about how limits are kept
	newKeys        []line
	newTeams       []line
	newUsers       []line
	customerBudget word
	providers      []providerLimits
	parallel       word // concurrent calls of each deployment that does not set its own limit

	enforced    field // the setting that makes rpm and tpm of deployments limits; otherwise they are load-balancing weights
	maxInternal word  // max_internal_user_budget and the member that sets it
	fallback    word
	teamBudget  field // from default_team_settings; default_team_params takes precedence
}

// providerLimits are the limits on all calls to a provider.
type providerLimits struct {
	at       field
	provider string // LiteLLM's name
	lines    []line
}

// addLine adds a line with a value from the file, unless the value is empty.
func (c *converter) addLine(to *[]line, f field, words ...string) {
	if w := c.value(f); w.set() {
		*to = append(*to, line{f, append(words, w.text)})
	}
}

// addDefault adds a line with a default field of new records. The value may be a list or an object.
func (c *converter) addDefault(to *[]line, word string, f field) {
	switch {
	case f.off():
	case f.isScalar():
		c.addLine(to, f, word, f.key)
	case f.isList() && !slices.ContainsFunc(f.items(), func(i field) bool { return !i.isScalar() }):
		words := append(make([]string, 0, 2+len(f.items())), word, f.key)
		for _, item := range f.items() {
			words = append(words, c.value(item).text)
		}
		*to = append(*to, line{f, words})
	default:
		var v any
		err := resolve(f.node).Decode(&v)
		text, jsonErr := json.Marshal(v)
		if err != nil || jsonErr != nil || strings.Contains(string(text), "`") {
			c.fail(f, "this cannot be written as JSON")
			return
		}
		*to = append(*to, line{f, []string{word, f.key, string(text)}})
	}
}

func (l *limits) keyDefault(c *converter, f field) { c.addDefault(&l.newKeys, "default", f) }

const noRoutes = "a default of allowed_routes would be that of keys that manage, too: set allowed_routes in each request, and take this out"

// keyDefaultRules are the members of default_key_generate_params that LiteLLM takes.
var keyDefaultRules = rules{
	"allowed_routes":    refuse(noRoutes),
	"object_permission": refuse("MCP servers, vector stores and agents are not served here: take this out"),
}.each(carry(func(c *converter, f field) { c.limits.keyDefault(c, f) }),
	"max_budget", "user_id", "team_id", "max_parallel_requests", "tpm_limit", "rpm_limit", "budget_duration", "duration", "models", "metadata")

// keyBoundRules are the members of upperbound_key_generate_params.
var keyBoundRules = rules{}.each(carry(func(c *converter, f field) { c.addDefault(&c.limits.newKeys, "at_most", f) }),
	"max_budget", "budget_duration", "duration", "max_parallel_requests", "tpm_limit", "rpm_limit")

// teamDefaultRules are the members of default_team_params.
var teamDefaultRules = rules{
	"models":                  warn("is left out: LiteLLM gives it only to teams that its single sign-on makes"),
	"team_member_permissions": carry((*converter).memberPermissions),
	"access_group_ids":        refuse("access groups are not known here: name the models in `models` of each team, and take this out"),
}.each(carry(func(c *converter, f field) { c.addDefault(&c.limits.newTeams, "default", f) }),
	"max_budget", "budget_duration", "tpm_limit", "rpm_limit", "organization_id")

// userDefaultRules are the members of default_internal_user_params. LiteLLM takes any field of a user.
var userDefaultRules = rules{
	"available_teams": refuse("users do not join teams by themselves here: an admin of the team adds them; take this out"),
}.each(carry(func(c *converter, f field) { c.addDefault(&c.limits.newUsers, "default", f) }),
	"user_role", "max_budget", "budget_duration", "models", "teams", "tpm_limit", "rpm_limit", "max_parallel_requests", "model_max_budget", "metadata")

// memberPermissions takes what members of a team may do anyway.
func (c *converter) memberPermissions(f field) {
	for _, item := range f.items() {
		if p := c.plain(item); p != "/key/info" && p != "/key/health" {
			c.fail(item, "members of a team read their own keys, and its admins manage its keys: there are no other permissions. Take this out")
		}
	}
}

// atOnce returns how many calls there may be at once; nothing where that is 0, which LiteLLM takes for no limit.
func (c *converter) atOnce(f field) word {
	if w := c.count(f); w.text != "0" {
		return w
	}
	return word{at: f}
}

// addAtOnce adds a limit of calls at once.
func (c *converter) addAtOnce(to *[]line, f field) {
	if w := c.atOnce(f); w.set() {
		*to = append(*to, line{f, []string{"max_parallel_requests", w.text}})
	}
}

// gatewayBudget takes the budget of the whole proxy; 0 is none.
func (c *converter) gatewayBudget(f field) {
	if r := c.number(f, "an amount of US dollars"); r != nil && r.Sign() > 0 {
		c.limits.gateway = append(c.limits.gateway, line{f, []string{"max_budget", c.value(f).text}})
	}
}

// gatewayWindow takes the window of that budget.
func (c *converter) gatewayWindow(f field) { c.addLine(&c.limits.gateway, f, "budget_duration") }

// internalUserWindow takes the window of the budgets of new users with the role internal_user.
func (c *converter) internalUserWindow(f field) {
	c.addLine(&c.limits.newUsers, f, "internal_user", "budget_duration")
}

// teamSettings takes the budget of new teams that an older form of the file has.
func (c *converter) teamSettings(f field) {
	if items := f.items(); len(items) > 0 && items[0].isMapping() {
		c.limits.teamBudget = items[0].get("max_budget")
	}
	c.warn(f, "is left out but for max_budget of its first entry: callbacks of one team are not known here")
}

// failClosed has calls with limits refused while their store is away.
func (c *converter) failClosed(f field) {
	if f.isTrue() && !slices.ContainsFunc(c.limits.settings, func(l line) bool { return l.words[0] == "on_store_failure" }) {
		c.limits.settings = append(c.limits.settings, line{f, []string{"on_store_failure", "deny"}})
	}
}

// providerBudgets reads `{provider: {budget_limit, time_period}}`.
func (c *converter) providerBudgets(f field) {
	for _, p := range f.members() {
		if _, ok := providers[p.key]; !ok {
			c.fail(p, "this provider is not known here")
			continue
		}
		l := providerLimits{at: p, provider: p.key}
		for _, m := range p.members() {
			switch m.key {
			case "budget_limit", "max_budget":
				c.addLine(&l.lines, m, "max_budget")
			case "time_period", "budget_duration":
				c.addLine(&l.lines, m, "budget_duration")
			default:
				c.warn(m, "is left out: LiteLLM does nothing with it")
			}
		}
		c.limits.providers = append(c.limits.providers, l)
	}
}

// preCallChecks reads optional_pre_call_checks.
func (c *converter) preCallChecks(f field) {
	for _, item := range f.items() {
		switch name := c.plain(item); name {
		case "router_budget_limiting": // budgets always limit here
		case "enforce_model_rate_limits":
			c.limits.enforced = item
		default:
			c.warn(item, name+" is left out: it has no counterpart")
		}
	}
}

// settleLimits settles what depends on several fields.
func (c *converter) settleLimits() {
	l := &c.limits
	if w := first(l.maxInternal, l.fallback); w.set() {
		l.newUsers = append(l.newUsers, line{w.at, []string{"internal_user", "max_budget", w.text}})
	}
	if f := l.teamBudget; !f.null() && !slices.ContainsFunc(l.newTeams, func(l line) bool { return l.words[1] == "max_budget" }) {
		c.addDefault(&l.newTeams, "default", f)
	}
	if has := func(name string) bool {
		return slices.ContainsFunc(l.gateway, func(l line) bool { return l.words[0] == name })
	}; has("budget_duration") && !has("max_budget") {
		l.gateway = slices.DeleteFunc(l.gateway, func(l line) bool { return l.words[0] == "budget_duration" })
	}
	l.providers = slices.DeleteFunc(l.providers, func(p providerLimits) bool {
		for _, d := range c.deployments() {
			if d.prefix == p.provider {
				return false
			}
		}
		c.warn(p.at, "is left out: model_list has no model of this provider")
		return true
	})
	for _, p := range l.providers {
		if d := c.shares(p.provider); d != nil {
			c.fail(p.at, "this would limit the models of "+d.prefix+" too: both are backends \""+providers[d.prefix].preset+"\" here. Give the deployments max_budget")
		}
	}
	if c.masterKey.set() {
		return
	}
	for _, new := range slices.Concat(l.newKeys, l.newTeams, l.newUsers) {
		c.warn(new.at, "is left out: without a master_key no keys, teams and users are made")
	}
	c.needKeys(l.gateway)
	if l.customerBudget.set() {
		c.needKeys([]line{{at: l.customerBudget.at}})
	}
	for _, p := range l.providers {
		c.needKeys(p.lines)
	}
	for _, d := range c.deployments() {
		c.needKeys(c.limitsOf(d))
	}
}

// needKeys refuses limits where there is no keyauth, which keeps them.
func (c *converter) needKeys(list []line) {
	for _, l := range list {
		c.fail(l.at, "limits need a master_key: without one there are no keys, and nothing keeps limits")
	}
}

// shares returns a deployment of another provider that has the same preset; nil where there is none.
func (c *converter) shares(provider string) *deployment {
	for _, d := range c.deployments() {
		if d.prefix != provider && providers[d.prefix].preset == providers[provider].preset {
			return d
		}
	}
	return nil
}

// limitsOf returns the limits of a deployment.
func (c *converter) limitsOf(d *deployment) []line {
	list := slices.Clone(d.limits)
	if c.limits.enforced.present() {
		for _, r := range []struct {
			name string
			word word
		}{{"rpm_limit", d.rpm}, {"tpm_limit", d.tpm}} {
			if r.word.set() {
				list = append(list, line{r.word.at, []string{r.name, r.word.text}})
			}
		}
	}
	if p := c.limits.parallel; p.set() && !slices.ContainsFunc(list, func(l line) bool { return l.words[0] == "max_parallel_requests" }) {
		list = append(list, line{p.at, []string{"max_parallel_requests", p.text}})
	}
	return list
}

// counted reports whether a deployment has a budget or rates, which two backends would double. Calls at once are each backend's.
func (c *converter) counted(d *deployment) bool {
	return slices.ContainsFunc(c.limitsOf(d), func(l line) bool { return l.words[0] != "max_parallel_requests" })
}

// limited reports whether a provider has limits.
func (c *converter) limited(preset string) bool {
	return slices.ContainsFunc(c.limits.providers, func(p providerLimits) bool { return providers[p.provider].preset == preset })
}

// writeNewRecords writes keyauth's options for new records and limits.
func (c *converter) writeNewRecords(w *caddyfile) {
	for _, b := range []struct {
		name  string
		lines []line
	}{{"new_keys", c.limits.newKeys}, {"new_teams", c.limits.newTeams}, {"new_users", c.limits.newUsers}} {
		w.block(b.lines, b.name)
	}
	if b := c.limits.customerBudget; b.set() {
		w.line(b.at, "customer_budget", b.text)
	}
	w.block(slices.Concat(c.limits.settings, c.limits.gateway), "limits")
}

// block writes a directive with a block of lines; none where there are none.
func (w *caddyfile) block(lines []line, words ...string) {
	if len(lines) == 0 {
		return
	}
	w.open(lines[0].at, words...)
	for _, l := range lines {
		w.line(l.at, l.words...)
	}
	w.end()
}
