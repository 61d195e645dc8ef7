package keys

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/price"
)

// Policy is the configuration of new records: the values of fields that a request leaves out, and upper bounds of the fields of keys. It is
// LiteLLM's default_key_generate_params, upperbound_key_generate_params, default_team_params and default_internal_user_params.
type Policy struct {
	keys, bounds, teams, users, internal map[string]json.RawMessage
	customerBudget                       string
}

// PolicyText is a policy as it is written: of each field its value as JSON, or a text as it is.
type PolicyText struct {
	KeyDefaults  map[string]string
	KeyBounds    map[string]string
	TeamDefaults map[string]string
	UserDefaults map[string]string
	// InternalUserDefaults are for users created with the user_role internal_user.
	InternalUserDefaults map[string]string
	// CustomerBudget is the budget_id of the budget of customers who have none; empty where they have none.
	CustomerBudget string
}

// noDefault are fields that belong to one record alone.
var noDefault = []string{"key", "new_key", "key_alias", "grace_period", "user_email", "user_alias", "team_alias", "spend", "members_with_roles", "auto_create_key"}

// bounded are the fields of keys that can have an upper bound.
var bounded = []string{"max_budget", "budget_duration", "duration", "max_parallel_requests", "tpm_limit", "rpm_limit"}

// NewPolicy reads a policy. Its errors name the field.
func NewPolicy(w *PolicyText) (*Policy, error) {
	p := &Policy{customerBudget: w.CustomerBudget}
	if err := llm.CheckName(w.CustomerBudget); err != nil {
		return nil, fmt.Errorf("customer_budget: %w", err)
	}
	for _, part := range []struct {
		name  string // as configurations have it
		to    *map[string]json.RawMessage
		texts map[string]string
		known map[string]check
		own   string // the id of such a record
	}{
		{"new_keys default", &p.keys, w.KeyDefaults, keyFields, ""},
		{"new_keys at_most", &p.bounds, w.KeyBounds, keyFields, ""},
		{"new_teams default", &p.teams, w.TeamDefaults, teamFields, "team_id"},
		{"new_users default", &p.users, w.UserDefaults, userFields, "user_id"},
		{"new_users internal_user", &p.internal, w.InternalUserDefaults, userFields, "user_id"},
	} {
		values := make(map[string]json.RawMessage, len(part.texts))
		for _, field := range slices.Sorted(maps.Keys(part.texts)) {
			c := part.known[field]
			if c == nil || field == part.own || slices.Contains(noDefault, field) {
				return nil, fmt.Errorf("%s %s: no such field can be set here", part.name, field)
			}
			if part.to == &p.bounds && !slices.Contains(bounded, field) {
				return nil, fmt.Errorf("%s %s: it cannot have an upper bound", part.name, field)
			}
			raw, err := written(c, part.texts[field])
			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", part.name, field, err)
			}
			values[field] = raw
		}
		*part.to = values
	}
	for _, field := range slices.Sorted(maps.Keys(p.bounds)) {
		if field == "duration" && string(p.bounds[field]) == `"`+neverExpires+`"` {
			return nil, fmt.Errorf("new_keys at_most %s: an upper bound must be %s", field, periodUnits)
		}
		if value, ok := p.keys[field]; ok && exceeds(field, value, p.bounds[field]) {
			return nil, fmt.Errorf("new_keys default %s: it is above the upper bound", field)
		}
	}
	return p, nil
}

// CustomerBudget returns the budget_id of the budget of customers who have none; empty where they have none.
func (p *Policy) CustomerBudget() string {
	if p == nil {
		return ""
	}
	return p.customerBudget
}

// written reads a value that is written as JSON, or as a text; one text may be a list.
func written(c check, text string) (json.RawMessage, error) {
	fault := ""
	if raw := json.RawMessage(text); json.Valid(raw) && !null(raw) {
		if _, fault = c(raw); fault == "" {
			return raw, nil
		}
		if raw[0] == '[' || raw[0] == '{' { // which are no texts
			return nil, errors.New(fault)
		}
	}
	raw := json.RawMessage(encodeValue(text))
	_, asText := c(raw)
	if asText == "" {
		return raw, nil
	}
	one := encodeValue([]string{text})
	if _, f := c(one); f == "" {
		return one, nil
	}
	return nil, errors.New(cmp.Or(fault, asText))
}

// Under returns the service with a policy; nil is none.
func (s *Service) Under(p *Policy) *Service {
	under := *s
	if p != nil {
		under.policy = *p
	}
	return &under
}

// fill returns a valid request with the values of the fields that it leaves out. As in LiteLLM null and empty ones are left out too, but for a
// budget_duration that is null: that budget has no end.
func (f Fields) fill(values map[string]json.RawMessage, known map[string]check) Fields {
	if len(values) == 0 {
		return f
	}
	out := Fields{raw: maps.Clone(f.raw), value: maps.Clone(f.value)}
	for field, raw := range values {
		if there, ok := f.raw[field]; ok {
			_, fault := refused("")(there) // which accepts empty values
			if field == "budget_duration" || !null(there) && (fault != "" || string(there) == "0" || string(there) == "false") {
				continue
			}
		}
		out.raw[field] = raw
		out.value[field], _ = known[field](raw) // checked when the policy was read
	}
	return out
}

// newKey returns the request for a new key with the defaults and the bounds of the policy.
func (s *Service) newKey(f Fields, defaults bool) (Fields, *llm.Error) {
	if defaults {
		f = f.fill(s.policy.keys, keyFields)
	}
	f = f.fill(s.policy.bounds, keyFields)
	return f, s.within(f)
}

// within refuses fields of a key that are above their upper bounds.
func (s *Service) within(f Fields) *llm.Error {
	for _, field := range bounded {
		bound, ok := s.policy.bounds[field]
		if !ok {
			continue
		}
		if field == "max_budget" && f.stated("temp_budget_increase") != nil {
			return Invalid("temp_budget_increase", "max_budget has an upper bound here, "+string(bound)+", and cannot be raised beyond it")
		}
		if field == "tpm_limit" && slices.ContainsFunc(f.stated("token_rate_limit_type"), func(raw json.RawMessage) bool {
			return string(raw) != `"total"` && !bytes.Equal(raw, s.policy.keys["token_rate_limit_type"]) // the operator's own default
		}) {
			return Invalid("token_rate_limit_type", "tpm_limit has an upper bound here, "+string(bound)+", and can count no fewer than all tokens")
		}
		if f.Has(field) && exceeds(field, f.raw[field], bound) {
			return Invalid(field, "is above its upper bound here, "+string(bound))
		}
	}
	return nil
}

// stated returns the values of a field that a valid request states: its own, and that of the member of metadata in which LiteLLM keeps it.
func (f Fields) stated(field string) (list []json.RawMessage) {
	for _, in := range []map[string]json.RawMessage{f.raw, get[map[string]json.RawMessage](f, "metadata")} {
		if raw, ok := in[field]; ok && !null(raw) {
			list = append(list, raw)
		}
	}
	return list
}

// exceeds reports whether a checked value of a bounded field is above its bound. One that is null has no end.
func exceeds(field string, value, bound json.RawMessage) bool {
	if null(value) {
		return true
	}
	switch field {
	case "max_budget":
		a, err := price.ParseUSD(string(value))
		b, err2 := price.ParseUSD(string(bound))
		return err != nil || err2 != nil || a.Cmp(b) > 0
	case "duration", "budget_duration":
		length := func(raw json.RawMessage) time.Time {
			var text string
			if json.Unmarshal(raw, &text) != nil || text == neverExpires {
				return time.Unix(1<<40, 0)
			}
			w, _ := limit.ParseWindow(text, time.Time{})
			return time.Unix(0, 0).UTC().AddDate(0, w.Months, 0).Add(w.Every)
		}
		return length(value).After(length(bound))
	}
	a, _ := count(value)
	b, _ := count(bound)
	n, ok := a.(int64)
	most, ok2 := b.(int64)
	return !ok || !ok2 || n > most
}

// newUser returns the request for a new user with the defaults of the policy.
func (s *Service) newUser(f Fields) Fields {
	role := get[string](f, "user_role")
	f = f.fill(s.policy.users, userFields)
	if role == internalUser {
		f = f.fill(s.policy.internal, userFields)
	}
	return f
}

const internalUser = "internal_user"

// promoted returns the request for a change of a user, with the defaults of the role internal_user where it becomes one and has no such limits.
func (s *Service) promoted(f Fields, e *Entry) Fields {
	if get[string](f, "user_role") != internalUser {
		return f
	}
	missing := maps.Clone(s.policy.internal)
	maps.DeleteFunc(missing, func(field string, _ json.RawMessage) bool {
		_, has := e.Fields[field]
		return has || f.Has(field)
	})
	return f.fill(missing, userFields)
}
