package manage

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"

	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/litellmdb"
)

// memberLimits returns what limits a member, the team's defaults included.
func memberLimits(t *keys.Team, e *keys.Entry) func() (*keys.Limits, error) {
	return func() (*keys.Limits, error) { return t.MemberLimits(e) }
}

// byID has an admin of a team name new members by user_id: by an email address it would learn whether there is such a user, and whose it is.
func (c *Call) byID(members ...json.RawMessage) error {
	for _, raw := range members {
		if c.all {
			return nil
		}
		raw = bytes.TrimSpace(raw)
		if len(raw) > 0 && raw[0] == '{' {
			raw = slices.Concat([]byte("["), raw, []byte("]"))
		}
		var list []struct {
			UserID string `json:"user_id"`
		}
		if json.Unmarshal(raw, &list) != nil {
			return nil // which the service refuses by name
		}
		for _, m := range list {
			if m.UserID == "" {
				return denied("Only the master key, or a key of the type management, can name new members by user_email: give the user_id")
			}
		}
	}
	return nil
}

// ownMembership answers what a team's member may ask about itself.
func ownMembership(ctx context.Context, c *Call) (any, error) {
	none := denied("a key may read the membership of the user that it is of")
	user, id := c.State.Identity.UserID, c.Fields.Text("team_id")
	if user == "" {
		return nil, none
	}
	t, err := c.Service.Team(ctx, id)
	if err != nil {
		if isMissing(err) {
			err = none
		}
		return nil, err
	}
	own := c.State.Identity.TeamID
	i := slices.IndexFunc(t.Members(), func(m keys.Member) bool { return m.UserID == user })
	if i < 0 || c.State.Issued && own != id {
		return nil, none
	}
	e, err := c.Service.MemberOf(ctx, t, user)
	if err != nil {
		return nil, err
	}
	row := litellmdb.ShowMember(e)
	row["role"], row["user_email"], row["team_alias"] = t.Members()[i].Role, t.Members()[i].Email, t.Alias
	return row, c.spend(ctx, row, limit.Member, e.ID, memberLimits(t, e))
}

// resetMemberSpend begins the windows of a member's budgets anew.
func resetMemberSpend(ctx context.Context, c *Call) (any, error) {
	if err := c.needTeam(ctx, c.Fields.Text("team_id")); err != nil {
		return nil, err
	}
	t, e, err := c.Service.ResetMemberSpend(ctx, c.Fields)
	if err != nil {
		return nil, err
	}
	row := litellmdb.ShowMember(e)
	return row, c.spend(ctx, row, limit.Member, e.ID, memberLimits(t, e))
}

// resetMemberBudget takes a member's own budget away.
func resetMemberBudget(ctx context.Context, c *Call) (any, error) {
	if err := c.needTeam(ctx, c.Fields.Text("team_id")); err != nil {
		return nil, err
	}
	e, was, err := c.Service.ResetMemberBudget(ctx, c.Fields)
	if err != nil {
		return nil, err
	}
	answer := map[string]any{"team_id": e.Text("team_id"), "user_id": e.Text("user_id"), "budget_id": nil, "previous_budget_id": nil, "budget_source": "team_default"}
	if was != "" {
		answer["previous_budget_id"] = was
	}
	return answer, nil
}

// memberPermissions are what members of a team may do with its keys beside its admins.
var memberPermissions = []string{"/key/info"}

func listPermissions(ctx context.Context, c *Call) (any, error) {
	id := c.Query.Get("team_id")
	if id == "" {
		return nil, keys.Invalid("team_id", "is missing")
	}
	if err := c.needTeam(ctx, id); err != nil {
		return nil, err
	}
	if _, err := c.Service.Team(ctx, id); err != nil {
		return nil, err
	}
	return map[string]any{"team_id": id, "team_member_permissions": memberPermissions, "all_available_permissions": memberPermissions}, nil
}

// updatePermissions takes the permissions that members have anyway, and refuses all others by name.
func updatePermissions(ctx context.Context, c *Call) (any, error) {
	id := c.Fields.Text("team_id")
	if err := c.needTeam(ctx, id); err != nil {
		return nil, err
	}
	asked, refusal := c.Fields.Permissions()
	if refusal != nil {
		return nil, refusal
	}
	for _, p := range asked {
		if !slices.Contains(memberPermissions, p) {
			return nil, keys.Invalid("team_member_permissions", p+" is not supported: members of a team read their own keys, its admins manage its keys")
		}
	}
	t, err := c.Service.Team(ctx, id)
	if err != nil {
		return nil, err
	}
	return litellmdb.ShowTeam(t), nil
}

// availableTeams are those that users may join by themselves: none.
func availableTeams(context.Context, *Call) (any, error) { return []any{}, nil }
