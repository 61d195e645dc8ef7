package keyauth

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/tollgate-llm/tollgate/app/setting"
	"github.com/tollgate-llm/tollgate/internal/keys"
)

// NewKeysConfig configures keys that the key API makes and changes.
type NewKeysConfig struct {
	// Defaults are the values of fields that a request for a new key leaves out: each as JSON, without placeholders in it, or a text as it is.
	Defaults map[string]string `json:"defaults,omitempty"`

	// AtMost are upper bounds of max_budget, budget_duration, duration, max_parallel_requests, tpm_limit and rpm_limit. They are also the values
	// of what a request for a new key leaves out. A change beyond one is refused to every caller.
	AtMost map[string]string `json:"at_most,omitempty"`
}

// NewTeamsConfig configures new teams.
type NewTeamsConfig struct {
	// Defaults are as those of keys.
	Defaults map[string]string `json:"defaults,omitempty"`
}

// NewUsersConfig configures new users.
type NewUsersConfig struct {
	// Defaults are as those of keys.
	Defaults map[string]string `json:"defaults,omitempty"`

	// InternalUser are further defaults, for users created with the user_role internal_user.
	InternalUser map[string]string `json:"internal_user,omitempty"`
}

// usePolicy resolves the policy for new records, and for customers without a budget.
func (h *Handler) usePolicy() error {
	var w keys.PolicyText
	type part struct {
		name    string
		written map[string]string
		to      *map[string]string
	}
	var parts []part
	if c := h.NewKeys; c != nil {
		parts = append(parts, part{"new_keys default", c.Defaults, &w.KeyDefaults}, part{"new_keys at_most", c.AtMost, &w.KeyBounds})
	}
	if c := h.NewTeams; c != nil {
		parts = append(parts, part{"new_teams default", c.Defaults, &w.TeamDefaults})
	}
	if c := h.NewUsers; c != nil {
		parts = append(parts, part{"new_users default", c.Defaults, &w.UserDefaults}, part{"new_users internal_user", c.InternalUser, &w.InternalUserDefaults})
	}
	for _, p := range parts {
		*p.to = make(map[string]string, len(p.written))
		for _, field := range slices.Sorted(maps.Keys(p.written)) {
			value := p.written[field]
			if !json.Valid([]byte(value)) { // the braces of JSON are no placeholders
				var err error
				if value, err = setting.Resolve(p.name+" "+field, value); err != nil {
					return err
				}
			}
			(*p.to)[field] = value
		}
	}
	var err error
	if h.CustomerBudget != "" {
		if w.CustomerBudget, err = setting.Resolve("customer_budget", h.CustomerBudget); err != nil {
			return err
		}
	}
	h.policy, err = keys.NewPolicy(&w)
	return err
}

// fieldLines are the lines of a word within a block: where their fields and values go, and the policy that they alone would be.
type fieldLines struct {
	to     *map[string]string
	policy func(map[string]string) keys.PolicyText
}

func (h *Handler) unmarshalNewKeys(d *caddyfile.Dispenser) error {
	h.NewKeys = new(NewKeysConfig)
	return unmarshalFields(d, map[string]fieldLines{
		"default": {&h.NewKeys.Defaults, func(m map[string]string) keys.PolicyText { return keys.PolicyText{KeyDefaults: m} }},
		"at_most": {&h.NewKeys.AtMost, func(m map[string]string) keys.PolicyText { return keys.PolicyText{KeyBounds: m} }},
	})
}

func (h *Handler) unmarshalNewTeams(d *caddyfile.Dispenser) error {
	h.NewTeams = new(NewTeamsConfig)
	return unmarshalFields(d, map[string]fieldLines{
		"default": {&h.NewTeams.Defaults, func(m map[string]string) keys.PolicyText { return keys.PolicyText{TeamDefaults: m} }},
	})
}

func (h *Handler) unmarshalNewUsers(d *caddyfile.Dispenser) error {
	h.NewUsers = new(NewUsersConfig)
	return unmarshalFields(d, map[string]fieldLines{
		"default":       {&h.NewUsers.Defaults, func(m map[string]string) keys.PolicyText { return keys.PolicyText{UserDefaults: m} }},
		"internal_user": {&h.NewUsers.InternalUser, func(m map[string]string) keys.PolicyText { return keys.PolicyText{InternalUserDefaults: m} }},
	})
}

// unmarshalFields reads a block of lines with a word, a field and its value. Several values are a list.
func unmarshalFields(d *caddyfile.Dispenser, to map[string]fieldLines) error {
	block := d.Val()
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		word := d.Val()
		lines, ok := to[word]
		if !ok {
			return d.Errf("unrecognized subdirective of %s: %s", block, word)
		}
		args := d.RemainingArgs()
		if len(args) < 2 {
			return d.ArgErr()
		}
		field, value := args[0], args[1]
		if len(args) > 2 {
			list, err := json.Marshal(args[1:])
			if err != nil {
				return d.WrapErr(err)
			}
			value = string(list)
		}
		if *lines.to == nil {
			*lines.to = make(map[string]string)
		}
		if _, twice := (*lines.to)[field]; twice {
			return d.Errf("%s %s %s is given twice", block, word, field)
		}
		(*lines.to)[field] = value
		err := setting.Check(d, value, func(value string) error {
			p := lines.policy(map[string]string{field: value})
			_, err := keys.NewPolicy(&p)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
