package keys

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/tollgate-llm/tollgate/internal/keystore"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// Predecessor is a key that was replaced and works for a while yet. Its record is that of the key in its place, but for its name and its end:
// each change of that is one of both.
type Predecessor struct {
	Token string    `json:"token"`
	Until time.Time `json:"until"`
}

// maxPredecessors is how many replaced keys may work at a time.
const maxPredecessors = 8

// Regenerate replaces a key by a new one with the same record, changed by the given fields. The old key ends at once, or after the grace_period.
func (s *Service) Regenerate(ctx context.Context, f Fields) (*Key, string, error) {
	if refusal := f.validate(keyFields); refusal != nil {
		return nil, "", refusal
	}
	if refusal := s.within(f); refusal != nil {
		return nil, "", refusal
	}
	id, refusal := ID(get[string](f, "key"))
	if refusal != nil {
		return nil, "", refusal
	}
	plain, refusal := s.chosenKey(f, "new_key")
	if refusal != nil {
		return nil, "", refusal
	}
	token := DigestOf(plain).String()
	if token == id {
		return nil, "", Invalid("new_key", "is the key that it should replace")
	}
	grace := get[string](f, "grace_period")
	if grace == neverExpires {
		return nil, "", Invalid("grace_period", "must be "+periodUnits)
	}
	var rec *Key
	err := s.change(ctx, keystore.KeyKind, id, func(old []byte) ([]keystore.Change, error) {
		there, err := s.cache.store.Get(ctx, keystore.KeyKind, token)
		switch {
		case err != nil && !errors.Is(err, keystore.ErrNotFound):
			return nil, err
		case rec != nil && bytes.Equal(there, Encode(rec)):
			return nil, nil // ours, as in Generate
		case old == nil:
			return nil, noKey()
		case err == nil:
			return nil, Invalid("new_key", "exists already")
		}
		before, err := Decode[Key](id, old)
		if err != nil {
			return nil, err
		}
		if err := s.guardKey(before, nil); err != nil {
			return nil, err
		}
		if before.Successor != "" {
			return nil, replaced()
		}
		if rec, err = Decode[Key](id, old); err != nil {
			return nil, err
		}
		now := s.cache.now()
		if refusal := rec.apply(f, now); refusal != nil {
			return nil, refusal
		}
		if err := s.guardKey(before, rec); err != nil {
			return nil, err
		}
		s.issue(rec)
		rec.SpendID = cmp.Or(rec.SpendID, id) // a new key is no new budget
		rec.Token, rec.Name, rec.UpdatedAt, rec.Imported = token, Abbreviate(plain), stamp(now), ""
		changes, err := s.succeed(ctx, rec, before, old, grace, now)
		if err != nil {
			return nil, err
		}
		held, err := s.refs(ctx, f, "")
		if err != nil {
			return nil, err
		}
		team, err := s.memberOf(ctx, rec.TeamID, false)
		changes = append(append(changes, held...), team...)
		return append(changes, keyChange(nil, nil, rec)), err
	})
	if err != nil {
		return nil, "", err
	}
	return rec, plain, nil
}

// succeed returns the changes of the keys that a new one replaces: the last one, and those that this had replaced.
func (s *Service) succeed(ctx context.Context, rec, before *Key, old []byte, grace string, now time.Time) ([]keystore.Change, error) {
	followed, err := s.follow(ctx, rec, now)
	if err != nil || grace == "" {
		return append(followed, keyChange(old, before, nil)), err
	}
	until, _ := limit.AddPeriod(now, grace) // checked
	p := Predecessor{Token: before.Token, Until: stamp(until)}
	rec.Predecessors = append(rec.Predecessors, p)
	if len(rec.Predecessors) > maxPredecessors {
		return nil, Invalid("grace_period", "too many replaced keys still work: regenerate without it")
	}
	last := p.record(rec, before)
	// The records of earlier ones have the same successor.
	return append(followed, keyChange(old, before, last)), nil
}

// record is that of a replaced key: its successor's, under its own name, until its end.
func (p *Predecessor) record(rec, own *Key) *Key {
	k := *rec
	k.Token, k.Name, k.CreatedAt, k.Imported, k.IssuedBy = own.Token, own.Name, own.CreatedAt, own.Imported, own.IssuedBy
	k.Alias, k.Successor, k.Predecessors = "", rec.Token, nil
	if k.Expires == nil || p.Until.Before(*k.Expires) {
		k.Expires = &p.Until
	}
	return &k
}

// follow returns the changes of the keys that this one replaced. Those whose time has passed go.
func (s *Service) follow(ctx context.Context, rec *Key, now time.Time) (changes []keystore.Change, err error) {
	var left []Predecessor
	for _, p := range rec.Predecessors {
		old, own, err := s.predecessor(ctx, p)
		if err != nil {
			return nil, err
		}
		if own == nil {
			continue
		}
		if !now.Before(p.Until) {
			changes = append(changes, keyChange(old, own, nil))
			continue
		}
		left = append(left, p)
		changes = append(changes, keyChange(old, own, p.record(rec, own)))
	}
	rec.Predecessors = left
	return changes, nil
}

// ended returns the changes that end the keys which a key had replaced.
func (s *Service) ended(ctx context.Context, k *Key) (changes []keystore.Change, err error) {
	for _, p := range k.Predecessors {
		old, own, err := s.predecessor(ctx, p)
		if err != nil {
			return nil, err
		}
		if own != nil {
			changes = append(changes, keyChange(old, own, nil))
		}
	}
	return changes, nil
}

func (s *Service) predecessor(ctx context.Context, p Predecessor) ([]byte, *Key, error) {
	old, err := s.cache.store.Get(ctx, keystore.KeyKind, p.Token)
	if errors.Is(err, keystore.ErrNotFound) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	own, err := Decode[Key](p.Token, old)
	return old, own, err
}

func replaced() *llm.Error {
	return &llm.Error{
		Status: http.StatusConflict, Type: "conflict_error", Param: "key",
		Message: "key: it was replaced, and works until its grace period ends: change the key in its place, or delete it",
	}
}
