package lagobilling

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/tollgate-llm/tollgate/app/operator"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/tariff"
)

// changeRequest is the body of retry, estimate and discard.
type changeRequest struct {
	Account string   `json:"account,omitempty"`
	IDs     []string `json:"ids,omitempty"`    // the calls' ids
	All     bool     `json:"all,omitempty"`    // instead of ids
	Reason  string   `json:"reason,omitempty"` // of discard
}

// changeResult says how many records were changed.
type changeResult struct {
	Records int `json:"records"`
}

// chosen are the records of one account that an operator named.
type chosen struct {
	account *Account
	records []spool.Record
}

// choose finds the records that are named, or all, in the given states. A name that is not found is an error, and then
// nothing is changed. Records that say that they are discarded are left to discard, which a crash may have cut off.
func (q changeRequest) choose(accounts []*Account, states []spool.State) ([]chosen, error) {
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
		err := a.spool.Select(states, time.Time{}, time.Time{}, func(rec spool.Record) error {
			if !q.All && !wanted[rec.ID] || q.Reason == "" && record.Discarded(rec.Payload) {
				return nil
			}
			delete(wanted, rec.ID)
			if q.All {
				rec.Payload = nil // all of them may be many; those that are named are few
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
			names = append(names, s.String())
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

// change makes a change to the records that are chosen, and answers how many were changed. check, which may be nil, looks at
// each account that has some before the first change. The accounts stay open until the change is made.
func (q changeRequest) change(
	w http.ResponseWriter, states []spool.State, check func(*Account) error, fn func(*Account, []spool.Record) (int, error),
) error {
	var res changeResult
	err := withAccounts(q.Account, func(accounts []*Account) error {
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
			if res.Records += n; err != nil {
				return fmt.Errorf("account %s: %w", c.account.name, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return operator.WriteJSON(w, res)
}

// sends reports an account whose records nothing would send.
func (a *Account) sends() error {
	if a.lago() == nil {
		return operator.Refuse(http.StatusConflict, "account %s has no Lago (api_base), so nothing would be sent", a.name)
	}
	return nil
}

// serveRetry makes rejected records pending again: the named ones, or all.
func serveRetry(w http.ResponseWriter, r *http.Request) error {
	var q changeRequest
	if err := operator.ReadBody(r, &q); err != nil {
		return err
	}
	if q.Reason != "" {
		return operator.Refuse(http.StatusBadRequest, "retry takes no reason")
	}
	q.All = len(q.IDs) == 0
	return q.change(w, []spool.State{spool.StateRejected}, (*Account).sends, func(a *Account, records []spool.Record) (int, error) {
		seqs := make([]uint64, len(records))
		for i, rec := range records {
			seqs[i] = rec.Seq
		}
		a.operating.Lock()
		n, err := a.spool.Retry(seqs...)
		a.operating.Unlock()
		if err == nil {
			a.logger.Info("rejected records are sent again", zap.Int("records", n))
		}
		return n, err
	})
}

// needsChoice refuses a change that names nothing: such a slip would settle everything.
func (q changeRequest) needsChoice() error {
	if q.All == (len(q.IDs) > 0) {
		return operator.Refuse(http.StatusBadRequest, "say which records: their ids, or all of them")
	}
	return nil
}

// serveEstimate bills interrupted calls for the input that their requests held.
func serveEstimate(w http.ResponseWriter, r *http.Request) error {
	var q changeRequest
	if err := operator.ReadBody(r, &q); err != nil {
		return err
	}
	if err := q.needsChoice(); err != nil {
		return err
	}
	if q.Reason != "" {
		return operator.Refuse(http.StatusBadRequest, "estimate takes no reason")
	}
	return q.change(w, []spool.State{spool.StateInterrupted}, nil, func(a *Account, records []spool.Record) (int, error) {
		n, err := a.settleInterrupted(records, func(opened *record.Record, now time.Time) ([]byte, bool, error) {
			return tariff.Estimate(opened, a.fallback(), now)
		})
		if err == nil {
			a.logger.Info("an operator had interrupted calls billed for their estimated input", zap.Int("calls", n))
		}
		return n, err
	})
}

// settleInterrupted settles interrupted calls with the payload that settled makes.
func (a *Account) settleInterrupted(records []spool.Record, settled func(*record.Record, time.Time) ([]byte, bool, error)) (n int, err error) {
	a.operating.Lock()
	defer a.operating.Unlock()
	wanted := ids(records)
	left, err := a.spool.Interrupted()
	if err != nil {
		return 0, err
	}
	for _, rec := range left {
		if !wanted[rec.ID] {
			continue
		}
		opened, err := record.Parse(rec.Payload)
		if err != nil {
			return n, fmt.Errorf("call %s: %w", uuid.UUID(rec.ID), err)
		}
		payload, deliver, err := settled(opened, time.Now())
		if err != nil {
			return n, fmt.Errorf("call %s: %w", uuid.UUID(rec.ID), err)
		}
		if err := a.spool.ResolveInterrupted(rec.ID, payload, deliver && a.delivers.Load()); err != nil {
			return n, fmt.Errorf("call %s: %w", uuid.UUID(rec.ID), err)
		}
		n++
	}
	return n, nil
}

func ids(records []spool.Record) map[spool.ID]bool {
	set := make(map[spool.ID]bool, len(records))
	for _, rec := range records {
		set[rec.ID] = true
	}
	return set
}

// serveDiscard settles interrupted and rejected records as never to be billed, for a reason that stands in the record.
func serveDiscard(w http.ResponseWriter, r *http.Request) error {
	var q changeRequest
	if err := operator.ReadBody(r, &q); err != nil {
		return err
	}
	if err := q.needsChoice(); err != nil {
		return err
	}
	q.Reason = strings.TrimSpace(q.Reason)
	if q.Reason == "" {
		return operator.Refuse(http.StatusBadRequest, "a reason is needed: it stands in the record instead of a bill")
	}
	if err := printable("the reason", q.Reason); err != nil {
		return operator.Refuse(http.StatusBadRequest, "%w", err)
	}
	return q.change(w, []spool.State{spool.StateInterrupted, spool.StateRejected}, nil, func(a *Account, records []spool.Record) (int, error) {
		n, err := a.settleInterrupted(records, func(opened *record.Record, now time.Time) ([]byte, bool, error) {
			opened.ForgetOpened()
			opened.Outcome, opened.Settled = record.OutcomeInterrupted, now
			opened.NotBilled, opened.Discarded = record.NotBilledDiscarded, q.Reason
			return opened.Append(nil, nil), false, nil
		})
		if err != nil {
			return n, err
		}
		rejected, err := a.discardRejected(records, q.Reason)
		if n += rejected; err == nil {
			a.logger.Warn("an operator discarded records; they are not billed", zap.Int("records", n), zap.String("reason", q.Reason))
		}
		return n, err
	})
}

// discardRejected finishes rejected records with the reason in them. Their events stay as they are, to be seen.
func (a *Account) discardRejected(records []spool.Record, reason string) (n int, err error) {
	a.operating.Lock()
	defer a.operating.Unlock()
	wanted := ids(records)
	var now []spool.Record
	err = a.spool.Select([]spool.State{spool.StateRejected}, time.Time{}, time.Time{}, func(rec spool.Record) error {
		if wanted[rec.ID] {
			payload, err := record.Discard(rec.Payload, reason)
			if err != nil {
				return fmt.Errorf("call %s: %w", uuid.UUID(rec.ID), err)
			}
			rec.Payload = payload
			now = append(now, rec)
		}
		return nil
	})
	for _, rec := range now {
		if err != nil {
			break
		}
		// A crash between the two leaves a rejected record that says why it is to be discarded.
		if _, err = a.spool.Amend(rec.Seq, rec.Payload); err == nil {
			err = a.spool.Done(rec.Seq)
		}
		if err == nil {
			n++
		}
	}
	return n, err
}
