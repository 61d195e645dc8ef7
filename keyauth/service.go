package keyauth

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

// Service changes and reads keys and teams: what the key API and the command line do. Its errors are *llm.Error. A key is
// named by itself or by its hash.
type Service struct {
	directory *Directory
}

// NewService returns the service of a directory, which must stay open while the service is used.
func NewService(d *Directory) *Service { return &Service{directory: d} }

const (
	serviceTimeout = 5 * time.Second  // bounds an operation on one record
	importTimeout  = 30 * time.Second // bounds an import of many at once
)

// Generate makes a key by the fields of LiteLLM's /key/generate and returns its record and the key itself, which nobody
// can tell again.
func (s *Service) Generate(ctx context.Context, f Fields) (*Key, string, error) {
	if refusal := f.validate(keyFields); refusal != nil {
		return nil, "", refusal
	}
	if f.has("new_key") {
		return nil, "", invalid("new_key", "is for /key/regenerate: use key")
	}
	plain, refusal := chosenKey(f, "key")
	if refusal != nil {
		return nil, "", refusal
	}
	now := s.directory.now()
	rec := &Key{Token: digestOf(plain).String(), Name: abbreviate(plain), CreatedAt: stamp(now)}
	if refusal := rec.apply(f, now); refusal != nil {
		return nil, "", refusal
	}
	err := s.change(ctx, KeyKind, rec.Token, func(old []byte) ([]Change, error) {
		if bytes.Equal(old, encode(rec)) {
			return nil, nil // ours: a change whose answer was lost was sent once more
		}
		if old != nil {
			return nil, errExists
		}
		return []Change{keyChange(nil, nil, rec)}, nil
	})
	if errors.Is(err, errExists) {
		return nil, "", invalid("key", "exists already")
	}
	return rec, plain, err
}

// chosenKey returns the key that a request names for a new key, or a random one.
func chosenKey(f Fields, field string) (string, *llm.Error) {
	plain := f.text(field)
	switch {
	case plain == "":
		return newKey(), nil
	case !strings.HasPrefix(plain, keyPrefix):
		return "", invalid(field, "must begin with sk-")
	case len(plain) < minChosenKey || len(plain) > maxKeyBytes:
		return "", invalid(field, "must have 8 to 512 characters")
	case strings.ContainsFunc(plain, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", invalid(field, "must be of visible ASCII characters, to be sent in a header")
	}
	return plain, nil
}

const minChosenKey = 8

// Update changes the given fields of a key; a null field is cleared.
func (s *Service) Update(ctx context.Context, f Fields) (*Key, error) {
	if refusal := f.validate(keyFields); refusal != nil {
		return nil, refusal
	}
	if f.has("temp_budget_increase") != f.has("temp_budget_expiry") {
		return nil, invalid("temp_budget_increase", "must come together with temp_budget_expiry")
	}
	if f.has("new_key") {
		return nil, invalid("new_key", "is for /key/regenerate")
	}
	id, refusal := keyID(f.text("key"))
	if refusal != nil {
		return nil, refusal
	}
	return s.updateKey(ctx, id, func(k *Key, now time.Time) *llm.Error { return k.apply(f, now) })
}

// Block refuses a key, or lets it work again.
func (s *Service) Block(ctx context.Context, key string, blocked bool) (*Key, error) {
	id, refusal := keyID(key)
	if refusal != nil {
		return nil, refusal
	}
	return s.updateKey(ctx, id, func(k *Key, _ time.Time) *llm.Error {
		k.Blocked = blocked
		return nil
	})
}

func (s *Service) updateKey(ctx context.Context, id string, edit func(*Key, time.Time) *llm.Error) (*Key, error) {
	var rec *Key
	err := s.change(ctx, KeyKind, id, func(old []byte) ([]Change, error) {
		if old == nil {
			return nil, noKey()
		}
		before, err := decode[Key](old)
		if err != nil {
			return nil, err
		}
		if rec, err = decode[Key](old); err != nil {
			return nil, err
		}
		now := s.directory.now()
		if refusal := edit(rec, now); refusal != nil {
			return nil, refusal
		}
		rec.UpdatedAt = stamp(now)
		return []Change{keyChange(old, before, rec)}, nil
	})
	if err != nil {
		return nil, err
	}
	return rec, nil
}

// Regenerate replaces a key by a new one with the same record, changed by the given fields. The old key ends at once.
func (s *Service) Regenerate(ctx context.Context, f Fields) (*Key, string, error) {
	if refusal := f.validate(keyFields); refusal != nil {
		return nil, "", refusal
	}
	id, refusal := keyID(f.text("key"))
	if refusal != nil {
		return nil, "", refusal
	}
	plain, refusal := chosenKey(f, "new_key")
	if refusal != nil {
		return nil, "", refusal
	}
	token := digestOf(plain).String()
	if token == id {
		return nil, "", invalid("new_key", "is the key that it should replace")
	}
	var rec *Key
	err := s.change(ctx, KeyKind, id, func(old []byte) ([]Change, error) {
		there, err := s.directory.store.Get(ctx, KeyKind, token)
		switch {
		case err != nil && !errors.Is(err, ErrNotFound):
			return nil, err
		case rec != nil && old == nil && bytes.Equal(there, encode(rec)):
			return nil, nil // ours, as in Generate
		case old == nil:
			return nil, noKey()
		case err == nil:
			return nil, invalid("new_key", "exists already")
		}
		before, err := decode[Key](old)
		if err != nil {
			return nil, err
		}
		if rec, err = decode[Key](old); err != nil {
			return nil, err
		}
		now := s.directory.now()
		if refusal := rec.apply(f, now); refusal != nil {
			return nil, refusal
		}
		rec.Token, rec.Name, rec.UpdatedAt, rec.Imported = token, abbreviate(plain), stamp(now), ""
		return []Change{keyChange(old, before, nil), keyChange(nil, nil, rec)}, nil
	})
	if err != nil {
		return nil, "", err
	}
	return rec, plain, nil
}

// Delete removes keys, named by themselves, their hashes or their aliases: all of them, or none when one is unknown.
func (s *Service) Delete(ctx context.Context, keys, aliases []string) error {
	ctx, cancel := context.WithTimeout(ctx, serviceTimeout)
	defer cancel()
	ids := make([]string, 0, len(keys)+len(aliases))
	for _, key := range keys {
		id, refusal := keyID(key)
		if refusal != nil {
			return refusal
		}
		ids = append(ids, id)
	}
	for _, alias := range aliases {
		id, err := s.directory.store.ByAlias(ctx, KeyKind, alias)
		if errors.Is(err, ErrNotFound) {
			return notThere("key_aliases", "no key has one of these aliases")
		}
		if err != nil {
			return s.fault(err)
		}
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return invalid("keys", "name at least one key in keys or key_aliases")
	}
	for _, id := range ids {
		if _, err := s.get(ctx, id); err != nil {
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

// deleteKey removes a key; one that is gone already is no error.
func (s *Service) deleteKey(ctx context.Context, id string) error {
	return s.change(ctx, KeyKind, id, func(old []byte) ([]Change, error) {
		if old == nil {
			return nil, nil
		}
		before, err := decode[Key](old)
		if err != nil {
			return nil, err
		}
		return []Change{keyChange(old, before, nil)}, nil
	})
}

// Info returns a key's record.
func (s *Service) Info(ctx context.Context, key string) (*Key, error) {
	ctx, cancel := context.WithTimeout(ctx, serviceTimeout)
	defer cancel()
	id, refusal := keyID(key)
	if refusal != nil {
		return nil, refusal
	}
	return s.get(ctx, id)
}

func (s *Service) get(ctx context.Context, id string) (*Key, error) {
	data, err := s.directory.store.Get(ctx, KeyKind, id)
	if errors.Is(err, ErrNotFound) {
		return nil, noKey()
	}
	if err != nil {
		return nil, s.fault(err)
	}
	rec, err := decode[Key](data)
	if err != nil {
		return nil, s.fault(err)
	}
	return rec, nil
}

// Filter chooses keys; an empty member chooses all.
type Filter struct{ UserID, TeamID, OrganizationID, KeyHash, KeyAlias string }

func (f *Filter) matches(k *Key) bool {
	return (f.UserID == "" || f.UserID == k.UserID) && (f.TeamID == "" || f.TeamID == k.TeamID) &&
		(f.KeyHash == "" || f.KeyHash == k.Token) && (f.KeyAlias == "" || f.KeyAlias == k.Alias) &&
		(f.OrganizationID == "" || f.OrganizationID == stringMember(k.Extra, "organization_id"))
}

const listPage = 500 // records read at once

// List returns the keys from skip on, up to limit, in the order of their hashes, and how many there are in all.
func (s *Service) List(ctx context.Context, f Filter, skip, limit int) (keys []*Key, total int, err error) {
	err = each(ctx, s, KeyKind, func(k *Key) error {
		if !f.matches(k) {
			return nil
		}
		if total >= skip && len(keys) < limit {
			keys = append(keys, k)
		}
		total++
		return nil
	})
	return keys, total, err
}

// each calls fn for every record of a kind, page by page.
func each[T Key | Team | Entry](ctx context.Context, s *Service, kind Kind, fn func(*T) error) error {
	for after := ""; ; {
		pageCtx, cancel := context.WithTimeout(ctx, serviceTimeout)
		rows, err := s.directory.store.List(pageCtx, kind, after, listPage)
		cancel()
		if err != nil {
			return s.fault(err)
		}
		for _, row := range rows {
			rec, err := decode[T](row.Data)
			if err != nil {
				return s.fault(err)
			}
			if err := fn(rec); err != nil {
				return err
			}
		}
		if len(rows) < listPage {
			return nil
		}
		after = rows[len(rows)-1].ID
	}
}

// change applies a change and makes this instance's cache forget what it touched before anyone is told of the success.
func (s *Service) change(ctx context.Context, kind Kind, id string, makeChanges func([]byte) ([]Change, error)) error {
	ctx, cancel := context.WithTimeout(ctx, serviceTimeout)
	defer cancel()
	var touched []Change
	err := applyChange(ctx, s.directory.store, kind, id, func(old []byte) ([]Change, error) {
		changes, err := makeChanges(old)
		touched = changes
		return changes, err
	})
	// A change whose answer was lost may hold: forgetting is right in either case.
	for _, c := range touched {
		s.directory.Changed(c.Kind, c.ID, "")
	}
	if err == nil {
		return nil
	}
	return s.fault(err)
}

// fault turns an error of the store into one for callers.
func (s *Service) fault(err error) error {
	switch {
	case errors.Is(err, errExists):
		return err
	case errors.Is(err, ErrAliasTaken):
		return invalid("key_alias", "another key has this alias")
	case errors.Is(err, ErrChanged):
		return &llm.Error{
			Status: http.StatusConflict, Type: "conflict_error",
			Message: "the record is being changed by others: try again", Err: err,
		}
	case errors.Is(err, errBadRecord):
		return &llm.Error{
			Status: http.StatusInternalServerError, Type: "internal_server_error",
			Message: "a record of the key store cannot be read", Err: err,
		}
	}
	if refusal, ok := errors.AsType[*llm.Error](err); ok {
		return refusal
	}
	return storeDown(err)
}

// keyChange is the change of one key's record. old is the record as stored, before as read; rec is nil to delete it.
func keyChange(old []byte, before, rec *Key) Change {
	c := Change{Kind: KeyKind, Old: old}
	if before != nil {
		c.ID, c.OldAlias = before.Token, before.Alias
	}
	if rec != nil {
		c.ID, c.New, c.NewAlias = rec.Token, encode(rec), rec.Alias
	}
	return c
}

func encode[T Key | Team | Entry](rec *T) []byte {
	data, err := json.Marshal(rec)
	if err != nil {
		panic("keyauth: encoding a record: " + err.Error()) // its raw members were validated as JSON
	}
	return data
}

// apply sets the given fields.
func (k *Key) apply(f Fields, now time.Time) *llm.Error {
	set := func(name string, to *string) {
		if f.has(name) {
			*to = f.text(name)
		}
	}
	set("key_alias", &k.Alias)
	set("user_id", &k.UserID)
	set("team_id", &k.TeamID)
	if f.has("models") {
		k.Models = f.list("models")
	}
	if f.has("aliases") {
		k.Aliases = nil
		_ = json.Unmarshal(f["aliases"], &k.Aliases) // validated
	}
	if f.has("blocked") {
		k.Blocked = string(f["blocked"]) == "true"
	}
	if d := f.text("duration"); d == neverExpires || f.has("duration") && d == "" {
		k.Expires = nil
	} else if d != "" {
		at, ok := addPeriod(now, d)
		if !ok {
			return invalid("duration", "must be "+periodUnits)
		}
		at = stamp(at)
		k.Expires = &at
	}
	k.Metadata = f.merge(k.Metadata, keyFields)
	k.Extra = f.keep(k.Extra, "key", "new_key", "key_alias", "user_id", "team_id", "models", "aliases", "blocked",
		"duration", "metadata", "send_invite_email")
	k.UpdatedAt = stamp(now)
	return nil
}

// stamp is a time as records hold it.
func stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// keyID returns the id of the record of a key that is given by itself or by its hash.
func keyID(key string) (string, *llm.Error) {
	if strings.HasPrefix(key, keyPrefix) && len(key) <= maxKeyBytes {
		return digestOf(key).String(), nil
	}
	if b, err := hex.DecodeString(key); err == nil && len(b) == len(digest{}) {
		return strings.ToLower(key), nil
	}
	if key == "" {
		return "", invalid("key", "is missing")
	}
	return "", invalid("key", "must be a key that begins with sk-, or the hash of one")
}

func noKey() *llm.Error { return notThere("key", "Key not found in the key store") }

func notThere(param, message string) *llm.Error {
	return &llm.Error{Status: http.StatusNotFound, Type: "not_found_error", Param: param, Message: message}
}
