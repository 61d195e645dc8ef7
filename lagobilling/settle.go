package lagobilling

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/delivery/lawbreak"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/tariff"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// ending says how an answer came to the point at which it is settled.
type ending uint8

const (
	broken   ending = iota // the handlers panicked: the upstream or the client broke off
	answered               // the handlers returned
	ended                  // the answer's own end, or the end of its stated length, was seen
)

// settlement is the part of a meter that ends as a usage record.
type settlement struct {
	resolved   bool
	chargedBy  string // where the payer comes from
	id         spool.ID
	opened     bool
	settled    bool
	how        ending
	handlerErr error
	status     int
	bytes      int64
	first      time.Time // when the first byte of the body came
	framed     bool      // the answer's format has an end of its own
	record     record.Record
}

var noTarget llm.Target

// target returns the attempt that is under way or served the call.
func (m *meter) target() *llm.Target {
	if t := m.call.Target(); t != nil {
		return t
	}
	return &noTarget
}

var payloads = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// open is the call's Open step: it decides who pays and writes the opened record. After an error nothing may be forwarded.
func (m *meter) open(ctx context.Context, c *llm.Call) *llm.Error {
	if m.opened {
		return nil
	}
	if m.clientGone() {
		return llm.ClientGone()
	}
	if m.http10 && c.Request.Stream && c.Endpoint != nil && c.Endpoint.Billing == llm.Billable {
		return &llm.Error{
			Status: http.StatusHTTPVersionNotSupported, Type: "invalid_request_error",
			Message: "a stream cannot be sent by HTTP/1.0, which does not show whether it is whole: use HTTP/1.1 (in nginx, `proxy_http_version 1.1`)",
		}
	}
	if refusal := m.resolve(ctx, c); refusal != nil {
		return refusal
	}
	payer, by := c.Payer, m.chargedBy
	if refusal := m.checkPayer(ctx, c, payer); refusal != nil {
		return refusal
	}
	if err := printable("model", c.Request.Asked); err != nil {
		return &llm.Error{Status: http.StatusBadRequest, Type: "invalid_request_error", Param: "model", Message: err.Error()}
	}
	properties, refusal := m.h.evaluate(m.repl)
	if refusal != nil {
		return refusal
	}
	if refusal := m.h.checkPriced(c); refusal != nil {
		return refusal
	}
	id, err := uuid.Parse(c.ID)
	if err != nil {
		return &llm.Error{Status: http.StatusInternalServerError, Type: "internal_server_error", Message: "the call has no valid id", Err: err}
	}
	m.id = spool.ID(id)
	m.record = openedRecord(m.account.Name(), c, payer, by, properties)
	if m.record.NotBilled == "" {
		m.h.tariff.Open(&m.record, m.target())
	}
	buf := payloads.Get().(*[]byte)
	*buf = m.record.Append((*buf)[:0], nil)
	err = m.account.Spool().Begin(m.id, *buf)
	payloads.Put(buf)
	if err != nil {
		m.account.Refused(err)
		return unavailable(err)
	}
	m.opened, c.Opened = true, true
	return nil
}

// checkPayer refuses a payer that Lago does not know, where the configuration says so.
func (m *meter) checkPayer(ctx context.Context, c *llm.Call, payer string) *llm.Error {
	if payer == "" {
		return nil
	}
	key := ""
	if c.Identity != nil {
		key = c.Identity.KeyHash
	}
	switch m.account.AllowPayer(ctx, key, payer) {
	case account.PayerUnknown:
		return &llm.Error{
			Status: http.StatusForbidden, Type: "unknown_payer", Message: "no subscription pays for this call: Lago knows no active subscription " + payer,
		}
	case account.PayerUndecided:
		return &llm.Error{
			Status: http.StatusTooManyRequests, Type: "rate_limit_error", RetryAfter: 2 * time.Second,
			Message: "too many calls of new payers: whether Lago knows the subscription " + payer + " could not be asked yet; try again later",
		}
	case account.PayerAllowed:
	}
	return nil
}

// resolve is the call's step of admission that decides who pays.
func (m *meter) resolve(_ context.Context, c *llm.Call) (refused *llm.Error) {
	if !m.resolved {
		m.resolved = true
		c.Payer, m.chargedBy, refused = m.h.payer(c, m.repl)
	}
	return refused
}

// openedRecord is what is known of a call before it is forwarded: enough to bill an estimate if this process should end
// before the call does.
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

func setTarget(r *record.Record, t *llm.Target) {
	r.Model, r.Upstream, r.Backend, r.Provider = t.Model, t.Upstream, t.Backend, t.Provider
}

// settle writes the settled record, once, with its events frozen in it. If it cannot be written, the meter aborts the
// answer: the client must not get its end.
func (m *meter) settle(how ending) {
	if !m.opened || m.settled || !lawbreak.SettleFirst && how == ended {
		return
	}
	m.settled = true
	now := time.Now()
	r := &m.record
	r.Settled = now
	r.Hangup = m.label()
	r.Status = m.answerStatus()
	r.Attempts = m.call.Attempts()
	r.ForgetOpened()
	if t := m.call.Target(); t != nil {
		setTarget(r, t)
		if a := m.call.Admission; a != nil {
			r.Limits = a.CountersOf(r.Asked, t)
		}
	}
	res := m.result()
	if r.Hangup == hangupCancelled && res.Source != usage.Reported && !res.Counts.Empty() && m.hidden() {
		res.How += "; reasoning that the answer did not show is not counted"
	}
	r.Outcome = m.outcome(how, &res)
	r.Bytes = m.bytes
	r.Duration = now.Sub(m.call.Start).Milliseconds()
	if !m.first.IsZero() {
		r.TTFT = m.first.Sub(m.call.Start).Milliseconds()
	}
	buf, evs := payloads.Get().(*[]byte), payloads.Get().(*[]byte)
	*evs = m.h.tariff.Settle((*evs)[:0], r, tariff.ServedBy(m.target(), res.Model, m.call.Request.Others), &res, m.wasSent())
	*buf = r.Append((*buf)[:0], *evs)
	err := m.account.Settle(m.id, *buf, len(*evs) > 0)
	payloads.Put(buf)
	payloads.Put(evs)
	if err != nil {
		m.aborted = true
		m.h.metrics.unsettled.Inc()
		m.h.logger.Error("usage record could not be written; the answer is cut short",
			zap.String("account", m.account.Name()), zap.String("id", r.ID), zap.String("outcome", r.Outcome), zap.Error(err))
		return
	}
	m.call.Settled(&llm.Settlement{
		Target: m.target(), Attempts: r.Attempts, Outcome: r.Outcome, Status: r.Status, Counts: &r.Counts.Counts, Cost: r.Cost,
		Unpriced: r.Unpriced, Duration: now.Sub(m.call.Start), FirstByte: m.first.Sub(m.call.Start),
	})
}

// countUnopened counts a call that has no record because nothing was forwarded.
func (m *meter) countUnopened() {
	if m.opened || m.call.Endpoint == nil {
		return
	}
	outcome := record.OutcomeRefused
	if m.call.Endpoint.Billing == llm.Local && m.status < 400 {
		outcome = record.OutcomeLocal
	}
	m.h.metrics.requests.WithLabelValues("", "", outcome).Inc()
}

// wasSent reports whether a provider has the call: an answer came, or the transport wrote the whole request of an attempt
// that has not failed. So a call whose client hung up before any answer is billed if the provider has it, and only then.
func (m *meter) wasSent() bool {
	a := m.call.Attempt()
	return m.record.Status != 0 || a.Sent() && !a.Failed()
}

var noEndpoint llm.Endpoint

func (m *meter) endpoint() *llm.Endpoint {
	if m.call.Endpoint != nil {
		return m.call.Endpoint
	}
	return &noEndpoint
}

// answerStatus is the status of the answer: what was written, or the error that a handler returned instead; 0 when no
// answer came before the client hung up, as then what was written is the gateway's own and reached nobody.
func (m *meter) answerStatus() int {
	if m.clientGone() && !m.call.Attempt().Answered() {
		return 0
	}
	status := m.status
	if status == 0 && m.handlerErr != nil {
		status = http.StatusInternalServerError
		if e, ok := errors.AsType[caddyhttp.HandlerError](m.handlerErr); ok && e.StatusCode != 0 {
			status = e.StatusCode
		}
	}
	return status
}

// failure reports whether a status is that of a failed call. No model API redirects: what does is no model's answer.
func failure(status int) bool { return status >= 300 }

// outcome names how the call went.
func (m *meter) outcome(how ending, res *usage.Result) string {
	status := m.record.Status
	seen := res.Source == usage.Reported || res.Source == usage.Partial || (m.reader != nil && m.reader.OutputUnits() > 0)
	switch {
	case m.clientGone() && !failure(status):
		return record.OutcomeClientGone
	case failure(status), status == 0, res.Error && !seen, m.call.Attempt().Failed():
		return record.OutcomeError
	case res.Error, m.lost: // lost although the client is there: its answer was too long to be sent with its length
		return record.OutcomeCut
	case m.bytes == 0 && status == http.StatusOK && !m.head && m.endpoint().Billing == llm.Billable:
		return record.OutcomeError // no answer of a model is empty
	case how == ended:
		return record.OutcomeCompleted
	case how == answered && m.handlerErr == nil && m.left <= 0 && (res.Complete || !m.framed):
		return record.OutcomeCompleted
	}
	return record.OutcomeCut
}

// audio returns the length of the uploaded recording, 0 when it is not known.
func (m *meter) audio() int64 {
	if a := m.call.Request.Audio; a != nil {
		return a.Load()
	}
	return 0
}

// result returns the usage of the answer as far as it came. Without a reader, what the request held is all there is.
func (m *meter) result() usage.Result {
	if m.reader != nil {
		return m.reader.Result(usage.Estimate{
			InputUnits: m.call.Request.TextUnits, InputCharacters: m.call.Request.InputCharacters, InputMilliseconds: m.audio(),
		})
	}
	var res usage.Result
	status := m.record.Status
	if failure(status) || m.endpoint().Billing != llm.Billable || !m.wasSent() || (status == 0 && !m.clientGone()) {
		return res
	}
	tariff.EstimateInput(&res, m.call.Request.TextUnits)
	if n := m.audio(); n > 0 && m.endpoint().Reader == usage.OpenAITranscription {
		res.Counts.Set(usage.Milliseconds, n)
	}
	if n := m.call.Request.InputCharacters; n > 0 {
		res.Counts.Set(usage.InputCharacters, n)
	}
	switch {
	case m.encoded != "":
		res.How = "the answer is compressed (" + strings.ToLower(m.encoded[:min(len(m.encoded), 16)]) + "): input counted from the request, output unread"
	case status == 0:
		res.How = "no answer had come when the client hung up: input counted from the request"
	default:
		res.How = "the answer was not read: input counted from the request"
	}
	return res
}
