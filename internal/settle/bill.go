// Package settle bills calls: it opens a usage record before a call is forwarded, and settles it once, with the answer's
// usage. It is independent of how answers reach clients.
package settle

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/tariff"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// Bill is the usage record of one call, from opening to settlement. If a connection carries several answers, each is a
// call with its own id and Bill. All methods are called by one goroutine.
type Bill struct {
	account *account.Account
	tariff  *tariff.Tariff
	call    *llm.Call
	id      spool.ID
	opened  bool
	settled bool
	record  record.Record
}

// Init sets the call to bill, the account whose spool gets the record, and the tariff.
func (b *Bill) Init(a *account.Account, t *tariff.Tariff, c *llm.Call) {
	*b = Bill{account: a, tariff: t, call: c}
}

// Opened reports whether the call has a record.
func (b *Bill) Opened() bool { return b.opened }

// Settled reports whether Settle was called after Open.
func (b *Bill) Settled() bool { return b.settled }

// Record returns the record so far. It must not be changed.
func (b *Bill) Record() *record.Record { return &b.record }

var noTarget llm.Target

// Target returns the target of the latest attempt, or the planned one; empty before there is any.
func (b *Bill) Target() *llm.Target {
	if t := b.call.Target(); t != nil {
		return t
	}
	return &noTarget
}

var noEndpoint llm.Endpoint

// Endpoint returns the call's endpoint, empty while unknown.
func (b *Bill) Endpoint() *llm.Endpoint {
	if b.call.Endpoint != nil {
		return b.call.Endpoint
	}
	return &noEndpoint
}

var payloads = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// Open writes the opened record: enough to bill an estimate if the process ends before the call does. by is the source of
// the payer, which may be empty. After an error nothing may be forwarded.
func (b *Bill) Open(payer, by string, properties []record.Property) error {
	id, err := uuid.Parse(b.call.ID)
	if err != nil {
		return fmt.Errorf("the call's id: %w", err)
	}
	b.id = spool.ID(id)
	b.record = openedRecord(b.account.Name(), b.call, payer, by, properties)
	if b.record.NotBilled == "" {
		b.tariff.Open(&b.record, b.Target())
	}
	buf := payloads.Get().(*[]byte)
	*buf = b.record.Append((*buf)[:0], nil)
	err = b.account.Spool().Begin(b.id, *buf)
	payloads.Put(buf)
	if err != nil {
		b.account.Refused(err)
		return err
	}
	b.opened, b.call.Opened = true, true
	return nil
}

// openedRecord returns the record of a call before it is forwarded.
func openedRecord(account string, c *llm.Call, payer, by string, properties []record.Property) record.Record {
	r := record.Record{
		ID: c.ID, Account: account, Opened: c.Start, Asked: c.Request.Asked, Stream: c.Request.Stream,
		Payer: payer, EndUser: c.Request.User, Session: c.Request.Session, InputUnits: c.Request.TextUnits, Properties: properties,
	}
	if payer != "" {
		r.ChargeBy = by
	}
	if c.Endpoint != nil {
		r.Endpoint = c.Endpoint.Name
		if c.Endpoint.Billing != llm.Billable {
			r.NotBilled = record.NotBilledFree
		}
	}
	if t := c.Target(); t != nil {
		setTarget(&r, t)
		r.BaseURL, r.Written = t.BaseURL, t.Prices
	}
	if id := c.Identity; id != nil {
		r.Key, r.KeyAlias, r.Team, r.User = id.KeyName, id.KeyAlias, id.TeamID, id.UserID
		r.KeyHash, r.KeyID = id.KeyHash[:min(len(id.KeyHash), 12)], id.SpendID
	}
	if a := c.Admission; a != nil {
		r.Admitted = a.At
		if t := c.Target(); t != nil {
			r.Limits = a.CountersOf(c.Request.Asked, t)
		}
	}
	r.EndUser = record.Clip(r.EndUser)
	return r
}

// tried returns the attempts that failed.
func tried(c *llm.Call) (list []record.Attempt) {
	for a := c.Attempt(); a != nil; a = a.Before {
		if a.Fault.Over.IsZero() {
			continue
		}
		t := a.Target
		one := record.Attempt{
			Model: t.Model, Upstream: t.Upstream, Backend: t.Backend, Provider: t.Provider, Ended: a.Fault.Over.Sub(c.Start).Milliseconds(),
			Why: a.Fault.Why, Status: a.Fault.Status,
		}
		if !a.Begun.IsZero() {
			one.Began = a.Begun.Sub(c.Start).Milliseconds()
		}
		list = append(list, one)
	}
	slices.Reverse(list)
	return list
}

func setTarget(r *record.Record, t *llm.Target) {
	r.Model, r.Upstream, r.Backend, r.Provider = t.Model, t.Upstream, t.Backend, t.Provider
}

// Settle writes the settled record with its frozen events. Only the first Settle after Open has an effect. After an error
// the client must not get the end of its answer.
func (b *Bill) Settle(a *Answer) error {
	if !b.opened || b.settled {
		return nil
	}
	b.settled = true
	now := time.Now()
	r := &b.record
	r.Settled = now
	r.Hangup, r.Status = a.Hangup, a.Status
	r.Attempts, r.Tried = b.call.Attempts(), tried(b.call)
	r.ForgetOpened()
	if t := b.call.Target(); t != nil {
		setTarget(r, t)
		if admitted := b.call.Admission; admitted != nil { // the call may first have limits by a later backend
			r.Admitted, r.Limits = admitted.At, admitted.CountersOf(r.Asked, t)
		}
	}
	if t := b.call.Attempt().Translation(); t != nil {
		r.TranslatedTo, r.Dropped, r.Lost = string(t.Pair.Upstream), t.Dropped(), t.Lost()
	}
	res := b.usage(a)
	b.countContainers(&res, now)
	if a.Hangup == Cancelled && res.Source != usage.Reported && !res.Counts.Empty() && Hidden(b.call, a.Reader != nil && a.Reader.Reasons()) {
		res.How += "; reasoning that the answer did not show is not counted"
	}
	r.Outcome = b.outcome(a, &res)
	r.Bytes = a.Bytes
	r.Duration = now.Sub(b.call.Start).Milliseconds()
	if !a.First.IsZero() {
		r.TTFT = a.First.Sub(b.call.Start).Milliseconds()
	}
	buf, events := payloads.Get().(*[]byte), payloads.Get().(*[]byte)
	*events = b.tariff.Settle((*events)[:0], r, tariff.ServedBy(b.Target(), res.Model, b.call.Request.Others), &res, b.sent(a))
	*buf = r.Append((*buf)[:0], *events)
	err := b.account.Settle(b.id, *buf, len(*events) > 0)
	payloads.Put(buf)
	payloads.Put(events)
	if err != nil {
		return err
	}
	b.call.Settled(&llm.Settlement{
		Endpoint: b.Endpoint(), Stream: r.Stream, Target: b.Target(), Attempts: r.Attempts, Outcome: r.Outcome, Status: r.Status, Counts: &r.Counts.Counts, Cost: r.Cost,
		Response: r.ResponseModel, AnswerID: r.ResponseID, Unpriced: r.Unpriced, Duration: now.Sub(b.call.Start), FirstByte: a.First.Sub(b.call.Start),
	})
	return nil
}

// countContainers deducts code-container sessions that were billed with another answer of the account.
func (b *Bill) countContainers(res *usage.Result, now time.Time) {
	all := int64(len(res.Containers))
	if all == 0 {
		return
	}
	if fresh := int64(b.account.NewContainers(res.Containers, now)); fresh < all {
		res.Counts.Set(usage.CodeSessions, res.Counts.N(usage.CodeSessions)/all*fresh)
		res.How = strings.TrimPrefix(res.How+"; a code container was billed with another answer of the last 20 minutes", "; ")
	}
}

// sent reports whether a provider has the call: an answer came, or the whole request of an attempt that has not failed was
// written. A call whose client hung up before any answer is billed only then.
func (b *Bill) sent(a *Answer) bool {
	last := b.call.Attempt()
	return a.Status != 0 || last.Sent() && !last.Failed()
}

// outcome returns the outcome of the call.
func (b *Bill) outcome(a *Answer, res *usage.Result) string {
	seen := res.Source == usage.Reported || res.Source == usage.Partial || (a.Reader != nil && a.Reader.OutputUnits() > 0)
	switch {
	case a.Hangup != "" && !Failure(a.Status):
		return record.OutcomeClientGone
	case Failure(a.Status), a.Status == 0, res.Error && !seen, b.call.Attempt().Failed():
		return record.OutcomeError
	case res.Error, a.Lost: // lost without a hang-up: the answer was too long to be sent with its length
		return record.OutcomeCut
	case a.Bytes == 0 && a.Status == http.StatusOK && !a.Bodiless && b.Endpoint().Billing == llm.Billable:
		return record.OutcomeError // model answers are never empty
	case a.End == Ended, a.End == Returned && (res.Complete || !a.Framed):
		return record.OutcomeCompleted
	}
	return record.OutcomeCut
}
