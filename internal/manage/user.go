package manage

import (
	"context"
	"slices"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/litellmdb"
)

var userParams = []string{
	"role", "user_ids", "sso_user_ids", "user_email", "search", "team", "organization_ids", "page", "page_size", "sort_by", "sort_order",
}

func newUser(ctx context.Context, c *Call) (any, error) {
	e, k, plain, err := c.Service.NewUser(ctx, c.Fields)
	if err != nil {
		return nil, err
	}
	row := map[string]any{"key": nil}
	if k != nil {
		if row, err = c.withToken(ctx, k, plain); err != nil {
			return nil, err
		}
	}
	for n, v := range litellmdb.ShowUser(e) {
		if n != "created_at" && n != "updated_at" {
			row[n] = v
		}
	}
	row["teams"], err = c.teamsOf(ctx, e.ID)
	return row, err
}

// teamsOf returns the ids of a user's teams.
func (c *Call) teamsOf(ctx context.Context, user string) ([]string, error) {
	found, err := c.memberTeams(ctx, user)
	ids := make([]string, 0, len(found))
	for _, t := range found {
		ids = append(ids, t.ID)
	}
	return ids, err
}

func (c *Call) memberTeams(ctx context.Context, user string) ([]*keys.Team, error) {
	found, _, err := c.Service.ListTeams(ctx, func(t *keys.Team) bool { return t.Role(user) != "" }, keys.Order{}, keys.Page{Size: 1 << 31})
	return found, err
}

func (c *Call) userRow(ctx context.Context, e *keys.Entry) (map[string]any, error) {
	row := litellmdb.ShowUser(e)
	var err error
	row["teams"], err = c.teamsOf(ctx, e.ID)
	return row, err
}

// forUpdate refuses fields that only a new user has.
func forUpdate(f keys.Fields) error {
	for _, n := range []string{"teams", "auto_create_key"} {
		if f.Has(n) {
			return keys.Invalid(n, "is for /user/new: use /team/member_add, /key/generate")
		}
	}
	return nil
}

func updateUser(ctx context.Context, c *Call) (any, error) {
	if err := forUpdate(c.Fields); err != nil {
		return nil, err
	}
	e, err := c.Service.Set(ctx, keys.Users, c.Fields)
	if err != nil {
		return nil, err
	}
	row, err := c.userRow(ctx, e)
	return map[string]any{"user_id": e.ID, "data": row}, err
}

// bulkUpdateUsers changes users one after the other, each for itself.
func bulkUpdateUsers(ctx context.Context, c *Call) (any, error) {
	items, err := c.Service.BulkUsers(ctx, c.Fields)
	if err != nil {
		return nil, err
	}
	results := []any{}
	done := 0
	err = oneByOne(items, func(f keys.Fields) error {
		if err := forUpdate(f); err != nil {
			return err
		}
		e, err := c.Service.Set(ctx, keys.Users, f)
		if err != nil {
			return err
		}
		done++
		results = append(results, map[string]any{
			"user_id": e.ID, "user_email": f.Text("user_email"), "success": true, "error": nil, "updated_user": litellmdb.ShowUser(e),
		})
		return nil
	}, func(f keys.Fields, why string) {
		results = append(results, map[string]any{
			"user_id": f.Text("user_id"), "user_email": f.Text("user_email"), "success": false, "error": why, "updated_user": nil,
		})
	})
	return map[string]any{
		"results": results, "total_requested": len(items), "successful_updates": done, "failed_updates": len(items) - done,
	}, err
}

// availableRoles describes the roles that users may have.
func availableRoles(context.Context, *Call) (any, error) {
	role := func(label, text string) map[string]any { return map[string]any{"ui_label": label, "description": text} }
	return map[string]any{
		"internal_user":        role("Internal User", "A user: what its keys may do is theirs"),
		"internal_user_viewer": role("Internal Viewer", "A user, as internal_user: what its keys may do is theirs"),
	}, nil
}

func deleteUsers(ctx context.Context, c *Call) (any, error) {
	deleted, err := c.Service.DeleteUsers(ctx, c.Fields)
	if err != nil {
		return nil, err
	}
	return map[string]any{"deleted_users": deleted}, nil
}

// askedUser returns the record of the user that is asked for, if the caller may read it: its own, or any.
func (c *Call) askedUser(ctx context.Context) (*keys.Entry, error) {
	id := c.Query.Get("user_id")
	own := c.user()
	if id == "" {
		id = own
	}
	if !c.all && (id == "" || id != own) {
		return nil, denied("a key may read the user_id that it is of")
	}
	if id == "" {
		return nil, keys.Invalid("user_id", "is missing")
	}
	return c.Service.Get(ctx, keys.Users, id)
}

func userInfo(ctx context.Context, c *Call) (any, error) {
	e, err := c.askedUser(ctx)
	if err != nil {
		return nil, err
	}
	row, err := c.spentBy(ctx, e)
	if err != nil {
		return nil, err
	}
	found, _, err := c.Service.List(ctx, keys.Filter{UserID: e.ID}, keys.Order{}, keys.Page{Size: maxShown})
	if err != nil {
		return nil, err
	}
	list := []any{}
	for _, k := range found {
		shown, err := c.keyRow(ctx, k)
		if err != nil {
			return nil, err
		}
		shown["token"] = k.Token
		list = append(list, shown)
	}
	teams, err := c.memberTeams(ctx, e.ID)
	if err != nil {
		return nil, err
	}
	shown := []any{}
	for _, t := range teams {
		if c.all || t.IsAdmin(e.ID) {
			shown = append(shown, litellmdb.ShowTeam(t))
			continue
		}
		shown = append(shown, map[string]any{"team_id": t.ID, "team_alias": t.Alias, "models": t.Models})
	}
	return map[string]any{"user_id": e.ID, "user_info": row, "keys": list, "teams": shown}, nil
}

func userInfoV2(ctx context.Context, c *Call) (any, error) {
	e, err := c.askedUser(ctx)
	if err != nil {
		return nil, err
	}
	return c.spentBy(ctx, e)
}

// spentBy is a user's row with what the user has spent.
func (c *Call) spentBy(ctx context.Context, e *keys.Entry) (map[string]any, error) {
	row, err := c.userRow(ctx, e)
	if err != nil {
		return nil, err
	}
	return row, c.spend(ctx, row, limit.User, e.ID, e.Limits)
}

func listUsers(ctx context.Context, c *Call) (any, error) {
	q := c.Query
	for _, n := range []string{"sso_user_ids", "organization_ids"} {
		if q.Get(n) != "" {
			return nil, keys.Invalid(n, "is not supported")
		}
	}
	p, err := c.paging("page_size", 25)
	if err != nil {
		return nil, err
	}
	order, err := c.order("asc", "user_id", "user_email", "user_alias", "created_at", "updated_at", "spend", "max_budget")
	if err != nil {
		return nil, err
	}
	var members map[string]bool
	if team := q.Get("team"); team != "" {
		t, err := c.Service.Team(ctx, team)
		if err != nil {
			return nil, err
		}
		members = make(map[string]bool)
		for _, m := range t.Members() {
			members[m.UserID] = true
		}
	}
	var ids []string
	if q.Get("user_ids") != "" {
		ids = strings.Split(q.Get("user_ids"), ",")
	}
	has := func(text, part string) bool { return strings.Contains(strings.ToLower(text), strings.ToLower(part)) }
	found, total, err := c.Service.ListEntries(ctx, keys.Users, func(e *keys.Entry) bool {
		search := q.Get("search")
		return (members == nil || members[e.ID]) && (ids == nil || slices.Contains(ids, e.ID)) &&
			(q.Get("role") == "" || e.Text("user_role") == q.Get("role")) && has(e.Text("user_email"), q.Get("user_email")) &&
			(search == "" || has(e.ID, search) || has(e.Text("user_email"), search) || has(e.Text("user_alias"), search))
	}, order, p.cut())
	if err != nil {
		return nil, err
	}
	counts, err := c.Service.KeysByUser(ctx)
	if err != nil {
		return nil, err
	}
	rows := []any{}
	for _, e := range found {
		row := litellmdb.ShowUser(e)
		row["key_count"] = counts[e.ID]
		rows = append(rows, row)
	}
	return map[string]any{"users": rows, "total": total, "page": p.page, "page_size": p.size, "total_pages": p.pages(total)}, nil
}

func newCustomer(ctx context.Context, c *Call) (any, error) {
	e, err := c.Service.New(ctx, keys.Customers, c.Fields)
	return c.customer(ctx, e, err)
}

func updateCustomer(ctx context.Context, c *Call) (any, error) {
	e, err := c.Service.Set(ctx, keys.Customers, c.Fields)
	return c.customer(ctx, e, err)
}

// customer is the answer about a customer.
func (c *Call) customer(ctx context.Context, e *keys.Entry, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return litellmdb.ShowCustomer(ctx, c.Service, e)
}

func customerInfo(ctx context.Context, c *Call) (any, error) {
	id := c.Query.Get("end_user_id")
	if id == "" {
		return nil, keys.Invalid("end_user_id", "is missing")
	}
	e, err := c.Service.Get(ctx, keys.Customers, id)
	if err != nil {
		return nil, err
	}
	row, err := litellmdb.ShowCustomer(ctx, c.Service, e)
	if err != nil {
		return nil, err
	}
	return row, c.spend(ctx, row, limit.Customer, e.ID, e.Limits)
}

func listCustomers(ctx context.Context, c *Call) (any, error) {
	p, err := c.paging("page_size", 50)
	if err != nil {
		return nil, err
	}
	search := strings.ToLower(c.Query.Get("search"))
	found, _, err := c.Service.ListEntries(ctx, keys.Customers, func(e *keys.Entry) bool {
		return search == "" || strings.Contains(strings.ToLower(e.ID), search) || strings.Contains(strings.ToLower(e.Text("alias")), search)
	}, keys.Order{}, p.cut())
	if err != nil {
		return nil, err
	}
	rows := []any{}
	for _, e := range found {
		row, err := litellmdb.ShowCustomer(ctx, c.Service, e)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func deleteCustomers(ctx context.Context, c *Call) (any, error) {
	deleted, err := c.Service.DeleteCustomers(ctx, c.Fields)
	if err != nil {
		return nil, err
	}
	return map[string]any{"deleted_customers": len(deleted), "message": "Successfully deleted customers with ids: " + strings.Join(deleted, ", ")}, nil
}

func blockCustomers(blocked bool) func(context.Context, *Call) (any, error) {
	return func(ctx context.Context, c *Call) (any, error) {
		list, err := c.Service.BlockCustomers(ctx, c.Fields, blocked)
		if err != nil {
			return nil, err
		}
		rows := []any{}
		for _, e := range list {
			row, err := litellmdb.ShowCustomer(ctx, c.Service, e)
			if err != nil {
				return nil, err
			}
			rows = append(rows, row)
		}
		return map[string]any{"blocked_users": rows}, nil
	}
}
