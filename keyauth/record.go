package keyauth

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

// Members of a key's or a team's metadata that have a meaning here.
const (
	subscriptionMember = "lago_subscription_id" // a string: the Lago subscription that pays
	fixedPayerMember   = "fixed_payer"          // true: the client cannot name another payer
)

// Key is the record of an API key. The key itself is nowhere in it.
type Key struct {
	Token     string                     `json:"token"`    // hex SHA-256 of the key
	Name      string                     `json:"key_name"` // sk-...abcd
	Alias     string                     `json:"key_alias,omitempty"`
	UserID    string                     `json:"user_id,omitempty"`
	TeamID    string                     `json:"team_id,omitempty"`
	Models    []string                   `json:"models,omitempty"`
	Aliases   map[string]string          `json:"aliases,omitempty"`
	Metadata  map[string]json.RawMessage `json:"metadata,omitempty"`
	Blocked   bool                       `json:"blocked,omitempty"`
	Expires   *time.Time                 `json:"expires,omitempty"`
	CreatedAt time.Time                  `json:"created_at"`
	UpdatedAt time.Time                  `json:"updated_at"`
	// Extra holds the other fields of LiteLLM's key, as they were given: limits, budgets and the like.
	Extra    map[string]json.RawMessage `json:"extra,omitempty"`
	Imported string                     `json:"imported,omitempty"` // the mark of the import that made it
}

// Team is the record of a team, which keys name by its id.
type Team struct {
	ID        string                     `json:"team_id"`
	Alias     string                     `json:"team_alias,omitempty"`
	Models    []string                   `json:"models,omitempty"`
	Aliases   map[string]string          `json:"model_aliases,omitempty"`
	Metadata  map[string]json.RawMessage `json:"metadata,omitempty"`
	Blocked   bool                       `json:"blocked,omitempty"`
	CreatedAt time.Time                  `json:"created_at"`
	UpdatedAt time.Time                  `json:"updated_at"`
	Extra     map[string]json.RawMessage `json:"extra,omitempty"`    // as of Key
	Imported  string                     `json:"imported,omitempty"` // as of Key
}

// decode reads a record of a store. A record that cannot be read is a fault of the store's content, not an outage.
func decode[T Key | Team | Entry](data []byte) (*T, error) {
	rec := new(T)
	if err := json.Unmarshal(data, rec); err != nil {
		return nil, fmt.Errorf("%w: %w", errBadRecord, err)
	}
	return rec, nil
}

// keyState is what a cache knows of a key: the verdict is made of it at each call, as time passes.
type keyState struct {
	identity    *llm.Identity
	blocked     bool
	teamBlocked bool
	expires     time.Time // zero: never
	version     string    // of the key's record
	teamVersion string    // of the team's record; empty when it has none
}

// stateOf builds what callers are judged by from the records. team is nil when the key has none or it has no record.
func stateOf(k *Key, team *Team) *keyState {
	id := &llm.Identity{
		KeyHash: k.Token, KeyName: k.Name, KeyAlias: k.Alias, UserID: k.UserID, TeamID: k.TeamID,
		Models: k.Models, Aliases: k.Aliases, Metadata: make(map[string]string, len(k.Metadata)),
		Subscription: stringMember(k.Metadata, subscriptionMember),
		FixedPayer:   trueMember(k.Metadata, fixedPayerMember),
	}
	for name := range k.Metadata {
		if s := stringMember(k.Metadata, name); s != "" {
			id.Metadata[name] = s
		}
	}
	st := &keyState{identity: id, blocked: k.Blocked}
	if k.Expires != nil {
		st.expires = *k.Expires
	}
	if team == nil {
		return st
	}
	st.teamBlocked = team.Blocked
	id.TeamModels = team.Models
	if len(team.Aliases) > 0 {
		id.Aliases = maps.Clone(team.Aliases)
		maps.Copy(id.Aliases, k.Aliases)
	}
	if id.Subscription == "" {
		id.Subscription = stringMember(team.Metadata, subscriptionMember)
	}
	id.FixedPayer = id.FixedPayer || trueMember(team.Metadata, fixedPayerMember)
	return st
}

func stringMember(m map[string]json.RawMessage, name string) string {
	var s string
	if raw, ok := m[name]; !ok || json.Unmarshal(raw, &s) != nil {
		return "" // absent, or not a string: members are free in type but for those checked when they were written
	}
	return s
}

func trueMember(m map[string]json.RawMessage, name string) bool {
	return string(m[name]) == "true"
}

// row returns the fields of a key as LiteLLM's clients read them, without its token.
func (k *Key) row() map[string]any {
	row := toAny(k.litellmRow())
	delete(row, "token")
	if _, ok := row["litellm_budget_table"]; !ok {
		row["litellm_budget_table"] = nil
	}
	return row
}

// row returns the fields of a team as LiteLLM's clients read them.
func (t *Team) row() map[string]any {
	row := toAny(t.litellmRow())
	row["model_aliases"] = orEmptyObject(t.Aliases)
	return row
}

func toAny(row map[string]json.RawMessage) map[string]any {
	out := make(map[string]any, len(row)+1)
	for n, v := range row {
		out[n] = v
	}
	return out
}

func orEmptyList(l []string) []string {
	if l == nil {
		return []string{}
	}
	return l
}

func orEmptyObject[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}
