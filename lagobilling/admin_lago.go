package lagobilling

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// progress is a line of an answer that takes long. Who accepts application/x-ndjson gets one for each progressEvery, and
// then one that holds the result or the error.
type progress struct {
	Progress string          `json:"progress,omitempty"` // what is counted
	Done     int             `json:"done,omitempty"`
	Of       int             `json:"of,omitempty"` // 0: not known
	Result   json.RawMessage `json:"result,omitempty"`
	Error    string          `json:"error,omitempty"`
}

const (
	progressType  = "application/x-ndjson"
	progressEvery = time.Second
)

// longWork answers with the result of work that takes long.
func longWork(
	w http.ResponseWriter, r *http.Request, every time.Duration, work func(ctx context.Context, tell func(string, int, int)) (any, error),
) error {
	if !strings.Contains(r.Header.Get("Accept"), progressType) {
		v, err := work(r.Context(), func(string, int, int) {})
		if err != nil {
			return asRefusal(err)
		}
		return writeJSON(w, v)
	}
	last := time.Now()
	started := false
	send := func(p progress) error {
		if !started {
			w.Header().Set("Content-Type", progressType)
			started = true
		}
		if err := json.NewEncoder(w).Encode(p); err != nil {
			return err
		}
		return http.NewResponseController(w).Flush()
	}
	v, err := work(r.Context(), func(what string, n, of int) {
		if now := time.Now(); now.Sub(last) >= every {
			last = now
			_ = send(progress{Progress: what, Done: n, Of: of}) // a reader that is gone ends the request's context
		}
	})
	switch {
	case err != nil && !started:
		return asRefusal(err)
	case err != nil:
		err = send(progress{Error: err.Error()})
	default:
		var b []byte
		if b, err = json.Marshal(v); err == nil {
			err = send(progress{Result: b})
		}
	}
	if err != nil {
		panic(http.ErrAbortHandler) // the answer has begun
	}
	return nil
}

// asRefusal makes what Lago or the ledger said an error of the admin API.
func asRefusal(err error) error {
	if _, ok := errors.AsType[caddy.APIError](err); ok {
		return err
	}
	return caddy.APIError{HTTPStatus: http.StatusBadGateway, Err: err}
}

// serveCheck looks for all that would be accepted and not billed.
func serveCheck(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	if err := onlyParameters(v, "account"); err != nil {
		return refuse(http.StatusBadRequest, "%w", err)
	}
	return longWork(w, r, progressEvery, func(ctx context.Context, tell func(string, int, int)) (any, error) {
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
	if err := onlyParameters(v, "account"); err != nil {
		return refuse(http.StatusBadRequest, "%w", err)
	}
	q := setupRequest{v.Get("account")}
	if r.Method == http.MethodPost {
		if err := readBody(r, &q); err != nil {
			return err
		}
	}
	return longWork(w, r, progressEvery, func(ctx context.Context, tell func(string, int, int)) (any, error) {
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
	if err := onlyParameters(v, "account", "payer", "since", "until", "lag"); err != nil {
		return refuse(http.StatusBadRequest, "%w", err)
	}
	q := reconcileQuery{account: v.Get("account"), payer: v.Get("payer"), lag: reconcileLag}
	now := time.Now()
	var err error
	if q.since, err = parseMoment("since", v.Get("since"), now); err != nil {
		return refuse(http.StatusBadRequest, "%w", err)
	}
	if q.until, err = parseMoment("until", v.Get("until"), now); err != nil {
		return refuse(http.StatusBadRequest, "%w", err)
	}
	if text := v.Get("lag"); text != "" {
		if q.lag, err = caddy.ParseDuration(text); err != nil || q.lag < 0 {
			return refuse(http.StatusBadRequest, "lag %q is not a duration", text)
		}
	}
	return longWork(w, r, progressEvery, func(ctx context.Context, tell func(string, int, int)) (any, error) {
		report := reconcileReport{OK: true, Since: q.since, Until: q.until, Lines: []reconcileLine{}}
		err := eachAccount(q.account, func(a *Account) error {
			if err := a.sends(); err != nil {
				if q.account == "" {
					return nil
				}
				return refuse(http.StatusConflict, "account %s has no Lago (api_base) to compare with", a.name)
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
