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

// sending tracks a request as it is sent upstream.
type sending struct {
	sentContext
	trace httptrace.ClientTrace

	attempt *llm.Attempt
	now     atomic.Pointer[llm.Writing]

	reused   bool          // the connection has served another request
	idle     time.Duration // how long the connection was idle
	answered atomic.Bool   // the first byte of an answer has arrived
}

// watch reports the progress of a request to the attempt: when its payload was written completely, and its 1xx
// responses. It replaces what was watched before.
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

// begin starts a new write. net/http starts over if the connection turns out to be closed.
func (s *sending) begin() *llm.Writing {
	w := s.attempt.Write()
	s.now.Store(w)
	return w
}

// current returns the latest write. It begins one if there is none, because not every transport calls GetConn.
func (s *sending) current() *llm.Writing {
	if w := s.now.Load(); w != nil {
		return w
	}
	return s.begin()
}

// idleLong is the idle time after which a reset is taken for the server having closed an idle connection.
const idleLong = time.Second

// stale reports whether a request failed because the backend or an intermediary had closed the idle connection,
// and can be sent again. If a connection in use is reset, or no answer arrives in time, the backend has failed.
func (x *exchange) stale(err error) bool {
	s := x.sending
	return s.reused && !timedOut(err) && !s.answered.Load() && x.payload.Whole() && (s.idle >= idleLong || !errors.Is(err, syscall.ECONNRESET))
}
