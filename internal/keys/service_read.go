package keys

import (
	"context"
	"errors"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/keystore"
)

// Info returns a key's record.
func (s *Service) Info(ctx context.Context, key string) (*Key, error) {
	ctx, cancel := context.WithTimeout(ctx, serviceTimeout)
	defer cancel()
	id, refusal := ID(key)
	if refusal != nil {
		return nil, refusal
	}
	return s.get(ctx, id)
}

func (s *Service) get(ctx context.Context, id string) (*Key, error) {
	data, err := s.cache.store.Get(ctx, keystore.KeyKind, id)
	if errors.Is(err, keystore.ErrNotFound) {
		return nil, noKey()
	}
	if err != nil {
		return nil, s.Refusal(err)
	}
	rec, err := Decode[Key](id, data)
	if err != nil {
		return nil, s.Refusal(err)
	}
	return rec, nil
}

const listPage = 500 // records read at once

// Each calls fn for every record of a kind, page by page, in the order of their ids. malformed decides about a record that cannot be read: its
// error ends it.
func Each[T Key | Team | Entry | AuditEntry](ctx context.Context, s *Service, kind keystore.Kind, malformed func(id string, err error) error, fn func(*T) error) error {
	for after := ""; ; {
		pageCtx, cancel := context.WithTimeout(ctx, serviceTimeout)
		rows, err := s.cache.store.List(pageCtx, kind, after, listPage)
		cancel()
		if err != nil {
			return s.Refusal(err)
		}
		for _, row := range rows {
			rec, err := Decode[T](row.ID, row.Data)
			if err != nil {
				if err = malformed(row.ID, err); err != nil {
					return err
				}
				continue
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

// Skip leaves a record out that cannot be read: it is never a valid key.
func (s *Service) Skip(_ string, err error) error {
	s.cache.complain(err)
	return nil
}

// Strict ends a reading at a record that cannot be read.
func (s *Service) Strict(_ string, err error) error { return s.Refusal(err) }

// minShortToken is how many digits of a hash may name a key.
const minShortToken = 8

// Find returns the key that is named by itself, its hash, its alias or the first digits of its hash.
func (s *Service) Find(ctx context.Context, named string) (*Key, error) {
	if _, refusal := ID(named); refusal == nil {
		return s.Info(ctx, named)
	}
	ctx, cancel := context.WithTimeout(ctx, serviceTimeout)
	defer cancel()
	id, err := s.cache.store.ByAlias(ctx, keystore.KeyKind, named)
	if err == nil {
		return s.get(ctx, id)
	}
	if !errors.Is(err, keystore.ErrNotFound) {
		return nil, s.Refusal(err)
	}
	named = strings.ToLower(named)
	if len(named) < minShortToken {
		return nil, noKey()
	}
	rows, err := s.cache.store.List(ctx, keystore.KeyKind, named, 2)
	if err != nil {
		return nil, s.Refusal(err)
	}
	switch {
	case len(rows) == 0 || !strings.HasPrefix(rows[0].ID, named):
		return nil, noKey()
	case len(rows) > 1 && strings.HasPrefix(rows[1].ID, named):
		return nil, Invalid("key", "several keys begin so: give more digits")
	}
	return s.get(ctx, rows[0].ID)
}
