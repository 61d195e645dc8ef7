package fakelago

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// Event is an event as stored.
type Event struct {
	TransactionID string
	Subscription  string
	Code          string
	Timestamp     string // as sent
	Time          time.Time
	Properties    map[string]any // numbers are json.Number
	AmountCents   string         // precise_total_amount_cents as sent
	Received      time.Time
	Body          string // the event as sent, byte for byte

	late bool // its period was already closed when it arrived
}

// Property returns a property as text: strings unchanged, numbers as written.
func (e Event) Property(name string) string {
	switch v := e.Properties[name].(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

var (
	// bigDecimal matches what Ruby's BigDecimal() accepts, exponents included.
	bigDecimal = regexp.MustCompile(`^\s*[+-]?\d+(_\d+)*(\.\d*)?([eE][+-]?\d+)?\s*$`)
	// numericCondition is from Lago's Postgres store: values that do not match are not counted.
	numericCondition = regexp.MustCompile(`^-?\d+(\.\d+)?$`)
	// permitted are the members that Rails strong parameters allow.
	permitted = []string{"transaction_id", "external_subscription_id", "code", "timestamp", "precise_total_amount_cents", "properties"}
)

// farFuture is beyond every subscription; a timestamp in milliseconds lands there.
const farFuture = 1000 * 24 * time.Hour

// parsed is a parsed event with its errors: a map of fields or a string.
type parsed struct {
	event Event
	fault any
	fatal bool // Lago answers 500 for the whole request
}

func (l *Server) postBatch(body []byte) reply {
	var in struct {
		Events []json.RawMessage `json:"events"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		l.violation("a batch that is not JSON: %v", err)
		return errorReply(http.StatusBadRequest, "Bad Request", "")
	}
	switch {
	case len(in.Events) == 0:
		l.violation("an empty batch")
		return detailsReply(map[string]any{"events": []string{"no_events"}})
	case len(in.Events) > l.o.BatchMax:
		return detailsReply(map[string]any{"events": []string{"too_many_events"}})
	}
	events := make([]parsed, len(in.Events))
	faults := make(map[string]any)
	for i, raw := range in.Events {
		events[i] = l.parse(raw)
		if events[i].fault != nil {
			faults[strconv.Itoa(i)] = events[i].fault
		}
	}
	if slices.ContainsFunc(events, func(p parsed) bool { return p.fatal }) {
		return reply{http.StatusInternalServerError, []byte(`{"status":500,"error":"Internal Server Error"}`)}
	}
	if len(faults) > 0 { // first phase: nothing is looked up
		return detailsReply(faults)
	}
	if l.o.Store == Postgres { // second phase: one transaction
		fresh := make(map[string]bool)
		for i, p := range events {
			key := p.event.uniqueKey()
			if _, dup := l.store.byKey[key]; dup || fresh[key] {
				faults[strconv.Itoa(i)] = map[string]any{"transaction_id": []string{"value_already_exist"}}
				continue
			}
			fresh[key] = true
		}
		if len(faults) > 0 && !l.o.PartialStore {
			return detailsReply(faults)
		}
	}
	out := make([]json.RawMessage, len(events))
	for i, p := range events {
		l.put(p.event)
		out[i] = l.render(p.event)
	}
	if len(faults) > 0 {
		return detailsReply(faults)
	}
	return jsonReply(http.StatusOK, map[string]any{"events": out})
}

func (l *Server) postEvent(body []byte) reply {
	var in struct {
		Event json.RawMessage `json:"event"`
	}
	if err := json.Unmarshal(body, &in); err != nil || len(in.Event) == 0 || string(in.Event) == "{}" {
		return errorReply(http.StatusBadRequest, "BadRequest: param is missing or the value is empty or invalid: event", "")
	}
	p := l.parse(in.Event)
	switch {
	case p.fatal:
		return reply{http.StatusInternalServerError, []byte(`{"status":500,"error":"Internal Server Error"}`)}
	case p.fault != nil:
		return detailsReply(p.fault)
	}
	if _, dup := l.store.byKey[p.event.uniqueKey()]; dup && l.o.Store == Postgres {
		return detailsReply(map[string]any{"transaction_id": []string{"value_already_exist"}})
	}
	l.put(p.event)
	return jsonReply(http.StatusOK, map[string]any{"event": l.render(p.event)})
}

// parse parses one event by the rules of create_batch_service.rb and records violations.
func (l *Server) parse(raw json.RawMessage) parsed {
	now := l.o.Now()
	p := parsed{event: Event{Body: string(raw), Received: now, Time: now}}
	var in struct {
		ID         any            `json:"transaction_id"`
		Sub        any            `json:"external_subscription_id"`
		Code       any            `json:"code"`
		Timestamp  any            `json:"timestamp"`
		Amount     any            `json:"precise_total_amount_cents"`
		Properties map[string]any `json:"properties"`
	}
	var members map[string]json.RawMessage
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := errors.Join(d.Decode(&in), json.Unmarshal(raw, &members)); err != nil {
		l.violation("an event that is not an object: %.100s", raw)
		p.fatal = true
		return p
	}
	for name := range members {
		if !slices.Contains(permitted, name) {
			l.violation("an event with the member %q, which Lago drops", name)
		}
	}
	e := &p.event
	e.TransactionID, e.Subscription, e.Code = text(in.ID), text(in.Sub), text(in.Code)
	e.AmountCents, e.Properties = text(in.Amount), in.Properties
	fields := make(map[string]any)
	if e.TransactionID == "" {
		fields["transaction_id"] = []string{"value_is_mandatory"}
	}
	if e.Code == "" {
		fields["code"] = []string{"value_is_mandatory"}
	}
	if e.Subscription == "" {
		l.violation("event %s without a subscription", e.TransactionID)
	}
	if in.Timestamp == nil {
		l.violation("event %s without a timestamp", e.TransactionID)
	} else if !l.parseTimestamp(e, in.Timestamp) {
		fields["timestamp"] = []string{"invalid_format"}
	}
	if len(fields) > 0 {
		p.fault = fields
		return p
	}
	l.audit(e)
	if m, ok := l.metrics[e.Code]; ok {
		for _, v := range m.Needs {
			if _, ok := e.Properties[v]; !ok {
				p.fault = "expression_evaluation_failed: Variable: " + v + " not found"
				return p
			}
		}
	}
	// Postgres's jsonb rejects NUL: the whole insert fails, every time.
	p.fatal = l.o.Store == Postgres && strings.Contains(e.Body, `\u0000`) || l.poison != nil && l.poison(*e)
	return p
}

// parseTimestamp reads a timestamp as BigDecimal(value.to_s) does.
func (l *Server) parseTimestamp(e *Event, v any) bool {
	e.Timestamp = text(v)
	if _, isString := v.(string); !isString {
		l.violation("event %s with a timestamp that is no string", e.TransactionID)
	}
	if _, frac, _ := strings.Cut(e.Timestamp, "."); len(frac) > 3 {
		l.violation("event %s with a timestamp beyond milliseconds", e.TransactionID)
	}
	if !bigDecimal.MatchString(e.Timestamp) || strings.ContainsRune(e.TransactionID, 0) {
		return false
	}
	e.Time = lagoTime(e.Timestamp)
	return true
}

// audit records what Lago accepts silently but bills wrongly or not at all.
func (l *Server) audit(e *Event) {
	key := e.Code + "\x00" + e.uniqueKey()
	if first, again := l.seen[key]; !again {
		l.seen[key] = []byte(e.Body)
	} else if string(first) != e.Body {
		l.violation("event %s was sent again with other bytes", e.TransactionID)
	}
	if m, ok := l.metrics[e.Code]; ok && m.Field != "" {
		if v, ok := e.Properties[m.Field]; ok {
			if s, isString := v.(string); !isString || !numericCondition.MatchString(s) {
				l.violation("event %s with the quantity %v, which is no plain decimal string", e.TransactionID, v)
			}
		}
	}
}

// text renders a value as Ruby's to_s does, for strings and numbers.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

// lagoTime parses Unix seconds, to the millisecond as ClickHouse stores them.
func lagoTime(s string) time.Time {
	d, err := decimal.NewFromString(strings.ReplaceAll(strings.TrimSuffix(strings.TrimSpace(s), "."), "_", ""))
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(d.Mul(decimal.NewFromInt(1000)).IntPart()).UTC()
}

// render returns the event as Lago's API does (app/serializers/v1/event_serializer.rb).
func (l *Server) render(e Event) json.RawMessage {
	m := map[string]any{
		"lago_id": nil, "transaction_id": e.TransactionID, "lago_customer_id": nil, "code": e.Code,
		"timestamp": e.Time.UTC().Format("2006-01-02T15:04:05.000Z"), "precise_total_amount_cents": nil,
		"properties": e.Properties, "lago_subscription_id": nil, "external_subscription_id": e.Subscription, "created_at": nil,
	}
	if e.AmountCents != "" {
		m["precise_total_amount_cents"] = amountCents(e.AmountCents).String()
	}
	if l.o.Store == Postgres { // ClickHouse organisations never save it
		m["lago_id"], m["created_at"] = "1a901a90-1a90-1a90-1a90-1a901a901a90", e.Received.UTC().Format(time.RFC3339)
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b
}
