package lago

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Stores of events, as Organization names them.
const (
	// Postgres: a 200 is durable; an id that is sent again is refused as value_already_exist.
	Postgres = "postgres"
	// ClickHouse: a 200 is not durable; an id that is sent again with the same timestamp replaces the first.
	ClickHouse = "clickhouse"
)

// Organization is whom the key belongs to (lago-api: app/serializers/v1/organization_serializer.rb).
type Organization struct {
	ID          string `json:"lago_id"`
	Name        string `json:"name"`
	EventsStore string `json:"events_store"`
	Currency    string `json:"default_currency"`
	Timezone    string `json:"timezone"`
	// Deduplication is, for ClickHouse, whether an event that is sent again counts once. nil: this Lago does not report it.
	Deduplication *bool `json:"clickhouse_deduplication_enabled"`
}

// Organization asks whom the key belongs to.
func (c *Client) Organization(ctx context.Context) (Organization, error) {
	var out struct {
		Organization *Organization `json:"organization"`
	}
	if err := c.get(ctx, "/organizations", &out); err != nil {
		return Organization{}, err
	}
	if out.Organization == nil {
		return Organization{}, unreadable("the answer holds no organization")
	}
	return *out.Organization, nil
}

// Subscription is what a payer is to Lago: events are billed to the subscription with their external_subscription_id.
type Subscription struct {
	ExternalID         string     `json:"external_id"`
	ExternalCustomerID string     `json:"external_customer_id"`
	PlanCode           string     `json:"plan_code"`
	PreviousPlanCode   string     `json:"previous_plan_code"` // of the subscription that it continues by a change of plan
	NextPlanCode       string     `json:"next_plan_code"`     // of the one that will continue it
	Status             string     `json:"status"`
	StartedAt          *time.Time `json:"started_at"`
	EndingAt           *time.Time `json:"ending_at"`
	TerminatedAt       *time.Time `json:"terminated_at"`
	PeriodStart        *time.Time `json:"current_billing_period_started_at"`
	PeriodEnd          *time.Time `json:"current_billing_period_ending_at"`
}

// Subscription looks an active subscription up. ErrNotFound means that Lago knows none with that id, any other error
// that it could not be asked.
func (c *Client) Subscription(ctx context.Context, externalID string) (Subscription, error) {
	var out struct {
		Subscription *Subscription `json:"subscription"`
	}
	if err := c.get(ctx, "/subscriptions/"+segment(externalID), &out); err != nil {
		return Subscription{}, err
	}
	if out.Subscription == nil {
		return Subscription{}, unreadable("the answer holds no subscription")
	}
	return *out.Subscription, nil
}

// Charge is one charge of a plan.
type Charge struct {
	MetricCode       string          `json:"billable_metric_code"`
	Model            string          `json:"charge_model"`
	PayInAdvance     bool            `json:"pay_in_advance"`
	Properties       json.RawMessage `json:"properties"`
	BillableMetricID string          `json:"lago_billable_metric_id"`
}

// Plan is what a subscription pays for.
type Plan struct {
	Code     string   `json:"code"`
	Name     string   `json:"name"`
	Interval string   `json:"interval"`
	Currency string   `json:"amount_currency"`
	Charges  []Charge `json:"charges"`
}

// Plan looks a plan up by its code.
func (c *Client) Plan(ctx context.Context, code string) (Plan, error) {
	var out struct {
		Plan *Plan `json:"plan"`
	}
	if err := c.get(ctx, "/plans/"+segment(code), &out); err != nil {
		return Plan{}, err
	}
	if out.Plan == nil {
		return Plan{}, unreadable("the answer holds no plan")
	}
	return *out.Plan, nil
}

// MetricFilter is a property whose values have their own prices; values that are not listed fall to the default price.
type MetricFilter struct {
	Key    string   `json:"key"`
	Values []string `json:"values"`
}

// BillableMetric is how events of one code are aggregated.
type BillableMetric struct {
	Name            string         `json:"name"`
	Code            string         `json:"code"`
	Description     string         `json:"description,omitempty"`
	AggregationType string         `json:"aggregation_type"` // count_agg, sum_agg, max_agg, unique_count_agg, ...
	FieldName       string         `json:"field_name,omitempty"`
	Expression      string         `json:"expression,omitempty"`
	Recurring       bool           `json:"recurring"`
	Filters         []MetricFilter `json:"filters,omitempty"`
}

// BillableMetrics lists all billable metrics.
func (c *Client) BillableMetrics(ctx context.Context) ([]BillableMetric, error) {
	var all []BillableMetric
	for page := 1; page != 0; {
		var out struct {
			Metrics []BillableMetric `json:"billable_metrics"`
			Meta    meta             `json:"meta"`
		}
		if err := c.get(ctx, "/billable_metrics?per_page=100&page="+strconv.Itoa(page), &out); err != nil {
			return nil, err
		}
		all = append(all, out.Metrics...)
		page = out.Meta.after(page)
	}
	return all, nil
}

// BillableMetric looks a billable metric up by its code.
func (c *Client) BillableMetric(ctx context.Context, code string) (BillableMetric, error) {
	var out metricBody
	if err := c.get(ctx, "/billable_metrics/"+segment(code), &out); err != nil {
		return BillableMetric{}, err
	}
	return out.metric()
}

// CreateBillableMetric creates a billable metric and returns it as Lago has it. A code that exists is an *Error with
// status 422.
func (c *Client) CreateBillableMetric(ctx context.Context, m BillableMetric) (BillableMetric, error) {
	body, err := json.Marshal(metricBody{&m})
	if err != nil {
		return BillableMetric{}, err
	}
	var out metricBody
	if err := c.decode(c.ask(ctx, http.MethodPost, "/billable_metrics", body), &out); err != nil {
		return BillableMetric{}, err
	}
	return out.metric()
}

type metricBody struct {
	Metric *BillableMetric `json:"billable_metric"`
}

func (b metricBody) metric() (BillableMetric, error) {
	if b.Metric == nil {
		return BillableMetric{}, unreadable("the answer holds no billable metric")
	}
	return *b.Metric, nil
}

// ChargeUsage is the usage of one charge in the current billing period.
type ChargeUsage struct {
	Units       string `json:"units"` // a decimal
	EventsCount int64  `json:"events_count"`
	AmountCents int64  `json:"amount_cents"`
	Charge      struct {
		Model string `json:"charge_model"`
	} `json:"charge"`
	Metric struct {
		Code            string `json:"code"`
		AggregationType string `json:"aggregation_type"`
	} `json:"billable_metric"`
}

// Usage is what a subscription has used in its current billing period. Lago caches it, so it may lag behind the events.
type Usage struct {
	From        time.Time     `json:"from_datetime"`
	To          time.Time     `json:"to_datetime"`
	Currency    string        `json:"currency"`
	AmountCents int64         `json:"amount_cents"`
	Charges     []ChargeUsage `json:"charges_usage"`
}

// CurrentUsage asks what a subscription has used, without taxes.
func (c *Client) CurrentUsage(ctx context.Context, externalCustomerID, externalSubscriptionID string) (Usage, error) {
	var out struct {
		Usage *Usage `json:"customer_usage"`
	}
	q := url.Values{"external_subscription_id": {externalSubscriptionID}, "apply_taxes": {"false"}}
	if err := c.get(ctx, "/customers/"+segment(externalCustomerID)+"/current_usage?"+q.Encode(), &out); err != nil {
		return Usage{}, err
	}
	if out.Usage == nil {
		return Usage{}, unreadable("the answer holds no usage")
	}
	return *out.Usage, nil
}

// Event is an event as Lago has it.
type Event struct {
	ID                     string          `json:"lago_id"` // empty on ClickHouse
	TransactionID          string          `json:"transaction_id"`
	Code                   string          `json:"code"`
	ExternalSubscriptionID string          `json:"external_subscription_id"`
	Timestamp              time.Time       `json:"timestamp"`
	Properties             json.RawMessage `json:"properties"`
	PreciseAmountCents     *string         `json:"precise_total_amount_cents"`
	CreatedAt              *time.Time      `json:"created_at"` // nil on ClickHouse
}

// EventsQuery selects events. Empty members select everything.
type EventsQuery struct {
	ExternalSubscriptionID string
	Code                   string
	From, To               time.Time
	PerPage                int // default 100
}

// Events calls fn for each event that the query selects, page by page, until it returns an error. On ClickHouse,
// duplicates are among them.
func (c *Client) Events(ctx context.Context, q EventsQuery, fn func(Event) error) error {
	v := url.Values{"per_page": {"100"}}
	if q.PerPage > 0 {
		v.Set("per_page", strconv.Itoa(q.PerPage))
	}
	for name, value := range map[string]string{"external_subscription_id": q.ExternalSubscriptionID, "code": q.Code} {
		if value != "" {
			v.Set(name, value)
		}
	}
	for name, t := range map[string]time.Time{"timestamp_from": q.From, "timestamp_to": q.To} {
		if !t.IsZero() {
			v.Set(name, t.UTC().Format("2006-01-02T15:04:05.000Z"))
		}
	}
	for page := 1; page != 0; {
		var out struct {
			Events []Event `json:"events"`
			Meta   meta    `json:"meta"`
		}
		v.Set("page", strconv.Itoa(page))
		if err := c.get(ctx, "/events?"+v.Encode(), &out); err != nil {
			return err
		}
		for _, e := range out.Events {
			if err := fn(e); err != nil {
				return err
			}
		}
		page = out.Meta.after(page)
	}
	return nil
}

// Event looks an event up by its transaction id.
func (c *Client) Event(ctx context.Context, transactionID string) (Event, error) {
	var out struct {
		Event *Event `json:"event"`
	}
	if err := c.get(ctx, "/events/"+segment(transactionID), &out); err != nil {
		return Event{}, err
	}
	if out.Event == nil {
		return Event{}, unreadable("the answer holds no event")
	}
	return *out.Event, nil
}

// meta is the paging part of Lago's lists.
type meta struct {
	NextPage *int `json:"next_page"`
}

// after returns the page after this one, 0 when it is the last. It only goes forward.
func (m meta) after(page int) int {
	if m.NextPage == nil || *m.NextPage <= page {
		return 0
	}
	return *m.NextPage
}

func (c *Client) get(ctx context.Context, path string, out any) error {
	return c.decode(c.ask(ctx, http.MethodGet, path, nil), out)
}

// decode reads a whole JSON answer of status 200 into out; anything else is an *Error.
func (c *Client) decode(a answer, out any) error {
	e := &Error{Status: a.status, Verdict: Retry, cause: a.err}
	if a.header != nil {
		e.RetryAfter, _ = pace(a.header, time.Now())
	}
	switch {
	case a.err != nil:
		e.Words = c.clean(a.err.Error())
		return e
	case a.status == http.StatusOK:
		if err := json.Unmarshal(a.body, out); err != nil {
			// The decoder's words may repeat the body; what matters is that this is no answer of Lago.
			return unreadable(fmt.Sprintf("status 200 with a body of %d bytes that is not the JSON asked for", len(a.body)))
		}
		return nil
	}
	var refused struct {
		Code string `json:"code"`
	}
	if json.Unmarshal(a.body, &refused) == nil {
		e.Code = c.clean(refused.Code)
	}
	e.Verdict, e.Words = verdictOf(a.status), c.explain(a)
	switch {
	case a.status == http.StatusNotFound && strings.HasSuffix(e.Code, "_not_found"):
		e.Verdict, e.cause = Poison, ErrNotFound
		e.Words = "status 404: " + e.Code
	case a.status == http.StatusUnprocessableEntity, a.status == http.StatusMethodNotAllowed && e.Code != "":
		e.Verdict = Poison // Lago's own 405: no_active_subscription
		e.Words = fmt.Sprintf("status %d: %s", a.status, c.words(a))
	}
	return e
}

func unreadable(words string) error {
	return &Error{Status: http.StatusOK, Verdict: Retry, Words: words, cause: errUnreadable}
}

var errUnreadable = errors.New("an answer that is not Lago's")

// segment escapes an id for use as one segment of a path. Dots are escaped as well: most of Lago's routes take a dot for the beginning of a format,
// such as `.json`, as Rails does without a constraint.
func segment(id string) string {
	return strings.ReplaceAll(url.PathEscape(id), ".", "%2E")
}
