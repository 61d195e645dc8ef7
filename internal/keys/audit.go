package keys

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/tollgate-llm/tollgate/internal/keystore"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

const (
	// AuditFor is how long an entry of the audit log is kept. Each change takes out some that are older.
	AuditFor = 90 * 24 * time.Hour
	// auditPruned is how many entries a change takes out at most.
	auditPruned = 4
	// auditValue is how long a value may be to be in the log as it is, in bytes.
	auditValue = 2048
)

// Actor is who makes changes.
type Actor struct {
	Who    string // the key: master, its alias, or the beginning of its hash; or `admin API`
	UserID string
	// Behalf is for whom the caller states to act: the header litellm-changed-by.
	Behalf string
}

// As returns the service with whose changes the audit log names an actor and an action, such as /key/update.
func (s *Service) As(a Actor, action string) *Service {
	as := *s
	as.actor, as.action = a, action
	return &as
}

// AuditEntry is an entry of the audit log: one change of the store.
type AuditEntry struct {
	ID      string        `json:"id"`
	At      time.Time     `json:"at"`
	Actor   string        `json:"actor"`
	UserID  string        `json:"actor_user_id,omitempty"`
	Behalf  string        `json:"changed_by,omitempty"`
	Action  string        `json:"action"`
	Changes []AuditChange `json:"changes"`
}

// AuditChange is what became of one record. Only fields that changed are in it; a value that is long is shown by its length. Keys are named by
// the beginning of their hashes.
type AuditChange struct {
	Kind   string                     `json:"kind"`
	ID     string                     `json:"id"`
	What   string                     `json:"change"` // made, changed or deleted; of usage records and spools what was decided
	Before map[string]json.RawMessage `json:"before,omitempty"`
	After  map[string]json.RawMessage `json:"after,omitempty"`
}

func (a *AuditEntry) holds(id string) bool { return a.ID == id }

// audited adds to changes the entry of the audit log that describes them, and takes old entries out.
func (s *Service) audited(ctx context.Context, changes []keystore.Change, brief bool) ([]keystore.Change, error) {
	now := s.cache.now()
	e := &AuditEntry{
		ID: llm.NewID(), At: stamp(now), Actor: cmp.Or(s.actor.Who, "internal"), UserID: s.actor.UserID, Behalf: s.actor.Behalf, Action: s.action,
	}
	for i := range changes {
		if c := &changes[i]; !c.Unchanged() {
			e.Changes = append(e.Changes, auditOf(c, brief))
		}
	}
	if len(e.Changes) == 0 {
		return changes, nil
	}
	changes = append(changes, keystore.Change{Kind: keystore.AuditKind, ID: e.ID, New: encodeValue(e)})
	rows, err := s.cache.store.List(ctx, keystore.AuditKind, "", auditPruned)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		var old AuditEntry
		if json.Unmarshal(row.Data, &old) != nil || now.Sub(old.At) > AuditFor {
			changes = append(changes, keystore.Change{Kind: keystore.AuditKind, ID: row.ID, Old: row.Data})
		}
	}
	return changes, nil
}

func auditOf(c *keystore.Change, brief bool) AuditChange {
	a := AuditChange{Kind: string(c.Kind), ID: c.ID, What: "changed"}
	if c.Old == nil {
		a.What = "made"
	} else if c.New == nil {
		a.What = "deleted"
	}
	if c.Kind == keystore.KeyKind {
		a.ID = c.ID[:min(len(c.ID), shownDigits)]
	}
	if brief {
		return a
	}
	before, after := auditFields(c.Old), auditFields(c.New)
	for _, name := range slices.Collect(maps.Keys(before)) {
		if bytes.Equal(before[name], after[name]) {
			delete(before, name)
			delete(after, name)
		}
	}
	a.Before, a.After = shorten(before), shorten(after)
	return a
}

// auditFields returns the fields of a record in one object, without what is only of the store.
func auditFields(record []byte) map[string]json.RawMessage {
	m := make(map[string]json.RawMessage)
	if record == nil || json.Unmarshal(record, &m) != nil {
		return m
	}
	for _, group := range []string{"extra", "fields"} {
		var fields map[string]json.RawMessage
		unmarshalMember(m, group, &fields)
		delete(m, group)
		maps.Copy(m, fields)
	}
	for _, name := range []string{"imported", "windows", "spend_id", "predecessors", "id"} {
		delete(m, name)
	}
	for _, name := range []string{"token", "successor"} {
		if hash := stringMember(m, name); hash != "" {
			m[name] = encodeValue(hash[:min(len(hash), shownDigits)])
		}
	}
	return m
}

func shorten(m map[string]json.RawMessage) map[string]json.RawMessage {
	for name, raw := range m {
		if len(raw) > auditValue {
			m[name] = encodeValue("(" + strconv.Itoa(len(raw)) + " bytes)")
		}
	}
	return m
}

// Note adds an entry to the audit log of changes that are none of the store.
func (s *Service) Note(ctx context.Context, changes ...AuditChange) error {
	ctx, cancel := context.WithTimeout(ctx, serviceTimeout)
	defer cancel()
	e := &AuditEntry{
		ID: llm.NewID(), At: stamp(s.cache.now()), Actor: cmp.Or(s.actor.Who, "internal"), UserID: s.actor.UserID, Behalf: s.actor.Behalf, Action: s.action,
		Changes: changes,
	}
	for i := range changes {
		changes[i].After = shorten(changes[i].After)
	}
	return s.cache.store.Apply(ctx, keystore.Change{Kind: keystore.AuditKind, ID: e.ID, New: encodeValue(e)})
}

// AuditFilter chooses entries of the audit log.
type AuditFilter struct {
	Since, Until time.Time // zero: no bound
	Kind, ID     string    // of a record that was changed; empty: any. A key's id may be its whole hash
	Actor        string
}

// Audit calls fn for the entries of the audit log that match, the oldest first.
func (s *Service) Audit(ctx context.Context, f AuditFilter, fn func(*AuditEntry) error) error {
	return Each(ctx, s, keystore.AuditKind, s.Skip, func(e *AuditEntry) error {
		if !f.matches(e) || s.cache.now().Sub(e.At) > AuditFor {
			return nil
		}
		return fn(e)
	})
}

func (f *AuditFilter) matches(e *AuditEntry) bool {
	if e.At.Before(f.Since) || !f.Until.IsZero() && !e.At.Before(f.Until) || f.Actor != "" && f.Actor != e.Actor {
		return false
	}
	if f.Kind == "" && f.ID == "" {
		return true
	}
	return slices.ContainsFunc(e.Changes, func(c AuditChange) bool {
		if f.Kind != "" && f.Kind != c.Kind {
			return false
		}
		return f.ID == "" || f.ID == c.ID || c.Kind == string(keystore.KeyKind) && len(f.ID) > len(c.ID) && f.ID[:len(c.ID)] == c.ID
	})
}

// ParseTime reads a time of a filter: a time, a date, or how long ago, such as 24h or 7d.
func ParseTime(text string, now time.Time) (time.Time, error) {
	if at, ok := parseMoment(text); ok {
		return at, nil
	}
	if end, ok := limit.AddPeriod(now, text); ok {
		return now.Add(now.Sub(end)), nil
	}
	return time.Time{}, fmt.Errorf("%q is no time: write 2026-01-31, 2026-01-31T12:00:00Z or 24h", text)
}
