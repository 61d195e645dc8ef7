package keyauth

import (
	"context"

	"github.com/tollgate-llm/tollgate/app"
)

// health checks the key store and, where calls with limits are refused without it, the store of limits.
func (h *Handler) health(ctx context.Context) []app.Check {
	out := app.Check{Name: "store", Status: app.HealthDown, Reason: "the key store is not open"}
	cache, release, err := h.keys.Acquire(ctx)
	if err != nil {
		return []app.Check{out}
	}
	defer release()
	serves, failed := cache.Ready(ctx, h.bounds.Stale)
	switch {
	case failed == nil:
		out.Status, out.Reason = app.HealthOK, ""
	case serves:
		out.Status, out.Reason = app.HealthDegraded, "the key store does not answer: keys that it confirmed lately still work"
	default:
		out.Reason = "the key store does not answer"
	}
	if !h.limitsDeny {
		return []app.Check{out}
	}
	limits := app.Check{Name: "limits", Status: app.HealthOK}
	// The store of limits finds out that it is away by the next call that has limits; the key store was asked just now.
	if failed != nil || h.limitsAway(ctx) {
		limits.Status, limits.Reason = app.HealthDown, "the store of limits does not answer: calls with limits are refused (on_store_failure deny)"
	}
	return []app.Check{out, limits}
}

// limitsAway reports whether the store of limits did not answer when it was last asked.
func (h *Handler) limitsAway(ctx context.Context) bool {
	keeper, release, err := h.limits.Acquire(ctx)
	if err != nil {
		return true
	}
	defer release()
	return keeper.Away() != nil
}
