// Package keystore stores the records of keys, teams, users and budgets, in an embedded file or in Redis. It knows a record's kind, id and
// alias, and nothing of its content.
package keystore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
)

// Kind is a kind of record. Its text names the bucket or the Redis keys that hold the records.
type Kind string

// The kinds of records.
const (
	KeyKind     Kind = "key"      // id: the hex SHA-256 of the key
	TeamKind    Kind = "team"     // id: the team_id
	UserKind    Kind = "user"     // id: the user_id
	EndUserKind Kind = "end-user" // id: the user_id of a customer, who pays
	BudgetKind  Kind = "budget"   // id: the budget_id
	MemberKind  Kind = "member"   // a user within a team; id: limit.MemberID
	AuditKind   Kind = "audit"    // an entry of the audit log; id: a UUIDv7
)

// kinds are all kinds of records.
var kinds = []Kind{KeyKind, TeamKind, UserKind, EndUserKind, BudgetKind, MemberKind, AuditKind}

// Errors of a store, besides those of its medium.
var (
	// ErrNotFound means that the store answered and has no such record.
	ErrNotFound = errors.New("no such record")
	// ErrChanged means that a record was not what the change was made from: read it again.
	ErrChanged = errors.New("the record was changed meanwhile")
	// ErrAliasTaken means that another record of the kind has the alias.
	ErrAliasTaken = errors.New("the alias is taken")
	// ErrMalformed means that what is stored under the id is no record.
	ErrMalformed = errors.New("no record, but a value of another type")
	// ErrFull means that there is no memory for a new record. Changes of records that exist and deletions need none.
	ErrFull = errors.New("the store has no memory left")
)

// Change replaces one record. It holds only if the record is still Old.
type Change struct {
	Kind Kind
	ID   string
	Old  []byte // the record as it was read; nil when there must be none
	New  []byte // the record as it shall be; nil deletes it. One that equals Old is only compared
	// OldAlias is given up and NewAlias taken; empty where there is none. An alias is unique within its kind.
	OldAlias, NewAlias string
}

// Unchanged reports whether c only compares the record.
func (c *Change) Unchanged() bool {
	return (c.Old == nil) == (c.New == nil) && bytes.Equal(c.Old, c.New)
}

// Row is a record as List returns it.
type Row struct {
	ID   string
	Data []byte
}

// Watcher is notified of changes to the records of a store. Its methods are called from one goroutine and must not block.
type Watcher interface {
	// Changed reports that a record was changed, by any instance, and to which version of it; an empty one is not known or
	// means that the record is gone.
	Changed(kind Kind, id, version string)
	// Missed reports that changes may have gone by unseen until now, and that they are seen from now on.
	Missed()
	// Lost reports that changes are not seen until the next Missed.
	Lost(err error)
}

// Store keeps the records of keys, teams and what else LiteLLM knows. Any error other than those above means that the store is down.
// Implementations are safe for concurrent use and hold no plain key.
type Store interface {
	// Get returns a record, or ErrNotFound.
	Get(ctx context.Context, kind Kind, id string) ([]byte, error)
	// GetAll returns records in the order of their ids; nil where there is none.
	GetAll(ctx context.Context, kind Kind, ids []string) ([][]byte, error)
	// ByAlias returns the id of the record with that alias, or ErrNotFound.
	ByAlias(ctx context.Context, kind Kind, alias string) (string, error)
	// Apply makes all changes or none, and announces each to every Watcher of the store, on any instance.
	Apply(ctx context.Context, changes ...Change) error
	// List returns up to limit records with ids above after, in the order of their ids.
	List(ctx context.Context, kind Kind, after string, limit int) ([]Row, error)
	// Watch announces changes to w until ctx ends.
	Watch(ctx context.Context, w Watcher)
	// Close releases the store, after Watch has returned.
	Close() error
}

// Version identifies the content of a record: 32 hex digits, the first half of its SHA-256. It is empty for nil.
func Version(record []byte) string {
	if record == nil {
		return ""
	}
	sum := sha256.Sum256(record)
	return hex.EncodeToString(sum[:16])
}

const maxTries = 100 // of a change that others outrun; each try that fails means that another one's succeeded

// Update reads a record, lets makeChanges build the change of it and others that belong to it, and applies them; again
// from the start when another change came between. makeChanges gets nil when there is no record; its errors end it.
func Update(ctx context.Context, s Store, kind Kind, id string, makeChanges func(old []byte) ([]Change, error)) error {
	for range maxTries {
		old, err := s.Get(ctx, kind, id)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		changes, err := makeChanges(old)
		if err != nil || len(changes) == 0 {
			return err
		}
		if err = s.Apply(ctx, changes...); !errors.Is(err, ErrChanged) {
			return err
		}
	}
	return ErrChanged
}
