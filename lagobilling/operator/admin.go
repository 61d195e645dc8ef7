package operator

import (
	"cmp"
	"errors"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/tollgate-llm/tollgate/app"
	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/delivery"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

func init() {
	caddy.RegisterModule(Admin{})
}

// root is the path of all routes.
const root = "/tollgate/billing"

// Admin serves the operator's side of billing, below /tollgate/billing of Caddy's admin API.
type Admin struct{}

// CaddyModule returns the Caddy module information.
func (Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.tollgate_billing", New: func() caddy.Module { return new(Admin) }}
}

// Routes returns the routes. GET changes nothing. Where a path has both methods, GET reports what POST would do.
func (Admin) Routes() []caddy.AdminRoute {
	routes := make([]caddy.AdminRoute, 0, 16)
	routes = append(routes,
		operator.Route(root, operator.Methods{Get: serveStatus}),
		operator.Route(root+"/retry", operator.Methods{Post: serveChange("retry", Retry)}),
		operator.Route(root+"/replay", operator.Methods{Get: serveReplayCount, Post: serveReplay}),
		operator.Route(root+"/estimate", operator.Methods{Post: serveChange("estimate", Estimate)}),
		operator.Route(root+"/discard", operator.Methods{Post: serveChange("discard", Discard)}),
		operator.Route(root+"/adopt", operator.Methods{Post: serveAdopt}),
		operator.Route(root+"/check", operator.Methods{Get: serveCheck}),
		operator.Route(root+"/setup", operator.Methods{Get: serveSetup, Post: serveSetup}),
		operator.Route(root+"/reconcile", operator.Methods{Get: serveReconcile}),
	)
	for name, l := range listings {
		routes = append(routes, operator.Route(root+"/"+name, operator.Methods{Get: serveListing(l)}))
	}
	return routes
}

// withAccounts calls fn with the open accounts ordered by name, or with the named one. They stay open until fn returns.
func withAccounts(name string, fn func([]*account.Account) error) error {
	type entry struct{ name, key string }
	var open []entry
	app.Each(func(key string, a *account.Account) {
		if name == "" || a.Name() == name {
			open = append(open, entry{a.Name(), key})
		}
	})
	slices.SortFunc(open, func(a, b entry) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.key, b.key)) })
	accounts := make([]*account.Account, 0, len(open))
	for _, e := range open {
		if a, release, ok := app.Hold[*account.Account](e.key); ok {
			defer release()
			accounts = append(accounts, a)
		}
	}
	if len(accounts) == 0 && name != "" {
		return operator.Refuse(http.StatusNotFound, "no account %s is open in this instance", name)
	}
	return fn(accounts)
}

// eachAccount calls fn for each of them until one fails.
func eachAccount(name string, fn func(*account.Account) error) error {
	return withAccounts(name, func(accounts []*account.Account) error {
		for _, a := range accounts {
			if err := fn(a); err != nil {
				return err
			}
		}
		return nil
	})
}

// Status is what the admin API reports of an account.
type Status struct {
	Account     string               `json:"account"`
	Spool       string               `json:"spool"`
	Lago        string               `json:"lago,omitempty"` // base URL; empty: ledger only
	Open        int64                `json:"open"`           // calls in flight
	Pending     int64                `json:"pending"`        // records that Lago does not have yet
	Rejected    int64                `json:"rejected"`       // records that Lago rejected
	Interrupted int64                `json:"interrupted"`    // calls that an earlier process left open
	Finished    int64                `json:"finished"`       // delivered or ledger-only records that are still readable
	Delivered   int64                `json:"delivered"`      // events that Lago accepted since the process started
	OldestAge   int64                `json:"oldest_pending_seconds"`
	Bytes       int64                `json:"spool_bytes"`
	Full        bool                 `json:"spool_full,omitempty"`
	Lost        bool                 `json:"spool_lost,omitempty"`    // its directory was removed or replaced (a failure)
	Refused     int64                `json:"refused_calls,omitempty"` // calls refused because their records could not be opened
	Drains      int64                `json:"drains"`                  // answers being drained after a hang-up
	LastError   string               `json:"last_error,omitempty"`
	Offline     bool                 `json:"offline,omitempty"`    // read from the spool, without an instance
	AdoptedBy   string               `json:"adopted_by,omitempty"` // the spool that has taken over the unfinished records
	Delivery    *delivery.Status     `json:"delivery,omitempty"`
	Payers      *account.PayerStatus `json:"payers,omitempty"`

	Postgres *account.WarehouseStatus `json:"postgres,omitempty"` // the copy of the books in PostgreSQL
}

// spoolStatus is the part of the status that the spool alone provides.
func spoolStatus(sp *spool.Spool, now time.Time) Status {
	st := sp.Stats()
	out := Status{
		Open: st.Open, Pending: st.Pending, Rejected: st.Rejected, Interrupted: st.Interrupted, Finished: st.Finished,
		Bytes: st.Bytes, Full: st.Full, Lost: st.Lost, LastError: st.LastError,
	}
	if !st.Oldest.IsZero() {
		out.OldestAge = max(0, int64(now.Sub(st.Oldest)/time.Second))
	}
	return out
}

// StatusOf returns the status of an account.
func StatusOf(a *account.Account, now time.Time) Status {
	out := spoolStatus(a.Spool(), now)
	lago := a.Settings().APIBase
	out.Account, out.Spool, out.Lago, out.Drains = a.Name(), a.Dir(), lago, a.Drains()
	out.Refused, out.Postgres = a.RefusedCalls(), a.WarehouseStatus(now)
	d := a.DeliveryStatus()
	out.Delivered = d.Results[delivery.Accepted] + d.Results[delivery.Duplicate]
	if out.LastError == "" {
		out.LastError = d.LastError
	}
	if lago != "" {
		p := a.PayerStatus()
		out.Delivery, out.Payers = &d, &p
	}
	return out
}

// StatusList is the body of the status.
type StatusList struct {
	Version  string   `json:"version,omitempty"` // of the module in the instance; empty offline
	Accounts []Status `json:"accounts"`
}

func serveStatus(w http.ResponseWriter, r *http.Request) error {
	if err := operator.OnlyParameters(r.URL.Query()); err != nil {
		return err
	}
	now := time.Now()
	list := StatusList{Version: operator.Version(), Accounts: []Status{}}
	err := eachAccount("", func(a *account.Account) error {
		list.Accounts = append(list.Accounts, StatusOf(a, now))
		return nil
	})
	if err != nil {
		return err
	}
	return operator.WriteJSON(w, list)
}

// serveListing streams a listing.
func serveListing(l listing) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		q, err := parseLedgerQuery(r.URL.Query(), time.Now())
		if err != nil {
			return operator.Refuse(http.StatusBadRequest, "%w", err)
		}
		return operator.WriteLines(w, func(out io.Writer) error {
			limit := q.limit
			err := eachAccount(q.account, func(a *account.Account) error {
				n, err := l.write(r.Context(), out, ledger{a.Name(), a.Spool()}, q)
				if q.limit -= n; err == nil && limit > 0 && q.limit <= 0 {
					return errEnough
				}
				return err
			})
			if errors.Is(err, errEnough) {
				return nil
			}
			return err
		})
	}
}

// Interface guards.
var (
	_ caddy.AdminRouter = Admin{}
)
