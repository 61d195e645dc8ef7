package keyauth

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	books "github.com/tollgate-llm/tollgate/app/spend"
	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/spend"
)

// report is one of LiteLLM's reports of spend, answered from the books.
type report struct {
	method     string
	parameters []string
	run        func(ctx context.Context, c *reportCall) (any, error)
}

// reportCall is a request for a report.
type reportCall struct {
	h      *Handler
	query  url.Values
	header http.Header // of the answer
	reach  keys.Reach
	key    string // of the parameter api_key, as the books name it
	now    time.Time
}

var dated = []string{"start_date", "end_date"}

// reports are the reports by path. Each shows of the calls what the key reaches.
var reports = map[string]*report{
	"/spend/logs":                     {http.MethodGet, append(dated, "api_key", "user_id", "request_id", "summarize"), spendLogs},
	"/spend/logs/v2":                  {http.MethodGet, callFilters, spendCalls},
	"/spend/logs/ui":                  {http.MethodGet, callFilters, spendCalls},
	"/spend/logs/session/ui":          {http.MethodGet, sessionFilters, sessionCalls},
	"/spend/keys":                     {http.MethodGet, nil, spendKeys},
	"/spend/users":                    {http.MethodGet, []string{"user_id"}, spendUsers},
	"/spend/tags":                     {http.MethodGet, nil, noTags},
	"/global/spend":                   {http.MethodGet, nil, globalSpend},
	"/global/spend/logs":              {http.MethodGet, []string{"api_key"}, globalLogs},
	"/global/spend/keys":              {http.MethodGet, []string{"limit"}, globalKeys},
	"/global/spend/models":            {http.MethodGet, []string{"limit"}, globalModels},
	"/global/spend/provider":          {http.MethodGet, dated, globalProviders},
	"/global/spend/teams":             {http.MethodGet, nil, globalTeams},
	"/global/spend/tags":              {http.MethodGet, nil, noTags},
	"/global/spend/report":            {http.MethodGet, append(dated, "group_by", "api_key", "internal_user_id", "team_id", "customer_id"), globalReport},
	"/user/daily/activity":            {http.MethodGet, append(dated, activityParameters("user_id")...), activity(spend.User, "user_id")},
	"/user/daily/activity/aggregated": {http.MethodGet, append(dated, activityParameters("user_id")...), activity(spend.User, "user_id")},
	"/team/daily/activity":            {http.MethodGet, append(dated, activityParameters("team_ids")...), activity(spend.Team, "team_ids")},
	"/customer/daily/activity":        {http.MethodGet, append(dated, activityParameters("end_user_ids")...), activity(spend.Payer, "end_user_ids")},
	"/end_user/daily/activity":        {http.MethodGet, append(dated, activityParameters("end_user_ids")...), activity(spend.Payer, "end_user_ids")},
	"/team/daily/activity/aggregated": {http.MethodGet, append(dated, activityParameters("team_ids")...), activity(spend.Team, "team_ids")},
}

// reportOf returns the report that a request asks for; nil when it asks for none, or reports are not served.
func (h *Handler) reportOf(r *http.Request) *report {
	if h.master == nil {
		return nil
	}
	return reports[r.URL.Path]
}

// serveReport answers with a report.
func (h *Handler) serveReport(w http.ResponseWriter, r *http.Request, p *report, rawQuery string, caller *keys.State) error {
	llm.AllowOrigin(w, r)
	w.Header().Set("Cache-Control", "no-store")
	answer, err := p.answer(h, w.Header(), r, rawQuery, caller)
	if err != nil {
		refusal := asError(err)
		if refusal.Status >= http.StatusInternalServerError {
			h.logger.Error("report of spend", zap.String("path", r.URL.Path), zap.Error(err))
		}
		return h.refuse(w, r, refusal)
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(answer)
}

func (p *report) answer(h *Handler, header http.Header, r *http.Request, rawQuery string, caller *keys.State) (any, error) {
	if r.Method != p.method {
		return nil, &llm.Error{Status: http.StatusMethodNotAllowed, Type: "invalid_request_error", Message: "use " + p.method, Allow: p.method}
	}
	c := &reportCall{h: h, header: header, now: time.Now()}
	var err error
	if c.query, err = url.ParseQuery(rawQuery); err != nil {
		return nil, keys.Invalid("query", "cannot be read")
	}
	for name, values := range c.query {
		if !slices.Contains(p.parameters, name) {
			return nil, keys.Invalid(name, "is not known here")
		}
		if len(values) > 1 {
			return nil, keys.Invalid(name, "is given twice")
		}
	}
	service, release, err := h.Service(r.Context())
	if err != nil {
		return nil, err
	}
	defer release()
	if c.reach, err = service.Reach(r.Context(), caller, r.URL.Path, c.teams()...); err != nil {
		return nil, err
	}
	if key := c.query.Get("api_key"); key != "" {
		if h.isMaster(keys.DigestOf(key)) {
			key = masterIdentity.SpendID
		}
		if c.key, err = service.Spending(r.Context(), key); err != nil {
			return nil, err
		}
	}
	return p.run(r.Context(), c)
}

// asError makes an error an answer for the client.
func asError(err error) *llm.Error {
	if refusal, ok := errors.AsType[*llm.Error](err); ok {
		return refusal
	}
	e := &llm.Error{Status: http.StatusInternalServerError, Type: "internal_server_error", Message: "the books cannot be read: see the gateway's log", Err: err}
	if api, ok := errors.AsType[caddy.APIError](err); ok {
		switch e.Status = api.HTTPStatus; {
		case e.Status == http.StatusServiceUnavailable:
			e.Type, e.Message = "service_unavailable", "the books cannot be read at the moment; try again later"
		case e.Status < http.StatusInternalServerError:
			e.Type, e.Message = "invalid_request_error", api.Err.Error()
		}
	}
	return e
}

// question returns a question of the time between two dates, the second included, that the caller may ask.
func (c *reportCall) question(since, until time.Time, by ...spend.Dimension) (*books.Query, error) {
	q := &books.Query{}
	q.Since, q.Until, q.By = since, until, by
	q.Where = make(map[spend.Dimension][]string)
	switch {
	case c.reach.All:
	case c.reach.Team != "":
		q.Where[spend.Team] = []string{c.reach.Team}
	default:
		q.Where[spend.Key] = []string{c.reach.Key}
	}
	if c.key != "" {
		return q, c.only(q, spend.Key, "api_key", c.key)
	}
	return q, nil
}

// teams are the teams that the request names.
func (c *reportCall) teams() []string {
	for _, name := range []string{"team_id", "team_ids"} {
		if list := c.query.Get(name); list != "" {
			return strings.Split(list, ",")
		}
	}
	return nil
}

// only restricts a question to values of a dimension, which a parameter names. Values beyond what the caller may see are refused.
func (c *reportCall) only(q *books.Query, d spend.Dimension, parameter string, values ...string) error {
	for _, v := range values {
		if may := q.Where[d]; may != nil && !slices.Contains(may, v) {
			message := "a key may only see what it has spent itself"
			if c.reach.Team != "" {
				message = "a key of a team's admin may only see what the team has spent"
			}
			return &llm.Error{Status: http.StatusForbidden, Type: "auth_error", Param: parameter, Message: message}
		}
	}
	q.Where[d] = values
	return nil
}

// ask answers a question.
func ask(ctx context.Context, q *books.Query) ([]books.Row, error) {
	q.Columns = nil
	if q.Each != spend.Whole {
		q.Columns = append(q.Columns, string(q.Each))
	}
	for _, d := range q.By {
		q.Columns = append(q.Columns, d.String())
	}
	return books.Ask(ctx, q)
}

// dates reads start_date and end_date, and returns the end of the latter. Without both, ok is false.
func (c *reportCall) dates() (since, until time.Time, ok bool, err error) {
	from, to := c.query.Get("start_date"), c.query.Get("end_date")
	if from == "" && to == "" {
		return since, until, false, nil
	}
	if since, err = time.Parse(time.DateOnly, from); err != nil {
		return since, until, false, keys.Invalid("start_date", "must be a date such as 2026-11-30")
	}
	if until, err = time.Parse(time.DateOnly, to); err != nil {
		return since, until, false, keys.Invalid("end_date", "must be a date such as 2026-11-30")
	}
	if until.Before(since) {
		return since, until, false, keys.Invalid("end_date", "is before start_date")
	}
	return since, until.AddDate(0, 0, 1), true, nil
}

// wantDates is dates for reports that need them.
func (c *reportCall) wantDates() (since, until time.Time, err error) {
	since, until, ok, err := c.dates()
	if err == nil && !ok {
		err = keys.Invalid("start_date", "and end_date are needed, such as 2026-11-30")
	}
	return since, until, err
}

// beginning is earlier than any call.
var beginning = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// lastDays begins a report of the days up to today.
func (c *reportCall) lastDays(n int) time.Time {
	return c.now.UTC().Truncate(24*time.Hour).AddDate(0, 0, -n)
}

// usd is an amount as JSON has it, with all its digits. LiteLLM's are floats.
func usd(a price.Amount) json.Number { return json.Number(a.String()) }

// money adds up amounts by name.
type money map[string]price.Amount

func (m money) add(name string, a price.Amount) error {
	sum, err := m[name].Add(a)
	m[name] = sum
	return err
}

// numbers returns the sums as JSON has them.
func (m money) numbers() map[string]json.Number {
	out := make(map[string]json.Number, len(m))
	for name, a := range m {
		out[name] = usd(a)
	}
	return out
}

// bySpend sorts rows by what they have spent, the most first.
func bySpend(rows []books.Row) {
	slices.SortStableFunc(rows, func(a, b books.Row) int { return b.Sums[spend.Cost].Cmp(a.Sums[spend.Cost]) })
}

func noTags(context.Context, *reportCall) (any, error) {
	return nil, &llm.Error{Status: http.StatusNotImplemented, Type: "not_supported", Param: noParam, Message: "requests' tags are not kept: ask for keys, teams or users"}
}
