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

// bounds limit draining and stalled clients.
type bounds struct {
	// Bytes read of an answer that is about to end after its client hung up. The last event of a stream may repeat the whole answer.
	restTime  time.Duration
	restBytes int64
	restBody  int64 // of one JSON object of unstated length
	// A client that takes no byte for stallTime, give or take stallStep, counts as gone.
	stallTime, stallStep time.Duration
}

var usualBounds = bounds{restTime: 10 * time.Second, restBytes: 1 << 20, restBody: 64 << 20, stallTime: 2 * time.Minute, stallStep: 30 * time.Second}

// hangup detaches a call from its client's connection, so that the usage is not lost when the client hangs up. The
// upstream's request has its own context, which ends by policy.
type hangup struct {
	cancel context.CancelFunc
	quit   context.Context //nolint:containedctx // the account's: its end cancels the upstream as well
	stop   func() bool     // stops watching for the client's hang-up

	gone      atomic.Bool
	cancelled atomic.Bool
	writing   atomic.Bool // a write to the client is under way
	inSight   atomic.Bool // the answer is about to end
	reasons   atomic.Bool // the answer shows that its model reasons
	bounded   atomic.Bool // the rest of the answer is being read, up to its bound

	server    http.ResponseWriter // the HTTP server's writer, whose deadlines any goroutine may set; those of wrappers are not safe for that
	stalls    bool                // we set the write deadline
	allowance time.Time           // when that was set last

	mu    sync.Mutex
	over  bool // the handlers have returned
	slot  bool // a drain slot is held
	timer *time.Timer
}

// attach returns the request with the upstream's context.
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

// valuesOf is a context with the lifetime of the first and the values of the second.
type valuesOf struct {
	context.Context
	values context.Context //nolint:containedctx // its purpose
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
		// A half-closed client, or a proxy in front of it, may block the write. Without support for deadlines, only the end of
		// the connection unblocks it.
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

// readRest has the last bytes of an answer read whatever the policy and the free slots: the client has the content, and
// the provider is about to report usage. The caller holds mu.
func (m *meter) readRest() {
	if !m.slot {
		m.account.AddDrain()
		m.slot = true
	}
	m.bounded.Store(true)
	m.timer = time.AfterFunc(m.h.bounds.restTime, m.cutOff)
}

// drained ends the draining of an answer, unless it is about to end.
func (m *meter) drained() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.over && m.inSight.Load() && !m.bounded.Load() {
		m.readRest()
		return
	}
	m.cutOff()
}

// spendRest deducts n bytes from the bound of the rest.
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

// look notes what a hang-up needs to know about the answer. It is called before bytes go to the client.
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

// allowTime sets the deadline of a write to the client, unless the operator configured write_timeout.
func (m *meter) allowTime() {
	if !m.stalls {
		return
	}
	if now := time.Now(); now.Sub(m.allowance) > m.h.bounds.stallStep {
		m.allowance = now
		m.stalls = http.NewResponseController(m.ResponseWriter).SetWriteDeadline(now.Add(m.h.bounds.stallTime+m.h.bounds.stallStep)) == nil
	}
}

// endTime clears the deadline before the server ends the answer, unless the client is gone.
func (m *meter) endTime() {
	if !m.allowance.IsZero() && !m.clientGone() {
		_ = http.NewResponseController(m.ResponseWriter).SetWriteDeadline(time.Time{}) // setting it worked, so clearing it does
	}
}

// ownHardware are self-hosted providers, which stop generating when the connection ends.
var ownHardware = map[string]bool{"mock": true, "ollama": true, "vllm": true}

// drains reports whether the policy is to read the answer to its end; never for a call that was not forwarded. auto drains
// if the provider keeps billing, or if the answer so far does not show what it bills: hidden reasoning, or media.
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

// detach stops watching for a hang-up once the handlers have returned.
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

// label returns what the hang-up led to; empty without one.
func (h *hangup) label() string {
	switch {
	case !h.gone.Load():
		return ""
	case h.cancelled.Load() || h.quit.Err() != nil:
		return settle.Cancelled
	}
	return settle.Drained
}
