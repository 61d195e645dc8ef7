package body

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// lateConn detects bytes written after the request was reported as written.
type lateConn struct {
	net.Conn
	said, late *atomic.Bool
}

func (c lateConn) Write(p []byte) (int, error) {
	if c.said.Load() {
		c.late.Store(true)
	}
	return c.Conn.Write(p)
}

// TestWrittenWhenItIsSaid checks an assumption of billing: when net/http reports a request as written, it is. Only then does
// a call count as sent.
func TestWrittenWhenItIsSaid(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	t.Cleanup(server.Close)
	for _, model := range []string{"", "another"} {
		b, fault := Parse([]byte(`{"model":"m","stream":true}`))
		require.Nil(t, fault)
		p := b.Edited(model, model != "")
		var said, late atomic.Bool
		transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			return lateConn{conn, &said, &late}, err
		}}
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { said.Store(true) }})
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL, p.Reader())
		require.NoError(t, err)
		req.ContentLength = p.Len()
		res, err := transport.RoundTrip(req)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.True(t, said.Load())
		require.False(t, late.Load(), "a request is said to be written before it is")
		transport.CloseIdleConnections()
	}
}
