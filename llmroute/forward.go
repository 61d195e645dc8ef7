package llmroute

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tollgate-llm/tollgate/internal/body"
	"github.com/tollgate-llm/tollgate/internal/endpoint"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/llmroute/provider"
)

// longestPause bounds the wait before a backend is asked again.
const longestPause = 5 * time.Second

var nothing = caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })

// forward makes the attempts, one after the other, until one is answered. The first goes to the planned target. d may send
// it elsewhere when the prompt is refused; it is nil where the model has no such way.
func (h *Handler) forward(w http.ResponseWriter, r *http.Request, call *llm.Call, ep *endpoint.Endpoint, b *body.Body, tries []try, d *detours) *llm.Error {
	publish(r, call)
	a := new(attempt)
	to := &client{ResponseWriter: w}
	for first := true; ; first = false {
		t := &tries[0]
		target := call.Target()
		if !first {
			if !h.wait(r.Context(), t.round, a.retryAfter) || call.ClientGone() {
				return llm.ClientGone()
			}
			target = t.target()
		}
		backend := t.server()
		*a = attempt{
			Attempt: call.Begin(target), backend: backend, client: to, header: r.Header, tries: tries, detours: d,
			Call: provider.Call{Endpoint: ep, Body: b, Upstream: target.Upstream, Query: r.URL.RawQuery},
		}
		a.prepare(ep.Streams && b.Stream && !b.UsageAsked && call.Metered && !backend.server.NoStreamOptions && !backend.denied.has(target.Upstream))
		err := backend.proxy.ServeHTTP(to, proxyRequest(r, a), nothing)
		if len(a.instead) > 0 {
			err = fmt.Errorf("the backend refused the prompt with %d", a.status)
		}
		if err == nil {
			return nil
		}
		if c := h.logger.Check(zap.WarnLevel, "attempt failed"); c != nil {
			c.Write(zap.String("model", target.Model), zap.String("backend", target.Backend), zap.Bool("last", a.last() && len(a.instead) == 0), zap.Error(err))
		}
		if a.status != 0 || r.Context().Err() == nil { // an attempt that was cut short by a hang-up did not fail
			a.SetFailed()
		}
		if fault := b.Fault(); fault != nil {
			return unreadable(fault)
		}
		if len(a.instead) > 0 {
			tries = a.instead
			continue
		}
		if a.last() || a.Answered() || a.payload.Spent() {
			return unanswered(err, target.Model)
		}
		tries = tries[1:]
	}
}

// wait pauses before a backend is asked again, as long as its answer asked for if that is short. It returns false when the
// client is gone.
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

// unanswered tells the client that the last backend gave no answer, without saying where it is.
func unanswered(err error, model string) *llm.Error {
	e := refusal(http.StatusBadGateway, "api_connection_error", "", "the backend of model "+model+" could not be reached")
	e.Err = err
	if f := failureOf(err); f != nil && f.timeout {
		e.Status, e.Type = http.StatusGatewayTimeout, "timeout_error"
		e.Message = "the backend of model " + model + " did not answer in time"
		return e
	}
	if handlerError(err) == http.StatusServiceUnavailable {
		e.Status, e.Type, e.RetryAfter = http.StatusServiceUnavailable, "service_unavailable", time.Second
		e.Message = "no backend of model " + model + " is available at the moment"
	}
	return e
}
