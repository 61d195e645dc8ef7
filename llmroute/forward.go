package llmroute

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate-llm/tollgate/internal/body"
	"github.com/tollgate-llm/tollgate/internal/endpoint"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/llmroute/upstream"
)

// longestPause bounds the wait before a backend is retried.
const longestPause = 5 * time.Second

// dispatch is the state of a call.
type dispatch struct {
	call     *llm.Call
	arrival  *arrival
	endpoint *endpoint.Endpoint
	body     *body.Body
	unsealed *body.Body // the body for backends that speak the caller's API, if it differs
	entry    *entry     // of the requested model
	attempts []attempt  // the next one first
	shown    upstream.Shown

	ready sent // the planned attempt's body, if it has been translated

	leftOut []*llm.Target // backends at their limits

	on   upstream.Refusal // the reason whose fallback list the attempts come from
	used [upstream.Refusals]bool

	tried              *entry // entry of the previous attempt; nil before the first
	retries, fallbacks int    // attempts after the first: with the same model, and with fallbacks
}

// describe sets the response headers that report the backend and the number of attempts.
func (d *dispatch) describe(header http.Header, a *attempt) {
	switch {
	case d.tried == nil:
	case d.tried.model == a.entry.model:
		d.retries++
	default:
		d.fallbacks++
	}
	d.tried = a.entry
	header["X-Tollgate-Backend"] = a.entry.labels[a.backend].backend
	header["X-Litellm-Model-Id"] = a.entry.labels[a.backend].id
	header["X-Litellm-Model-Group"] = []string{a.name}
	header["X-Litellm-Attempted-Retries"] = number(d.retries)
	header["X-Litellm-Attempted-Fallbacks"] = number(d.fallbacks)
}

var zero = []string{"0"}

func number(n int) []string {
	if n == 0 {
		return zero
	}
	return []string{strconv.Itoa(n)}
}

// forward makes attempts until one is answered. The first goes to the planned target.
func (h *Handler) forward(w http.ResponseWriter, r *http.Request, d *dispatch) *llm.Error {
	publish(r, d)
	defer h.trace(r.Context(), d).end()
	refused := d.onRefusal()
	var res upstream.Result
	for first := true; ; first = false {
		a := &d.attempts[0]
		target := d.call.Target()
		if !first {
			if !h.wait(r.Context(), a.round, res.RetryAfter) || d.call.ClientGone() {
				return llm.ClientGone()
			}
			if !d.next(r.Context()) {
				return unanswered(&res, target.Model)
			}
			a = &d.attempts[0]
			target = a.target()
		}
		last := len(d.attempts) == 1
		sent, untranslated := d.send(a, target, r.URL.RawQuery)
		if untranslated != nil {
			if !last {
				d.attempts = d.attempts[1:]
				continue
			}
			if res.Err != nil {
				return unanswered(&res, d.call.Target().Model)
			}
			return untranslated
		}
		if !h.HideRoute {
			d.describe(w.Header(), a)
		}
		begun := d.call.Begin(target)
		begun.Translate(sent.translation)
		nameLost(w.Header(), sent.translation)
		res = a.server().sender.Send(w, r, upstream.Attempt{
			Attempt: begun, Metered: d.call.Metered, Limited: d.call.Admission != nil, Last: last, Refused: refused, Late: d.arrival.late, Shown: &d.shown,
			Call: sent.call,
		})
		if res.KeyRefused != 0 {
			h.keyRefused(target, res.KeyRefused)
		}
		if res.Err == nil {
			return nil
		}
		begun.Fault = res.Fault(time.Now())
		if c := h.logger.Check(zap.WarnLevel, "attempt failed"); c != nil {
			c.Write(zap.String("model", target.Model), zap.String("backend", target.Backend), zap.Bool("last", last && !res.Refused), zap.Error(res.Err))
		}
		if d.arrival.late() {
			return notArrived(errBodyLate)
		}
		if fault := d.body.Fault(); fault != nil {
			return unreadable(fault)
		}
		switch {
		case res.Refused: // refused has replaced the plan
		case last || begun.Answered() || res.Spent:
			return unanswered(&res, target.Model)
		default:
			d.attempts = d.attempts[1:]
		}
	}
}

// keyRefused logs and counts that a provider refuses a backend's key.
func (h *Handler) keyRefused(t *llm.Target, status int) {
	keysRefused.WithLabelValues(t.Model, t.Backend, strconv.Itoa(status)).Inc()
	h.logger.Error("the provider refuses the backend's key",
		zap.String("model", t.Model), zap.String("backend", t.Backend), zap.String("base_url", t.BaseURL), zap.Int("status", status))
}

// wait waits before a backend is retried. It follows the backend's Retry-After if that is short. It returns
// false if the client hangs up.
func (h *Handler) wait(ctx context.Context, round int, retryAfter time.Duration) bool {
	if ctx.Err() != nil {
		return false
	}
	if round == 0 {
		return true
	}
	pause := min(h.pause<<min(round-1, 10), longestPause)
	pause = pause/2 + rand.N(pause/2+1) //nolint:gosec // spreads load, nothing is kept secret
	if retryAfter > 0 && retryAfter <= longestPause {
		pause = max(pause, retryAfter)
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// unanswered returns the error for the client if the last backend did not answer. It does not reveal the
// address.
func unanswered(res *upstream.Result, model string) *llm.Error {
	e := refusal(http.StatusBadGateway, "api_connection_error", "", "the backend of model "+model+" could not be reached")
	e.Err = res.Err
	if res.Timeout {
		e.Status, e.Type = http.StatusGatewayTimeout, "timeout_error"
		e.Message = "the backend of model " + model + " did not answer in time"
		return e
	}
	if errors.Is(res.Err, upstream.ErrUnavailable) {
		e.Status, e.Type, e.RetryAfter = http.StatusServiceUnavailable, "service_unavailable", time.Second
		e.Message = "no backend of model " + model + " is available at the moment"
	}
	return e
}
