package lagobilling

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// What a hang-up led to.
const (
	hangupDrained   = "drained"   // the answer was read on after the client was gone
	hangupCancelled = "cancelled" // the upstream was cancelled
)

// hangup keeps a call apart from its client's connection, so that a client that hangs up does not take the call's usage
// with it. The upstream's request has a context of its own, which ends by policy and not by itself.
type hangup struct {
	cancel context.CancelFunc
	quit   context.Context //nolint:containedctx // the account's: its end cancels the upstream as well
	stop   func() bool     // ends the watch for the client's hang-up

	gone      atomic.Bool
	cancelled atomic.Bool

	mu    sync.Mutex
	over  bool // the handlers have returned
	slot  bool // a drain slot is held
	timer *time.Timer
}

// attach returns the request with the context that the upstream is to have.
func (m *meter) attach(ctx context.Context, r *http.Request) *http.Request {
	m.quit = m.account.Context()
	own, cancel := context.WithCancel(valuesOf{m.quit, ctx})
	m.cancel = cancel
	m.stop = context.AfterFunc(ctx, m.hangUp)
	return r.WithContext(own)
}

// valuesOf is a context that ends with the first and has the values of the second, whose end is another matter.
type valuesOf struct {
	context.Context
	values context.Context //nolint:containedctx // what it is for
}

// Value asks the first context first: package context finds there what it cancels children by.
func (v valuesOf) Value(key any) any {
	if value := v.Context.Value(key); value != nil {
		return value
	}
	return v.values.Value(key)
}

// clientGone reports whether the client hung up.
func (h *hangup) clientGone() bool { return h.gone.Load() }

// hangUp is called when the client has hung up. The drain slot is claimed now and not at the next byte: a burst of
// hang-ups before the first byte must not hold more connections than there are slots.
func (m *meter) hangUp() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.over || m.gone.Swap(true) {
		return
	}
	m.call.SetClientGone()
	if !m.drains() || !m.account.ClaimDrain() {
		m.cutOff()
		return
	}
	m.slot = true
	m.timer = time.AfterFunc(m.h.drain, m.cutOff)
}

// drains says whether the policy is to read the answer to its end. A call that was not forwarded yet is not worth it.
func (m *meter) drains() bool {
	t := m.call.Target()
	if t == nil {
		return false
	}
	switch m.h.disconnect {
	case "drain":
		return true
	case "cancel":
		return false
	}
	return t.Drain
}

// cutOff cancels the upstream.
func (h *hangup) cutOff() {
	h.cancelled.Store(true)
	h.cancel()
}

// detach ends the watch: the handlers have returned.
func (m *meter) detach() {
	m.stop()
	m.mu.Lock()
	m.over = true
	if m.timer != nil {
		m.timer.Stop()
	}
	slot := m.slot
	m.slot = false
	m.mu.Unlock()
	if slot {
		m.account.ReleaseDrain()
	}
	m.cancel()
}

// label says what the hang-up led to; empty while the client is there.
func (h *hangup) label() string {
	switch {
	case !h.gone.Load():
		return ""
	case h.cancelled.Load() || h.quit.Err() != nil:
		return hangupCancelled
	}
	return hangupDrained
}
