package llmroute

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/tollgate-llm/tollgate/app/setting"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// ownLimits resolves the limits of each backend and of its provider.
func (h *Handler) ownLimits() error {
	providers := make(map[string][]limit.Limit, len(h.ProviderLimits))
	for name, written := range h.ProviderLimits {
		list, err := scoped(written, limit.Scope{Kind: limit.Provider, ID: name})
		if err != nil {
			return fmt.Errorf("provider_limits %s: %w", name, err)
		}
		providers[name] = list
	}
	used := make(map[string]bool)
	for _, m := range h.Models {
		name, err := modelName("model", m.Names[0])
		if err != nil {
			return err
		}
		for _, b := range m.Backends {
			used[b.Provider] = true
			if b.limits, err = scoped(b.Limits, limit.Scope{Kind: limit.Backend, ID: limit.BackendID(name, b.name)}); err != nil {
				return fmt.Errorf("model %s, backend %s: limits: %w", name, b.name, err)
			}
			b.limits = append(b.limits, providers[b.Provider]...)
		}
	}
	for name := range providers {
		if !used[name] {
			return fmt.Errorf("provider_limits %s: no model has a backend of that provider", name)
		}
	}
	return nil
}

func scoped(written *setting.Limits, s limit.Scope) ([]limit.Limit, error) {
	list, err := written.Resolve(limit.Tokens)
	for i := range list {
		list[i].Scope = s
	}
	return list, err
}

// leaveOut returns a function that removes a target at its limit from the plan.
func (h *Handler) leaveOut(w http.ResponseWriter, d *dispatch) func(*llm.Target, *llm.Error) bool {
	return func(t *llm.Target, why *llm.Error) bool {
		d.leftOut = append(d.leftOut, t)
		d.attempts = d.serving(d.attempts)
		if len(d.attempts) > 0 {
			d.call.Plan(d.attempts[0].target())
		}
		if !h.HideRoute {
			w.Header().Add("X-Tollgate-Left-Out", t.Model+"/"+t.Backend+": "+why.Type)
		}
		if c := h.logger.Check(zap.DebugLevel, "left out of the plan"); c != nil {
			c.Write(zap.String("model", t.Model), zap.String("backend", t.Backend), zap.String("reason", why.Message))
		}
		return len(d.attempts) > 0
	}
}

// serving returns the attempts whose backends are not left out.
func (d *dispatch) serving(attempts []attempt) []attempt {
	if len(d.leftOut) == 0 {
		return attempts
	}
	kept := make([]attempt, 0, len(attempts))
	for i := range attempts {
		if !slices.ContainsFunc(d.leftOut, attempts[i].target().Same) {
			kept = append(kept, attempts[i])
		}
	}
	return kept
}

// uncounted refuses a call to a backend with limits if nothing enforces them.
func uncounted(call *llm.Call, t *llm.Target) *llm.Error {
	if call.Keyed || len(t.Limits) == 0 {
		return nil
	}
	return refusal(http.StatusServiceUnavailable, "service_unavailable", "",
		"a backend of this model has limits, and nothing enforces them: the gateway's configuration needs `keyauth` before `llmroute`")
}

// unmarshalLimits parses a block of limits.
func unmarshalLimits(d *caddyfile.Dispenser) (*setting.Limits, error) {
	l, seen := new(setting.Limits), make(setting.Seen)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		known, err := l.Unmarshal(d, seen)
		if err != nil {
			return nil, err
		}
		if !known {
			return nil, d.Errf("unrecognized subdirective of limits: %s", d.Val())
		}
	}
	return l, nil
}

// next skips the upcoming attempts whose backends are at their limits. It reports whether an attempt is left.
func (d *dispatch) next(ctx context.Context) bool {
	for len(d.attempts) > 0 {
		t := d.attempts[0].target()
		refused := uncounted(d.call, t)
		if refused == nil {
			refused = d.call.Next(ctx, t)
		}
		if refused == nil {
			return true
		}
		d.call.LeaveOut(t, refused)
	}
	return false
}
