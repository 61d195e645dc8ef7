package keyauth

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate-llm/tollgate/app/limits"
	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// reservation is what one call holds of its limits.
type reservation struct {
	h      *Handler
	state  *keys.State
	header http.Header // of the answer

	keeper  *limits.Keeper
	release func() // of the keeper; nil where the call has no limits
	held    bool
}

// reserve is the call's step of OnReserve: it reserves what the call may use at most of all its limits, or of none.
func (r *reservation) reserve(ctx context.Context, c *llm.Call) *llm.Error {
	var space [4]*llm.Target
	targets := space[:0]
	if c.Candidates != nil {
		targets = c.Candidates(targets)
	}
	list, refused := r.limitsOf(ctx, c, targets)
	if len(list) == 0 || refused != nil {
		return refused
	}
	if c.Quote == nil {
		return &llm.Error{
			Status: http.StatusServiceUnavailable, Type: "service_unavailable",
			Message: "this call has limits, and what it uses is not counted: the gateway's configuration needs `lagobilling` before `llmroute`",
		}
	}
	var err error
	if r.keeper, r.release, err = r.h.limits.Acquire(ctx); err != nil {
		return limitsAway(err)
	}
	if err := r.keeper.Await(ctx); err != nil {
		return limitsAway(err)
	}
	res := &limit.Reservation{ID: c.ID, Limits: list}
	if refused := estimate(res, c, targets, &r.keeper.Outputs); refused != nil {
		return refused
	}
	g, err := r.keeper.Reserve(ctx, res)
	if err != nil {
		return r.refusal(c, err)
	}
	r.held = true
	r.granted(c, list, g)
	return nil
}

// limitsOf returns the limits that the call comes under.
func (r *reservation) limitsOf(ctx context.Context, c *llm.Call, targets []*llm.Target) ([]limit.Limit, *llm.Error) {
	cache, release, err := r.h.keys.Acquire(ctx)
	if err != nil {
		return nil, keys.StoreDown(err)
	}
	defer release()
	s := keys.Subject{Models: make([]string, 0, 4), Payer: c.Payer, Tokens: r.h.tokens, Now: cache.Now(), Bounds: r.h.bounds}
	if c.Request.Asked != "" {
		s.Models = append(s.Models, c.Request.Asked)
	}
	for _, t := range targets {
		if !slices.Contains(s.Models, t.Model) {
			s.Models = append(s.Models, t.Model)
		}
	}
	list, err := cache.LimitsOf(ctx, r.state, &s)
	if err != nil {
		if refused, ok := errors.AsType[*llm.Error](err); ok {
			return nil, refused
		}
		return nil, keys.StoreDown(err)
	}
	return r.h.ownLimits(list, r.state.Identity, c.Request.Session), nil
}

// granted notes an admission on the call.
func (r *reservation) granted(c *llm.Call, list []limit.Limit, g *limit.Grant) {
	a := &llm.Admission{At: g.At, Counters: make([]llm.Counter, 0, len(g.Counters))}
	for i := range list {
		if name := list[i].Counter(g.At); !slices.ContainsFunc(a.Counters, func(c llm.Counter) bool { return c.Name == name }) {
			a.Counters = append(a.Counters, llm.Counter{Name: name, Model: list[i].Model})
		}
	}
	c.Admission = a
	if g.Local {
		limits.Local.Inc()
	}
	r.h.passed(c, g)
	r.announce(c, g.States, g.At)
	c.OnSettle(func(s *llm.Settlement) {
		if s.Counts != nil && s.Counts.OutputTokens() > 0 {
			r.keeper.Outputs.Observe(s.Target.Model, s.Counts.OutputTokens()/max(1, c.Request.N))
		}
		r.keeper.Finish(c.ID) // before the client has its answer's end, and calls again
	})
}

// end gives back what a call without a record holds. All other reservations end when the record is counted.
func (r *reservation) end(c *llm.Call) {
	if r.release == nil {
		return
	}
	defer r.release()
	switch {
	case !r.held:
	case c.Opened:
		r.keeper.Finish(c.ID)
	default:
		r.keeper.Release(c.ID)
	}
}

// refusal is the answer to a call that was not admitted.
func (r *reservation) refusal(c *llm.Call, err error) *llm.Error {
	if denied, ok := errors.AsType[*limit.DeniedError](err); ok {
		limits.Denials.WithLabelValues(string(denied.Scope.Kind), string(denied.Metric)).Inc()
		r.announce(c, []limit.State{denied.State}, time.Now())
		return r.h.denial(denied, c)
	}
	if errors.Is(err, limit.ErrAway) {
		return limitsAway(err)
	}
	if errors.Is(err, context.Canceled) {
		return llm.ClientGone()
	}
	r.h.logger.Error("a call could not be judged by its limits", zap.Error(err))
	return &llm.Error{Status: http.StatusInternalServerError, Type: "internal_server_error", Message: "the limits of this call cannot be checked", Err: err}
}

// limitsAway is the answer while limits cannot be checked.
func limitsAway(err error) *llm.Error {
	return &llm.Error{
		Status: http.StatusServiceUnavailable, Type: "service_unavailable", RetryAfter: time.Second, Err: err,
		Message: "the limits of this call cannot be checked at the moment; try again",
	}
}
