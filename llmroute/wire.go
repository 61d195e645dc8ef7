package llmroute

import (
	"context"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// wire is a connection to a backend that tells when what net/http holds of a request was written.
type wire struct {
	net.Conn
	written  atomic.Int64 // bytes, so far
	awaiting func()       // called when the next write has succeeded; set and called by the goroutine that writes
}

func (w *wire) Write(p []byte) (int, error) {
	n, err := w.Conn.Write(p)
	w.written.Add(int64(n))
	if done := w.awaiting; done != nil {
		w.awaiting = nil
		if err == nil {
			done()
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

// wire puts a wire around each connection of the inner transport.
func (t *Transport) wire() {
	inner, ok := t.next.(*reverseproxy.HTTPTransport)
	if !ok {
		return
	}
	dial := inner.Transport.DialContext
	inner.Transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &wire{Conn: conn}, nil
	}
}

// wired reports whether each write of net/http to a backend is one of a wire: a request's header and body may go in one write
// then. With TLS it may be several, and there may be TLS to a proxy.
func (b *Backend) wired() bool {
	t, ours := b.proxy.Transport.(*Transport)
	if !ours || b.base.Scheme != "http" || b.proxied {
		return false
	}
	inner, ok := t.next.(*reverseproxy.HTTPTransport)
	if !ok || inner.WriteBufferSize != 0 && inner.WriteBufferSize < writeBuffer {
		return false
	}
	by, err := http.ProxyFromEnvironment(&http.Request{URL: b.base})
	return by == nil && err == nil // an error is met again, by each call
}

// watch notes on the call when its request was written upstream, whole. The reverse proxy has a trace of its own in each
// request's context: one more would be composed with it by reflection.
func (a *attempt) watch(ctx context.Context) context.Context {
	trace := httptrace.ContextClientTrace(ctx)
	if trace == nil {
		trace = new(httptrace.ClientTrace)
		ctx = httptrace.WithClientTrace(ctx, trace)
	}
	call, n := a.call, a.call.Attempts()
	var on *wire
	var before int64 // what was written on it before this request
	connecting, connected, wrote := trace.GetConn, trace.GotConn, trace.WroteRequest
	trace.GetConn = func(addr string) {
		if connecting != nil {
			connecting(addr)
		}
		call.SetUnsent(n) // net/http tries again where it wrote to a connection that had been closed
	}
	trace.GotConn = func(info httptrace.GotConnInfo) {
		if connected != nil {
			connected(info)
		}
		if on, _ = info.Conn.(*wire); on != nil {
			before = on.written.Load()
		}
	}
	trace.WroteRequest = func(info httptrace.WroteRequestInfo) {
		if wrote != nil {
			wrote(info)
		}
		switch {
		case info.Err != nil:
		case on != nil && on.written.Load() == before:
			// All of it is in net/http's buffer, which is written next. Of a request that is longer than that nothing is left
			// there: once the buffer was full, the rest of the body went past it.
			on.awaiting = func() { call.SetSent(n) }
		default:
			call.SetSent(n)
		}
	}
	return ctx
}
