package upstream

import (
	"context"
	"errors"
	"net/http/httptrace"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

// sending tracks one request being sent upstream.
type sending struct {
	sentContext
	trace httptrace.ClientTrace

	attempt *llm.Attempt
	now     atomic.Pointer[llm.Writing]

	reused   bool          // the connection had served before
	idle     time.Duration // since then
	answered atomic.Bool   // a byte of an answer arrived
}

// watch has what becomes of a request reported to the attempt: when its payload was written upstream, whole, and what precedes
// its answer. What it watched before no longer counts.
func (x *exchange) watch(ctx sentContext) context.Context {
	s := &sending{sentContext: ctx, attempt: x.Attempt.Attempt}
	x.sending = s
	s.trace = httptrace.ClientTrace{
		GetConn:              func(string) { s.begin() },
		GotConn:              func(info httptrace.GotConnInfo) { s.reused, s.idle = info.Reused, info.IdleTime },
		GotFirstResponseByte: func() { s.answered.Store(true) },
		Got1xxResponse:       x.hint,
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				s.current().Done()
			}
		},
	}
	return httptrace.WithClientTrace(&s.sentContext, &s.trace)
}

// begin begins anew: net/http tries again where it wrote to a connection that had been closed.
func (s *sending) begin() *llm.Writing {
	w := s.attempt.Write()
	s.now.Store(w)
	return w
}

// current returns what was begun last. Not every transport reports that it looks for a connection.
func (s *sending) current() *llm.Writing {
	if w := s.now.Load(); w != nil {
		return w
	}
	return s.begin()
}

// idleLong is from when on a connection that is reset may be one that was given up for being idle.
const idleLong = time.Second

// stale reports whether a request failed because the backend, or what is between, had closed the connection meanwhile, and can
// be sent again. A backend that resets a connection in use has failed, and so has one that does not answer in time.
func (x *exchange) stale(err error) bool {
	s := x.sending
	return s.reused && !timedOut(err) && !s.answered.Load() && x.payload.Whole() && (s.idle >= idleLong || !errors.Is(err, syscall.ECONNRESET))
}
