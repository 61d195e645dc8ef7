package lagobilling

import (
	"context"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/tollgate-llm/tollgate/app/operator"
)

// serveCheck looks for all that would be accepted and not billed.
func serveCheck(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	if err := operator.OnlyParameters(v, "account"); err != nil {
		return err
	}
	return operator.Work(w, r, operator.ProgressEvery, func(ctx context.Context, tell operator.Report) (any, error) {
		list := checkList{OK: true, Accounts: []checkReport{}}
		err := eachAccount(v.Get("account"), func(a *Account) error {
			report, err := a.check(ctx, tell)
			list.Accounts = append(list.Accounts, report)
			list.OK = list.OK && report.OK
			return err
		})
		return list, err
	})
}

// setupRequest is the body of a setup.
type setupRequest struct {
	Account string `json:"account,omitempty"`
}

// serveSetup creates the billable metrics; GET says which it would create.
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
	return operator.Work(w, r, operator.ProgressEvery, func(ctx context.Context, tell operator.Report) (any, error) {
		list := setupList{OK: true, DryRun: r.Method == http.MethodGet, Accounts: []setupReport{}}
		err := eachAccount(q.Account, func(a *Account) error {
			report := a.setUp(ctx, list.DryRun, tell)
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
	q := reconcileQuery{account: v.Get("account"), payer: v.Get("payer"), lag: reconcileLag}
	now := time.Now()
	var err error
	if q.since, err = parseMoment("since", v.Get("since"), now); err != nil {
		return operator.Refuse(http.StatusBadRequest, "%w", err)
	}
	if q.until, err = parseMoment("until", v.Get("until"), now); err != nil {
		return operator.Refuse(http.StatusBadRequest, "%w", err)
	}
	if text := v.Get("lag"); text != "" {
		if q.lag, err = caddy.ParseDuration(text); err != nil || q.lag < 0 {
			return operator.Refuse(http.StatusBadRequest, "lag %q is not a duration", text)
		}
	}
	return operator.Work(w, r, operator.ProgressEvery, func(ctx context.Context, tell operator.Report) (any, error) {
		report := reconcileReport{OK: true, Since: q.since, Until: q.until, Lines: []reconcileLine{}}
		err := eachAccount(q.account, func(a *Account) error {
			if err := a.sends(); err != nil {
				if q.account == "" {
					return nil
				}
				return operator.Refuse(http.StatusConflict, "account %s has no Lago (api_base) to compare with", a.name)
			}
			lines, err := a.reconcile(ctx, q, tell)
			report.Lines = append(report.Lines, lines...)
			for i := range lines {
				report.Differences += len(lines[i].Differences)
			}
			return err
		})
		report.OK = report.Differences == 0
		return report, err
	})
}
