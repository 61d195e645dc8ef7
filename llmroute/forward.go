package llmroute

import (
	"context"
	"math/rand/v2"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate-llm/tollgate/internal/body"
	"github.com/tollgate-llm/tollgate/internal/endpoint"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/llmroute/provider"
	"github.com/tollgate-llm/tollgate/llmroute/upstream"
)

// longestPause bounds the wait before a backend is asked again.
const longestPause = 5 * time.Second

// forward makes the attempts, one after the other, until one is answered. The first goes to the planned target. d may send
// it elsewhere when the prompt is refused; it is nil where the model has no such way.
func (h *Handler) forward(w http.ResponseWriter, r *http.Request, call *llm.Call, ep *endpoint.Endpoint, b *body.Body, tries []try, d *detours) *llm.Error {
	publish(r, call)
	var (
		res     upstream.Result
		refused func(upstream.Refusal) bool
		other   []try // after a prompt that was refused
	)
	if d != nil {
		refused = func(why upstream.Refusal) bool {
			other = d.next(why, tries)
			return len(other) > 0
		}
	}
	for first := true; ; first = false {
		t := &tries[0]
		target := call.Target()
		if !first {
			if !h.wait(r.Context(), t.round, res.RetryAfter) || call.ClientGone() {
				return llm.ClientGone()
			}
			target = t.target()
		}
		last := len(tries) == 1
		at := call.Begin(target)
		res = t.server().sender.Send(w, r, upstream.Attempt{
			Attempt: at, Metered: call.Metered, Last: last, Refused: refused,
			Call: provider.Call{Endpoint: ep, Body: b, Upstream: target.Upstream, Query: r.URL.RawQuery},
		})
		if res.Err == nil {
			return nil
		}
		if c := h.logger.Check(zap.WarnLevel, "attempt failed"); c != nil {
			c.Write(zap.String("model", target.Model), zap.String("backend", target.Backend), zap.Bool("last", last && !res.Refused), zap.Error(res.Err))
		}
		if fault := b.Fault(); fault != nil {
			return unreadable(fault)
		}
		if res.Refused {
			tries = other
			continue
		}
		if last || at.Answered() || res.Spent {
			return unanswered(&res, target.Model)
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
func unanswered(res *upstream.Result, model string) *llm.Error {
	e := refusal(http.StatusBadGateway, "api_connection_error", "", "the backend of model "+model+" could not be reached")
	e.Err = res.Err
	if res.Timeout {
		e.Status, e.Type = http.StatusGatewayTimeout, "timeout_error"
		e.Message = "the backend of model " + model + " did not answer in time"
		return e
	}
	if handlerError(res.Err) == http.StatusServiceUnavailable {
		e.Status, e.Type, e.RetryAfter = http.StatusServiceUnavailable, "service_unavailable", time.Second
		e.Message = "no backend of model " + model + " is available at the moment"
	}
	return e
}
