package keys

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/tollgate-llm/tollgate/internal/limit"
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
	// Extra holds the other fields of LiteLLM's key, as they were given: limits, budgets and the like. See ParseLimits.
	Extra    map[string]json.RawMessage `json:"extra,omitempty"`
	Windows  Windows                    `json:"windows,omitempty"`  // of the budgets
	SpendID  string                     `json:"spend_id,omitempty"` // the token of the first key that this one replaces: what it has spent is kept under it
	Imported string                     `json:"imported,omitempty"` // the mark of the import that made it
	// IssuedBy is the user_id of the team's admin who made the key for another user, and so has seen it.
	IssuedBy string `json:"issued_by,omitempty"`
	// Predecessors are the keys that this one replaced and that still work; Successor is the token of the key in this one's place.
	Predecessors []Predecessor `json:"predecessors,omitempty"`
	Successor    string        `json:"successor,omitempty"`
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
	Windows   Windows                    `json:"windows,omitempty"`  // as of Key
	Imported  string                     `json:"imported,omitempty"` // as of Key
	Implied   bool                       `json:"implied,omitempty"`  // made by the first key that named it, and not changed since
	Deleting  bool                       `json:"deleting,omitempty"` // it has no new keys, and goes when the last one has gone
}

// Entry is the record of a user, a customer, a budget or a team's member.
type Entry struct {
	ID       string                     `json:"id"`
	Fields   map[string]json.RawMessage `json:"fields"`             // LiteLLM's columns but its id, those that are not null
	Windows  Windows                    `json:"windows,omitempty"`  // as of Key
	Imported string                     `json:"imported,omitempty"` // as of Key
}

func (k *Key) holds(id string) bool { return k.Token == id && usable(k.Metadata) }

func (t *Team) holds(id string) bool { return t.ID == id && usable(t.Metadata) }

func (e *Entry) holds(id string) bool { return e.ID == id }

// usable reports whether the members that decide who pays are of their types. It is less than CheckMetadata, which judges what is written.
func usable(m map[string]json.RawMessage) bool {
	var subscription *string
	var fixed *bool
	return unmarshalMember(m, subscriptionMember, &subscription) && unmarshalMember(m, fixedPayerMember, &fixed)
}

// Decode reads the record of that id. One that cannot be read, or that is another one's, is a fault of the store's content (ErrMalformed), not
// an outage.
func Decode[T Key | Team | Entry | AuditEntry](id string, data []byte) (*T, error) {
	rec := new(T)
	if err := json.Unmarshal(data, rec); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if r, ok := any(rec).(interface{ holds(id string) bool }); !ok || !r.holds(id) {
		return nil, fmt.Errorf("%w: it is not that of its id", ErrMalformed)
	}
	return rec, nil
}

// Encode writes a record as stores hold it.
func Encode[T Key | Team | Entry](rec *T) []byte { return encodeValue(rec) }

// encodeValue encodes what can always be encoded.
func encodeValue(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("keys: encoding a record: " + err.Error()) // its raw members were validated as JSON
	}
	return b
}

// State is what calls with a key are judged by. Time passes, so the verdict is made at each call. It is shared and never changed.
type State struct {
	Identity    *llm.Identity
	Blocked     bool
	TeamBlocked bool
	Expires     time.Time // zero: never
	// Limits and TeamLimits are those of the key's and its team's records.
	Limits, TeamLimits *Limits
	// Others are further limits, each set of a scope.
	Others []Scoped
	// Customer is a budget that holds for each customer who calls with the key; nil where there is none.
	Customer *Limits
	// Issued says that an admin of the team made the key for its user: it reads and manages nothing in the user's name.
	Issued bool
	// Type is the key_type, and Routes restricts what the key may ask for; empty: nothing is restricted.
	Type   string
	Routes []string

	version string          // of the key's record
	parts   map[part]string // the records that this is made of besides, and their versions; empty for one that does not exist
}

// Scoped is a set of limits of one scope.
type Scoped struct {
	Scope  limit.Scope
	Limits *Limits
}

// Spending is the token under which what the key spends is kept.
func (k *Key) Spending() string { return cmp.Or(k.SpendID, k.Token) }

// Limits returns the limits of the key's record, with their windows.
func (k *Key) Limits() (*Limits, error) { return limitsOf(k.Extra, k.Metadata, k.Windows, k.CreatedAt) }

// Limits returns the limits of the team's record, with their windows.
func (t *Team) Limits() (*Limits, error) {
	return limitsOf(t.Extra, t.Metadata, t.Windows, t.CreatedAt)
}

// Limits returns the limits of the record, with their windows.
func (e *Entry) Limits() (*Limits, error) { return e.limits(nil) }

// limits returns the limits of the record, with defaults for fields that it does not have.
func (e *Entry) limits(defaults map[string]json.RawMessage) (*Limits, error) {
	fields := e.Fields
	if len(defaults) > 0 {
		fields = maps.Clone(defaults)
		maps.Copy(fields, e.Fields)
	}
	var meta map[string]json.RawMessage
	unmarshalMember(e.Fields, "metadata", &meta)
	created, _ := parseMoment(stringMember(e.Fields, "created_at")) // zero where there is none
	return limitsOf(fields, meta, e.Windows, created)
}

func limitsOf(fields, metadata map[string]json.RawMessage, w Windows, created time.Time) (*Limits, error) {
	l, err := ParseLimits(fields, metadata)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	resets, _ := parseMoment(stringMember(fields, "budget_reset_at")) // zero where there is none
	l.Anchor(w, resets, created)
	return l, nil
}

// groupsMember is LiteLLM's list of access groups, which name models elsewhere. They are not known here.
const groupsMember = "access_group_ids"

// allowed returns the models of a record. One that has its models from access groups alone may use none, as an empty list would allow all.
func allowed(models []string, extra map[string]json.RawMessage) []string {
	if len(models) == 0 && HasGroups(extra) {
		return []string{llm.NoModels}
	}
	return models
}

// HasGroups reports whether the fields of a record name access groups.
func HasGroups(fields map[string]json.RawMessage) bool {
	switch string(fields[groupsMember]) {
	case "", "null", "[]":
		return false
	}
	return true
}

// unmarshalMember decodes a member into to; an absent one leaves it. It reports whether the member is of that type.
func unmarshalMember(m map[string]json.RawMessage, name string, to any) bool {
	raw, ok := m[name]
	return !ok || json.Unmarshal(raw, to) == nil
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
