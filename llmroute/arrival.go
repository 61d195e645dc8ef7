package llmroute

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tollgate-llm/tollgate/app/setting"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

const (
	// bodyShare is the default fraction of the process's memory that bodies may use (a quarter). arrivingShare
	// is the fraction of that for incomplete bodies (an eighth), so that slow or stalled senders leave room for
	// complete bodies.
	bodyShare, arrivingShare = 4, 8
	// keyShare is the fraction of each that the bodies of one key may use (half).
	keyShare = 2
	// smallBody is the size up to which bodies are always admitted: 64KB, and one byte to detect the end.
	smallBody = 64<<10 + 1
	// fallbackMemory is assumed if the system does not report the memory available to the process.
	fallbackMemory = 2 << 30
	// leftover is how long a client whose body was refused may keep sending, so that it gets to read the answer.
	leftover = time.Second
)

var (
	errNoRoom      = errors.New("bodies in progress take all their memory")
	errNoShare     = errors.New("bodies of this key in progress take all their memory")
	errBodyLate    = errors.New("the body did not arrive in time")
	bodiesHeld     atomic.Int64 // bytes of all bodies in progress in this process
	bodiesArriving atomic.Int64 // bytes of incomplete bodies that are not small
	bodiesOf       shares       // both of these by key, without small bodies
)

// shares tracks the memory used by bodies per key.
type shares struct {
	mu sync.Mutex
	of map[string]share
}

// share is the memory used by one key's bodies, in bytes: all of them, and incomplete ones.
type share struct{ held, arriving int64 }

// take adds to a key's share. It returns false if that would exceed the limits.
func (s *shares) take(key string, more, most share) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.of[key]
	now.held += more.held
	now.arriving += more.arriving
	if more.held > 0 && now.held > most.held || more.arriving > 0 && now.arriving > most.arriving {
		return false
	}
	if now == (share{}) {
		delete(s.of, key)
		return true
	}
	if s.of == nil {
		s.of = make(map[string]share)
	}
	s.of[key] = now
	return true
}

// memoryOfProcess returns how many bytes of memory the process may use: GOMEMLIMIT, which Caddy sets from the
// cgroup, otherwise the limit of the cgroup or the memory of the system.
func memoryOfProcess() int64 {
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		return limit
	}
	for _, from := range []func() (uint64, error){memlimit.FromCgroup, memlimit.FromSystem} {
		if n, err := from(); err == nil && n > 0 && n < math.MaxInt64 {
			return int64(n)
		}
	}
	return fallbackMemory
}

// boundBodies sets the memory limit for all bodies, which is at least that of two of the largest bodies.
func (h *Handler) boundBodies() (err error) {
	least := 2 * h.maxBody
	usual := max(memoryOfProcess()/bodyShare, least)
	if h.maxBodies, err = setting.Size("max_bodies", h.MaxBodies, usual, minMaxBodies, maxMaxBodies); err != nil {
		return err
	}
	if h.maxBodies < least {
		return fmt.Errorf("max_bodies must be at least twice max_body: %d bytes", least)
	}
	h.maxArriving = max(h.maxBodies/arrivingShare, least)
	return nil
}

// arrival is a body that is being received, and then held in memory until its call is over. Its buffer's
// capacity is what counts.
type arrival struct {
	io.ReadCloser
	handler  *Handler
	key      string // hash of the key; empty without one
	own      share  // the part counted in the key's share
	size     int64  // bytes read
	held     int64  // the part counted in bodiesHeld
	copied   int64  // the part of held for the translated body
	answer   int64  // counted in bodiesHeld for an answer that is translated as a whole; may outlive the call
	arriving int64  // the part counted in bodiesArriving
	streamed bool   // the rest of the body is not buffered
	timedOut atomic.Bool

	mu       sync.Mutex
	until    time.Time             // the read deadline; zero if there is none
	then     time.Time             // the deadline to set at the second read; zero if there is none or it is set already
	deadline func(time.Time) error // nil once the call is over
}

// mostOfKey returns the memory limit for one key's bodies, which is at least that of one of the largest bodies.
func (h *Handler) mostOfKey() share {
	return share{max(h.maxBodies/keyShare, h.maxBody+1), max(h.maxArriving/keyShare, h.maxBody+1)}
}

// arrive starts to receive a request's body, with body_timeout as its deadline.
func (h *Handler) arrive(w http.ResponseWriter, r *http.Request, who *llm.Identity) *arrival {
	a := &arrival{ReadCloser: r.Body, handler: h, deadline: http.NewResponseController(w).SetReadDeadline}
	if who != nil {
		a.key = who.KeyHash
	}
	server, _ := r.Context().Value(http.ServerContextKey).(*http.Server)
	if server == nil || server.ReadTimeout <= 0 || server.ReadTimeout > h.bodyTimeout {
		if idle, _ := caddyhttp.IdleTimeoutsFromContext(r.Context()); idle != nil && idle.Deadline.MinRate == 0 && idle.Deadline.Timeout <= h.bodyTimeout {
			a.then = time.Now().Add(h.bodyTimeout) // the server bounds each read, and most bodies come in one
		} else {
			a.limit(time.Now().Add(h.bodyTimeout))
		}
	}
	r.Body = a
	return a
}

// limit sets the read deadline, if the connection supports it and the call is not over. After the call, the
// connection serves other requests.
func (a *arrival) limit(t time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.deadline != nil && a.deadline(t) == nil {
		a.until = t
	}
}

// late reports whether an incomplete body missed its deadline. The server may cancel the call's context for that
// before the read returns, so the clock is checked too.
func (a *arrival) late() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.timedOut.Load() || !a.until.IsZero() && !time.Now().Before(a.until)
}

// Read reads the body if there is room for the whole buffer. p is the free end of that buffer.
func (a *arrival) Read(p []byte) (int, error) {
	if !a.streamed {
		if err := a.hold(a.size + int64(len(p))); err != nil {
			a.limit(time.Now().Add(leftover))
			return 0, err
		}
	}
	n, err := a.ReadCloser.Read(p)
	a.size += int64(n)
	if errors.Is(err, io.EOF) {
		if a.then.IsZero() {
			a.limit(time.Time{})
		}
		return n, err
	}
	if !a.then.IsZero() {
		a.limit(a.then)
		a.then = time.Time{}
	}
	// After an error the deadline stays: the server drains the body before it answers, and must not wait for a
	// stalled client.
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		a.timedOut.Store(true)
		err = errors.Join(errBodyLate, err)
	}
	return n, err
}

// hold reserves memory for up to size bytes, or returns why it cannot.
func (a *arrival) hold(size int64) error {
	if a.key != "" && size > smallBody && size > a.own.arriving {
		more := share{size - a.own.held, size - a.own.arriving}
		if !bodiesOf.take(a.key, more, a.handler.mostOfKey()) {
			return errNoShare
		}
		a.own = share{size, size}
	}
	if size > a.held {
		if !take(&bodiesHeld, size-a.held, a.handler.maxBodies) {
			return errNoRoom
		}
		a.held = size
	}
	if size > smallBody && size > a.arriving {
		if !take(&bodiesArriving, size-a.arriving, a.handler.maxArriving) {
			return errNoRoom
		}
		a.arriving = size
	}
	return nil
}

// translated reserves n bytes for a translated body in place of the previous reservation, or returns why it
// cannot.
func (a *arrival) translated(n int64) error {
	more := n - a.copied
	if !take(&bodiesHeld, more, a.handler.maxBodies) {
		return errNoRoom
	}
	a.held, a.copied = a.held+more, n
	return nil
}

// answered reserves n bytes for an answer in place of the previous reservation, or returns why it cannot.
func (a *arrival) answered(n int64) error {
	if !take(&bodiesHeld, n-a.answer, a.handler.maxBodies) {
		return errNoRoom
	}
	a.answer = n
	return nil
}

// take adds n to a counter unless that would exceed most.
func take(count *atomic.Int64, n, most int64) bool {
	for {
		taken := count.Load()
		if taken+n > most {
			return false
		}
		if count.CompareAndSwap(taken, taken+n) {
			return true
		}
	}
}

// read ends buffering. The rest of the body, if any, is streamed.
func (a *arrival) read() {
	a.streamed = true
	bodiesArriving.Add(-a.arriving)
	a.arriving = 0
	a.release(share{0, a.own.arriving})
}

// release returns a part of the key's share.
func (a *arrival) release(part share) {
	if part == (share{}) {
		return
	}
	a.own.held -= part.held
	a.own.arriving -= part.arriving
	bodiesOf.take(a.key, share{-part.held, -part.arriving}, share{})
}

// over releases the body's memory. The deadline of an incomplete body stays, because the server drains the body.
func (a *arrival) over() {
	a.mu.Lock()
	a.deadline = nil
	a.mu.Unlock()
	bodiesHeld.Add(-a.held)
	a.held = 0
	a.release(a.own)
}

// notArrived returns the refusal of a body that exceeded one of these limits, or nil for any other error.
func notArrived(err error) *llm.Error {
	switch {
	case errors.Is(err, errNoRoom):
		e := refusal(http.StatusServiceUnavailable, "service_unavailable", "", "too many large requests are in progress: try again shortly (max_bodies)")
		e.RetryAfter, e.Err = time.Second, err
		return e
	case errors.Is(err, errNoShare):
		e := refusal(http.StatusTooManyRequests, "rate_limit_error", "", "too many large requests of this key are in progress: try again shortly (max_bodies)")
		e.RetryAfter, e.Err = time.Second, err
		return e
	case errors.Is(err, errBodyLate):
		e := refusal(http.StatusRequestTimeout, "timeout_error", "", "the body did not arrive in the time that this gateway allows (body_timeout)")
		e.Err = err
		return e
	}
	return nil
}
