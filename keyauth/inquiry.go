package keyauth

import (
	"context"

	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// Identify judges a key, named by its digest, as of now: who calls with it and what it may do, or why it may not be used.
func (h *Handler) Identify(ctx context.Context, sum keys.Digest) (*keys.State, *llm.Error) {
	if h.isMaster(sum) {
		return &masterState, nil
	}
	v := h.lookup(ctx, sum, "")
	if v.refusal != nil {
		return nil, v.refusal
	}
	return v.state, nil
}

// Service returns the service of the handler's keys. It is open until release is called. Its errors are *llm.Error.
func (h *Handler) Service(ctx context.Context) (s *keys.Service, release func(), err error) {
	cache, release, err := h.keys.Acquire(ctx)
	if err != nil {
		return nil, nil, keys.StoreDown(err)
	}
	return keys.NewService(cache, h.master).Under(h.policy), release, nil
}
