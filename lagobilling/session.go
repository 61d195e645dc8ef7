package lagobilling

import (
	"context"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/settle"
)

// session is the state shared by the calls of one client connection. An HTTP request is a session of one call. Of several
// answers on a connection, each is a call with its own id, payer, opened record and settlement.
type session struct {
	h       *Handler
	account *account.Account
	repl    *caddy.Replacer
}

// bill is one call of a session.
type bill struct {
	session
	settle.Bill
	call      *llm.Call
	resolved  bool
	chargedBy string // the source of the payer
}

// begin registers the billing steps on a call.
func (b *bill) begin(s session, call *llm.Call) {
	b.session, b.call = s, call
	b.Init(s.account, s.h.tariff, call)
	call.Metered = true
	call.Open = b.open
	call.OnAdmit(b.resolve)
	call.Quote = s.h.quote
	call.OnSettle(s.h.metrics.observe)
	if s.h.rejectPrice {
		call.Priced = s.h.priced
	}
}

// resolve is the admission step that determines the payer.
func (b *bill) resolve(_ context.Context, c *llm.Call) (refused *llm.Error) {
	if !b.resolved {
		b.resolved = true
		c.Payer, b.chargedBy, refused = b.h.payer(c, b.repl)
	}
	return refused
}

// open is the call's Open step: it determines the payer and writes the opened record. After an error nothing may be forwarded.
func (b *bill) open(ctx context.Context, c *llm.Call) *llm.Error {
	if b.Opened() {
		return nil
	}
	if c.ClientGone() {
		return llm.ClientGone()
	}
	if refusal := b.resolve(ctx, c); refusal != nil {
		return refusal
	}
	if refusal := b.checkPayer(ctx, c, c.Payer); refusal != nil {
		return refusal
	}
	if err := printable("model", c.Request.Asked); err != nil {
		return &llm.Error{Status: http.StatusBadRequest, Type: "invalid_request_error", Param: "model", Message: err.Error()}
	}
	properties, refusal := b.h.evaluate(b.repl)
	if refusal != nil {
		return refusal
	}
	if refusal := b.h.checkPriced(c); refusal != nil {
		return refusal
	}
	if err := b.Open(c.Payer, b.chargedBy, properties); err != nil {
		return unavailable(err)
	}
	return nil
}

// checkPayer refuses a payer that Lago does not know, if so configured.
func (b *bill) checkPayer(ctx context.Context, c *llm.Call, payer string) *llm.Error {
	if payer == "" {
		return nil
	}
	key := ""
	if c.Identity != nil {
		key = c.Identity.KeyHash
	}
	switch b.account.AllowPayer(ctx, key, payer) {
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

// settle writes the settled record, once. If it returns false, the client must not get the end of its answer.
func (b *bill) settle(a *settle.Answer) bool {
	err := b.Settle(a)
	if err != nil {
		r := b.Record()
		b.h.metrics.unsettled.Inc()
		b.h.logger.Error("usage record could not be written; the answer is cut short",
			zap.String("account", b.account.Name()), zap.String("id", r.ID), zap.String("outcome", r.Outcome), zap.Error(err))
	}
	return err == nil
}
