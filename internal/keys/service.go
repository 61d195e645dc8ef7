package keys

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/internal/keystore"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// Service changes and reads keys and teams: what the key API and the command line do. Its errors are *llm.Error. A key is
// named by itself or by its hash.
type Service struct {
	cache  *Cache
	master *Digest
	actor  Actor
	action string
	guard  func(before, after *Key) error
	policy Policy
}

// Guarded returns the service with a check of each key that it changes, as it was and as it will be; either is nil where there is none.
func (s *Service) Guarded(check func(before, after *Key) error) *Service {
	guarded := *s
	guarded.guard = check
	return &guarded
}

func (s *Service) guardKey(before, after *Key) error {
	if s.guard == nil {
		return nil
	}
	return s.guard(before, after)
}

// issue notes in the record of a new key who has seen it beside its user.
func (s *Service) issue(rec *Key) {
	rec.IssuedBy = ""
	if s.guard != nil && rec.UserID != s.actor.UserID {
		rec.IssuedBy = s.actor.UserID
	}
}

// NewService returns the service of the store behind a cache, which must stay open while the service is used. No key may equal the master
// key, which is nil where there is none.
func NewService(c *Cache, master *Digest) *Service { return &Service{cache: c, master: master} }

const (
	serviceTimeout = 5 * time.Second // bounds an operation on one record
)

// Generate makes a key by the fields of LiteLLM's /key/generate and returns its record and the key itself, which
// cannot be shown again.
func (s *Service) Generate(ctx context.Context, f Fields) (*Key, string, error) {
	if refusal := f.validate(keyFields); refusal != nil {
		return nil, "", refusal
	}
	f, refusal := s.newKey(f, true)
	if refusal != nil {
		return nil, "", refusal
	}
	rec, plain, refusal := s.newRecord(f, s.cache.now())
	if refusal != nil {
		return nil, "", refusal
	}
	err := s.change(ctx, keystore.KeyKind, rec.Token, func(old []byte) ([]keystore.Change, error) {
		if bytes.Equal(old, Encode(rec)) {
			return nil, nil // ours: a change whose answer was lost was sent once more
		}
		if old != nil {
			return nil, errExists
		}
		return s.keyMade(ctx, f, rec)
	})
	if errors.Is(err, errExists) {
		return nil, "", Invalid("key", "exists already")
	}
	return rec, plain, err
}

// newRecord makes the record of a new key, and the key.
func (s *Service) newRecord(f Fields, now time.Time) (*Key, string, *llm.Error) {
	for _, n := range []string{"new_key", "grace_period"} {
		if f.Has(n) {
			return nil, "", Invalid(n, "is for /key/regenerate")
		}
	}
	plain, refusal := s.chosenKey(f, "key")
	if refusal != nil {
		return nil, "", refusal
	}
	rec := &Key{Token: DigestOf(plain).String(), Name: Abbreviate(plain), CreatedAt: stamp(now)}
	return rec, plain, rec.apply(f, now)
}

// keyMade returns the changes that make a key.
func (s *Service) keyMade(ctx context.Context, f Fields, rec *Key) ([]keystore.Change, error) {
	if err := s.guardKey(nil, rec); err != nil {
		return nil, err
	}
	s.issue(rec)
	changes, err := s.memberOf(ctx, rec.TeamID, true)
	if err != nil {
		return nil, err
	}
	held, err := s.refs(ctx, f, "")
	changes = append(changes, held...)
	return append(changes, keyChange(nil, nil, rec)), err
}

// chosenKey returns the key that a request names for a new key, or a random one.
func (s *Service) chosenKey(f Fields, field string) (string, *llm.Error) {
	plain := get[string](f, field)
	switch {
	case plain == "":
		return newKey(), nil
	case !strings.HasPrefix(plain, Prefix):
		return "", Invalid(field, "must begin with sk-")
	case len(plain) < minChosenKey || len(plain) > MaxBytes:
		return "", Invalid(field, "must have 8 to 512 characters")
	case strings.ContainsFunc(plain, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", Invalid(field, "must be of visible ASCII characters, to be sent in a header")
	case s.master != nil && DigestOf(plain) == *s.master:
		return "", Invalid(field, "is the master key")
	}
	return plain, nil
}

const minChosenKey = 8

// Update changes the given fields of a key, named by key or by key_alias; a null field is cleared.
func (s *Service) Update(ctx context.Context, f Fields) (*Key, error) {
	if refusal := f.validate(keyFields); refusal != nil {
		return nil, refusal
	}
	for _, n := range []string{"new_key", "grace_period"} {
		if f.Has(n) {
			return nil, Invalid(n, "is for /key/regenerate")
		}
	}
	if refusal := s.within(f); refusal != nil {
		return nil, refusal
	}
	id, err := s.Named(ctx, f)
	if err != nil {
		return nil, err
	}
	var team string // the one that the key is moved to
	if f.Has("team_id") {
		team = get[string](f, "team_id")
	}
	return s.updateKey(ctx, id, team, func(k *Key, now time.Time) ([]keystore.Change, error) {
		if refusal := k.apply(f, now); refusal != nil {
			return nil, refusal
		}
		return s.refs(ctx, f, "")
	})
}

// Named returns the id of the key that a request names by key, or else by key_alias.
func (s *Service) Named(ctx context.Context, f Fields) (string, error) {
	alias, key := f.Text("key_alias"), f.Text("key")
	if key != "" || alias == "" {
		id, refusal := ID(key)
		if refusal != nil {
			return "", refusal
		}
		return id, nil
	}
	id, err := s.ByAlias(ctx, keystore.KeyKind, alias)
	if err == nil && id == "" {
		err = notThere("key_alias", "no key has this alias")
	}
	return id, err
}

// Block refuses a key, named by the field key, or lets it work again.
func (s *Service) Block(ctx context.Context, f Fields, blocked bool) (*Key, error) {
	if refusal := f.validate(map[string]check{"key": text}); refusal != nil {
		return nil, refusal
	}
	id, refusal := ID(f.Key())
	if refusal != nil {
		return nil, refusal
	}
	return s.updateKey(ctx, id, "", func(k *Key, _ time.Time) ([]keystore.Change, error) {
		k.Blocked = blocked
		return nil, nil
	})
}

func (s *Service) updateKey(ctx context.Context, id, team string, edit func(*Key, time.Time) ([]keystore.Change, error)) (*Key, error) {
	var rec *Key
	err := s.change(ctx, keystore.KeyKind, id, func(old []byte) ([]keystore.Change, error) {
		if old == nil {
			return nil, noKey()
		}
		before, err := Decode[Key](id, old)
		if err != nil {
			return nil, err
		}
		if err := s.guardKey(before, nil); err != nil { // first, so that nothing is revealed of a key that the caller may not change
			return nil, err
		}
		if before.Successor != "" {
			return nil, replaced()
		}
		if rec, err = Decode[Key](id, old); err != nil {
			return nil, err
		}
		now := s.cache.now()
		changes, err := edit(rec, now)
		if err != nil {
			return nil, err
		}
		if err := s.guardKey(before, rec); err != nil {
			return nil, err
		}
		if rec.UserID != before.UserID {
			s.issue(rec)
		}
		rec.UpdatedAt = stamp(now)
		joined, err := s.memberOf(ctx, team, false)
		if err != nil {
			return nil, err
		}
		followed, err := s.follow(ctx, rec, now)
		changes = append(append(changes, joined...), followed...)
		return append(changes, keyChange(old, before, rec)), err
	})
	if err != nil {
		return nil, err
	}
	return rec, nil
}

// Delete removes the keys of the fields keys (keys or their hashes) and key_aliases: all of them, or none when one is unknown. It returns
// what they were named by.
func (s *Service) Delete(ctx context.Context, f Fields) (deleted []string, err error) {
	if refusal := f.validate(map[string]check{"keys": texts, "key_aliases": texts}); refusal != nil {
		return nil, refusal
	}
	keys, aliases := get[[]string](f, "keys"), get[[]string](f, "key_aliases")
	return append(keys, aliases...), s.delete(ctx, keys, aliases)
}

func (s *Service) delete(ctx context.Context, keys, aliases []string) error {
	ctx, cancel := context.WithTimeout(ctx, serviceTimeout)
	defer cancel()
	ids := make([]string, 0, len(keys)+len(aliases))
	for _, key := range keys {
		id, refusal := ID(key)
		if refusal != nil {
			return refusal
		}
		ids = append(ids, id)
	}
	for _, alias := range aliases {
		id, err := s.cache.store.ByAlias(ctx, keystore.KeyKind, alias)
		if errors.Is(err, keystore.ErrNotFound) {
			return notThere("key_aliases", "no key has one of these aliases")
		}
		if err != nil {
			return s.Refusal(err)
		}
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return Invalid("keys", "name at least one key in keys or key_aliases")
	}
	for _, id := range ids {
		k, err := s.get(ctx, id)
		if err == nil {
			err = s.guardKey(k, nil)
		}
		if err != nil {
			return err
		}
	}
	for _, id := range ids {
		if err := s.deleteKey(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// deleteKey removes a key, and those that it replaced and that still work; one that is gone already is no error.
func (s *Service) deleteKey(ctx context.Context, id string) error {
	return s.change(ctx, keystore.KeyKind, id, func(old []byte) ([]keystore.Change, error) {
		if old == nil {
			return nil, nil
		}
		before, err := Decode[Key](id, old)
		if err != nil {
			return nil, err
		}
		if err := s.guardKey(before, nil); err != nil {
			return nil, err
		}
		followed, err := s.ended(ctx, before)
		return append(followed, keyChange(old, before, nil)), err
	})
}

// change applies a change and makes this instance's cache forget what it touched before it reports success.
func (s *Service) change(ctx context.Context, kind keystore.Kind, id string, makeChanges func([]byte) ([]keystore.Change, error)) error {
	ctx, cancel := context.WithTimeout(ctx, serviceTimeout)
	defer cancel()
	var touched []keystore.Change
	err := keystore.Update(ctx, s.cache.store, kind, id, func(old []byte) ([]keystore.Change, error) {
		changes, err := makeChanges(old)
		if err != nil || len(changes) == 0 {
			return nil, err
		}
		touched = changes
		return s.audited(ctx, changes, false)
	})
	s.forget(touched)
	if err == nil {
		return nil
	}
	return s.Refusal(err)
}

// forget makes this instance's cache forget what changes touched. A change whose answer was lost may hold: it is right in either case.
func (s *Service) forget(changes []keystore.Change) {
	for _, c := range changes {
		if !c.Unchanged() {
			s.cache.Changed(c.Kind, c.ID, "")
		}
	}
}

// GetAll returns the records of ids, in their order; nil where there is none.
func (s *Service) GetAll(ctx context.Context, kind keystore.Kind, ids []string) ([][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, serviceTimeout)
	defer cancel()
	all, err := s.cache.store.GetAll(ctx, kind, ids)
	if err != nil {
		return nil, s.Refusal(err)
	}
	return all, nil
}

// ByAlias returns the id of the record with that alias; empty when there is none.
func (s *Service) ByAlias(ctx context.Context, kind keystore.Kind, alias string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, serviceTimeout)
	defer cancel()
	id, err := s.cache.store.ByAlias(ctx, kind, alias)
	if err != nil && !errors.Is(err, keystore.ErrNotFound) {
		return "", s.Refusal(err)
	}
	return id, nil
}

// Apply makes changes of records in one step; the audit log has which, without their content. Its errors are those of package keystore.
func (s *Service) Apply(ctx context.Context, changes ...keystore.Change) error {
	all, err := s.audited(ctx, changes, true)
	if err != nil {
		return err
	}
	err = s.cache.store.Apply(ctx, all...)
	s.forget(changes)
	return err
}

// Refusal turns an error of the store into one for callers.
func (s *Service) Refusal(err error) error {
	switch {
	case errors.Is(err, errExists):
		return err
	case errors.Is(err, keystore.ErrAliasTaken):
		return Invalid("key_alias", "another key has this alias")
	case errors.Is(err, keystore.ErrChanged):
		return &llm.Error{
			Status: http.StatusConflict, Type: "conflict_error",
			Message: "the record is being changed by others: try again", Err: err,
		}
	case errors.Is(err, keystore.ErrFull):
		refusal := StoreDown(err)
		refusal.Message = "the key store has no memory left for this: raise Redis' maxmemory"
		return refusal
	case errors.Is(err, ErrMalformed), errors.Is(err, keystore.ErrMalformed):
		return &llm.Error{
			Status: http.StatusInternalServerError, Type: "internal_server_error",
			Message: "a record of the key store cannot be read", Err: err,
		}
	}
	if refusal, ok := errors.AsType[*llm.Error](err); ok {
		return refusal
	}
	return StoreDown(err)
}

// keyChange is the change of one key's record. old is the record as stored, before as read; rec is nil to delete it.
func keyChange(old []byte, before, rec *Key) keystore.Change {
	c := keystore.Change{Kind: keystore.KeyKind, Old: old}
	if before != nil {
		c.ID, c.OldAlias = before.Token, before.Alias
	}
	if rec != nil {
		c.ID, c.New, c.NewAlias = rec.Token, Encode(rec), rec.Alias
	}
	return c
}

// apply sets the given fields.
func (k *Key) apply(f Fields, now time.Time) *llm.Error {
	set := func(name string, to *string) {
		if f.Has(name) {
			*to = get[string](f, name)
		}
	}
	set("key_alias", &k.Alias)
	set("user_id", &k.UserID)
	set("team_id", &k.TeamID)
	if f.Has("models") {
		k.Models = get[[]string](f, "models")
	}
	if f.Has("aliases") {
		k.Aliases = get[map[string]string](f, "aliases")
	}
	if f.Has("blocked") {
		k.Blocked = get[bool](f, "blocked")
	}
	if d := get[string](f, "duration"); d == neverExpires || f.Has("duration") && d == "" {
		k.Expires = nil
	} else if d != "" {
		at, ok := limit.AddPeriod(now, d)
		if !ok {
			return Invalid("duration", "must be "+periodUnits)
		}
		at = stamp(at)
		k.Expires = &at
	}
	if refusal := f.paired(); refusal != nil {
		return refusal
	}
	before, err := k.Limits()
	if err != nil {
		before = nil // what cannot be read is replaced, or refused below
	}
	account := k.Metadata[serviceAccount]
	k.Metadata = f.merge(k.Metadata, keyFields)
	if now := k.Metadata[serviceAccount]; account != nil && now == nil {
		k.Metadata[serviceAccount] = account
	} else if account != nil && string(now) != string(account) {
		return Invalid("metadata", serviceAccount+" cannot be changed")
	}
	k.Extra = f.keep(k.Extra, "key", "new_key", "key_alias", "user_id", "team_id", "models", "aliases", "blocked",
		"duration", "metadata", "send_invite_email", "spend", "grace_period")
	k.UpdatedAt = stamp(now)
	after, err := ParseLimits(k.Extra, k.Metadata)
	if err != nil {
		return unlimited(err)
	}
	k.Windows = k.Windows.After(before, after, now)
	return nil
}

// unlimited is the refusal of a change after which a record's limits could not be read.
func unlimited(err error) *llm.Error {
	field, fault, _ := strings.Cut(err.Error(), " ")
	return Invalid(field, fault)
}

// stamp is a time as records hold it.
func stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
