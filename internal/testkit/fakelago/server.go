package fakelago

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The two event stores that a Lago organisation can have.
const (
	Postgres   = "postgres"
	ClickHouse = "clickhouse"
)

// Options configure a fake Lago.
type Options struct {
	// Store is Postgres (default) or ClickHouse.
	Store string
	// Key is the API key accepted. Default: "lago-test-key".
	Key string
	// BatchMax is LAGO_EVENTS_BATCH_MAX_LENGTH. Default: 100.
	BatchMax int
	// PartialStore behaves like Lago before v1.39.0: a batch with a duplicate stores the other events and is answered
	// with 422.
	PartialStore bool
	// NoDeduplication leaves the organisation's clickhouse_deduplication_enabled off, so every copy is billed.
	NoDeduplication bool
	// SilentDeduplication omits from GET /organizations whether deduplication is on.
	SilentDeduplication bool
	// Now is the server's clock. Default: time.Now.
	Now func() time.Time
}

// Metric is a billable metric.
type Metric struct {
	Code        string
	Aggregation string   // default: sum_agg
	Field       string   // the property that is summed
	Needs       []string // variables of its expression; an event without one fails the batch, with a plain string as the error
	Filters     []string // properties with separate prices
	Charge      string   // charge model in every plan; default: standard
	InAdvance   bool     // charged in advance
	Uncharged   bool     // no plan charges it
	Twice       bool     // every plan charges it twice
}

// Subscription is a subscription that events are billed to.
type Subscription struct {
	ExternalID  string
	Customer    string // default: "cus_" and the external id
	Plan        string // default: "plan"
	Previous    string // the plan before a change of plan at Started
	Next        string // the plan after an upcoming change of plan
	Started     time.Time
	Terminated  time.Time
	PeriodStart time.Time // default: the first of this month
	PeriodEnd   time.Time // default: the first of the next month
}

// Request is a request received.
type Request struct {
	Method, Path string
	Status       int // 0 if no answer was sent
	Events       int // in a batch
}

// Server is a fake Lago that is strict where the real one is silent. It follows the events API of the lago-api source, in
// both store modes, and records what is stored, what would be billed, and what a correct client would never send. Next,
// Always and Random add faults.
type Server struct {
	// URL is its base URL.
	URL string

	o      Options
	server *httptest.Server
	closed chan struct{}

	mu            sync.Mutex
	changed       chan struct{}
	key           string
	metrics       map[string]Metric
	subscriptions map[string]Subscription
	finalised     map[string]time.Time // by subscription: periods before this are closed for good
	store         lagoStore
	poison        func(Event) bool
	queue         []Fault
	always        func(*Call) Fault
	requests      []Request
	total         int
	seen          map[string][]byte // first body of each event, by code, subscription and id
	violations    []string
}

// New starts a fake Lago that stops with the test. If t is nil, the caller closes it.
func New(t testing.TB, o Options) *Server {
	o.Store = cmp.Or(o.Store, Postgres)
	o.Key = cmp.Or(o.Key, "lago-test-key")
	o.BatchMax = cmp.Or(o.BatchMax, 100)
	if o.Now == nil {
		o.Now = time.Now
	}
	l := &Server{
		o: o, key: o.Key,
		closed:        make(chan struct{}),
		changed:       make(chan struct{}),
		metrics:       make(map[string]Metric),
		subscriptions: make(map[string]Subscription),
		finalised:     make(map[string]time.Time),
		seen:          make(map[string][]byte),
		store:         lagoStore{byKey: make(map[string]int)},
	}
	l.server = httptest.NewServer(http.HandlerFunc(l.serve))
	l.URL = l.server.URL
	if t != nil {
		t.Cleanup(l.Close)
	}
	return l
}

// Close ends hanging calls and stops the server.
func (l *Server) Close() {
	l.mu.Lock()
	select {
	case <-l.closed:
		l.mu.Unlock()
		return
	default:
		close(l.closed)
	}
	l.mu.Unlock()
	l.server.CloseClientConnections()
	l.server.Close()
}

// Key returns the API key accepted.
func (l *Server) Key() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.key
}

// SetKey changes the API key; calls with the old one are answered with 401.
func (l *Server) SetKey(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.key = key
}

// AddMetric adds a billable metric.
func (l *Server) AddMetric(m Metric) {
	m.Aggregation, m.Charge = cmp.Or(m.Aggregation, "sum_agg"), cmp.Or(m.Charge, "standard")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.metrics[m.Code] = m
}

// AddSubscription adds a subscription. It is active immediately, and for events of any time if Started is zero.
func (l *Server) AddSubscription(s Subscription) {
	now := l.o.Now().UTC()
	s.Customer = cmp.Or(s.Customer, "cus_"+s.ExternalID)
	s.Plan = cmp.Or(s.Plan, "plan")
	if s.PeriodStart.IsZero() {
		s.PeriodStart = time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	}
	if s.PeriodEnd.IsZero() {
		s.PeriodEnd = s.PeriodStart.AddDate(0, 1, 0)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.subscriptions[s.ExternalID] = s
}

// Finalise closes the subscription's billing period at the given time. Its invoice is final: an earlier event that
// arrives later is accepted but never billed.
func (l *Server) Finalise(subscription string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.finalised[subscription] = at
	if s, ok := l.subscriptions[subscription]; ok {
		s.PeriodStart, s.PeriodEnd = at, at.AddDate(0, 1, 0)
		l.subscriptions[subscription] = s
	}
}

// Requests returns the last 10,000 requests.
func (l *Server) Requests() []Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.requests)
}

// RequestCount returns the number of requests.
func (l *Server) RequestCount() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// Violations returns what a correct client would never send but the real Lago silently accepts: members it drops, events
// without a timestamp, quantities that are not plain decimal strings, an event sent again with different bytes.
func (l *Server) Violations() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.violations)
}

func (l *Server) violation(format string, args ...any) {
	if len(l.violations) < 1000 {
		l.violations = append(l.violations, fmt.Sprintf(format, args...))
	}
}

// Await waits until cond holds, checked after every request, or ctx ends.
func (l *Server) Await(ctx context.Context, cond func() bool) error {
	for {
		l.mu.Lock()
		changed := l.changed
		l.mu.Unlock()
		if cond() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the fake Lago: %w", ctx.Err())
		}
	}
}

func (l *Server) serve(w http.ResponseWriter, r *http.Request) {
	rec := Request{Method: r.Method, Path: r.URL.EscapedPath()}
	sw := &statusWriter{ResponseWriter: w}
	defer func() {
		rec.Status = sw.status
		l.mu.Lock()
		l.total++
		if len(l.requests) >= 10_000 {
			l.requests = slices.Delete(l.requests, 0, 1000)
		}
		l.requests = append(l.requests, rec)
		close(l.changed)
		l.changed = make(chan struct{})
		l.mu.Unlock()
	}()
	body, err := io.ReadAll(io.LimitReader(r.Body, 64<<20))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	call := &Call{Request: r, lago: l, body: body}
	rec.Events = call.count()
	if fault := l.nextFault(call); fault != nil {
		fault(sw, call)
		return
	}
	call.process().send(sw)
}

// reply is an answer not yet sent.
type reply struct {
	status int
	body   []byte
}

func (p reply) send(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(p.body)))
	w.WriteHeader(p.status)
	// The client may be gone.
	_, _ = w.Write(p.body)
}

func jsonReply(status int, v any) reply {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return reply{status, b}
}

func errorReply(status int, text, code string) reply {
	m := map[string]any{"status": status, "error": text}
	if code != "" {
		m["code"] = code
	}
	return jsonReply(status, m)
}

func detailsReply(details any) reply {
	return jsonReply(http.StatusUnprocessableEntity, map[string]any{
		"status": 422, "error": "Unprocessable Entity", "code": "validation_errors", "error_details": details,
	})
}

// answer processes a request as Lago would.
func (l *Server) answer(r *http.Request, body []byte) reply {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answerLocked(r, body)
}

func (l *Server) answerLocked(r *http.Request, body []byte) reply {
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), "/api/v1/")
	if !ok {
		return reply{http.StatusNotFound, []byte(`<!DOCTYPE html><title>404</title>`)}
	}
	if r.Header.Get("Authorization") != "Bearer "+l.key {
		return errorReply(http.StatusUnauthorized, "Unauthorized", "")
	}
	if r.Method == http.MethodPost {
		if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
			l.violation("POST %s with content type %q", path, r.Header.Get("Content-Type"))
			return errorReply(http.StatusBadRequest, "BadRequest: param is missing or the value is empty or invalid: event", "")
		}
		switch path {
		case "events/batch":
			return l.postBatch(body)
		case "events":
			return l.postEvent(body)
		case "billable_metrics":
			return l.postMetric(body)
		}
	}
	if r.Method == http.MethodGet {
		return l.getObject(path, r.URL.Query())
	}
	return errorReply(http.StatusNotFound, "Not Found", "")
}

// metricCodes returns the codes of the metrics, sorted.
func (l *Server) metricCodes() []string {
	return slices.Sorted(maps.Keys(l.metrics))
}

// Metrics returns the billable metrics by code.
func (l *Server) Metrics() map[string]Metric {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.metrics)
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader records the status.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
