package fakelago

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// getObject answers GET requests for objects. The path is still escaped.
func (l *Server) getObject(path string, q url.Values) reply {
	kind, id, _ := strings.Cut(path, "/")
	id, usage := strings.CutSuffix(id, "/current_usage")
	if id != "" && strings.Contains(id, "/") {
		return errorReply(http.StatusNotFound, "Not Found", "")
	}
	if strings.Contains(id, ".") && kind != "subscriptions" && kind != "events" { // routes without a constraint on the id
		return errorReply(http.StatusNotFound, "Not Found", "resource_not_found")
	}
	id, err := url.PathUnescape(id)
	if err != nil {
		return errorReply(http.StatusBadRequest, "Bad Request", "")
	}
	switch {
	case path == "organizations":
		org := map[string]any{
			"lago_id": "0rg", "name": "Fake", "events_store": l.o.Store, "default_currency": "USD", "timezone": "UTC",
		}
		if !l.o.SilentDeduplication {
			org["clickhouse_deduplication_enabled"] = !l.o.NoDeduplication
		}
		return jsonReply(http.StatusOK, map[string]any{"organization": org})
	case kind == "subscriptions" && id != "":
		return l.getSubscription(id)
	case kind == "plans" && id != "":
		return l.getPlan(id)
	case path == "billable_metrics":
		var all []any
		for _, code := range l.metricCodes() {
			all = append(all, l.metrics[code].render())
		}
		return page("billable_metrics", all, q)
	case kind == "billable_metrics":
		m, ok := l.metrics[id]
		if !ok {
			return notFound("billable_metric")
		}
		return jsonReply(http.StatusOK, map[string]any{"billable_metric": m.render()})
	case kind == "customers" && usage:
		return l.getUsage(id, q.Get("external_subscription_id"))
	case path == "events":
		return l.listEvents(q)
	case kind == "events" && id != "":
		for _, e := range l.store.events {
			if e.TransactionID == id {
				return jsonReply(http.StatusOK, map[string]any{"event": l.render(e)})
			}
		}
		return notFound("event")
	}
	return errorReply(http.StatusNotFound, "Not Found", "")
}

func notFound(what string) reply {
	return errorReply(http.StatusNotFound, "Not Found", what+"_not_found")
}

func (m Metric) render() map[string]any {
	filters := make([]any, 0, len(m.Filters))
	for _, key := range m.Filters {
		filters = append(filters, map[string]any{"key": key, "values": []string{"gpt-4o"}})
	}
	return map[string]any{
		"lago_id": "me7r1c", "name": m.Code, "code": m.Code, "aggregation_type": m.Aggregation, "field_name": m.Field,
		"recurring": false, "expression": strings.Join(m.Needs, " + "), "filters": filters,
	}
}

func (l *Server) postMetric(body []byte) reply {
	var in struct {
		M struct {
			Name        string `json:"name"`
			Code        string `json:"code"`
			Aggregation string `json:"aggregation_type"`
			Field       string `json:"field_name"`
		} `json:"billable_metric"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return errorReply(http.StatusBadRequest, "Bad Request", "")
	}
	faults := make(map[string]any)
	for name, value := range map[string]string{"name": in.M.Name, "code": in.M.Code, "aggregation_type": in.M.Aggregation} {
		if value == "" {
			faults[name] = []string{"value_is_mandatory"}
		}
	}
	if in.M.Field == "" && in.M.Aggregation != "count_agg" {
		faults["field_name"] = []string{"value_is_mandatory"}
	}
	if _, ok := l.metrics[in.M.Code]; ok {
		faults["code"] = []string{"value_already_exist"}
	}
	if len(faults) > 0 {
		return detailsReply(faults)
	}
	m := Metric{Code: in.M.Code, Aggregation: in.M.Aggregation, Field: in.M.Field, Charge: "standard"}
	l.metrics[m.Code] = m
	return jsonReply(http.StatusOK, map[string]any{"billable_metric": m.render()})
}

func (l *Server) getSubscription(id string) reply {
	s, ok := l.subscriptions[id]
	if !ok || !s.Terminated.IsZero() { // without a status parameter, only active ones are found
		return notFound("subscription")
	}
	started := s.Started
	if started.IsZero() {
		started = s.PeriodStart
	}
	return jsonReply(http.StatusOK, map[string]any{"subscription": map[string]any{
		"lago_id": "5ub", "external_id": s.ExternalID, "external_customer_id": s.Customer, "plan_code": s.Plan, "status": "active",
		"started_at": started.UTC().Format(time.RFC3339), "ending_at": nil, "terminated_at": nil,
		"previous_plan_code": orNull(s.Previous), "next_plan_code": orNull(s.Next),
		"current_billing_period_started_at": s.PeriodStart.UTC().Format(time.RFC3339),
		"current_billing_period_ending_at":  s.PeriodEnd.UTC().Format(time.RFC3339),
	}})
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// getPlan returns a plan that charges every metric except those marked Uncharged.
func (l *Server) getPlan(code string) reply {
	for _, s := range l.subscriptions {
		if s.Plan != code {
			continue
		}
		codes := l.metricCodes()
		charges := make([]any, 0, len(codes))
		for _, c := range codes {
			if m := l.metrics[c]; !m.Uncharged {
				charge := map[string]any{"billable_metric_code": c, "charge_model": m.Charge, "pay_in_advance": m.InAdvance}
				charges = append(charges, charge)
				if m.Twice {
					charges = append(charges, charge)
				}
			}
		}
		return jsonReply(http.StatusOK, map[string]any{"plan": map[string]any{
			"code": code, "name": code, "interval": "monthly", "amount_currency": "USD", "charges": charges,
		}})
	}
	return notFound("plan")
}

func (l *Server) getUsage(customer, subscription string) reply {
	s, ok := l.subscriptions[subscription]
	switch {
	case !ok || s.Customer != customer:
		return notFound("customer")
	case !s.Terminated.IsZero():
		return errorReply(http.StatusMethodNotAllowed, "Method Not Allowed", "no_active_subscription")
	}
	charges := []any{}
	for _, code := range l.metricCodes() {
		m := l.metrics[code]
		if m.Uncharged {
			continue
		}
		units, cents, n := decimal.Zero, decimal.Zero, 0
		for i, e := range l.store.events {
			if e.Subscription == subscription && e.Code == code && l.counts(i, e) &&
				!e.Time.Before(s.PeriodStart) && e.Time.Before(s.PeriodEnd) {
				n++
				cents = cents.Add(amountCents(e.AmountCents))
				if m.Aggregation == "count_agg" {
					units = units.Add(decimal.NewFromInt(1))
				} else {
					units = units.Add(l.quantity(e.Property(m.Field)))
				}
			}
		}
		amount := int64(0) // dynamic charges sum their events' amounts; other charges have no price here
		if m.Charge == "dynamic" {
			amount = cents.Round(0).IntPart()
		}
		charges = append(charges, map[string]any{
			"units": units.String(), "events_count": n, "amount_cents": amount, "amount_currency": "USD",
			"charge":          map[string]any{"charge_model": m.Charge},
			"billable_metric": map[string]any{"code": code, "name": code, "aggregation_type": m.Aggregation},
		})
	}
	return jsonReply(http.StatusOK, map[string]any{"customer_usage": map[string]any{
		"from_datetime": s.PeriodStart.UTC().Format(time.RFC3339), "to_datetime": s.PeriodEnd.UTC().Format(time.RFC3339),
		"currency": "USD", "amount_cents": 0, "total_amount_cents": 0, "charges_usage": charges,
	}})
}

func (l *Server) listEvents(q url.Values) reply {
	from, to := queryTime(q.Get("timestamp_from")), queryTime(q.Get("timestamp_to"))
	var all []any
	for _, e := range l.store.events {
		if sub := q.Get("external_subscription_id"); sub != "" && sub != e.Subscription {
			continue
		}
		if code := q.Get("code"); code != "" && code != e.Code {
			continue
		}
		if !from.IsZero() && e.Time.Before(from) || !to.IsZero() && e.Time.After(to) {
			continue
		}
		all = append(all, l.render(e))
	}
	return page("events", all, q)
}

func queryTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}
	}
	return t
}

// page paginates a list as Lago does.
func page(name string, all []any, q url.Values) reply {
	per, err := strconv.Atoi(q.Get("per_page"))
	if err != nil || per < 1 {
		per = 100
	}
	n, err := strconv.Atoi(q.Get("page"))
	if err != nil || n < 1 {
		n = 1
	}
	pages := (len(all) + per - 1) / per
	var next any
	if n < pages {
		next = n + 1
	}
	out := []any{}
	if from := (n - 1) * per; from < len(all) {
		out = all[from:min(from+per, len(all))]
	}
	return jsonReply(http.StatusOK, map[string]any{name: out, "meta": map[string]any{
		"current_page": n, "next_page": next, "total_pages": pages, "total_count": len(all),
	}})
}
