package keyauth

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

// NewTeam makes a team by the fields of LiteLLM's /team/new.
func (s *Service) NewTeam(ctx context.Context, f Fields) (*Team, error) {
	if refusal := f.validate(teamFields); refusal != nil {
		return nil, refusal
	}
	id := f.text("team_id")
	if id == "" {
		id = llm.NewID()
	}
	now := s.directory.now()
	rec := &Team{ID: id, CreatedAt: stamp(now)}
	rec.apply(f, now)
	err := s.change(ctx, TeamKind, id, func(old []byte) ([]Change, error) {
		if old != nil {
			return nil, errExists
		}
		return []Change{{Kind: TeamKind, ID: id, New: encode(rec)}}, nil
	})
	if errors.Is(err, errExists) {
		return nil, invalid("team_id", "exists already")
	}
	return rec, err
}

// UpdateTeam changes the given fields of a team; a null field is cleared. Its keys follow at once.
func (s *Service) UpdateTeam(ctx context.Context, f Fields) (*Team, error) {
	if refusal := f.validate(teamFields); refusal != nil {
		return nil, refusal
	}
	id := f.text("team_id")
	if id == "" {
		return nil, invalid("team_id", "is missing")
	}
	var rec *Team
	err := s.change(ctx, TeamKind, id, func(old []byte) ([]Change, error) {
		if old == nil {
			return nil, noTeam()
		}
		var err error
		if rec, err = decode[Team](old); err != nil {
			return nil, err
		}
		rec.apply(f, s.directory.now())
		return []Change{{Kind: TeamKind, ID: id, Old: old, New: encode(rec)}}, nil
	})
	if err != nil {
		return nil, err
	}
	return rec, nil
}

// DeleteTeams removes teams with all their keys, as a key must not outlive what restricts it.
func (s *Service) DeleteTeams(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return invalid("team_ids", "name at least one team")
	}
	for _, id := range ids {
		if _, err := s.Team(ctx, id); err != nil {
			return err
		}
	}
	for _, id := range ids {
		if err := s.deleteTeam(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) deleteTeam(ctx context.Context, id string) error {
	// Blocked first: a key made for the team meanwhile is refused until it is found here or the team is gone.
	block := Fields{"team_id": encodeText(id), "blocked": json.RawMessage("true")}
	if _, err := s.UpdateTeam(ctx, block); err != nil {
		return err
	}
	err := each(ctx, s, KeyKind, func(k *Key) error {
		if k.TeamID != id {
			return nil
		}
		return s.deleteKey(ctx, k.Token)
	})
	if err != nil {
		return err
	}
	return s.change(ctx, TeamKind, id, func(old []byte) ([]Change, error) {
		if old == nil {
			return nil, nil
		}
		return []Change{{Kind: TeamKind, ID: id, Old: old}}, nil
	})
}

func encodeText(s string) json.RawMessage {
	b, err := json.Marshal(s)
	if err != nil {
		panic("keyauth: encoding a text: " + err.Error()) // every string can be encoded
	}
	return b
}

// Team returns a team's record.
func (s *Service) Team(ctx context.Context, id string) (*Team, error) {
	if id == "" {
		return nil, invalid("team_id", "is missing")
	}
	ctx, cancel := context.WithTimeout(ctx, serviceTimeout)
	defer cancel()
	data, err := s.directory.store.Get(ctx, TeamKind, id)
	if errors.Is(err, ErrNotFound) {
		return nil, noTeam()
	}
	if err != nil {
		return nil, s.fault(err)
	}
	rec, err := decode[Team](data)
	if err != nil {
		return nil, s.fault(err)
	}
	return rec, nil
}

// Teams returns all teams, in the order of their ids.
func (s *Service) Teams(ctx context.Context) (teams []*Team, err error) {
	err = each(ctx, s, TeamKind, func(t *Team) error {
		teams = append(teams, t)
		return nil
	})
	return teams, err
}

func (t *Team) apply(f Fields, now time.Time) {
	if f.has("team_alias") {
		t.Alias = f.text("team_alias")
	}
	if f.has("models") {
		t.Models = f.list("models")
	}
	if f.has("model_aliases") {
		t.Aliases = nil
		_ = json.Unmarshal(f["model_aliases"], &t.Aliases) // validated
	}
	if f.has("blocked") {
		t.Blocked = string(f["blocked"]) == "true"
	}
	t.Metadata = f.merge(t.Metadata, teamFields)
	t.Extra = f.keep(t.Extra, "team_id", "team_alias", "models", "model_aliases", "blocked", "metadata")
	t.UpdatedAt = stamp(now)
}

func noTeam() *llm.Error { return notThere("team_id", "Team not found in the key store") }
