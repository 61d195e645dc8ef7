package keyauth

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	books "github.com/tollgate-llm/tollgate/app/spend"
	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/spend"
)

// spendLogs is GET /spend/logs: by day, or single calls.
func spendLogs(ctx context.Context, c *reportCall) (any, error) {
	since, until, ok, err := c.dates()
	if err != nil {
		return nil, err
	}
	if !ok || c.query.Get("summarize") == "false" || c.query.Get("request_id") != "" {
		return singleLogs(ctx, c, since, until)
	}
	q, err := c.question(since, until, spend.Key, spend.User, spend.Model)
	if err != nil {
		return nil, err
	}
	q.Each = spend.Day
	if user := c.query.Get("user_id"); user != "" {
		if err := c.only(q, spend.User, "user_id", user); err != nil {
			return nil, err
		}
	}
	rows, err := ask(ctx, q)
	if err != nil || len(rows) == 0 {
		return []any{}, err
	}
	list := make([]map[string]any, 0, 31)
	for at, day := 0, since; day.Before(until); day = day.AddDate(0, 0, 1) {
		name := day.Format(time.DateOnly)
		byKey, users, models := make(money), make(money), make(money)
		var total price.Amount
		for ; at < len(rows) && rows[at].Groups[0] == name; at++ {
			g, cost := rows[at].Groups, rows[at].Sums[spend.Cost]
			if total, err = total.Add(cost); err != nil {
				return nil, err
			}
			for i, m := range []money{byKey, users, models} {
				if err := m.add(g[i+1], cost); err != nil {
					return nil, err
				}
			}
		}
		row := map[string]any{}
		for key, n := range byKey.numbers() {
			row[key] = n
		}
		row["startTime"], row["spend"], row["users"], row["models"] = name, usd(total), users.numbers(), models.numbers()
		list = append(list, row)
	}
	return list, nil
}

// spendKeys is GET /spend/keys.
func spendKeys(ctx context.Context, c *reportCall) (any, error) {
	return c.keyRows(ctx, beginning, "spend", 0)
}

// keyRows lists keys by what they have spent.
func (c *reportCall) keyRows(ctx context.Context, since time.Time, spent string, limit int) (any, error) {
	q, err := c.question(since, time.Time{}, spend.Key, spend.KeyAlias, spend.Team, spend.User)
	if err != nil {
		return nil, err
	}
	rows, err := ask(ctx, q)
	if err != nil {
		return nil, err
	}
	bySpend(rows)
	list := []map[string]any{}
	for _, r := range rows {
		if r.Groups[0] == "" {
			continue
		}
		if limit > 0 && len(list) == limit {
			break
		}
		list = append(list, map[string]any{
			"token": r.Groups[0], "api_key": r.Groups[0], "key_alias": orNull(r.Groups[1]), "key_name": orNull(r.Groups[1]), "team_id": orNull(r.Groups[2]),
			"user_id": orNull(r.Groups[3]), spent: usd(r.Sums[spend.Cost]),
		})
	}
	return list, nil
}

// orNull is null for an empty name.
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// spendUsers is GET /spend/users.
func spendUsers(ctx context.Context, c *reportCall) (any, error) {
	q, err := c.question(beginning, time.Time{}, spend.User)
	if err != nil {
		return nil, err
	}
	if user := c.query.Get("user_id"); user != "" {
		if err := c.only(q, spend.User, "user_id", user); err != nil {
			return nil, err
		}
	}
	return c.named(ctx, q, "user_id", "spend", 0)
}

// named lists the values of one dimension by what was spent.
func (c *reportCall) named(ctx context.Context, q *books.Query, name, spent string, limit int) (any, error) {
	rows, err := ask(ctx, q)
	if err != nil {
		return nil, err
	}
	bySpend(rows)
	list := []map[string]any{}
	for _, r := range rows {
		if r.Groups[0] != "" && (limit == 0 || len(list) < limit) {
			list = append(list, map[string]any{name: r.Groups[0], spent: usd(r.Sums[spend.Cost])})
		}
	}
	return list, nil
}

// globalSpend is GET /global/spend: of the last 30 days. Who sees all also sees the gateway's own limits.
func globalSpend(ctx context.Context, c *reportCall) (any, error) {
	q, err := c.question(c.lastDays(30), time.Time{})
	if err != nil {
		return nil, err
	}
	rows, err := ask(ctx, q)
	if err != nil {
		return nil, err
	}
	total := json.Number("0")
	if len(rows) > 0 {
		total = usd(rows[0].Sums[spend.Cost])
	}
	row := map[string]any{"spend": total, "max_budget": nil}
	if !c.reach.All {
		return row, nil
	}
	return row, c.h.showGateway(ctx, row)
}

// globalLogs is GET /global/spend/logs: the last 30 days by date.
func globalLogs(ctx context.Context, c *reportCall) (any, error) {
	q, err := c.question(c.lastDays(30), time.Time{})
	if err != nil {
		return nil, err
	}
	q.Each = spend.Day
	rows, err := ask(ctx, q)
	if err != nil {
		return nil, err
	}
	list := []map[string]any{}
	for _, r := range rows {
		row := map[string]any{"date": r.Groups[0], "spend": usd(r.Sums[spend.Cost])}
		if key := q.Where[spend.Key]; key != nil {
			row["api_key"] = key[0]
		}
		list = append(list, row)
	}
	return list, nil
}

func (c *reportCall) limit(otherwise int) (int, error) {
	text := c.query.Get("limit")
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, keys.Invalid("limit", "must be a positive number")
	}
	return n, nil
}

// globalKeys is GET /global/spend/keys.
func globalKeys(ctx context.Context, c *reportCall) (any, error) {
	n, err := c.limit(0)
	if err != nil {
		return nil, err
	}
	return c.keyRows(ctx, c.lastDays(30), "total_spend", n)
}

// globalModels is GET /global/spend/models: of the last 30 days.
func globalModels(ctx context.Context, c *reportCall) (any, error) {
	n, err := c.limit(10)
	if err != nil {
		return nil, err
	}
	q, err := c.question(c.lastDays(30), time.Time{}, spend.Model)
	if err != nil {
		return nil, err
	}
	return c.named(ctx, q, "model", "total_spend", n)
}

// globalProviders is GET /global/spend/provider.
func globalProviders(ctx context.Context, c *reportCall) (any, error) {
	since, until, ok, err := c.dates()
	if err != nil {
		return nil, err
	}
	if !ok {
		since, until = c.lastDays(30), time.Time{}
	}
	q, err := c.question(since, until, spend.Provider)
	if err != nil {
		return nil, err
	}
	return c.named(ctx, q, "provider", "spend", 0)
}

// globalTeams is GET /global/spend/teams: the last 30 days by date, and the ten teams that spent the most.
func globalTeams(ctx context.Context, c *reportCall) (any, error) {
	q, err := c.question(c.lastDays(30), time.Time{}, spend.Team)
	if err != nil {
		return nil, err
	}
	q.Each = spend.Day
	rows, err := ask(ctx, q)
	if err != nil {
		return nil, err
	}
	daily, teams := []map[string]any{}, []string{}
	known := make(map[string]bool)
	for _, r := range rows {
		team := r.Groups[1]
		if team == "" {
			team = "Unassigned"
		}
		if len(daily) == 0 || daily[len(daily)-1]["date"] != r.Groups[0] {
			daily = append(daily, map[string]any{"date": r.Groups[0]})
		}
		daily[len(daily)-1][team] = usd(r.Sums[spend.Cost])
		if !known[team] {
			known[team] = true
			teams = append(teams, team)
		}
	}
	if q, err = c.question(c.lastDays(30), time.Time{}, spend.Team); err != nil {
		return nil, err
	}
	total, err := c.named(ctx, q, "team_id", "total_spend", 10)
	return map[string]any{"daily_spend": daily, "teams": teams, "total_spend_per_team": total}, err
}

// globalReport is GET /global/spend/report.
func globalReport(ctx context.Context, c *reportCall) (any, error) {
	since, until, err := c.wantDates()
	if err != nil {
		return nil, err
	}
	group := c.query.Get("group_by")
	by := map[string]spend.Dimension{"": spend.Team, "team": spend.Team, "customer": spend.Payer, "api_key": spend.Key}
	dimension, ok := by[group]
	if !ok {
		return nil, keys.Invalid("group_by", "must be team, customer or api_key")
	}
	q, err := c.question(since, until, dimension, spend.Model, spend.Key)
	if err != nil {
		return nil, err
	}
	for name, d := range map[string]spend.Dimension{"internal_user_id": spend.User, "team_id": spend.Team, "customer_id": spend.Payer} {
		if v := c.query.Get(name); v != "" {
			if err := c.only(q, d, name, v); err != nil {
				return nil, err
			}
		}
	}
	if dimension == spend.Key || c.query.Get("api_key") != "" || c.query.Get("internal_user_id") != "" {
		q.By = []spend.Dimension{spend.Key, spend.Model}
		return c.reportByKey(ctx, q)
	}
	q.Each = spend.Day
	rows, err := ask(ctx, q)
	if err != nil {
		return nil, err
	}
	member, name := "teams", "team_name"
	if dimension == spend.Payer {
		member, name = "customers", "customer"
	}
	days := []map[string]any{}
	for at := 0; at < len(rows); {
		day := rows[at].Groups[0]
		groups := []map[string]any{}
		for at < len(rows) && rows[at].Groups[0] == day {
			value := rows[at].Groups[1]
			var total price.Amount
			details := []map[string]any{}
			for ; at < len(rows) && rows[at].Groups[0] == day && rows[at].Groups[1] == value; at++ {
				r := &rows[at]
				if total, err = total.Add(r.Sums[spend.Cost]); err != nil {
					return nil, err
				}
				details = append(details, map[string]any{
					"model": r.Groups[2], "api_key": r.Groups[3], "spend": usd(r.Sums[spend.Cost]),
					"total_tokens": r.Sums.Count(spend.InputTokens) + r.Sums.Count(spend.OutputTokens),
				})
			}
			groups = append(groups, map[string]any{name: value, "total_spend": usd(total), "metadata": details})
		}
		days = append(days, map[string]any{"group_by_day": day, member: groups})
	}
	return days, nil
}

// reportByKey is the report of keys with their models.
func (c *reportCall) reportByKey(ctx context.Context, q *books.Query) (any, error) {
	rows, err := ask(ctx, q)
	if err != nil {
		return nil, err
	}
	list := []map[string]any{}
	for at := 0; at < len(rows); {
		key := rows[at].Groups[0]
		sums, models := make(spend.Sums), []map[string]any{}
		for ; at < len(rows) && rows[at].Groups[0] == key; at++ {
			r := &rows[at]
			if err := sums.AddAll(r.Sums); err != nil {
				return nil, err
			}
			models = append(models, map[string]any{
				"model": r.Groups[1], "total_cost": usd(r.Sums[spend.Cost]),
				"total_input_tokens": r.Sums.Count(spend.InputTokens), "total_output_tokens": r.Sums.Count(spend.OutputTokens),
			})
		}
		list = append(list, map[string]any{
			"api_key": key, "total_cost": usd(sums[spend.Cost]), "total_input_tokens": sums.Count(spend.InputTokens),
			"total_output_tokens": sums.Count(spend.OutputTokens), "model_details": models,
		})
	}
	return list, nil
}
