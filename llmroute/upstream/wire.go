package upstream

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

// smallPayload is the largest payload that is worth sending together with the request's header. net/http's buffer has no more.
const smallPayload = 4 << 10

// wire is a connection to a backend that knows when a request was written. Header and payload leave in one write only where net/http
// knows the payload to be in memory; but then it says that the request was written before it empties its buffer.
type wire struct {
	net.Conn
	out atomic.Pointer[outgoing]
}

// outgoing is a request on its way onto a wire.
type outgoing struct {
	payload *bytes.Reader
	writing *llm.Writing
}

// Write reports a request as written when its payload was read to the end before a write that succeeds. The goroutine that writes
// to a connection without TLS is the one that reads the payload.
func (w *wire) Write(p []byte) (int, error) {
	n, err := w.Conn.Write(p)
	if out := w.out.Load(); out != nil && err == nil && out.payload.Len() == 0 {
		w.out.Store(nil)
		out.writing.Done()
	}
	return n, err
}

// wired makes the connections of a transport wires. It reports whether all that the transport sends goes over them, by HTTP/1 and
// without TLS.
func wired(t *http.Transport, scheme string) bool {
	if scheme != "http" || t.DialContext == nil || t.Protocols != nil {
		return false
	}
	dial := t.DialContext
	t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &wire{Conn: conn}, nil
	}
	return true
}

// body returns the payload to send.
func (x *exchange) body() io.ReadCloser {
	n := x.payload.Len()
	if !x.backend.wired || !x.payload.Whole() || n == 0 || n > smallPayload {
		return x.payload.Reader()
	}
	r := bytes.NewReader(x.payload.Bytes())
	x.sending.payload.Store(r)
	return io.NopCloser(r)
}

// got takes the connection that the request is written to.
func (s *sending) got(conn net.Conn) {
	payload := s.payload.Load()
	w, ok := conn.(*wire)
	s.wired.Store(ok && payload != nil)
	if s.wired.Load() {
		w.out.Store(&outgoing{payload, s.current()})
	}
}
