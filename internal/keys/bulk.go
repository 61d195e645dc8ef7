package keys

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"

	"github.com/tollgate-llm/tollgate/internal/keystore"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// maxBulk bounds the items of one request.
const maxBulk = 500

// Items reads a request whose only field is a list of objects, and which fields those have.
func (f Fields) Items(field string, known ...string) ([]Fields, error) {
	if refusal := f.validate(map[string]check{field: list}); refusal != nil {
		return nil, refusal
	}
	return f.items(field, known...)
}

// items reads a list of objects; known are the fields that they may have, or none where what is done with them checks that.
func (f Fields) items(field string, known ...string) (items []Fields, err error) {
	rows := get[[]json.RawMessage](f, field)
	if len(rows) == 0 || len(rows) > maxBulk {
		return nil, Invalid(field, "must be a list of 1 to "+strconv.Itoa(maxBulk)+" objects")
	}
	for i, raw := range rows {
		item := noFields()
		if json.Unmarshal(raw, &item.raw) != nil || item.raw == nil {
			return nil, Invalid(field, "must be a list of objects")
		}
		for n := range item.raw {
			if len(known) > 0 && !slices.Contains(known, n) {
				return nil, Invalid(field+"["+strconv.Itoa(i)+"]."+n, "unknown field")
			}
		}
		items = append(items, item)
	}
	return items, nil
}

// BulkMembers reads the request of /team/bulk_member_add: each member as it was written, and the fields of all of them.
func (f Fields) BulkMembers() (members []json.RawMessage, common Fields, err error) {
	known := map[string]check{
		"team_id": name, "members": list, "max_budget_in_team": amount,
		"all_users": refused("name the users in members"),
	}
	if refusal := f.validate(known); refusal != nil {
		return nil, common, refusal
	}
	if _, err := f.items("members", "user_id", "user_email", "role"); err != nil {
		return nil, common, err
	}
	common, _ = f.split([]string{"members", "all_users"})
	return get[[]json.RawMessage](f, "members"), common, nil
}

// Permissions reads the request of /team/permissions_update.
func (f Fields) Permissions() ([]string, *llm.Error) {
	if refusal := f.validate(map[string]check{"team_id": name, "team_member_permissions": texts}); refusal != nil {
		return nil, refusal
	}
	if !f.Has("team_member_permissions") {
		return nil, Invalid("team_member_permissions", "is missing")
	}
	return get[[]string](f, "team_member_permissions"), nil
}

// BulkUsers reads the request of /user/bulk_update: the change of each user, of the field users, or with all_users that of user_updates for every
// user that there is.
func (s *Service) BulkUsers(ctx context.Context, f Fields) ([]Fields, error) {
	if refusal := f.validate(map[string]check{"users": list, "all_users": boolean, "user_updates": object}); refusal != nil {
		return nil, refusal
	}
	if !get[bool](f, "all_users") {
		if f.Has("user_updates") {
			return nil, Invalid("user_updates", "comes with all_users")
		}
		return f.items("users")
	}
	updates := Fields{raw: get[map[string]json.RawMessage](f, "user_updates"), value: map[string]any{}}
	switch {
	case f.Has("users"):
		return nil, Invalid("users", "cannot come with all_users")
	case len(updates.raw) == 0:
		return nil, Invalid("user_updates", "is missing")
	case updates.Has("user_id") || updates.Has("user_email"):
		return nil, Invalid("user_updates", "is for all users: it cannot have a user_id or a user_email")
	}
	var items []Fields
	err := Each(ctx, s, keystore.UserKind, s.Skip, func(e *Entry) error {
		items = append(items, updates.With("user_id", encodeValue(e.ID)))
		return nil
	})
	return items, err
}

// BulkTeamKeys reads the request of /team/key/bulk_update: the change of each key of the field key_ids, or with all_keys_in_team of every key of the
// team that is neither blocked nor expired.
func (s *Service) BulkTeamKeys(ctx context.Context, f Fields) ([]Fields, error) {
	known := map[string]check{"team_id": name, "key_ids": texts, "all_keys_in_team": boolean, "update_fields": object}
	if refusal := f.validate(known); refusal != nil {
		return nil, refusal
	}
	team, ids, all := get[string](f, "team_id"), get[[]string](f, "key_ids"), get[bool](f, "all_keys_in_team")
	updates := Fields{raw: get[map[string]json.RawMessage](f, "update_fields"), value: map[string]any{}}
	switch {
	case team == "":
		return nil, Invalid("team_id", "is missing")
	case all == (len(ids) > 0):
		return nil, Invalid("key_ids", "give either key_ids or all_keys_in_team")
	case len(updates.raw) == 0:
		return nil, Invalid("update_fields", "is missing")
	case updates.Has("key") || updates.Has("key_alias") || updates.Has("team_id"):
		return nil, Invalid("update_fields", "is for several keys of one team: it cannot have a key, a key_alias or a team_id")
	}
	if all {
		now := s.cache.now()
		err := Each(ctx, s, keystore.KeyKind, s.Skip, func(k *Key) error {
			if k.TeamID == team && k.Successor == "" && !k.Blocked && (k.Expires == nil || now.Before(*k.Expires)) {
				ids = append(ids, k.Token)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if len(ids) > maxBulk {
		return nil, Invalid("key_ids", "at most "+strconv.Itoa(maxBulk)+" keys can be changed at once")
	}
	items := make([]Fields, 0, len(ids))
	for _, id := range ids {
		items = append(items, updates.With("key", encodeValue(id)))
	}
	return items, nil
}

// mergePatch returns a JSON value changed by a patch, as RFC 7396 has it.
func mergePatch(value, patch json.RawMessage) json.RawMessage {
	var changes map[string]json.RawMessage
	if json.Unmarshal(patch, &changes) != nil || changes == nil {
		return patch
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(value, &members) != nil || members == nil {
		members = make(map[string]json.RawMessage)
	}
	for n, c := range changes {
		if null(c) {
			delete(members, n)
			continue
		}
		members[n] = mergePatch(members[n], c)
	}
	return encodeValue(members)
}
