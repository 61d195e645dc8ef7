package lagobilling

import (
	"context"

	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/tariff"
)

// HoldAccount returns the handler's account, which stays open until release is called.
func (h *Handler) HoldAccount(ctx context.Context) (a *account.Account, release func(), err error) {
	return h.account.Acquire(ctx)
}

// Tariff returns the current tariff.
func (h *Handler) Tariff() *tariff.Tariff {
	if h.views != nil {
		if v := h.views.Load(); v != nil {
			return v.handler.tariff
		}
	}
	return h.tariff
}
