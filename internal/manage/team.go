package manage

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/litellmdb"
)

var teamParams = []string{
	"user_id", "organization_id", "team_id", "team_alias", "search", "search_team_id_match", "page", "page_size", "sort_by", "sort_order", "status",
}

func patchTeam(ctx context.Context, c *Call) (any, error) {
	t, err := c.Service.PatchTeam(ctx, c.Fields)
	if err != nil {
		return nil, err
	}
	return litellmdb.ShowTeam(t), nil
}

func newTeam(ctx context.Context, c *Call) (any, error) {
	t, err := c.Service.NewTeam(ctx, c.Fields)
	if err != nil {
		return nil, err
	}
	return litellmdb.ShowTeam(t), nil
}

func updateTeam(ctx context.Context, c *Call) (any, error) {
	t, err := c.Service.UpdateTeam(ctx, c.Fields)
	if err != nil {
		return nil, err
	}
	return map[string]any{"team_id": t.ID, "data": litellmdb.ShowTeam(t)}, nil
}

func deleteTeams(ctx context.Context, c *Call) (any, error) {
	deleted, err := c.Service.DeleteTeams(ctx, c.Fields)
	if err != nil {
		return nil, err
	}
	return map[string]any{"deleted_teams": deleted}, nil
}

func blockTeam(blocked bool) func(context.Context, *Call) (any, error) {
	return func(ctx context.Context, c *Call) (any, error) {
		t, err := c.Service.BlockTeam(ctx, c.Fields, blocked)
		if err != nil {
			return nil, err
		}
		return litellmdb.ShowTeam(t), nil
	}
}

// teamModels adds models to a team's list, or takes them out.
func teamModels(add bool) func(context.Context, *Call) (any, error) {
	return func(ctx context.Context, c *Call) (any, error) {
		t, err := c.Service.TeamModels(ctx, c.Fields, add)
		if err != nil {
			return nil, err
		}
		return litellmdb.ShowTeam(t), nil
	}
}

// withMembers is a team with what limits its members, and its keys' rows.
func (c *Call) withMembers(ctx context.Context, t *keys.Team, row map[string]any) error {
	entries, err := c.Service.MembersOf(ctx, t)
	if err != nil {
		return err
	}
	members := []any{}
	for _, e := range entries {
		shown := litellmdb.ShowMember(e)
		if err := c.spend(ctx, shown, limit.Member, e.ID, memberLimits(t, e)); err != nil {
			return err
		}
		members = append(members, shown)
	}
	row["team_memberships"] = members
	found, _, err := c.Service.List(ctx, keys.Filter{TeamID: t.ID}, keys.Order{}, keys.Page{Size: maxShown})
	if err != nil {
		return err
	}
	list := []any{}
	for _, k := range found {
		shown := litellmdb.ShowKey(k)
		shown["token"] = k.Token
		list = append(list, shown)
	}
	row["keys"] = list
	return nil
}

// maxShown bounds how many keys an answer about a team or a user shows; /key/list has them all.
const maxShown = 100

func rowsOf[T any](list []*T, show func(*T) map[string]any) []any {
	rows := make([]any, 0, len(list))
	for _, e := range list {
		rows = append(rows, show(e))
	}
	return rows
}

func teamInfo(ctx context.Context, c *Call) (any, error) {
	id := c.Query.Get("team_id")
	if id == "" {
		return nil, keys.Invalid("team_id", "is missing")
	}
	if err := c.needTeam(ctx, id); err != nil {
		return nil, err
	}
	t, err := c.Service.Team(ctx, id)
	if err != nil {
		return nil, err
	}
	info := litellmdb.ShowTeam(t)
	if err := c.spend(ctx, info, limit.Team, t.ID, t.Limits); err != nil {
		return nil, err
	}
	row := map[string]any{"team_id": t.ID, "team_info": info}
	return row, c.withMembers(ctx, t, row)
}

// teamFilter returns which teams the caller may see of those that are asked for.
func (c *Call) teamFilter() func(*keys.Team) bool {
	user, organization := c.Query.Get("user_id"), c.Query.Get("organization_id")
	own := c.user()
	return func(t *keys.Team) bool {
		return (c.all || c.manages(t.ID) && t.IsAdmin(own)) && (user == "" || t.Role(user) != "") && (organization == "" || t.Text("organization_id") == organization)
	}
}

func listTeams(ctx context.Context, c *Call) (any, error) {
	found, _, err := c.Service.ListTeams(ctx, c.teamFilter(), keys.Order{}, keys.Page{Size: 1 << 31})
	if err != nil {
		return nil, err
	}
	rows := make([]any, 0, len(found))
	for _, t := range found {
		row := litellmdb.ShowTeam(t)
		entries, err := c.Service.MembersOf(ctx, t)
		if err != nil {
			return nil, err
		}
		row["team_memberships"] = rowsOf(entries, litellmdb.ShowMember)
		rows = append(rows, row)
	}
	return rows, nil
}

func pageTeams(ctx context.Context, c *Call) (any, error) {
	q := c.Query
	if q.Get("status") != "" {
		return nil, keys.Invalid("status", "is not supported: records of deleted teams are not kept, but see `caddy tollgate audit`")
	}
	p, err := c.paging("page_size", 10)
	if err != nil {
		return nil, err
	}
	order, err := c.order("asc", "team_id", "team_alias", "created_at", "updated_at", "spend", "max_budget")
	if err != nil {
		return nil, err
	}
	match := q.Get("search_team_id_match")
	if match != "" && match != "exact" && match != "prefix" {
		return nil, keys.Invalid("search_team_id_match", "must be exact or prefix")
	}
	has := func(text, part string) bool { return strings.Contains(strings.ToLower(text), strings.ToLower(part)) }
	byID := func(id, search string) bool {
		return id == search || match == "prefix" && strings.HasPrefix(id, search)
	}
	mine := c.teamFilter()
	found, total, err := c.Service.ListTeams(ctx, func(t *keys.Team) bool {
		search := q.Get("search")
		return mine(t) && (q.Get("team_id") == "" || t.ID == q.Get("team_id")) && (q.Get("team_alias") == "" || has(t.Alias, q.Get("team_alias"))) &&
			(search == "" || has(t.Alias, search) || byID(t.ID, search))
	}, order, p.cut())
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"teams": rowsOf(found, litellmdb.ShowTeam), "total": total, "page": p.page, "page_size": p.size, "total_pages": p.pages(total),
	}, nil
}

func addMembers(ctx context.Context, c *Call) (any, error) {
	if err := c.needTeam(ctx, c.Fields.Text("team_id")); err != nil {
		return nil, err
	}
	if err := c.byID(c.Fields.Raw("member")); err != nil {
		return nil, err
	}
	t, entries, err := c.Service.AddMembers(ctx, c.Fields)
	if err != nil {
		return nil, err
	}
	row := litellmdb.ShowTeam(t)
	var users []any
	for _, e := range entries {
		users = append(users, map[string]any{"user_id": e.Text("user_id"), "role": t.Role(e.Text("user_id"))})
	}
	row["updated_users"], row["updated_team_memberships"] = users, rowsOf(entries, litellmdb.ShowMember)
	return row, nil
}

// bulkAddMembers adds members one after the other, each for itself.
func bulkAddMembers(ctx context.Context, c *Call) (any, error) {
	team := c.Fields.Text("team_id")
	if err := c.needTeam(ctx, team); err != nil {
		return nil, err
	}
	items, common, err := c.Fields.BulkMembers()
	if err != nil {
		return nil, err
	}
	if err := c.byID(items...); err != nil {
		return nil, err
	}
	results := []any{}
	done := 0
	var last *keys.Team
	err = oneByOne(items, func(f json.RawMessage) error {
		t, entries, err := c.Service.AddMembers(ctx, common.With("member", f))
		if err != nil {
			return err
		}
		done, last = done+1, t
		results = append(results, map[string]any{
			"user_id": entries[0].Text("user_id"), "success": true, "updated_team_membership": litellmdb.ShowMember(entries[0]),
		})
		return nil
	}, func(f json.RawMessage, why string) {
		results = append(results, map[string]any{"member": f, "success": false, "error": why})
	})
	if err != nil {
		return nil, err
	}
	answer := map[string]any{
		"team_id": team, "results": results, "total_requested": len(items), "successful_additions": done, "failed_additions": len(items) - done,
	}
	if last != nil {
		answer["updated_team"] = litellmdb.ShowTeam(last)
	}
	return answer, nil
}

func updateMember(ctx context.Context, c *Call) (any, error) {
	if err := c.needTeam(ctx, c.Fields.Text("team_id")); err != nil {
		return nil, err
	}
	m, e, err := c.Service.UpdateMember(ctx, c.Fields)
	if err != nil {
		return nil, err
	}
	row := litellmdb.ShowMember(e)
	row["user_email"], row["role"], row["max_budget_in_team"] = m.Email, m.Role, e.Fields["max_budget"]
	for _, n := range []string{"budget_duration", "tpm_limit", "rpm_limit", "allowed_models", "model_max_budget", "temp_budget_increase", "temp_budget_expiry"} {
		row[n] = e.Fields[n]
	}
	return row, nil
}

func deleteMember(ctx context.Context, c *Call) (any, error) {
	if err := c.needTeam(ctx, c.Fields.Text("team_id")); err != nil {
		return nil, err
	}
	t, err := c.Service.DeleteMember(ctx, c.Fields)
	if err != nil {
		return nil, err
	}
	return litellmdb.ShowTeam(t), nil
}
