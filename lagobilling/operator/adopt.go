package operator

import (
	"errors"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/app"
	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

// adoptRequest names the spool of an instance that is gone.
type adoptRequest struct {
	Dir     string `json:"dir"`
	Account string `json:"account,omitempty"` // default: the account named in the records
}

// adoptResult reports what was taken over.
type adoptResult struct {
	Account     string `json:"account"`
	Records     int    `json:"records"`
	Pending     int    `json:"pending"`
	Rejected    int    `json:"rejected"`
	Interrupted int    `json:"interrupted"`
	Estimated   int    `json:"estimated"` // interrupted calls that were billed for their estimated input, by `interrupted estimate`
	noted
}

// serveAdopt moves the unfinished records of a dead instance's spool into the spool of the same account here.
func serveAdopt(w http.ResponseWriter, r *http.Request) error {
	var q adoptRequest
	if err := operator.ReadBody(r, &q); err != nil {
		return err
	}
	if !filepath.IsAbs(q.Dir) {
		return operator.Refuse(http.StatusBadRequest, "dir is needed: the absolute path of the spool that is to be taken over")
	}
	res, newest, err := surveyAdoption(q.Dir)
	if err != nil {
		return err
	}
	switch {
	case q.Account == "" && res.Account == "":
		if res.Account = onlyAccount(); res.Account == "" {
			return operator.Refuse(http.StatusBadRequest, "the spool %s names no account; name the one that takes it over", q.Dir)
		}
	case q.Account == "":
	case res.Account != "" && res.Account != q.Account:
		return operator.Refuse(http.StatusConflict, "the records of %s belong to account %s, not %s", q.Dir, res.Account, q.Account)
	default:
		res.Account = q.Account
	}
	taken := false
	err = eachAccount(res.Account, func(a *account.Account) error {
		if taken {
			return nil
		}
		taken = true
		return adopt(a, q.Dir, newest, &res)
	})
	if err != nil {
		return err
	}
	res.noted = note(r, decided("spool", q.Dir, "adopt", map[string]string{"account": res.Account, "records": strconv.Itoa(res.Records)}))
	return operator.WriteJSON(w, res)
}

// onlyAccount returns the name of the open account, if there is exactly one.
func onlyAccount() string {
	names := make(map[string]bool)
	app.Each(func(_ string, a *account.Account) { names[a.Name()] = true })
	if len(names) != 1 {
		return ""
	}
	return slices.Collect(maps.Keys(names))[0]
}

// surveyAdoption reports a spool's contents, its account, and the time of its newest settled record.
func surveyAdoption(dir string) (res adoptResult, newest time.Time, err error) {
	from, err := openLedger(dir)
	if err != nil {
		return res, newest, operator.Refuse(http.StatusBadRequest, "%w", err)
	}
	accounts := make(map[string]bool)
	owner, err := account.SpoolOwner(dir)
	if err != nil {
		return res, newest, errors.Join(err, from.Close())
	}
	if owner != "" {
		accounts[owner] = true
	}
	states := []spool.State{spool.StateOpen, spool.StateInterrupted, spool.StatePending, spool.StateRejected}
	err = from.Select(states, time.Time{}, time.Time{}, func(rec spool.Record) error {
		accounts[record.Account(rec.Payload)] = true
		switch rec.State {
		case spool.StatePending:
			res.Pending++
		case spool.StateRejected:
			res.Rejected++
		default:
			res.Interrupted++
			return nil
		}
		if rec.Time.After(newest) {
			newest = rec.Time
		}
		return nil
	})
	if err == nil && len(accounts) == 0 { // nothing is left to take over, but the records still name the account
		err = from.Scan(time.Time{}, time.Time{}, func(rec spool.Record) error {
			accounts[record.Account(rec.Payload)] = true
			return errEnough
		})
		if errors.Is(err, errEnough) {
			err = nil
		}
	}
	if err = errors.Join(err, from.Close()); err != nil {
		return res, newest, err
	}
	names := slices.Sorted(maps.Keys(accounts))
	if len(names) > 1 {
		return res, newest, operator.Refuse(http.StatusConflict, "the records of %s belong to several accounts: %s", dir, strings.Join(names, ", "))
	}
	if len(names) == 1 {
		res.Account = names[0]
	}
	return res, newest, nil
}

func adopt(a *account.Account, dir string, newest time.Time, res *adoptResult) (err error) {
	res.Records, res.Estimated, err = a.Adopt(dir, newest, res.Interrupted > 0)
	switch {
	case errors.Is(err, spool.ErrLocked), errors.Is(err, spool.ErrAdopted):
		return operator.Refuse(http.StatusConflict, "%w", err)
	case errors.Is(err, spool.ErrFull):
		return operator.Refuse(http.StatusInsufficientStorage, "account %s: %w; it has no room for the records of %s", a.Name(), err, dir)
	}
	return err
}
