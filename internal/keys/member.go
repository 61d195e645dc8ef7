package keys

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/internal/keystore"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// Member is a user of a team, as the team's record has it: LiteLLM's members_with_roles. The member's limits are in their own record.
type Member struct {
	UserID string `json:"user_id,omitempty"`
	Email  string `json:"user_email,omitempty"`
	Role   string `json:"role"`
}

const membersField = "members_with_roles"

// Members returns the team's members.
func (t *Team) Members() []Member {
	var list []Member
	unmarshalMember(t.Extra, membersField, &list)
	return list
}

// Role returns the role of a user in the team; empty where the user is no member.
func (t *Team) Role(user string) string {
	if user == "" || !strings.Contains(string(t.Extra[membersField]), user) && !strings.Contains(string(t.Extra[membersField]), `\`) {
		return "" // most members of a large team: the list need not be read
	}
	list := t.Members()
	if i := slices.IndexFunc(list, func(m Member) bool { return m.UserID == user }); i >= 0 {
		return list[i].Role
	}
	return ""
}

// IsAdmin reports whether a user is an admin of the team.
func (t *Team) IsAdmin(user string) bool { return t.Role(user) == adminRole }

// Text returns a field of a team that is a text; empty when it is absent.
func (t *Team) Text(field string) string { return stringMember(t.Extra, field) }

func (t *Team) setMembers(list []Member) {
	if t.Extra == nil {
		t.Extra = make(map[string]json.RawMessage)
	}
	t.Extra[membersField] = encodeValue(list)
}

// memberDefaults returns the limits of members who have no own limit of that kind.
func (t *Team) memberDefaults() map[string]json.RawMessage {
	out := make(map[string]json.RawMessage)
	for from, to := range map[string]string{
		"team_member_budget": "max_budget", "team_member_budget_duration": "budget_duration", "team_member_rpm_limit": "rpm_limit",
		"team_member_tpm_limit": "tpm_limit", "team_member_model_max_budget": "model_max_budget",
	} {
		if raw, ok := t.Extra[from]; ok {
			out[to] = raw
		}
	}
	return out
}

// AddMembers adds the members of the field member to a team, or changes the roles of those that it has, and sets what limits them.
func (s *Service) AddMembers(ctx context.Context, f Fields) (*Team, []*Entry, error) {
	if refusal := f.validate(memberAddFields); refusal != nil {
		return nil, nil, refusal
	}
	list := get[[]Member](f, "member")
	if len(list) == 0 {
		return nil, nil, Invalid("member", "is missing")
	}
	for i := range list {
		if err := s.identify(ctx, &list[i]); err != nil {
			return nil, nil, err
		}
	}
	var entries []*Entry
	team, err := s.editTeam(ctx, get[string](f, "team_id"), func(t *Team, now time.Time) ([]keystore.Change, error) {
		entries = nil
		var changes []keystore.Change
		for _, m := range list {
			change, e, err := s.joining(ctx, t, m, f, now)
			if err != nil {
				return nil, err
			}
			entries, changes = append(entries, e), append(changes, change)
		}
		held, err := s.refs(ctx, f, "")
		return append(changes, held...), err
	})
	return team, entries, err
}

// identify finds the id of a member that is named by an email address alone.
func (s *Service) identify(ctx context.Context, m *Member) (err error) {
	if m.UserID == "" {
		m.UserID, err = s.userByEmail(ctx, m.Email)
	}
	return err
}

// joining puts a member into a team's list, and returns the change of the member's own record.
func (s *Service) joining(ctx context.Context, t *Team, m Member, f Fields, now time.Time) (keystore.Change, *Entry, error) {
	list := t.Members()
	if i := slices.IndexFunc(list, func(o Member) bool { return o.UserID == m.UserID }); i >= 0 {
		list[i] = m
	} else {
		list = append(list, m)
	}
	t.setMembers(list)
	return s.memberChange(ctx, t.ID, m.UserID, f, now)
}

// memberChange returns the change of a member's record by the given fields.
func (s *Service) memberChange(ctx context.Context, team, user string, f Fields, now time.Time) (keystore.Change, *Entry, error) {
	id := limit.MemberID(team, user)
	old, err := s.cache.store.Get(ctx, keystore.MemberKind, id)
	if err != nil && !errors.Is(err, keystore.ErrNotFound) {
		return keystore.Change{}, nil, err
	}
	e := &Entry{ID: id, Fields: map[string]json.RawMessage{"created_at": encodeValue(stamp(now))}}
	if old != nil {
		if e, err = Decode[Entry](id, old); err != nil {
			return keystore.Change{}, nil, err
		}
	}
	if refusal := e.apply(f, Members, now); refusal != nil {
		return keystore.Change{}, nil, refusal
	}
	delete(e.Fields, "user_email")
	e.Fields["team_id"], e.Fields["user_id"] = encodeValue(team), encodeValue(user)
	return entryChange(Members, old, e), e, nil
}

// UpdateMember changes the role of a member and what limits it; a null field is cleared.
func (s *Service) UpdateMember(ctx context.Context, f Fields) (m Member, e *Entry, err error) {
	if refusal := f.validate(memberFields); refusal != nil {
		return m, nil, refusal
	}
	named := Member{UserID: get[string](f, "user_id"), Email: get[string](f, "user_email")}
	_, err = s.editTeam(ctx, get[string](f, "team_id"), func(t *Team, now time.Time) ([]keystore.Change, error) {
		list := t.Members()
		i, refusal := find(list, named)
		if refusal != nil {
			return nil, refusal
		}
		if role := get[string](f, "role"); role != "" {
			list[i].Role = role
		}
		m = list[i]
		if err := s.identify(ctx, &m); err != nil {
			return nil, err
		}
		t.setMembers(list)
		change, entry, err := s.memberChange(ctx, t.ID, m.UserID, f, now)
		if err != nil {
			return nil, err
		}
		e = entry
		held, err := s.refs(ctx, f, "")
		return append(held, change), err
	})
	return m, e, err
}

// DeleteMember takes a user out of a team, with the user's keys in it.
func (s *Service) DeleteMember(ctx context.Context, f Fields) (*Team, error) {
	if refusal := f.validate(map[string]check{"team_id": name, "user_id": name, "user_email": name}); refusal != nil {
		return nil, refusal
	}
	return s.leave(ctx, get[string](f, "team_id"), Member{UserID: get[string](f, "user_id"), Email: get[string](f, "user_email")})
}

func (s *Service) leave(ctx context.Context, team string, named Member) (*Team, error) {
	var gone Member
	t, err := s.editTeam(ctx, team, func(t *Team, _ time.Time) ([]keystore.Change, error) {
		list := t.Members()
		i, refusal := find(list, named)
		if refusal != nil {
			return nil, refusal
		}
		gone = list[i]
		t.setMembers(slices.Delete(list, i, i+1))
		id := limit.MemberID(t.ID, gone.UserID)
		old, err := s.cache.store.Get(ctx, keystore.MemberKind, id)
		if errors.Is(err, keystore.ErrNotFound) {
			return nil, nil
		}
		return []keystore.Change{{Kind: keystore.MemberKind, ID: id, Old: old}}, err
	})
	if err != nil || gone.UserID == "" {
		return t, err
	}
	return t, s.deleteKeys(ctx, func(k *Key) bool { return k.TeamID == team && k.UserID == gone.UserID })
}

func find(list []Member, named Member) (int, *llm.Error) {
	if named.UserID == "" && named.Email == "" {
		return 0, Invalid("user_id", "is missing")
	}
	i := slices.IndexFunc(list, func(m Member) bool {
		return named.UserID != "" && m.UserID == named.UserID || named.UserID == "" && m.Email == named.Email
	})
	if i < 0 {
		return 0, Members.missing
	}
	return i, nil
}

// MembersOf returns the records of a team's members.
func (s *Service) MembersOf(ctx context.Context, t *Team) ([]*Entry, error) {
	var ids []string
	for _, m := range t.Members() {
		if m.UserID != "" {
			ids = append(ids, limit.MemberID(t.ID, m.UserID))
		}
	}
	all, err := s.GetAll(ctx, keystore.MemberKind, ids)
	if err != nil {
		return nil, err
	}
	list := []*Entry{}
	for i, data := range all {
		if data == nil {
			continue
		}
		e, err := Decode[Entry](ids[i], data)
		if err != nil {
			return nil, s.Refusal(err)
		}
		list = append(list, e)
	}
	return list, nil
}

// MemberOf returns the record of a team's member.
func (s *Service) MemberOf(ctx context.Context, t *Team, user string) (*Entry, error) {
	e, err := s.entry(ctx, keystore.MemberKind, limit.MemberID(t.ID, user))
	if err == nil && e == nil {
		e = t.memberWithout(user)
	}
	return e, err
}

// deleteKeys removes all keys that match.
func (s *Service) deleteKeys(ctx context.Context, match func(*Key) bool) error {
	return Each(ctx, s, keystore.KeyKind, s.Skip, func(k *Key) error {
		if !match(k) {
			return nil
		}
		return s.deleteKey(ctx, k.Token)
	})
}

// NewUser makes a user by the fields of LiteLLM's /user/new, in the teams that it names, and a key for the user unless auto_create_key is false:
// all of it, or nothing. Without a key the plain key is empty.
func (s *Service) NewUser(ctx context.Context, f Fields) (e *Entry, k *Key, plain string, err error) {
	own, forKey := f.split(userKeyFields)
	if refusal := own.validate(userFields); refusal != nil {
		return nil, nil, "", refusal
	}
	if refusal := forKey.validate(keyFields); refusal != nil {
		return nil, nil, "", refusal
	}
	own = s.newUser(own)
	teams, refusal := teamsOf(own)
	if refusal != nil {
		return nil, nil, "", refusal
	}
	now := s.cache.now()
	if e, refusal = Users.make(own, now); refusal != nil {
		return nil, nil, "", refusal
	}
	email := get[string](own, "user_email")
	if own.Has("auto_create_key") && !get[bool](own, "auto_create_key") {
		if len(forKey.raw) > 0 {
			return nil, nil, "", Invalid(forKey.first(), "is of the key, and auto_create_key is false")
		}
	} else {
		forKey.raw["user_id"] = encodeValue(e.ID)
		forKey.value["user_id"] = e.ID
		if forKey, refusal = s.newKey(forKey, false); refusal != nil {
			return nil, nil, "", refusal
		}
		if k, plain, refusal = s.newRecord(forKey, now); refusal != nil {
			return nil, nil, "", refusal
		}
	}
	err = s.change(ctx, keystore.UserKind, e.ID, func(old []byte) ([]keystore.Change, error) {
		if old != nil {
			return nil, errExists
		}
		changes := []keystore.Change{entryChange(Users, nil, e)}
		for _, team := range teams {
			joined, err := s.joinTeam(ctx, team.id, Member{UserID: e.ID, Email: email, Role: team.role}, team.fields, now)
			if err != nil {
				return nil, err
			}
			changes = append(changes, joined...)
		}
		if k == nil {
			return changes, nil
		}
		made, err := s.keyMade(ctx, forKey, k)
		return append(changes, made...), err
	})
	if errors.Is(err, errExists) {
		err = Invalid("user_id", "exists already")
	}
	return e, k, plain, err
}

// teamOf is a team that a new user joins.
type teamOf struct {
	id, role string
	fields   Fields
}

// teamsOf reads the field teams: ids, or {team_id, max_budget_in_team, user_role}.
func teamsOf(f Fields) (list []teamOf, refusal *llm.Error) {
	for _, raw := range get[[]json.RawMessage](f, "teams") {
		t := teamOf{role: "user", fields: noFields()}
		if json.Unmarshal(raw, &t.id) != nil {
			sub := noFields()
			if json.Unmarshal(raw, &sub.raw) != nil {
				return nil, Invalid("teams", "must be a list of team ids, or of {team_id, max_budget_in_team, user_role}")
			}
			known := map[string]check{"team_id": name, "max_budget_in_team": amount, "user_role": oneOf(memberRoles...)}
			if refusal := sub.validate(known); refusal != nil {
				return nil, Invalid("teams", refusal.Message)
			}
			t.id = get[string](sub, "team_id")
			if r := get[string](sub, "user_role"); r != "" {
				t.role = r
			}
			if raw, ok := sub.raw["max_budget_in_team"]; ok {
				t.fields.raw["max_budget_in_team"] = raw
			}
		}
		if t.id == "" {
			return nil, Invalid("teams", "must be a list of team ids, or of {team_id, max_budget_in_team, user_role}")
		}
		list = append(list, t)
	}
	return list, nil
}

// joinTeam returns the changes by which a user joins a team.
func (s *Service) joinTeam(ctx context.Context, id string, m Member, f Fields, now time.Time) ([]keystore.Change, error) {
	old, err := s.cache.store.Get(ctx, keystore.TeamKind, id)
	if errors.Is(err, keystore.ErrNotFound) {
		return nil, Invalid("teams", "no such team: make it by /team/new")
	}
	if err != nil {
		return nil, err
	}
	t, err := Decode[Team](id, old)
	if err != nil {
		return nil, err
	}
	if t.Deleting {
		return nil, beingDeleted()
	}
	change, _, err := s.joining(ctx, t, m, f, now)
	t.UpdatedAt = stamp(now)
	return []keystore.Change{{Kind: keystore.TeamKind, ID: id, Old: old, New: Encode(t)}, change}, err
}

// DeleteUsers removes the users of the field user_ids with their keys, and takes them out of their teams; none when one is unknown.
func (s *Service) DeleteUsers(ctx context.Context, f Fields) ([]string, error) {
	ids, err := s.namedEntries(ctx, Users, f)
	if err != nil {
		return nil, err
	}
	teams, err := s.Teams(ctx)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		for _, t := range teams {
			if t.Role(id) == "" {
				continue
			}
			if _, err := s.leave(ctx, t.ID, Member{UserID: id}); err != nil {
				return nil, err
			}
		}
		if err := s.deleteKeys(ctx, func(k *Key) bool { return k.UserID == id }); err != nil {
			return nil, err
		}
		if err := s.deleteEntry(ctx, keystore.UserKind, id); err != nil {
			return nil, err
		}
	}
	return ids, nil
}
