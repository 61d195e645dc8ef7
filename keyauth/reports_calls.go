package keyauth

import (
	"cmp"
	"context"
	"net/http"
	"strconv"
	"time"

	books "github.com/tollgate-llm/tollgate/app/spend"
	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/ledger"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spend"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

const (
	// maxCalls bounds how many calls a report has, and how far it is leafed through.
	maxCalls = 10_000
	// truncatedHeader is LiteLLM's: there are more calls than the answer has.
	truncatedHeader = "X-Litellm-Spend-Logs-Truncated"
)

var (
	callFilters = []string{
		"start_date", "end_date", "api_key", "user_id", "team_id", "end_user", "request_id", "session_id", "model", "model_group", "key_alias",
		"min_spend", "max_spend", "status_filter", "sort_by", "sort_order", "page", "page_size",
	}
	sessionFilters = []string{"session_id", "page", "page_size"}
)

// search returns a search for settled calls that the caller may see, by the parameters that the request has.
func (c *reportCall) search() (*ledger.Search, error) {
	q := &ledger.Search{States: []spool.State{spool.StatePending, spool.StateRejected, spool.StateDone}}
	of, err := c.question(time.Time{}, time.Time{})
	if err != nil {
		return nil, err
	}
	for d, to := range map[spend.Dimension]*string{spend.Key: &q.KeyID, spend.Team: &q.Team} {
		if values := of.Where[d]; len(values) > 0 {
			*to = values[0]
		}
	}
	if team := c.query.Get("team_id"); team != "" {
		if q.Team != "" && q.Team != team {
			return nil, &llm.Error{Status: http.StatusForbidden, Type: "auth_error", Param: "team_id", Message: "a key of a team's admin may only see what the team has spent"}
		}
		q.Team = team
	}
	q.User, q.EndUser, q.ID, q.Session = c.query.Get("user_id"), c.query.Get("end_user"), c.query.Get("request_id"), c.query.Get("session_id")
	q.Upstream, q.Group, q.KeyAlias = c.query.Get("model"), c.query.Get("model_group"), c.query.Get("key_alias")
	for name, to := range map[string]**price.Amount{"min_spend": &q.MinCost, "max_spend": &q.MaxCost} {
		if text := c.query.Get(name); text != "" {
			a, err := price.ParseUSD(text)
			if err != nil {
				return nil, keys.Invalid(name, "must be an amount in USD")
			}
			*to = &a
		}
	}
	switch status := c.query.Get("status_filter"); status {
	case "":
	case "success", "failure":
		failed := status == "failure"
		q.Failed = &failed
	default:
		return nil, keys.Invalid("status_filter", "must be success or failure")
	}
	return q, nil
}

// singleLogs is GET /spend/logs by single calls: the newest, as many as an answer may have.
func singleLogs(ctx context.Context, c *reportCall, since, until time.Time) (any, error) {
	q, err := c.search()
	if err != nil {
		return nil, err
	}
	q.Since, q.Until, q.Most = since, until, maxCalls
	found, err := c.find(ctx, q)
	if err != nil {
		return nil, err
	}
	if found.Total > len(found.Calls) {
		c.header.Set(truncatedHeader, "true")
	}
	return c.callRows(found.Calls), nil
}

// spendCalls is GET /spend/logs/v2 and /spend/logs/ui: single calls, page by page.
func spendCalls(ctx context.Context, c *reportCall) (any, error) {
	q, err := c.search()
	if err != nil {
		return nil, err
	}
	for name, to := range map[string]*time.Time{"start_date": &q.Since, "end_date": &q.Until} {
		text := c.query.Get(name)
		if text == "" {
			return nil, keys.Invalid(name, "is needed, such as 2026-11-30 00:00:00")
		}
		if *to, err = time.Parse(time.DateTime, text); err != nil {
			if *to, err = time.Parse(time.DateOnly, text); err != nil {
				return nil, keys.Invalid(name, "must be a time of UTC such as 2026-11-30 00:00:00")
			}
			if name == "end_date" { // that day is in it
				*to = to.AddDate(0, 0, 1).Add(-time.Second)
			}
		}
	}
	q.Until = q.Until.Add(time.Second) // the last second is in it
	if by := c.query.Get("sort_by"); by != "" && by != "startTime" {
		return nil, keys.Invalid("sort_by", "must be startTime")
	}
	switch order := c.query.Get("sort_order"); order {
	case "", "desc":
	case "asc":
		q.Oldest = true
	default:
		return nil, keys.Invalid("sort_order", "must be asc or desc")
	}
	return c.callPage(ctx, q, 1000)
}

// sessionCalls is GET /spend/logs/session/ui: the calls of one conversation, page by page.
func sessionCalls(ctx context.Context, c *reportCall) (any, error) {
	q, err := c.search()
	if err != nil {
		return nil, err
	}
	if q.Session == "" {
		return nil, keys.Invalid("session_id", "is needed")
	}
	q.Oldest = true
	return c.callPage(ctx, q, 100)
}

// callPage answers with one page of a search.
func (c *reportCall) callPage(ctx context.Context, q *ledger.Search, largest int) (any, error) {
	page, size := 1, 50
	for name, to := range map[string]*int{"page": &page, "page_size": &size} {
		if text := c.query.Get(name); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 {
				return nil, keys.Invalid(name, "must be a positive number")
			}
			*to = n
		}
	}
	if size > largest {
		return nil, keys.Invalid("page_size", "must be at most "+strconv.Itoa(largest))
	}
	if page > maxCalls/size {
		return nil, keys.Invalid("page", "is beyond the first 10000 calls: ask for a shorter time")
	}
	q.Most = page * size
	found, err := c.find(ctx, q)
	if err != nil {
		return nil, err
	}
	calls := found.Calls[min((page-1)*size, len(found.Calls)):]
	return map[string]any{
		"data": c.callRows(calls), "total": found.Total, "page": page, "page_size": size, "total_pages": (found.Total + size - 1) / size,
	}, nil
}

// find searches the ledger.
func (c *reportCall) find(ctx context.Context, q *ledger.Search) (*ledger.Result, error) {
	found, err := books.Calls(ctx, q)
	if err == nil && found.Ended {
		err = &llm.Error{Status: http.StatusServiceUnavailable, Type: "service_unavailable", Message: "the search took too long: ask for a shorter time"}
	}
	if err == nil {
		err = found.Broken
	}
	return found, err
}

// callTypes are LiteLLM's names of endpoints.
var callTypes = map[string]string{
	"chat/completions": "acompletion", "completions": "atext_completion", "embeddings": "aembedding", "responses": "aresponses",
	"messages": "anthropic_messages", "images/generations": "aimage_generation", "images/edits": "aimage_edit", "audio/transcriptions": "atranscription",
	"audio/speech": "aspeech", "rerank": "arerank", "moderations": "amoderation",
}

func (c *reportCall) callRows(calls []ledger.Call) []map[string]any {
	list := make([]map[string]any, 0, len(calls))
	for i := range calls {
		list = append(list, c.callRow(calls[i].Record))
	}
	return list
}

// callRow is a call as LiteLLM's log has it. Backends are shown to whoever sees all.
func (c *reportCall) callRow(r *record.Record) map[string]any {
	in, out := r.Counts.InputTokens(), r.Counts.OutputTokens()
	status := "success"
	if r.Outcome == record.OutcomeError {
		status = "failure"
	}
	backend := ""
	if c.reach.All {
		backend = r.Backend
	}
	cost, err := price.ParseUSD(r.Cost)
	if err != nil {
		cost = price.Amount{} // no cost is known
	}
	stamp := func(t time.Time) any {
		if t.IsZero() {
			return nil
		}
		return t.UTC().Format("2006-01-02T15:04:05.000Z")
	}
	first := any(nil)
	if r.TTFT > 0 {
		first = stamp(r.Opened.Add(time.Duration(r.TTFT) * time.Millisecond))
	}
	return map[string]any{
		"request_id": cmp.Or(r.ResponseID, r.ID), "litellm_call_id": r.ID, "call_type": cmp.Or(callTypes[r.Endpoint], r.Endpoint),
		"api_key": r.KeyID, "spend": usd(cost), "total_tokens": in + out, "prompt_tokens": in, "completion_tokens": out,
		"startTime": stamp(r.Opened), "endTime": stamp(r.Settled), "completionStartTime": first, "request_duration_ms": r.Duration,
		"model": cmp.Or(r.Upstream, r.Model), "model_id": backend, "model_group": r.Model, "custom_llm_provider": r.Provider, "api_base": "",
		"user": r.User, "team_id": orNull(r.Team), "organization_id": nil, "end_user": r.EndUser, "agent_id": nil, "session_id": orNull(r.Session),
		"status": status, "cache_hit": "False", "cache_key": "", "request_tags": []any{}, "requester_ip_address": nil,
		"metadata": map[string]any{
			"user_api_key_alias": orNull(r.KeyAlias), "user_api_key_team_id": orNull(r.Team), "user_api_key_user_id": orNull(r.User),
			"status": status, "outcome": r.Outcome, "usage_source": string(r.Source), "payer": orNull(r.Payer), "not_billed": orNull(r.NotBilled),
		},
		"messages": map[string]any{}, "response": map[string]any{}, "proxy_server_request": map[string]any{},
	}
}
