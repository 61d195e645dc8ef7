package keyauth

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/price"
)

// number writes an amount as a JSON number, to the last digit.
func number(a price.Amount) json.Number { return json.Number(a.String()) }

// denial is the answer to a call that a limit does not admit, in LiteLLM's words and types.
func (h *Handler) denial(d *limit.DeniedError, c *llm.Call) *llm.Error {
	id := describe(d.Scope, c.Identity.KeyName, c.Request.Session)
	e := &llm.Error{Err: d, Details: []llm.Detail{{Name: "scope", Value: string(d.Scope.Kind)}, {Name: "id", Value: id}}}
	if d.Model != "" {
		e.Details = append(e.Details, llm.Detail{Name: "model", Value: d.Model})
	}
	if d.Metric == limit.Cost {
		e.Status, e.Type, e.Final = h.spent, "budget_exceeded", true
		e.Message = fmt.Sprintf("Budget has been exceeded! %s=%s Current cost: %s, Max budget: %s, Reserved by calls under way: %s, Estimated request cost: %s",
			title(d.Scope.Kind), id, d.Spent, d.Money, d.Reserved, d.NeededMoney)
		e.Details = append(e.Details,
			llm.Detail{Name: "limit", Value: number(d.Money)}, llm.Detail{Name: "spent", Value: number(d.Spent)},
			llm.Detail{Name: "reserved", Value: number(d.Reserved)}, llm.Detail{Name: "needed", Value: number(d.NeededMoney)})
	} else {
		e.Status, e.Type, e.RetryAfter, e.Final = http.StatusTooManyRequests, "rate_limit_error", max(time.Second, d.RetryAfter), d.Never
		what := limitType(d.Metric)
		e.Message = fmt.Sprintf("Rate limit exceeded for %s: %s. Limit type: %s. Current limit: %d, Remaining: %d.", d.Scope.Kind, id, what, d.Max, d.Remaining())
		if d.Never {
			e.RetryAfter = 0
			e.Message += fmt.Sprintf(" The request may use %d, more than the whole limit: waiting does not help.", d.Needed)
		} else if d.Metric != limit.Parallel {
			at := time.Now().Add(e.RetryAfter).UTC()
			e.Message += " Limit resets at: " + at.Format("2006-01-02 15:04:05 UTC")
			d.ResetsAt = at
		}
		e.Details = append(e.Details, llm.Detail{Name: "limit", Value: d.Max}, llm.Detail{Name: "limit_type", Value: what}, llm.Detail{Name: "used", Value: d.Used})
	}
	var resets any
	if !d.ResetsAt.IsZero() {
		resets = d.ResetsAt.UTC().Format(time.RFC3339)
	}
	e.Details = append(e.Details, llm.Detail{Name: "resets_at", Value: resets})
	if d.Local {
		e.Details = append(e.Details, llm.Detail{Name: "store_away", Value: true})
	}
	return e
}

// noRoom is the answer to a call for which the limits of no backend have room. It does not name the backend.
func noRoom(d *limit.DeniedError, c *llm.Call) *llm.Error {
	e := &llm.Error{
		Status: http.StatusTooManyRequests, Type: "rate_limit_error", RetryAfter: max(time.Second, d.RetryAfter), Err: d, Final: d.Never,
		Message: fmt.Sprintf("The backends of the model %q have no room for this call. Limit type: %s.", c.Request.Asked, limitType(d.Metric)),
		Details: []llm.Detail{{Name: "scope", Value: string(d.Scope.Kind)}, {Name: "limit_type", Value: limitType(d.Metric)}},
	}
	if d.Never {
		e.RetryAfter = 0
		e.Message += " It may use more than a whole limit: waiting does not help."
	}
	return e
}

// limitType names a metric as LiteLLM's messages do.
func limitType(m limit.Metric) string {
	if m == limit.Parallel {
		return "max_parallel_requests"
	}
	return string(m)
}

// title names a kind of scope as LiteLLM's messages do.
func title(k limit.Kind) string {
	switch k {
	case limit.Key:
		return "Key"
	case limit.Team:
		return "Team"
	case limit.Member:
		return "TeamMember"
	case limit.User:
		return "User"
	case limit.Customer:
		return "EndUser"
	case limit.Budget:
		return "Budget"
	case limit.Session:
		return "Session"
	case limit.Gateway:
		return "Proxy"
	case limit.Backend:
		return "Deployment"
	case limit.Provider:
		return "Provider"
	}
	return string(k)
}

// announced are the limits that headers tell of, with the names that OpenAI's and Anthropic's APIs have for them.
var announced = [...]struct {
	metric            limit.Metric
	openAI, anthropic headers
}{
	{limit.Requests, openAIHeaders("Requests"), anthropicHeaders("Requests")},
	{limit.Tokens, openAIHeaders("Tokens"), anthropicHeaders("Tokens")},
	{limit.InputTokens, openAIHeaders("Input-Tokens"), anthropicHeaders("Input-Tokens")},
	{limit.OutputTokens, openAIHeaders("Output-Tokens"), anthropicHeaders("Output-Tokens")},
}

// headers are the canonical names of those that tell of one limit.
type headers struct{ limit, remaining, reset string }

func openAIHeaders(name string) headers {
	const prefix = "X-Ratelimit-"
	return headers{prefix + "Limit-" + name, prefix + "Remaining-" + name, prefix + "Reset-" + name}
}

func anthropicHeaders(name string) headers {
	prefix := "Anthropic-Ratelimit-" + name
	return headers{prefix + "-Limit", prefix + "-Remaining", prefix + "-Reset"}
}

// announce sets the headers that report limits: of each kind, the one with the least left.
func (r *reservation) announce(c *llm.Call, states []limit.State, now time.Time) {
	var least [len(announced)]*limit.State
	budget := false
	for i := range states {
		st := &states[i]
		if own(&st.Limit) {
			continue
		}
		if st.Metric == limit.Cost {
			if st.Scope.Kind == limit.Key && st.Model == "" && !st.Soft && !budget {
				budget = true
				r.header.Set("X-Litellm-Key-Spend", st.Spent.String())
				r.header.Set("X-Litellm-Key-Max-Budget", st.Money.String())
			}
			continue
		}
		for i := range announced {
			if announced[i].metric == st.Metric && (least[i] == nil || st.Remaining() < least[i].Remaining()) {
				least[i] = st
			}
		}
	}
	anthropic := c.Endpoint != nil && c.Endpoint.API == llm.Anthropic
	for i, st := range least {
		if st == nil {
			continue
		}
		names, resets := &announced[i].openAI, later(st.ResetsAt, now)
		if anthropic {
			names = &announced[i].anthropic
			r.header.Set(names.reset, resets.UTC().Format(time.RFC3339))
		} else {
			r.header.Set(names.reset, resets.Sub(now).Round(time.Millisecond).String())
		}
		r.header.Set(names.limit, strconv.FormatInt(st.Max, 10))
		r.header.Set(names.remaining, strconv.FormatInt(st.Remaining(), 10))
	}
}

// later returns when a limit begins anew: now, where nothing of it is used.
func later(resets, now time.Time) time.Time {
	if resets.Before(now) {
		return now
	}
	return resets
}
