package keyauth

import (
	"context"
	"strconv"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/spend"
)

// activityParameters are those of reports of daily activity, beside the dates; ids names the entities.
func activityParameters(ids string) []string {
	return []string{"model", "api_key", "page", "page_size", "timezone", ids}
}

// activity is GET /user/daily/activity and its like. A report is one page, whatever its size.
func activity(entity spend.Dimension, ids string) func(context.Context, *reportCall) (any, error) {
	return func(ctx context.Context, c *reportCall) (any, error) {
		since, until, err := c.wantDates()
		if err != nil {
			return nil, err
		}
		if zone := c.query.Get("timezone"); zone != "" && zone != "0" {
			return nil, keys.Invalid("timezone", "must be 0: days are those of UTC")
		}
		page := 1
		for _, name := range []string{"page", "page_size"} {
			if text := c.query.Get(name); text != "" {
				n, err := strconv.Atoi(text)
				if err != nil || n < 1 {
					return nil, keys.Invalid(name, "must be a positive number")
				}
				if name == "page" {
					page = n
				}
			}
		}
		q, err := c.question(since, until, spend.Upstream, spend.Model, spend.Provider, spend.Endpoint, spend.Key, spend.KeyAlias, spend.Team, spend.User, entity)
		if err != nil {
			return nil, err
		}
		q.Each = spend.Day
		if model := c.query.Get("model"); model != "" {
			if err := c.only(q, spend.Model, "model", model); err != nil {
				return nil, err
			}
		}
		if list := c.query.Get(ids); list != "" {
			if err := c.only(q, entity, ids, strings.Split(list, ",")...); err != nil {
				return nil, err
			}
		}
		rows, err := ask(ctx, q)
		if err != nil {
			return nil, err
		}
		var days []*activityDay
		total := make(spend.Sums)
		for i := range rows {
			r := &rows[i]
			if len(days) == 0 || days[len(days)-1].date != r.Groups[0] {
				days = append(days, &activityDay{date: r.Groups[0], sums: make(spend.Sums), parts: make(map[string]activityPart)})
			}
			if err := days[len(days)-1].add(r.Groups[1:], r.Sums); err != nil {
				return nil, err
			}
			if err := total.AddAll(r.Sums); err != nil {
				return nil, err
			}
		}
		results := []map[string]any{}
		for i := len(days) - 1; i >= 0 && page == 1; i-- { // the newest first
			results = append(results, days[i].answer())
		}
		meta := map[string]any{"page": page, "total_pages": 1, "has_more": false}
		for name, v := range metrics(total) {
			meta["total_"+name] = v
		}
		meta["total_api_requests"] = total.Count(spend.Calls)
		meta["total_tokens"] = total.Count(spend.InputTokens) + total.Count(spend.OutputTokens)
		return map[string]any{"results": results, "metadata": meta}, nil
	}
}

// metrics are the figures of LiteLLM's reports of activity.
func metrics(s spend.Sums) map[string]any {
	in, out, calls, failed := s.Count(spend.InputTokens), s.Count(spend.OutputTokens), s.Count(spend.Calls), s.Count(spend.Failed)
	sum := func(kinds ...string) (n int64) {
		for _, k := range kinds {
			n += s.Count(spend.KindPrefix + k)
		}
		return n
	}
	return map[string]any{
		"spend": usd(s[spend.Cost]), "prompt_tokens": in, "completion_tokens": out, "total_tokens": in + out, "api_requests": calls,
		"successful_requests": calls - failed, "failed_requests": failed, "flat_cost": 0,
		"cache_read_input_tokens":     sum("cache_read", "cache_read_audio", "cache_read_image", "cache_read_video"),
		"cache_creation_input_tokens": sum("cache_write", "cache_write_5m", "cache_write_1h", "cache_write_12h"),
	}
}

// activityKey is what is known of a key.
type activityKey struct{ alias, team, user string }

func (k activityKey) metadata() map[string]any {
	return map[string]any{"key_alias": orNull(k.alias), "team_id": orNull(k.team), "user_id": orNull(k.user)}
}

// activityEntry is one value of a part: its sums, and those of each key.
type activityEntry struct {
	sums spend.Sums
	keys map[string]spend.Sums
}

// activityPart is a part of a day's breakdown, by value.
type activityPart map[string]*activityEntry

// activityDay is one day of a report.
type activityDay struct {
	date  string
	sums  spend.Sums
	parts map[string]activityPart
	keys  map[string]activityKey
}

// add adds a row, whose groups are those that activity asks for.
func (d *activityDay) add(g []string, s spend.Sums) error {
	key := g[4]
	if d.keys == nil {
		d.keys = make(map[string]activityKey)
	}
	d.keys[key] = activityKey{alias: g[5], team: g[6], user: g[7]}
	if err := d.sums.AddAll(s); err != nil {
		return err
	}
	for part, value := range map[string]string{"models": g[0], "model_groups": g[1], "providers": g[2], "endpoints": g[3], "api_keys": key, "entities": g[8]} {
		if d.parts[part] == nil {
			d.parts[part] = make(activityPart)
		}
		e := d.parts[part][value]
		if e == nil {
			e = &activityEntry{make(spend.Sums), make(map[string]spend.Sums)}
			d.parts[part][value] = e
		}
		if e.keys[key] == nil {
			e.keys[key] = make(spend.Sums)
		}
		if err := e.sums.AddAll(s); err != nil {
			return err
		}
		if err := e.keys[key].AddAll(s); err != nil {
			return err
		}
	}
	return nil
}

func (d *activityDay) answer() map[string]any {
	breakdown := map[string]any{"mcp_servers": map[string]any{}, "guardrails": map[string]any{}}
	for part, entries := range d.parts {
		shown := make(map[string]any, len(entries))
		for value, e := range entries {
			entry := map[string]any{"metrics": metrics(e.sums), "metadata": map[string]any{}}
			if part == "api_keys" {
				entry["metadata"] = d.keys[value].metadata()
			} else {
				byKey := make(map[string]any, len(e.keys))
				for key, s := range e.keys {
					byKey[key] = map[string]any{"metrics": metrics(s), "metadata": d.keys[key].metadata()}
				}
				entry["api_key_breakdown"] = byKey
			}
			shown[value] = entry
		}
		breakdown[part] = shown
	}
	return map[string]any{"date": d.date, "metrics": metrics(d.sums), "breakdown": breakdown}
}
