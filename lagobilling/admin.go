package lagobilling

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/tollgate-llm/tollgate/app"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

func init() {
	caddy.RegisterModule(Admin{})
}

// Admin serves what operators see of billing, below /tollgate/billing of Caddy's admin API.
type Admin struct{}

// CaddyModule returns the Caddy module information.
func (Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.tollgate_billing", New: func() caddy.Module { return new(Admin) }}
}

// Routes returns the routes.
func (Admin) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/tollgate/billing", Handler: onlyGet(serveStatus)},
		{Pattern: "/tollgate/billing/events", Handler: onlyGet(serveEvents)},
	}
}

// onlyGet refuses any other method.
func onlyGet(serve func(http.ResponseWriter, *http.Request) error) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != http.MethodGet {
			return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("method not allowed")}
		}
		return serve(w, r)
	}
}

// accountStatus is what the admin API tells of an account.
type accountStatus struct {
	Account     string          `json:"account"`
	Spool       string          `json:"spool"`
	Lago        string          `json:"lago,omitempty"` // base URL; none: ledger only
	Open        int64           `json:"open"`           // calls under way
	Pending     int64           `json:"pending"`        // records that Lago does not have yet
	Rejected    int64           `json:"rejected"`       // records set aside with Lago's words
	Interrupted int64           `json:"interrupted"`    // calls that an earlier process left open
	Finished    int64           `json:"finished"`       // delivered or ledger-only records that are still readable
	Delivered   int64           `json:"delivered"`      // events that Lago took since the process started
	OldestAge   int64           `json:"oldest_pending_seconds"`
	Bytes       int64           `json:"spool_bytes"`
	Full        bool            `json:"spool_full,omitempty"`
	Drains      int64           `json:"drains"` // answers that are read on after their client hung up
	LastError   string          `json:"last_error,omitempty"`
	Delivery    *deliveryStatus `json:"delivery,omitempty"`
	Payers      *payerStatus    `json:"payers,omitempty"`
}

// status returns the account's figures.
func (a *Account) status(now time.Time) accountStatus {
	st := a.spool.Stats()
	a.mu.Lock()
	lago := a.settings.apiBase
	a.mu.Unlock()
	out := accountStatus{
		Account: a.name, Spool: a.dir, Lago: lago, Open: st.Open, Pending: st.Pending, Rejected: st.Rejected,
		Interrupted: st.Interrupted, Finished: st.Finished, Bytes: st.Bytes, Full: st.Full,
		Drains: a.drains.Load(), LastError: st.LastError,
	}
	if !st.Oldest.IsZero() {
		out.OldestAge = max(0, int64(now.Sub(st.Oldest)/time.Second))
	}
	d := a.delivery.state()
	out.Delivered = d.Results[resultAccepted] + d.Results[resultDuplicate]
	if out.LastError == "" {
		out.LastError = d.LastError
	}
	if lago != "" {
		p := a.payers.state()
		out.Delivery, out.Payers = &d, &p
	}
	return out
}

func serveStatus(w http.ResponseWriter, _ *http.Request) error {
	now := time.Now()
	list := []accountStatus{}
	app.Each(func(_ string, a *Account) { list = append(list, a.status(now)) })
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(map[string]any{"accounts": list})
}

// ledgerQuery says which records are wanted.
type ledgerQuery struct {
	account      string
	since, until time.Time
	limit        int
}

func parseLedgerQuery(r *http.Request) (q ledgerQuery, err error) {
	v := r.URL.Query()
	for name := range v {
		switch name {
		case "account", "since", "until", "limit":
		default:
			return q, fmt.Errorf("unknown parameter %s", name)
		}
	}
	q.account = v.Get("account")
	now := time.Now()
	if q.since, err = parseMoment("since", v.Get("since"), now); err != nil {
		return q, err
	}
	if q.until, err = parseMoment("until", v.Get("until"), now); err != nil {
		return q, err
	}
	if text := v.Get("limit"); text != "" {
		if q.limit, err = strconv.Atoi(text); err != nil || q.limit < 1 {
			return q, fmt.Errorf("limit %q is not a positive number", text)
		}
	}
	return q, nil
}

// parseMoment reads a time: RFC 3339, a date, or a duration before now such as 24h.
func parseMoment(name, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if t, err := time.ParseInLocation(time.DateOnly, text, time.Local); err == nil {
		return t, nil
	}
	if d, err := caddy.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("%s %q is neither a time (RFC 3339), a date, nor a duration before now", name, text)
}

// errEnough ends a scan that has what it wants.
var errEnough = errors.New("enough")

// serveEvents streams the ledger, one record a line: the payload with its state and, for a rejected record, Lago's words.
// With a limit, the first records within the bounds are given.
func serveEvents(w http.ResponseWriter, r *http.Request) error {
	q, err := parseLedgerQuery(r)
	if err != nil {
		return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err}
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := bufio.NewWriterSize(w, 64<<10)
	n := 0
	var failed error
	app.Each(func(_ string, a *Account) {
		if failed != nil || (q.account != "" && a.name != q.account) {
			return
		}
		failed = a.spool.Scan(q.since, q.until, func(rec spool.Record) error {
			if err := r.Context().Err(); err != nil {
				return err
			}
			if q.limit > 0 && n >= q.limit {
				return errEnough
			}
			n++
			_, err := out.Write(ledgerLine(rec))
			return err
		})
		if errors.Is(failed, errEnough) {
			failed = nil
		}
	})
	if failed == nil {
		failed = out.Flush()
	}
	if failed != nil {
		// The status is out already: a broken answer is the only way left to say that it is not whole.
		panic(http.ErrAbortHandler)
	}
	return nil
}

// ledgerLine is a record as the ledger shows it: its payload with the members `state`, `seq` and `rejected_because`.
func ledgerLine(rec spool.Record) []byte {
	payload := rec.Payload
	if len(payload) < 2 || payload[len(payload)-1] != '}' {
		payload = []byte("{}")
	}
	o := object{b: append(make([]byte, 0, len(payload)+128), payload[:len(payload)-1]...), empty: len(payload) == 2}
	o.str("state", rec.State.String())
	o.num("seq", int64(rec.Seq)) //nolint:gosec // a sequence number stays far below
	if len(rec.Note) > 0 {
		if json.Valid(rec.Note) {
			o.key("rejected_because")
			o.b = append(o.b, rec.Note...)
		} else {
			o.str("rejected_because", string(rec.Note))
		}
	}
	return append(o.close(), '\n')
}

// Interface guards.
var (
	_ caddy.AdminRouter = Admin{}
)
