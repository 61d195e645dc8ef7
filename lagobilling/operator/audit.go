package operator

import (
	"context"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/audit"
)

// serveCheck finds what Lago would accept and not bill.
func serveCheck(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	if err := operator.OnlyParameters(v, "account"); err != nil {
		return err
	}
	return operator.Work(w, r, operator.ProgressEvery, func(ctx context.Context, progress operator.Report) (any, error) {
		return Check(ctx, v.Get("account"), progress)
	})
}

// Check finds what Lago would accept and not bill, for the named account or all.
func Check(ctx context.Context, name string, progress operator.Report) (audit.CheckList, error) {
	list := audit.CheckList{OK: true, Accounts: []audit.CheckReport{}}
	err := eachAccount(name, func(a *account.Account) error {
		report, err := audited(a).Check(ctx, progress)
		list.Accounts = append(list.Accounts, report)
		list.OK = list.OK && report.OK
		return err
	})
	return list, err
}

// setupRequest is the body of a setup.
type setupRequest struct {
	Account string `json:"account,omitempty"`
}

// serveSetup creates the billable metrics; GET reports which it would create.
func serveSetup(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	if err := operator.OnlyParameters(v, "account"); err != nil {
		return err
	}
	q := setupRequest{v.Get("account")}
	if r.Method == http.MethodPost {
		if err := operator.ReadBody(r, &q); err != nil {
			return err
		}
	}
	return operator.Work(w, r, operator.ProgressEvery, func(ctx context.Context, progress operator.Report) (any, error) {
		list := audit.SetupList{OK: true, DryRun: r.Method == http.MethodGet, Accounts: []audit.SetupReport{}}
		err := eachAccount(q.Account, func(a *account.Account) error {
			report := audited(a).SetUp(ctx, list.DryRun, progress)
			list.Accounts = append(list.Accounts, report)
			list.OK = list.OK && report.OK
			return ctx.Err()
		})
		return list, err
	})
}

// serveReconcile compares the ledger with Lago.
func serveReconcile(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	if err := operator.OnlyParameters(v, "account", "payer", "since", "until", "lag"); err != nil {
		return err
	}
	name := v.Get("account")
	q := audit.Query{Subscription: v.Get("payer"), Lag: audit.DefaultLag}
	now := time.Now()
	var err error
	if q.Since, err = parseMoment("since", v.Get("since"), now); err != nil {
		return operator.Refuse(http.StatusBadRequest, "%w", err)
	}
	if q.Until, err = parseMoment("until", v.Get("until"), now); err != nil {
		return operator.Refuse(http.StatusBadRequest, "%w", err)
	}
	if text := v.Get("lag"); text != "" {
		if q.Lag, err = caddy.ParseDuration(text); err != nil || q.Lag < 0 {
			return operator.Refuse(http.StatusBadRequest, "lag %q is not a duration", text)
		}
	}
	return operator.Work(w, r, operator.ProgressEvery, func(ctx context.Context, progress operator.Report) (any, error) {
		return Reconcile(ctx, name, q, progress)
	})
}

// Reconcile compares the ledger of the named account, or of each that has a Lago, with Lago.
func Reconcile(ctx context.Context, name string, q audit.Query, progress operator.Report) (audit.ReconcileReport, error) {
	report := audit.ReconcileReport{OK: true, Since: q.Since, Until: q.Until, Lines: []audit.Line{}}
	err := eachAccount(name, func(a *account.Account) error {
		if err := sends(a); err != nil {
			if name == "" {
				return nil
			}
			return operator.Refuse(http.StatusConflict, "account %s has no Lago (api_base) to compare with", a.Name())
		}
		lines, err := audited(a).Reconcile(ctx, q, progress)
		report.Lines = append(report.Lines, lines...)
		for i := range lines {
			report.Differences += len(lines[i].Differences)
		}
		return err
	})
	report.OK = report.Differences == 0
	return report, err
}

// audited returns the account as package audit needs it.
func audited(a *account.Account) *audit.Account {
	return &audit.Account{Name: a.Name(), Spool: a.Spool(), Lago: a.Lago(), Retain: a.Settings().Retain, Tariffs: a.Tariffs()}
}
