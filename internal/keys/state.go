package keys

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/tollgate-llm/tollgate/internal/keystore"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// parts reads the records that a key depends on, and notes their versions.
type parts struct {
	ctx      context.Context //nolint:containedctx // of one reading
	cache    *Cache
	versions map[part]string
}

// read returns a record; nil where there is none.
func (r *parts) read(kind keystore.Kind, id string) ([]byte, error) {
	data, err := r.cache.read(r.ctx, kind, id)
	if err == nil {
		r.versions[part{kind, id}] = keystore.Version(data)
	}
	return data, err
}

// entry returns the record of a user, a budget or a member; nil where there is none.
func (r *parts) entry(kind keystore.Kind, id string) (*Entry, error) {
	if id == "" {
		return nil, nil
	}
	data, err := r.read(kind, id)
	if data == nil || err != nil {
		return nil, err
	}
	return Decode[Entry](id, data)
}

// budget returns the limits of the budget that a record names. A budget whose record is missing was lost, and with it what limits.
func (r *parts) budget(fields map[string]json.RawMessage, field string) (*Limits, error) {
	id := stringMember(fields, field)
	e, err := r.entry(keystore.BudgetKind, id)
	if err != nil || id == "" {
		return nil, err
	}
	if e == nil {
		return nil, fmt.Errorf("%w: the record of a budget is missing", errStoreContent)
	}
	return e.Limits()
}

// stateOf builds the state of a key.
func (r *parts) stateOf(k *Key) (*State, error) {
	st := keyState(k)
	var err error
	if st.Limits, err = k.Limits(); err != nil {
		return nil, err
	}
	key := limit.Scope{Kind: limit.Key, ID: st.Identity.SpendID}
	if err := r.addBudget(st, key, k.Extra); err != nil {
		return nil, err
	}
	if st.Customer, err = r.budget(k.Extra, "end_user_budget_id"); err != nil {
		return nil, err
	}
	var team *Team
	if k.TeamID != "" {
		if team, err = r.team(k.TeamID); err != nil {
			return nil, err
		}
		if err := st.join(team); err != nil {
			return nil, err
		}
	}
	if k.UserID == "" {
		return st, nil
	}
	return st, r.addUser(st, team)
}

func (r *parts) team(id string) (*Team, error) {
	data, err := r.read(keystore.TeamKind, id)
	if err != nil {
		return nil, err
	}
	if data == nil {
		// The record was lost, and with it what restricts the key.
		return nil, fmt.Errorf("%w: the record of the key's team is missing", errStoreContent)
	}
	return Decode[Team](id, data)
}

// addUser adds the limits of the key's user, and those of the user within the key's team. As in LiteLLM, budgets of a user are of keys
// without a team; rates are of all keys.
func (r *parts) addUser(st *State, team *Team) error {
	id := st.Identity
	user, err := r.entry(keystore.UserKind, id.UserID)
	if err != nil {
		return err
	}
	if user != nil {
		l, err := user.Limits()
		if err != nil {
			return err
		}
		if team == nil {
			unmarshalMember(user.Fields, "models", &id.UserModels)
		} else {
			l = &Limits{Rates: l.Rates}
		}
		st.add(limit.Scope{Kind: limit.User, ID: id.UserID}, l)
	}
	if team == nil {
		return nil
	}
	scope := limit.Scope{Kind: limit.Member, ID: limit.MemberID(id.TeamID, id.UserID)}
	member, err := r.entry(keystore.MemberKind, scope.ID)
	if err != nil {
		return err
	}
	if member == nil {
		member = team.memberWithout(id.UserID)
	}
	l, err := team.MemberLimits(member)
	if err != nil {
		return err
	}
	st.add(scope, l)
	unmarshalMember(member.Fields, "allowed_models", &id.UserModels)
	return r.addBudget(st, scope, member.Fields)
}

// addBudget adds the limits of the budget that a record names, to the record's own scope.
func (r *parts) addBudget(st *State, s limit.Scope, fields map[string]json.RawMessage) error {
	l, err := r.budget(fields, "budget_id")
	if err != nil {
		return err
	}
	st.add(s, l)
	return nil
}

func (st *State) add(s limit.Scope, l *Limits) {
	if !l.Empty() {
		st.Others = append(st.Others, Scoped{Scope: s, Limits: l})
	}
}

// keyState is the state of a key as its own record has it.
func keyState(k *Key) *State {
	id := &llm.Identity{
		KeyHash: k.Token, SpendID: cmp.Or(k.SpendID, k.Token), KeyName: k.Name, KeyAlias: k.Alias, UserID: k.UserID, TeamID: k.TeamID,
		Models: allowed(k.Models, k.Extra), Aliases: k.Aliases, Metadata: make(map[string]string, len(k.Metadata)),
		Subscription: stringMember(k.Metadata, subscriptionMember),
		FixedPayer:   trueMember(k.Metadata, fixedPayerMember),
	}
	for name := range k.Metadata {
		if s := stringMember(k.Metadata, name); s != "" {
			id.Metadata[name] = s
		}
	}
	st := &State{Identity: id, Blocked: k.Blocked, Issued: k.IssuedBy != "", Type: stringMember(k.Extra, "key_type")}
	unmarshalMember(k.Extra, "allowed_routes", &st.Routes)
	if k.Expires != nil {
		st.Expires = *k.Expires
	}
	return st
}

// join adds the settings of the key's team.
func (st *State) join(team *Team) error {
	id := st.Identity
	var err error
	if st.TeamLimits, err = team.Limits(); err != nil {
		return err
	}
	st.TeamBlocked = team.Blocked
	id.TeamModels = allowed(team.Models, team.Extra)
	if len(team.Aliases) > 0 {
		own := id.Aliases
		id.Aliases = maps.Clone(team.Aliases)
		maps.Copy(id.Aliases, own)
	}
	if id.Subscription == "" {
		id.Subscription = stringMember(team.Metadata, subscriptionMember)
	}
	id.FixedPayer = id.FixedPayer || trueMember(team.Metadata, fixedPayerMember)
	return nil
}
