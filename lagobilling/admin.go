package lagobilling

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/tollgate-llm/tollgate/app"
	"github.com/tollgate-llm/tollgate/internal/delivery"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

func init() {
	caddy.RegisterModule(Admin{})
}

// Admin serves what operators see and do of billing, below /tollgate/billing of Caddy's admin API.
type Admin struct{}

// CaddyModule returns the Caddy module information.
func (Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.tollgate_billing", New: func() caddy.Module { return new(Admin) }}
}

// Routes returns the routes. GET only looks; where a path has both, GET says what POST would do.
func (Admin) Routes() []caddy.AdminRoute {
	routes := make([]caddy.AdminRoute, 0, 16)
	routes = append(routes,
		adminRoute("", methods{get: serveStatus}),
		adminRoute("/retry", methods{post: serveRetry}),
		adminRoute("/replay", methods{get: serveReplayCount, post: serveReplay}),
		adminRoute("/estimate", methods{post: serveEstimate}),
		adminRoute("/discard", methods{post: serveDiscard}),
		adminRoute("/adopt", methods{post: serveAdopt}),
		adminRoute("/check", methods{get: serveCheck}),
		adminRoute("/setup", methods{get: serveSetup, post: serveSetup}),
		adminRoute("/reconcile", methods{get: serveReconcile}),
	)
	for name, l := range listings {
		routes = append(routes, adminRoute("/"+name, methods{get: serveListing(l)}))
	}
	return routes
}

// methods are the methods that a path has.
type methods struct{ get, post caddy.AdminHandlerFunc }

func adminRoute(path string, m methods) caddy.AdminRoute {
	serve := func(w http.ResponseWriter, r *http.Request) error {
		var allowed []string
		for method, fn := range map[string]caddy.AdminHandlerFunc{http.MethodGet: m.get, http.MethodPost: m.post} {
			if fn != nil && r.Method == method {
				return fn(w, r)
			}
			if fn != nil {
				allowed = append(allowed, method)
			}
		}
		slices.Sort(allowed)
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		return caddy.APIError{
			HTTPStatus: http.StatusMethodNotAllowed,
			Err:        fmt.Errorf("method not allowed: %s takes %s", r.URL.Path, strings.Join(allowed, " and ")),
		}
	}
	return caddy.AdminRoute{Pattern: "/tollgate/billing" + path, Handler: caddy.AdminHandlerFunc(serve)}
}

// refuse is an error of the admin API with words for the operator.
func refuse(status int, format string, args ...any) error {
	return caddy.APIError{HTTPStatus: status, Err: fmt.Errorf(format, args...)}
}

// maxAdminBody bounds the body of a change.
const maxAdminBody = 16 << 20

// readBody reads the JSON body of a change. No body is an empty object.
func readBody(r *http.Request, into any) error {
	b, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxAdminBody))
	if err != nil {
		return refuse(http.StatusBadRequest, "reading the body: %w", err)
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return refuse(http.StatusBadRequest, "the body is not the JSON object that is wanted: %w", err)
	}
	return nil
}

func writeJSON(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(v)
}

// eachAccount calls fn for every open account in the order of their names, or for the named one.
func eachAccount(name string, fn func(*Account) error) error {
	var names []string
	app.Each(func(_ string, a *Account) {
		if name == "" || a.name == name {
			names = append(names, a.name)
		}
	})
	if len(names) == 0 && name != "" {
		return refuse(http.StatusNotFound, "no account %s is open in this instance", name)
	}
	slices.Sort(names)
	for _, n := range slices.Compact(names) {
		var err error
		app.Each(func(_ string, a *Account) {
			if a.name == n && err == nil {
				err = fn(a)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// accountStatus is what the admin API tells of an account.
type accountStatus struct {
	Account     string           `json:"account"`
	Spool       string           `json:"spool"`
	Lago        string           `json:"lago,omitempty"` // base URL; none: ledger only
	Open        int64            `json:"open"`           // calls under way
	Pending     int64            `json:"pending"`        // records that Lago does not have yet
	Rejected    int64            `json:"rejected"`       // records set aside with Lago's words
	Interrupted int64            `json:"interrupted"`    // calls that an earlier process left open
	Finished    int64            `json:"finished"`       // delivered or ledger-only records that are still readable
	Delivered   int64            `json:"delivered"`      // events that Lago took since the process started
	OldestAge   int64            `json:"oldest_pending_seconds"`
	Bytes       int64            `json:"spool_bytes"`
	Full        bool             `json:"spool_full,omitempty"`
	Drains      int64            `json:"drains"` // answers that are read on after their client hung up
	LastError   string           `json:"last_error,omitempty"`
	Offline     bool             `json:"offline,omitempty"`    // read from the spool, not told by an instance
	AdoptedBy   string           `json:"adopted_by,omitempty"` // the spool that has what is unfinished here
	Delivery    *delivery.Status `json:"delivery,omitempty"`
	Payers      *payerStatus     `json:"payers,omitempty"`
}

// spoolStatus is the part of the status that the spool tells.
func spoolStatus(sp *spool.Spool, now time.Time) accountStatus {
	st := sp.Stats()
	out := accountStatus{
		Open: st.Open, Pending: st.Pending, Rejected: st.Rejected, Interrupted: st.Interrupted, Finished: st.Finished,
		Bytes: st.Bytes, Full: st.Full, LastError: st.LastError,
	}
	if !st.Oldest.IsZero() {
		out.OldestAge = max(0, int64(now.Sub(st.Oldest)/time.Second))
	}
	return out
}

// status returns the account's figures.
func (a *Account) status(now time.Time) accountStatus {
	out := spoolStatus(a.spool, now)
	a.mu.Lock()
	lago := a.settings.apiBase
	a.mu.Unlock()
	out.Account, out.Spool, out.Lago, out.Drains = a.name, a.dir, lago, a.drains.Load()
	d := a.delivery.Status()
	out.Delivered = d.Results[delivery.Accepted] + d.Results[delivery.Duplicate]
	if out.LastError == "" {
		out.LastError = d.LastError
	}
	if lago != "" {
		p := a.payers.state()
		out.Delivery, out.Payers = &d, &p
	}
	return out
}

// statusList is the body of the status.
type statusList struct {
	Accounts []accountStatus `json:"accounts"`
}

func serveStatus(w http.ResponseWriter, r *http.Request) error {
	if err := onlyParameters(r.URL.Query()); err != nil {
		return refuse(http.StatusBadRequest, "%w", err)
	}
	now := time.Now()
	list := statusList{Accounts: []accountStatus{}}
	err := eachAccount("", func(a *Account) error {
		list.Accounts = append(list.Accounts, a.status(now))
		return nil
	})
	if err != nil {
		return err
	}
	return writeJSON(w, list)
}

// serveListing streams the lines of a listing.
func serveListing(l listing) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		q, err := parseLedgerQuery(r.URL.Query(), time.Now())
		if err != nil {
			return refuse(http.StatusBadRequest, "%w", err)
		}
		if q.account != "" {
			if err := eachAccount(q.account, func(*Account) error { return nil }); err != nil {
				return err
			}
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		limit := q.limit
		err = eachAccount(q.account, func(a *Account) error {
			n, err := l.write(r.Context(), w, ledger{a.name, a.spool}, q)
			if q.limit -= n; err == nil && limit > 0 && q.limit <= 0 {
				return errEnough
			}
			return err
		})
		if err != nil && !errors.Is(err, errEnough) {
			// The status is out already: a broken answer is the only way left to say that it is not whole.
			panic(http.ErrAbortHandler)
		}
		return nil
	}
}

// Interface guards.
var (
	_ caddy.AdminRouter = Admin{}
)
