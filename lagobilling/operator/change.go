package operator

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/tariff"
)

// Change is the body of requests to retry, estimate and discard.
type Change struct {
	Account string   `json:"account,omitempty"`
	IDs     []string `json:"ids,omitempty"`    // the calls' ids
	All     bool     `json:"all,omitempty"`    // instead of ids
	Reason  string   `json:"reason,omitempty"` // for discard
}

// changeResult reports how many records were changed.
type changeResult struct {
	Records int `json:"records"`
	noted
}

// chosen are the records of one account that a change applies to.
type chosen struct {
	account *account.Account
	records []spool.Record
}

// choose finds the named records, or all, in the given states. Pending ones must be named and refused by something in
// front of Lago. An id that is not found is an error, and nothing is changed. Records marked as discarded are left to
// discard, which a crash may have interrupted.
func (q Change) choose(accounts []*account.Account, states []spool.State) ([]chosen, error) {
	wanted := make(map[spool.ID]bool, len(q.IDs))
	for _, text := range q.IDs {
		id, err := uuid.Parse(text)
		if err != nil {
			return nil, operator.Refuse(http.StatusBadRequest, "%q is not the id of a call", text)
		}
		wanted[spool.ID(id)] = true
	}
	var found []chosen
	for _, a := range accounts {
		c := chosen{account: a}
		var refused map[spool.ID]bool // selectable pending ones
		of := states
		if at := slices.Index(states, spool.StatePending); at >= 0 {
			if refused = a.RefusedIDs(); len(refused) == 0 {
				of = slices.Delete(slices.Clone(states), at, at+1)
			}
		}
		err := a.Spool().Select(of, time.Time{}, time.Time{}, func(rec spool.Record) error {
			switch {
			case !q.All && !wanted[rec.ID], q.Reason == "" && record.Discarded(rec.Payload):
				return nil
			case rec.State == spool.StatePending && (q.All || !refused[rec.ID]):
				return nil
			}
			delete(wanted, rec.ID)
			if q.All {
				rec.Payload = nil // all may be many; named ones are few
			}
			c.records = append(c.records, rec)
			return nil
		})
		if err != nil {
			return nil, err
		}
		if len(c.records) > 0 {
			found = append(found, c)
		}
	}
	if len(wanted) > 0 {
		names := make([]string, 0, len(states))
		for _, s := range states {
			if s == spool.StatePending {
				names = append(names, "refused")
			} else {
				names = append(names, s.String())
			}
		}
		missing := make([]string, 0, len(wanted))
		for id := range wanted {
			missing = append(missing, uuid.UUID(id).String())
		}
		slices.Sort(missing)
		return nil, operator.Refuse(http.StatusNotFound, "no %s record with the id %s; nothing was changed", strings.Join(names, " or "), strings.Join(missing, ", "))
	}
	return found, nil
}

// serveChange makes the requested change, notes it in the audit log and answers how many records were changed.
func serveChange(what string, fn func(Change) (int, error)) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		var q Change
		if err := operator.ReadBody(r, &q); err != nil {
			return err
		}
		n, err := fn(q)
		res := changeResult{Records: n}
		if n > 0 {
			res.noted = note(r, q.decisions(what, n)...)
		}
		if err != nil {
			return err
		}
		return operator.WriteJSON(w, res)
	}
}

// change changes the chosen records and returns their number. check, which may be nil, sees each account concerned before
// the first change. The accounts stay open meanwhile.
func (q Change) change(states []spool.State, check func(*account.Account) error, fn func(*account.Account, []spool.Record) (int, error)) (changed int, err error) {
	err = withAccounts(q.Account, func(accounts []*account.Account) error {
		found, err := q.choose(accounts, states)
		if err != nil {
			return err
		}
		for _, c := range found {
			if check == nil {
				break
			}
			if err := check(c.account); err != nil {
				return err
			}
		}
		for _, c := range found {
			n, err := fn(c.account, c.records)
			if changed += n; err != nil {
				return fmt.Errorf("account %s: %w", c.account.Name(), err)
			}
		}
		return nil
	})
	return changed, err
}

// sends returns an error for an account without a Lago.
func sends(a *account.Account) error {
	if a.Lago() == nil {
		return operator.Refuse(http.StatusConflict, "account %s has no Lago (api_base), so nothing would be sent", a.Name())
	}
	return nil
}

// Retry makes rejected records pending again: the named ones, or all. It returns how many.
func Retry(q Change) (int, error) {
	if q.Reason != "" {
		return 0, operator.Refuse(http.StatusBadRequest, "retry takes no reason")
	}
	q.All = len(q.IDs) == 0
	return q.change([]spool.State{spool.StateRejected}, sends, func(a *account.Account, records []spool.Record) (int, error) {
		seqs := make([]uint64, len(records))
		for i, rec := range records {
			seqs[i] = rec.Seq
		}
		n, err := a.Retry(seqs)
		if err == nil {
			a.Logger().Info("rejected records are sent again", zap.Int("records", n))
		}
		return n, err
	})
}

// needsChoice refuses a change that names nothing, which would settle everything.
func (q Change) needsChoice() error {
	if q.All == (len(q.IDs) > 0) {
		return operator.Refuse(http.StatusBadRequest, "name the records: their ids, or all of them")
	}
	return nil
}

// Estimate bills interrupted calls for the estimated input of their requests, and returns how many.
func Estimate(q Change) (int, error) {
	if err := q.needsChoice(); err != nil {
		return 0, err
	}
	if q.Reason != "" {
		return 0, operator.Refuse(http.StatusBadRequest, "estimate takes no reason")
	}
	return q.change([]spool.State{spool.StateInterrupted}, nil, func(a *account.Account, records []spool.Record) (int, error) {
		n, err := a.SettleInterrupted(records, func(opened *record.Record, now time.Time) ([]byte, bool, error) {
			return tariff.Estimate(opened, a.Fallback(), now)
		})
		if err == nil {
			a.Logger().Info("an operator had interrupted calls billed for their estimated input", zap.Int("calls", n))
		}
		return n, err
	})
}

// Discard settles interrupted and rejected records as never to be billed, and named ones that something in front of Lago
// refuses. The records keep the reason. It returns how many.
func Discard(q Change) (int, error) {
	if err := q.needsChoice(); err != nil {
		return 0, err
	}
	q.Reason = strings.TrimSpace(q.Reason)
	if q.Reason == "" {
		return 0, operator.Refuse(http.StatusBadRequest, "a reason is needed: the record keeps it")
	}
	if err := llm.CheckName(q.Reason); err != nil {
		return 0, operator.Refuse(http.StatusBadRequest, "the reason %w", err)
	}
	return q.change([]spool.State{spool.StateInterrupted, spool.StateRejected, spool.StatePending}, nil, func(a *account.Account, records []spool.Record) (int, error) {
		n, err := a.SettleInterrupted(records, func(opened *record.Record, now time.Time) ([]byte, bool, error) {
			opened.ForgetOpened()
			opened.Outcome, opened.Settled = record.OutcomeInterrupted, now
			opened.NotBilled, opened.Discarded = record.NotBilledDiscarded, q.Reason
			return opened.Append(nil, nil), false, nil
		})
		if err != nil {
			return n, err
		}
		rejected, err := a.DiscardRefused(records, q.Reason)
		n += rejected
		if busy := len(records) - n; err == nil && busy > 0 && !q.All {
			err = operator.Refuse(http.StatusConflict, "%d of the records are being sent at this moment; ask again", busy)
		}
		if err == nil {
			a.Logger().Warn("an operator discarded records; they are not billed", zap.Int("records", n), zap.String("reason", q.Reason))
		}
		return n, err
	})
}
