package keyauth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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
	settled bool   // the call's record is written
	asked   string // the configured model that was asked for
}

// reserve is the call's step of OnReserve: it reserves what the call may use at most of all its limits, or of none. A fallback
// model or a backend for which there is no room is left out of the call's plan. Where nothing is left, the call is refused for the
// reason of what was planned first.
func (r *reservation) reserve(ctx context.Context, c *llm.Call) *llm.Error {
	if c.Endpoint != nil && c.Endpoint.Billing == llm.Local { // it uses nothing that is limited
		return nil
	}
	var first *llm.Error
	for {
		var space [4]*llm.Target
		targets := space[:0]
		if c.Candidates != nil {
			targets = c.Candidates(targets)
		}
		list, refused := r.limitsOf(ctx, c, targets)
		if refused != nil {
			return refused
		}
		if len(targets) > 0 {
			list = append(list, targets[0].Limits...) // those of other backends are looked at when the call goes there
			if r.asked == "" {
				r.asked = targets[0].Model
			}
		}
		if len(list) == 0 {
			return nil
		}
		if refused := r.acquire(ctx, c); refused != nil {
			return refused
		}
		res := &limit.Reservation{ID: c.ID, Limits: list}
		claims := estimate(list, c, targets, &r.keeper.Outputs, false)
		out := unpriced(claims)
		if out.why == nil {
			r.claim(res, c, claims)
			g, err := r.keeper.Reserve(ctx, res)
			if tooMuch(err, c, claims) {
				claims = estimate(list, c, targets, &r.keeper.Outputs, true)
				r.claim(res, c, claims)
				g, err = r.keeper.Reserve(ctx, res)
			}
			if err == nil {
				r.granted(c, list, g)
				return nil
			}
			out = r.refusal(c, claims, err)
		}
		if first == nil && len(targets) > 0 && slices.ContainsFunc(out.targets, targets[0].Same) {
			first = out.why
		}
		if !r.without(c, &out, claims) {
			out.count(limits.Denials)
			if out.denied != nil && (first == nil || first == out.why) {
				r.announce(c, []limit.State{out.denied.State}, time.Now())
			}
			return cmp.Or(first, out.why)
		}
		out.count(limits.LeftOut)
	}
}

// acquire gets the store of limits, once.
func (r *reservation) acquire(ctx context.Context, c *llm.Call) (refused *llm.Error) {
	if r.release != nil {
		return nil
	}
	if c.Quote == nil {
		return &llm.Error{
			Status: http.StatusServiceUnavailable, Type: "service_unavailable",
			Message: "this call has limits, and what it uses is not counted: the gateway's configuration needs `lagobilling` before `llmroute`",
		}
	}
	var err error
	if r.keeper, r.release, err = r.h.limits.Acquire(ctx); err == nil {
		err = r.keeper.Await(ctx)
	}
	if err != nil {
		return limitsAway(err)
	}
	return nil
}

// next is the call's step of OnNext: it reserves what the limits of a further backend need.
func (r *reservation) next(ctx context.Context, c *llm.Call, t *llm.Target) *llm.Error {
	if len(t.Limits) == 0 {
		return nil
	}
	if refused := r.acquire(ctx, c); refused != nil {
		return refused
	}
	claims := estimate(t.Limits, c, []*llm.Target{t}, &r.keeper.Outputs, false)
	if claims[0].refused != nil {
		return claims[0].refused
	}
	res := &limit.Reservation{ID: c.ID, Limits: t.Limits}
	r.claim(res, c, claims)
	g, err := r.keeper.Reserve(ctx, res)
	if tooMuch(err, c, claims) {
		claims = estimate(t.Limits, c, []*llm.Target{t}, &r.keeper.Outputs, true)
		r.claim(res, c, claims)
		g, err = r.keeper.Reserve(ctx, res)
	}
	if err != nil {
		out := r.refusal(c, claims, err)
		out.count(limits.LeftOut)
		return out.why
	}
	r.granted(c, t.Limits, g)
	return nil
}

// limitsOf returns the limits that the call comes under.
func (r *reservation) limitsOf(ctx context.Context, c *llm.Call, targets []*llm.Target) ([]limit.Limit, *llm.Error) {
	cache, release, err := r.h.keys.Acquire(ctx)
	if err != nil {
		return nil, keys.StoreDown(err)
	}
	defer release()
	s := keys.Subject{Models: make([]string, 0, 4), Payer: c.Payer, CustomerBudget: r.h.policy.CustomerBudget(), Tokens: r.h.tokens, Now: cache.Now(), Bounds: r.h.bounds}
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
	again := r.held
	r.held = true
	if c.Admission == nil {
		c.Admission = &llm.Admission{At: g.At, Counters: make([]llm.Counter, 0, len(g.Counters))}
	}
	a := c.Admission
	for i := range list {
		name := g.States[i].Counter
		if slices.ContainsFunc(a.Counters, func(c llm.Counter) bool { return c.Name == name }) {
			continue
		}
		counter := llm.Counter{Name: name, Model: list[i].Model}
		if own(&list[i]) {
			counter.Own = &list[i]
		}
		a.Counters = append(a.Counters, counter)
	}
	if g.Local {
		limits.Local.Inc()
	}
	r.h.passed(c, g)
	if again {
		return
	}
	r.announce(c, g.States, g.At)
	c.OnSettle(func(s *llm.Settlement) {
		r.settled = true
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
	case c.Opened && r.settled:
		r.keeper.Finish(c.ID)
	case c.Opened:
		r.keeper.Abandon(c.ID)
	default:
		r.keeper.Release(c.ID)
	}
}

// tooMuch reports whether a budget refuses a call of the model planned first for no other reason than that nothing is known of that
// model's answers yet.
func tooMuch(err error, c *llm.Call, claims []claim) bool {
	denied, ok := errors.AsType[*limit.DeniedError](err)
	return ok && denied.Metric == limit.Cost && len(claims) > 0 && claims[0].guessed && slices.Contains(full(denied, c, claims), claims[0].target)
}

// refusal reports why a call was not admitted.
func (r *reservation) refusal(c *llm.Call, claims []claim, err error) outcome {
	if denied, ok := errors.AsType[*limit.DeniedError](err); ok {
		out := outcome{targets: full(denied, c, claims), denied: denied}
		if own(&denied.Limit) {
			out.why = noRoom(denied, c)
			return out
		}
		out.why = r.h.denial(denied, c)
		if denied.Metric == limit.Cost && slices.ContainsFunc(claims, func(c claim) bool { return c.unbounded }) && len(llm.BoundMembers(c.Endpoint)) > 0 {
			most := slices.MaxFunc(claims, func(a, b claim) int { return cmp.Compare(a.output, b.output) }).output
			out.why.Message += fmt.Sprintf(" (nothing bounds the answer's length, which is taken for up to %d tokens: send %s)", most, llm.BoundMembers(c.Endpoint)[0])
		}
		return out
	}
	switch {
	case errors.Is(err, limit.ErrAway):
		return outcome{why: limitsAway(err)}
	case errors.Is(err, context.Canceled):
		return outcome{why: llm.ClientGone()}
	}
	r.h.logger.Error("a call could not be judged by its limits", zap.Error(err))
	return outcome{why: &llm.Error{
		Status: http.StatusInternalServerError, Type: "internal_server_error", Message: "the limits of this call cannot be checked", Err: err,
	}}
}

// limitsAway is the answer while limits cannot be checked.
func limitsAway(err error) *llm.Error {
	return &llm.Error{
		Status: http.StatusServiceUnavailable, Type: "service_unavailable", RetryAfter: time.Second, Err: err,
		Message: "the limits of this call cannot be checked at the moment; try again",
	}
}
