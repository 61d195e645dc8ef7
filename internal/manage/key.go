package manage

import (
	"context"
	"net/http"
	"slices"

	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/litellmdb"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// guarded returns the service with the caller's bounds: an admin of a team changes the keys of that team alone, gives them to members of it, and
// neither makes keys that manage nor says who pays.
func (c *Call) guarded(ctx context.Context) *keys.Service {
	if c.all {
		return c.Service
	}
	return c.Service.Guarded(func(before, after *keys.Key) error { return c.guard(ctx, before, after) })
}

// guard refuses the change of a key that is not the caller's to make.
func (c *Call) guard(ctx context.Context, before, after *keys.Key) error {
	if c.all {
		return nil
	}
	for _, k := range []*keys.Key{before, after} {
		if k == nil {
			continue
		}
		if err := c.needTeam(ctx, k.TeamID); err != nil {
			return err
		}
	}
	if before != nil && beyondTeam(before.Type()) {
		return denied("Only the master key, or a key of the type management, can change a key of the type " + before.Type())
	}
	if after == nil {
		return nil
	}
	return c.bounded(ctx, before, after)
}

// beyondTeam reports whether keys of a type reach further than one team: who regenerates such a key has all that it may do.
func beyondTeam(kind string) bool { return kind == keys.TypeManagement || kind == keys.TypeReadOnly }

// bounded refuses what an admin of a team may not write into a key.
func (c *Call) bounded(ctx context.Context, before, after *keys.Key) error {
	if t := after.Type(); beyondTeam(t) {
		return denied("Only the master key, or a key of the type management, can make a key of the type " + t)
	}
	if member := after.PayerChanged(before); member != "" {
		return denied("Only the master key, or a key of the type management, can set " + member + " in metadata")
	}
	if before == nil && after.EndUserBudget() != "" || before != nil && before.EndUserBudget() != after.EndUserBudget() {
		return denied("Only the master key, or a key of the type management, can set end_user_budget_id")
	}
	if after.UserID == "" || before != nil && before.UserID == after.UserID {
		return nil
	}
	team, err := c.Service.Team(ctx, after.TeamID)
	if err != nil {
		return err
	}
	if team.Role(after.UserID) == "" {
		return keys.Invalid("user_id", "is no member of the team: add it by /team/member_add")
	}
	return nil
}

func generateKey(ctx context.Context, c *Call) (any, error) {
	rec, plain, err := c.guarded(ctx).Generate(ctx, c.Fields)
	if err != nil {
		return nil, err
	}
	return c.withToken(ctx, rec, plain)
}

// generateServiceAccount makes a key of a team that is no user's.
func generateServiceAccount(ctx context.Context, c *Call) (any, error) {
	if c.Fields.Has("user_id") {
		return nil, keys.Invalid("user_id", "a service account is no user's: leave it out")
	}
	if !c.Fields.Has("team_id") {
		return nil, keys.Invalid("team_id", "is missing: a service account is a team's")
	}
	if refusal := c.Fields.MarkServiceAccount(); refusal != nil {
		return nil, refusal
	}
	return generateKey(ctx, c)
}

func regenerateKey(ctx context.Context, c *Call) (any, error) {
	rec, plain, err := c.guarded(ctx).Regenerate(ctx, c.Fields)
	if err != nil {
		return nil, c.hide(err)
	}
	return c.withToken(ctx, rec, plain)
}

// withToken is the answer that shows a new key: GenerateKeyResponse of LiteLLM.
func (c *Call) withToken(ctx context.Context, rec *keys.Key, plain string) (map[string]any, error) {
	row, err := c.keyRow(ctx, rec)
	if err != nil {
		return nil, err
	}
	row["key"], row["token"], row["token_id"] = plain, rec.Token, rec.Token
	return row, nil
}

// keyRow is a key as LiteLLM's clients read it, without its token.
func (c *Call) keyRow(ctx context.Context, rec *keys.Key) (map[string]any, error) {
	row := litellmdb.ShowKey(rec)
	budget, err := litellmdb.ShowBudget(ctx, c.Service, rec)
	if err != nil {
		return nil, err
	}
	if budget != nil {
		row["litellm_budget_table"] = budget
	}
	return row, nil
}

func updateKey(ctx context.Context, c *Call) (any, error) {
	rec, err := c.guarded(ctx).Update(ctx, c.Fields)
	if err != nil {
		return nil, c.hide(err)
	}
	row, err := c.keyRow(ctx, rec)
	if err != nil {
		return nil, err
	}
	if row["key"] = c.Fields.Key(); row["key"] == "" {
		row["key"] = rec.Token
	}
	return row, nil
}

// bulkUpdateKeys changes keys one after the other, each for itself.
func bulkUpdateKeys(ctx context.Context, c *Call) (any, error) {
	items, refusal := c.Fields.Items("keys", "key", "budget_id", "max_budget", "team_id", "tags", "object_permission")
	if refusal != nil {
		return nil, refusal
	}
	return c.updateEach(ctx, items, c.guarded(ctx))
}

// bulkUpdateTeamKeys changes several keys of a team alike.
func bulkUpdateTeamKeys(ctx context.Context, c *Call) (any, error) {
	team := c.Fields.Text("team_id")
	if err := c.needTeam(ctx, team); err != nil {
		return nil, err
	}
	items, err := c.Service.BulkTeamKeys(ctx, c.Fields)
	if err != nil {
		return nil, err
	}
	return c.updateEach(ctx, items, c.Service.Guarded(func(before, after *keys.Key) error {
		if before != nil && before.TeamID != team {
			return c.noAdmin()
		}
		return c.guard(ctx, before, after)
	}))
}

func (c *Call) updateEach(ctx context.Context, items []keys.Fields, s *keys.Service) (any, error) {
	done, failed := []any{}, []any{}
	err := oneByOne(items, func(f keys.Fields) error {
		rec, err := s.Update(ctx, f)
		if err != nil {
			return c.hide(err)
		}
		row, err := c.keyRow(ctx, rec)
		done = append(done, map[string]any{"key": f.Text("key"), "key_info": row})
		return err
	}, func(f keys.Fields, why string) {
		failed = append(failed, map[string]any{"key": f.Text("key"), "failed_reason": why})
	})
	return map[string]any{"total_requested": len(items), "successful_updates": done, "failed_updates": failed}, err
}

// resetKeySpend begins the windows of a key's budgets anew.
func resetKeySpend(ctx context.Context, c *Call) (any, error) {
	before, err := c.Service.Info(ctx, c.Fields.Text("key"))
	if err == nil {
		err = c.guard(ctx, before, nil)
	}
	if err != nil {
		return nil, c.hide(err)
	}
	was := make(map[string]any)
	if err := c.spend(ctx, was, limit.Key, before.Spending(), before.Limits); err != nil {
		return nil, err
	}
	rec, err := c.guarded(ctx).ResetSpend(ctx, c.Fields)
	if err != nil {
		return nil, c.hide(err)
	}
	row, err := c.keyRow(ctx, rec)
	if err == nil {
		err = c.spend(ctx, row, limit.Key, rec.Spending(), rec.Limits)
	}
	return map[string]any{
		"key_hash": rec.Token, "spend": row["spend"], "previous_spend": was["spend"], "max_budget": row["max_budget"], "budget_reset_at": row["budget_reset_at"],
	}, err
}

func blockKey(blocked bool) func(context.Context, *Call) (any, error) {
	return func(ctx context.Context, c *Call) (any, error) {
		rec, err := c.guarded(ctx).Block(ctx, c.Fields, blocked)
		if err != nil {
			return nil, c.hide(err)
		}
		row, err := c.keyRow(ctx, rec)
		if err != nil {
			return nil, err
		}
		row["token"] = rec.Token
		return row, nil
	}
}

func deleteKeys(ctx context.Context, c *Call) (any, error) {
	deleted, err := c.guarded(ctx).Delete(ctx, c.Fields)
	if err != nil {
		return nil, c.hide(err)
	}
	return map[string]any{"deleted_keys": deleted}, nil
}

// readable returns a key's record, if the caller may read it: its own, its user's, or one of a team of which the user is an admin.
func (c *Call) readable(ctx context.Context, asked string) (*keys.Key, error) {
	own := c.State.Identity
	id, refusal := keys.ID(asked)
	if refusal != nil && c.all {
		return nil, refusal
	}
	if refusal == nil && (c.all || id == own.KeyHash) {
		return c.Service.Info(ctx, asked)
	}
	// A caller who may not read a key must not learn whether it exists.
	may := &llm.Error{
		Status: http.StatusForbidden, Type: "auth_error", Param: "key",
		Message: "You are not allowed to access this key's info: a key may read its own",
	}
	if refusal != nil || c.user() == "" || c.alone {
		return nil, may
	}
	rec, err := c.Service.Info(ctx, asked)
	if isMissing(err) {
		return nil, may
	}
	if err != nil || rec.UserID == c.user() {
		return rec, err
	}
	admin, err := c.adminOf(ctx, rec.TeamID)
	if err == nil && !admin {
		err = may
	}
	return rec, err
}

func keyInfo(ctx context.Context, c *Call) (any, error) {
	asked := c.Query.Get("key")
	if asked == "" {
		if c.State.Identity.Master {
			return nil, keys.Invalid("key", "is missing: the master key has no record")
		}
		asked = c.State.Identity.KeyHash
	}
	rec, err := c.readable(ctx, asked)
	if err != nil {
		return nil, err
	}
	info, err := c.keyRow(ctx, rec)
	if err == nil {
		err = c.spend(ctx, info, limit.Key, rec.Spending(), rec.Limits)
	}
	return map[string]any{"key": asked, "info": info}, err
}

// keyInfos answers several keys' records.
func keyInfos(ctx context.Context, c *Call) (any, error) {
	asked, refusal := c.Fields.Texts("keys")
	if refusal != nil {
		return nil, refusal
	}
	rows := []any{}
	for _, key := range asked {
		rec, err := c.readable(ctx, key)
		if err != nil {
			return nil, err
		}
		row, err := c.keyRow(ctx, rec)
		if err == nil {
			err = c.spend(ctx, row, limit.Key, rec.Spending(), rec.Limits)
		}
		if err != nil {
			return nil, err
		}
		row["token"] = rec.Token
		rows = append(rows, row)
	}
	return map[string]any{"key": asked, "info": rows}, nil
}

// among returns which keys the caller may see; nil: all.
func (c *Call) among(ctx context.Context) (*keys.Among, error) {
	if c.all {
		return nil, nil
	}
	teams, err := c.adminTeams(ctx)
	return &keys.Among{Teams: teams, User: c.user(), Key: c.State.Identity.KeyHash}, err
}

func listKeys(ctx context.Context, c *Call) (any, error) {
	q := c.Query
	f := keys.Filter{
		UserID: q.Get("user_id"), TeamID: q.Get("team_id"), OrganizationID: q.Get("organization_id"), ProjectID: q.Get("project_id"),
		AgentID: q.Get("agent_id"), KeyHash: q.Get("key_hash"), KeyAlias: q.Get("key_alias"), Search: q.Get("search"),
	}
	if q.Get("status") != "" {
		return nil, keys.Invalid("status", "is not supported: records of deleted keys are not kept, but see `caddy tollgate audit`")
	}
	if e := q.Get("expand"); e != "" {
		return nil, keys.Invalid("expand", "is not supported: ask /user/info")
	}
	p, err := c.paging("size", 10)
	if err != nil {
		return nil, err
	}
	order, err := c.order("desc", "spend", "max_budget", "created_at", "updated_at", "expires", "key_alias", "key_name", "token", "user_id", "team_id",
		"rpm_limit", "tpm_limit")
	if err != nil {
		return nil, err
	}
	flags := make(map[string]bool)
	for _, name := range []string{"return_full_object", "substring_matching", "include_team_keys", "include_created_by_keys"} {
		if flags[name], err = c.flag(name); err != nil {
			return nil, err
		}
	}
	if flags["include_created_by_keys"] {
		return nil, keys.Invalid("include_created_by_keys", "is not supported: see `caddy tollgate audit` for who made a key")
	}
	f.Substring = flags["substring_matching"]
	if f.Among, err = c.among(ctx); err != nil {
		return nil, err
	}
	if !flags["include_team_keys"] && f.Among != nil && f.TeamID == "" {
		f.Among.Teams = nil // as LiteLLM: an admin's list has the teams' keys when it is asked for them
	}
	found, total, err := c.Service.List(ctx, f, order, p.cut())
	if err != nil {
		return nil, err
	}
	rows := make([]any, 0, len(found))
	for _, k := range found {
		if !flags["return_full_object"] {
			rows = append(rows, k.Token)
			continue
		}
		row, err := c.keyRow(ctx, k)
		if err != nil {
			return nil, err
		}
		row["token"] = k.Token
		rows = append(rows, row)
	}
	return map[string]any{"keys": rows, "total_count": total, "current_page": p.page, "total_pages": p.pages(total)}, nil
}

func listAliases(ctx context.Context, c *Call) (any, error) {
	p, err := c.paging("size", 50)
	if err != nil {
		return nil, err
	}
	f := keys.Filter{TeamID: c.Query.Get("team_id"), KeyAlias: c.Query.Get("search"), Substring: true}
	if f.Among, err = c.among(ctx); err != nil {
		return nil, err
	}
	found, _, err := c.Service.List(ctx, f, keys.Order{Field: "key_alias"}, keys.Page{Size: 1 << 31})
	if err != nil {
		return nil, err
	}
	aliases := make([]string, 0, len(found))
	for _, k := range found {
		if k.Alias != "" {
			aliases = append(aliases, k.Alias)
		}
	}
	total, cut := len(aliases), p.cut()
	from := min(cut.From, total)
	aliases = aliases[from:min(total, from+cut.Size)]
	return map[string]any{
		"aliases": slices.Clip(aliases), "total_count": total, "current_page": p.page, "total_pages": p.pages(total), "size": p.size,
	}, nil
}
