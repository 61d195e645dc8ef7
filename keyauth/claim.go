package keyauth

import (
	"cmp"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// claim is what a call may use at one of the targets that it may come to.
type claim struct {
	limit.Claim
	target  *llm.Target
	refused *llm.Error // it has no price, and a budget needs one

	unbounded bool  // nothing bounds its answer: the output is what such answers come to
	guessed   bool  // it is all that the model can take or give, as what it will be is not known
	output    int64 // the tokens that the answers are taken for
}

// more raises a claim to what the call may use at a further target.
func more(a *limit.Claim, b *limit.Claim) {
	if b.Cost.Cmp(a.Cost) > 0 {
		a.Cost = b.Cost
	}
	a.InputTokens, a.OutputTokens = max(a.InputTokens, b.InputTokens), max(a.OutputTokens, b.OutputTokens)
}

// concerns reports whether a limit is of calls that come to a target. asked is the model's name as the client wrote it.
func concerns(l *limit.Limit, asked string, t *llm.Target) bool {
	switch {
	case own(l):
		return slices.Contains(t.Limits, *l)
	case l.Model == "":
		return true
	}
	return l.Model == t.Model || llm.Match(l.Model, t.Model) || l.Model == asked || llm.Match(l.Model, asked)
}

// own reports whether a limit is of a backend or a provider.
func own(l *limit.Limit) bool { return l.Scope.Kind == limit.Backend || l.Scope.Kind == limit.Provider }

// claim notes on a reservation what the call may use: of each limit the most of the targets that it concerns.
func (r *reservation) claim(res *limit.Reservation, c *llm.Call, claims []claim) {
	var all limit.Claim
	for i := range claims {
		more(&all, &claims[i].Claim)
	}
	res.Cost, res.InputTokens, res.OutputTokens = all.Cost, all.InputTokens, all.OutputTokens
	if len(claims) <= 1 {
		return
	}
	res.Claims = make([]limit.Claim, len(res.Limits))
	for i := range res.Limits {
		for j := range claims {
			if concerns(&res.Limits[i], c.Request.Asked, claims[j].target) {
				more(&res.Claims[i], &claims[j].Claim)
			}
		}
	}
}

// full returns the targets for which a limit has no room.
func full(d *limit.DeniedError, c *llm.Call, claims []claim) []*llm.Target {
	var some, all []*llm.Target
	for i := range claims {
		if !concerns(&d.Limit, c.Request.Asked, claims[i].target) {
			continue
		}
		all = append(all, claims[i].target)
		if !d.Fits(&claims[i].Claim) {
			some = append(some, claims[i].target)
		}
	}
	if some == nil { // which of them needed so much is not known
		return all
	}
	return some
}

// outcome is why a call was not admitted with all the targets of its plan.
type outcome struct {
	targets []*llm.Target      // those for which there is no room; empty where that is not the reason
	why     *llm.Error         // the answer where there are no others
	denied  *limit.DeniedError // nil where it is not a limit that is full
}

// unpriced is the outcome where the call has no price at some of its targets, although a budget needs one.
func unpriced(claims []claim) (out outcome) {
	for i := range claims {
		if claims[i].refused != nil {
			out.targets, out.why = append(out.targets, claims[i].target), cmp.Or(out.why, claims[i].refused)
		}
	}
	return out
}

// count counts a limit that is full.
func (o *outcome) count(to *prometheus.CounterVec) {
	if o.denied != nil {
		to.WithLabelValues(string(o.denied.Scope.Kind), string(o.denied.Metric)).Inc()
	}
}

// without takes the targets that have no room out of the call's plan, and reports whether the call may go on. A call whose own
// model has no room in the limits of its caller is refused, whatever room other models have; where only backends have none, it may
// go to other models.
func (r *reservation) without(c *llm.Call, out *outcome, left []claim) (more bool) {
	if len(out.targets) == 0 || c.LeaveOut == nil {
		return false
	}
	if out.denied == nil || !own(&out.denied.Limit) {
		there, stays := false, false
		for i := range left {
			if t := left[i].target; t.Model == r.asked {
				there, stays = true, stays || !slices.ContainsFunc(out.targets, t.Same)
			}
		}
		if there && !stays {
			return false
		}
	}
	for _, t := range out.targets {
		more = c.LeaveOut(t, out.why)
	}
	return more
}
