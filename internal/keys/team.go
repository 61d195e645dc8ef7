package keys

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/tollgate-llm/tollgate/internal/keystore"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// NewTeam makes a team by the fields of LiteLLM's /team/new.
func (s *Service) NewTeam(ctx context.Context, f Fields) (*Team, error) {
	if refusal := f.validate(teamFields); refusal != nil {
		return nil, refusal
	}
	f = f.fill(s.policy.teams, teamFields)
	id := get[string](f, "team_id")
	if id == "" {
		id = llm.NewID()
	}
	now := s.cache.now()
	rec := &Team{ID: id, CreatedAt: stamp(now)}
	if refusal := rec.apply(f, now); refusal != nil {
		return nil, refusal
	}
	err := s.change(ctx, keystore.TeamKind, id, func(old []byte) ([]keystore.Change, error) {
		if old != nil {
			is, err := Decode[Team](id, old)
			switch {
			case err != nil:
				return nil, err
			case is.Deleting:
				return nil, beingDeleted()
			case !is.Implied:
				return nil, errExists
			}
		}
		return []keystore.Change{{Kind: keystore.TeamKind, ID: id, Old: old, New: Encode(rec)}}, nil
	})
	if errors.Is(err, errExists) {
		return nil, Invalid("team_id", "exists already")
	}
	return rec, err
}

// UpdateTeam changes the given fields of a team; a null field is cleared. Its keys follow at once.
func (s *Service) UpdateTeam(ctx context.Context, f Fields) (*Team, error) {
	if refusal := f.validate(teamFields); refusal != nil {
		return nil, refusal
	}
	return s.editTeam(ctx, get[string](f, "team_id"), func(t *Team, now time.Time) ([]keystore.Change, error) {
		if refusal := t.apply(f, now); refusal != nil {
			return nil, refusal
		}
		return nil, nil
	})
}

// PatchTeam is UpdateTeam, but that metadata is merged into what is there by RFC 7396: a null member goes, an absent one stays.
func (s *Service) PatchTeam(ctx context.Context, f Fields) (*Team, error) {
	rest, meta := f.split([]string{"metadata"})
	patch, patched := meta.raw["metadata"]
	if refusal := rest.validate(teamFields); refusal != nil {
		return nil, refusal
	}
	return s.editTeam(ctx, get[string](rest, "team_id"), func(t *Team, now time.Time) ([]keystore.Change, error) {
		all := rest
		if patched {
			all = rest.With("metadata", mergePatch(encodeValue(t.Metadata), patch))
			if refusal := all.validate(teamFields); refusal != nil {
				return nil, refusal
			}
		}
		if refusal := t.apply(all, now); refusal != nil {
			return nil, refusal
		}
		return nil, nil
	})
}

// BlockTeam refuses all keys of the team of the field team_id, or lets them work again.
func (s *Service) BlockTeam(ctx context.Context, f Fields, blocked bool) (*Team, error) {
	if refusal := f.validate(map[string]check{"team_id": name}); refusal != nil {
		return nil, refusal
	}
	return s.editTeam(ctx, get[string](f, "team_id"), func(t *Team, _ time.Time) ([]keystore.Change, error) {
		t.Blocked = blocked
		return nil, nil
	})
}

// TeamModels adds the models of the field models to a team's list, or takes them out. A list must keep one, as an empty one allows all.
func (s *Service) TeamModels(ctx context.Context, f Fields, add bool) (*Team, error) {
	if refusal := f.validate(map[string]check{"team_id": name, "models": texts}); refusal != nil {
		return nil, refusal
	}
	models := get[[]string](f, "models")
	if len(models) == 0 {
		return nil, Invalid("models", "name at least one")
	}
	return s.editTeam(ctx, get[string](f, "team_id"), func(t *Team, _ time.Time) ([]keystore.Change, error) {
		left := slices.DeleteFunc(slices.Clone(t.Models), func(m string) bool { return slices.Contains(models, m) })
		switch {
		case add && len(t.Models) == 0:
			return nil, Invalid("models", "the team may use every model: set its list by /team/update")
		case add:
			left = append(left, models...)
		case len(left) == 0:
			return nil, Invalid("models", "a list without models would allow all: set it by /team/update")
		}
		t.Models = left
		return nil, nil
	})
}

// editTeam changes a team's record, and what edit returns besides.
func (s *Service) editTeam(ctx context.Context, id string, edit func(*Team, time.Time) ([]keystore.Change, error)) (*Team, error) {
	if id == "" {
		return nil, Invalid("team_id", "is missing")
	}
	var rec *Team
	err := s.change(ctx, keystore.TeamKind, id, func(old []byte) ([]keystore.Change, error) {
		if old == nil {
			return nil, noTeam()
		}
		var err error
		if rec, err = Decode[Team](id, old); err != nil {
			return nil, err
		}
		if rec.Deleting {
			return nil, beingDeleted()
		}
		now := s.cache.now()
		changes, err := edit(rec, now)
		rec.UpdatedAt, rec.Implied = stamp(now), false
		return append(changes, keystore.Change{Kind: keystore.TeamKind, ID: id, Old: old, New: Encode(rec)}), err
	})
	if err != nil {
		return nil, err
	}
	return rec, nil
}

// DeleteTeams removes the teams of the field team_ids with all their keys, as a key must not outlive what restricts it.
func (s *Service) DeleteTeams(ctx context.Context, f Fields) (deleted []string, err error) {
	if refusal := f.validate(map[string]check{"team_ids": texts}); refusal != nil {
		return nil, refusal
	}
	ids := get[[]string](f, "team_ids")
	if len(ids) == 0 {
		return nil, Invalid("team_ids", "name at least one team")
	}
	for _, id := range ids {
		if _, err := s.Team(ctx, id); err != nil {
			return nil, err
		}
	}
	for _, id := range ids {
		if err := s.deleteTeam(ctx, id); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// deleteTeam marks a team first: from then on no key is made for it, so that the search for its keys finds them all. A deletion that was
// interrupted leaves the team blocked and marked, and is completed by the next one.
func (s *Service) deleteTeam(ctx context.Context, id string) error {
	err := s.change(ctx, keystore.TeamKind, id, func(old []byte) ([]keystore.Change, error) {
		if old == nil {
			return nil, noTeam()
		}
		rec, err := Decode[Team](id, old)
		if err != nil || rec.Deleting {
			return nil, err
		}
		rec.Blocked, rec.Deleting = true, true
		return []keystore.Change{{Kind: keystore.TeamKind, ID: id, Old: old, New: Encode(rec)}}, nil
	})
	if err != nil {
		return err
	}
	if err = s.deleteKeys(ctx, func(k *Key) bool { return k.TeamID == id }); err != nil {
		return err
	}
	err = Each(ctx, s, keystore.MemberKind, s.Skip, func(e *Entry) error {
		if stringMember(e.Fields, "team_id") != id {
			return nil
		}
		return s.deleteEntry(ctx, keystore.MemberKind, e.ID)
	})
	if err != nil {
		return err
	}
	return s.change(ctx, keystore.TeamKind, id, func(old []byte) ([]keystore.Change, error) {
		if old == nil {
			return nil, nil
		}
		rec, err := Decode[Team](id, old)
		switch {
		case err != nil:
			return nil, err
		case !rec.Deleting: // an import has put another one in its place
			return nil, keystore.ErrChanged
		}
		return []keystore.Change{{Kind: keystore.TeamKind, ID: id, Old: old}}, nil
	})
}

// memberOf returns the change that goes with one by which a key becomes a team's: it fails if the team is changed or deleted meanwhile. A team
// without a record gets one when create is set, so that a record that is missing later was lost. It is nil for no team.
func (s *Service) memberOf(ctx context.Context, id string, create bool) ([]keystore.Change, error) {
	if id == "" {
		return nil, nil
	}
	data, err := s.cache.store.Get(ctx, keystore.TeamKind, id)
	switch {
	case errors.Is(err, keystore.ErrNotFound) && create:
		now := s.cache.now()
		rec := &Team{ID: id, CreatedAt: stamp(now)}
		if refusal := rec.apply(noFields().fill(s.policy.teams, teamFields), now); refusal != nil {
			return nil, refusal
		}
		rec.Implied = true
		return []keystore.Change{{Kind: keystore.TeamKind, ID: id, New: Encode(rec)}}, nil
	case errors.Is(err, keystore.ErrNotFound):
		return nil, Invalid("team_id", "no such team: make it by /team/new")
	case err != nil:
		return nil, err
	}
	rec, err := Decode[Team](id, data)
	if err != nil {
		return nil, err
	}
	if rec.Deleting {
		return nil, beingDeleted()
	}
	return []keystore.Change{{Kind: keystore.TeamKind, ID: id, Old: data, New: data}}, nil
}

func beingDeleted() *llm.Error {
	return &llm.Error{Status: http.StatusConflict, Type: "conflict_error", Param: "team_id", Message: "team_id: the team is being deleted"}
}

// Team returns a team's record.
func (s *Service) Team(ctx context.Context, id string) (*Team, error) {
	if id == "" {
		return nil, Invalid("team_id", "is missing")
	}
	ctx, cancel := context.WithTimeout(ctx, serviceTimeout)
	defer cancel()
	data, err := s.cache.store.Get(ctx, keystore.TeamKind, id)
	if errors.Is(err, keystore.ErrNotFound) {
		return nil, noTeam()
	}
	if err != nil {
		return nil, s.Refusal(err)
	}
	rec, err := Decode[Team](id, data)
	if err != nil {
		return nil, s.Refusal(err)
	}
	return rec, nil
}

// Teams returns all teams, in the order of their ids.
func (s *Service) Teams(ctx context.Context) (teams []*Team, err error) {
	err = Each(ctx, s, keystore.TeamKind, s.Skip, func(t *Team) error {
		teams = append(teams, t)
		return nil
	})
	return teams, err
}

func (t *Team) apply(f Fields, now time.Time) *llm.Error {
	before, err := t.Limits()
	if err != nil {
		before = nil // as of a key
	}
	if f.Has("team_alias") {
		t.Alias = get[string](f, "team_alias")
	}
	if f.Has("models") {
		t.Models = get[[]string](f, "models")
	}
	if f.Has("model_aliases") {
		t.Aliases = get[map[string]string](f, "model_aliases")
	}
	if f.Has("blocked") {
		t.Blocked = get[bool](f, "blocked")
	}
	t.Metadata = f.merge(t.Metadata, teamFields)
	t.Extra = f.keep(t.Extra, "team_id", "team_alias", "models", "model_aliases", "blocked", "metadata", "spend", membersField)
	if f.Has(membersField) {
		list := get[[]Member](f, membersField)
		for i := range list {
			if list[i].UserID == "" {
				return Invalid(membersField, "must have a user_id of each member")
			}
		}
		t.setMembers(list)
	}
	t.UpdatedAt, t.Implied = stamp(now), false
	after, err := ParseLimits(t.Extra, t.Metadata)
	if err != nil {
		return unlimited(err)
	}
	t.Windows = t.Windows.After(before, after, now)
	if _, err := ParseLimits(t.memberDefaults(), nil); err != nil {
		return unlimited(err)
	}
	return nil
}
