package upstream

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

// wire is a connection to a backend that reports when what net/http holds of a request was written.
type wire struct {
	net.Conn
	written  atomic.Int64                // bytes, so far
	awaiting atomic.Pointer[llm.Writing] // done when the next write has succeeded
}

func (w *wire) Write(p []byte) (int, error) {
	n, err := w.Conn.Write(p)
	w.written.Add(int64(n))
	if request := w.awaiting.Load(); request != nil {
		w.awaiting.Store(nil)
		if err == nil {
			request.Done()
		}
	}
	return n, err
}

// writeBuffer is the least that net/http's buffer of a connection holds.
const writeBuffer = 4 << 10

// shortHeader reports whether a request's header is sure to leave room in that buffer.
func shortHeader(r *http.Request) bool {
	const own = 512 // the request line, Content-Length and what else net/http adds
	size := own + 3*len(r.URL.Path) + len(r.URL.RawQuery) + len(r.Host)
	for name, values := range r.Header {
		for _, v := range values {
			size += len(name) + len(": \r\n") + len(v)
		}
	}
	return size < writeBuffer
}

// wire puts a wire around each connection of the inner transport where each write of net/http is one of the connection. With
// TLS it may be several; HTTP/2 holds nothing back, and writes several requests at once.
func (t *Transport) wire() {
	inner, ok := t.next.(*reverseproxy.HTTPTransport)
	if !ok || inner.TLS != nil || slices.Contains(inner.Versions, "h2c") {
		return
	}
	t.oneWrite = inner.WriteBufferSize == 0 || inner.WriteBufferSize >= writeBuffer
	dial := inner.Transport.DialContext
	inner.Transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &wire{Conn: conn}, nil
	}
}

// sending watches one request on its way upstream.
type sending struct {
	attempt *llm.Attempt
	chunked bool // the request's length is not stated
	now     atomic.Pointer[writing]

	reused   bool          // the connection had served before
	idle     time.Duration // since then
	answered atomic.Bool   // a byte of an answer came
}

// idleLong is from when on a connection that is reset may be one that was given up for being idle.
const idleLong = time.Second

// stale reports whether a request failed because the backend, or what is between, had closed the connection meanwhile, and can
// be sent again. A backend that resets a connection in use has failed, and so has one that does not answer in time.
func (x *exchange) stale(err error) bool {
	s := x.sending
	return s.reused && !timedOut(err) && !s.answered.Load() && x.payload.Whole() && (s.idle >= idleLong || !errors.Is(err, syscall.ECONNRESET))
}

// writing is the request on its way onto one connection.
type writing struct {
	*llm.Writing
	on     *wire // nil where the connection is none
	before int64 // what was written on it before this request
}

// begin begins anew: net/http tries again where it wrote to a connection that had been closed.
func (s *sending) begin() *writing {
	w := &writing{Writing: s.attempt.Write()}
	s.now.Store(w)
	return w
}

// current returns what was begun last. Not every transport reports that it looks for a connection.
func (s *sending) current() *writing {
	if w := s.now.Load(); w != nil {
		return w
	}
	return s.begin()
}

func (s *sending) connected(conn net.Conn) {
	if on, ok := conn.(*wire); ok {
		s.now.Store(&writing{s.current().Writing, on, on.written.Load()})
	}
}

// wrote takes what net/http reports, which may hold what is left of the request in its buffer and write it next: all of a
// short one, and the end mark of one whose length is not stated. Of any other nothing is left there: once the buffer was
// full, the rest of the body went past it.
func (s *sending) wrote() {
	w := s.current()
	if w.on != nil && (s.chunked || w.on.written.Load() == w.before) {
		w.on.awaiting.Store(w.Writing)
		return
	}
	w.Done()
}

// traced is a context with another trace of its request. That of the reverse proxy stays as it is, and is not composed with
// another, which would be done by reflection.
type traced struct {
	context.Context
	trace *httptrace.ClientTrace
}

// Value returns the trace for the key of httptrace.
func (c traced) Value(key any) any {
	v := c.Context.Value(key)
	if _, ok := v.(*httptrace.ClientTrace); ok {
		return c.trace
	}
	return v
}

// watch reports to the attempt when its payload was written upstream, whole. What it watched before no longer counts.
func (x *exchange) watch(ctx context.Context) context.Context {
	s := &sending{attempt: x.Attempt.Attempt, chunked: x.payload.Len() < 0}
	x.sending = s
	trace := new(httptrace.ClientTrace)
	if before := httptrace.ContextClientTrace(ctx); before != nil {
		*trace = *before
		ctx = traced{ctx, trace}
	} else {
		ctx = httptrace.WithClientTrace(ctx, trace)
	}
	connecting, connected, wrote, answered := trace.GetConn, trace.GotConn, trace.WroteRequest, trace.GotFirstResponseByte
	trace.GetConn = func(addr string) {
		if connecting != nil {
			connecting(addr)
		}
		s.begin()
	}
	trace.GotConn = func(info httptrace.GotConnInfo) {
		if connected != nil {
			connected(info)
		}
		s.reused, s.idle = info.Reused, info.IdleTime
		s.connected(info.Conn)
	}
	trace.GotFirstResponseByte = func() {
		if answered != nil {
			answered()
		}
		s.answered.Store(true)
	}
	trace.WroteRequest = func(info httptrace.WroteRequestInfo) {
		if wrote != nil {
			wrote(info)
		}
		if info.Err == nil {
			s.wrote()
		}
	}
	return ctx
}
