package lagobilling

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/settle"
)

// bounds are what a client that is gone, or takes nothing, is held to.
type bounds struct {
	// What is read of an answer whose client is gone and whose end is in sight: the event that ends a stream may repeat all that has passed.
	restTime  time.Duration
	restBytes int64
	restBody  int64 // of an answer that is one JSON object, whose length is not stated
	// A client that takes no byte for stallTime, to stallStep more, is taken for gone.
	stallTime, stallStep time.Duration
}

var usualBounds = bounds{restTime: 10 * time.Second, restBytes: 1 << 20, restBody: 64 << 20, stallTime: 2 * time.Minute, stallStep: 30 * time.Second}

// hangup keeps a call apart from its client's connection, so that a client that hangs up does not take the call's usage
// with it. The upstream's request has a context of its own, which ends by policy and not by itself.
type hangup struct {
	cancel context.CancelFunc
	quit   context.Context //nolint:containedctx // the account's: its end cancels the upstream as well
	stop   func() bool     // ends the watch for the client's hang-up

	gone      atomic.Bool
	cancelled atomic.Bool
	writing   atomic.Bool // a write to the client is under way
	inSight   atomic.Bool // the answer's end is in sight
	reasons   atomic.Bool // the answer shows that its model reasons
	bounded   atomic.Bool // the rest of the answer is read, up to its bound

	server    http.ResponseWriter // the HTTP server's own writer: its deadlines may be set by any goroutine, those of wrappers may not
	stalls    bool                // writes to the client have a deadline of ours
	allowance time.Time           // when that was set last

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
	server, served := ctx.Value(http.ServerContextKey).(*http.Server)
	m.stalls = served && server.WriteTimeout == 0 && !bounded(ctx, m.h.bounds.stallTime)
	m.server = innermost(m.ResponseWriter)
	m.stop = context.AfterFunc(ctx, m.hangUp)
	return r.WithContext(own)
}

// bounded reports whether the server itself takes a client for gone that takes no byte for that long, or less.
func bounded(ctx context.Context, stall time.Duration) bool {
	_, w := caddyhttp.IdleTimeoutsFromContext(ctx)
	return w != nil && w.Deadline.MinRate == 0 && w.Deadline.Timeout <= stall
}

// innermost returns the writer that the others wrap.
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		inner, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = inner.Unwrap()
	}
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
	if m.writing.Load() && m.unheard() {
		// A client that closed its sending half, or a proxy in front of it, may leave the write waiting. Where a deadline is not to
		// be had, the connection's own end ends it.
		_ = http.NewResponseController(m.server).SetWriteDeadline(time.Now())
	}
	switch {
	case m.inSight.Load():
		m.readRest()
	case m.drains() && m.account.ClaimDrain():
		m.slot = true
		m.timer = time.AfterFunc(m.h.drain, m.drained)
	default:
		m.cutOff()
	}
}

// readRest has the little that is missing of an answer read, whatever the policy and however many slots are free: the client
// has what it came for, and the provider is about to report its usage. To be called with mu.
func (m *meter) readRest() {
	if !m.slot {
		m.account.AddDrain()
		m.slot = true
	}
	m.bounded.Store(true)
	m.timer = time.AfterFunc(m.h.bounds.restTime, m.cutOff)
}

// drained ends the time that an answer is read on, unless its end has come in sight.
func (m *meter) drained() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.over && m.inSight.Load() && !m.bounded.Load() {
		m.readRest()
		return
	}
	m.cutOff()
}

// spendRest takes n bytes off what is read of the rest.
func (m *meter) spendRest(n int) {
	if m.rest == 0 {
		m.rest = m.bytes + m.h.bounds.restBytes
		if !m.events {
			m.rest = max(m.left, m.h.bounds.restBody)
		}
	}
	if m.rest -= int64(n); m.rest <= 0 {
		m.rest = 1
		m.cutOff()
	}
}

// look notes of the answer what a hang-up must know. It is called before bytes go to the client.
func (m *meter) look() {
	if m.reader == nil {
		return
	}
	if near := m.reader.EndInSight(); near != m.inSight.Load() {
		m.inSight.Store(near)
	}
	if m.reader.Reasons() && !m.reasons.Load() {
		m.reasons.Store(true)
	}
}

// allowTime sets the deadline for a client to take the bytes of a write. The operator's own, write_timeout, is left alone.
func (m *meter) allowTime() {
	if !m.stalls {
		return
	}
	if now := time.Now(); now.Sub(m.allowance) > m.h.bounds.stallStep {
		m.allowance = now
		m.stalls = http.NewResponseController(m.ResponseWriter).SetWriteDeadline(now.Add(m.h.bounds.stallTime+m.h.bounds.stallStep)) == nil
	}
}

// endTime takes the deadline away before the server sends what ends the answer, unless the client is gone.
func (m *meter) endTime() {
	if !m.allowance.IsZero() && !m.clientGone() {
		_ = http.NewResponseController(m.ResponseWriter).SetWriteDeadline(time.Time{}) // it could be set, so it can be taken away
	}
}

// ownHardware are the providers that are the operator's own, and stop where they are when a connection ends.
var ownHardware = map[string]bool{"mock": true, "ollama": true, "vllm": true}

// drains reports whether the policy is to read the answer to its end. A call that was not forwarded yet is not worth it. By
// itself, auto reads on where the provider bills on, and where what has passed does not show what the provider bills: reasoning
// that is hidden, or an answer that is no text.
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
	if ep := m.Endpoint(); ep.Billing != llm.Billable || ownHardware[t.Provider] {
		return false
	} else if !ep.Reader.Text() {
		return true
	}
	return t.Drain || settle.Hidden(m.call, m.reasons.Load())
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

// label returns what the hang-up led to; empty while the client is there.
func (h *hangup) label() string {
	switch {
	case !h.gone.Load():
		return ""
	case h.cancelled.Load() || h.quit.Err() != nil:
		return settle.Cancelled
	}
	return settle.Drained
}
