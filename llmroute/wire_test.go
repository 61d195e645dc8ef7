package llmroute

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/tollgate-llm/tollgate/internal/body"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// meteredConn counts writes, and those that begin when the call is already said to be sent.
type meteredConn struct {
	net.Conn
	attempt      *llm.Attempt
	writes, late int
	failAt       int // the write that fails half way; 0: none
}

func (c *meteredConn) Write(p []byte) (int, error) {
	if c.attempt.Sent() {
		c.late++
	}
	if c.writes++; c.writes == c.failAt {
		n, err := c.Conn.Write(p[:len(p)/2])
		return n, errors.Join(errors.New("cut"), err)
	}
	return c.Conn.Write(p)
}

// wiredCall sends a body by a wired transport, with a header of about that size besides, and returns the attempt and
// its connection.
func wiredCall(t *testing.T, base string, payload *body.Payload, header, failAt int) (*llm.Attempt, *meteredConn, error) {
	t.Helper()
	ctx, sent := t.Context(), new(llm.Attempt)
	conn := &meteredConn{attempt: sent, failAt: failAt}
	inner := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (_ net.Conn, err error) {
		conn.Conn, err = new(net.Dialer).DialContext(ctx, network, addr)
		return conn, err
	}}
	defer inner.CloseIdleConnections()
	(&Transport{next: &reverseproxy.HTTPTransport{Transport: inner}}).wire()
	r, err := http.NewRequestWithContext((&attempt{Attempt: sent, payload: payload}).watch(ctx), http.MethodPost, base, nil)
	require.NoError(t, err)
	r.Header.Set("Filler", strings.Repeat("x", header))
	carry(r, payload, shortHeader(r))
	resp, err := inner.RoundTrip(r)
	if err != nil {
		return sent, conn, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	require.NoError(t, errors.Join(err, resp.Body.Close()))
	return sent, conn, nil
}

// awaitSent waits for the goroutine that writes, which an answer may overtake.
func awaitSent(t *testing.T, sent *llm.Attempt) {
	t.Helper()
	if !sent.Sent() {
		require.Eventually(t, sent.Sent, 10*time.Second, time.Millisecond)
	}
}

// TestSentWhenWritten holds what billing relies on: a call counts as sent from the moment its request was written, and not
// before, whatever net/http holds back of it.
func TestSentWhenWritten(t *testing.T) {
	var got []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var err error
		if got, err = io.ReadAll(r.Body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
		}
	}))
	t.Cleanup(server.Close)
	lengths := []int{2, 100, 8 << 10, 64 << 10, 70 << 10}
	for n := 3800; n < 4000; n++ { // about where net/http's buffer is full
		lengths = append(lengths, n)
	}
	for _, header := range []int{0, 3500, 4000, 9000} {
		for _, n := range lengths {
			for _, model := range []string{"", "another"} {
				b, fault := body.Parse([]byte(`{"model":"m","x":"` + strings.Repeat("y", n) + `"}`))
				require.Nil(t, fault)
				payload := b.Edited(model, false)
				sent, conn, err := wiredCall(t, server.URL, payload, header, 0)
				require.NoError(t, err)
				require.True(t, bytes.Equal(payload.Bytes(), got))
				awaitSent(t, sent)
				require.Zero(t, conn.late, "header %d, body %d: written after it was said to be", header, n)
				if header == 0 && n <= 3500 {
					require.Equal(t, 1, conn.writes, "header and body go in one write")
				}
			}
		}
	}
}

// TestSentWhenChunked holds the same for a form of unstated length, whose end mark is written last.
func TestSentWhenChunked(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	t.Cleanup(server.Close)
	form := "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n" + strings.Repeat("x", 3<<20) + "\r\n--b--\r\n"
	b, err := body.ParseForm(io.NopCloser(strings.NewReader(form)), "multipart/form-data; boundary=b", false, -1, 10<<20)
	require.NoError(t, err)
	payload := b.Edited("", false)
	require.Negative(t, payload.Len())
	sent, conn, err := wiredCall(t, server.URL, payload, 0, 0)
	require.NoError(t, err)
	awaitSent(t, sent)
	require.Zero(t, conn.late, "written after it was said to be")
}

// TestNotSentWhenCut sees to it that a request of which a write failed does not count as sent.
func TestNotSentWhenCut(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	t.Cleanup(server.Close)
	for _, n := range []int{2, 3800, 8 << 10, 200 << 10} {
		for failAt := 1; ; failAt++ {
			b, fault := body.Parse([]byte(`{"model":"m","x":"` + strings.Repeat("y", n) + `"}`))
			require.Nil(t, fault)
			sent, conn, err := wiredCall(t, server.URL, b.Edited("", false), 0, failAt)
			if conn.writes < failAt {
				require.Greater(t, failAt, 1)
				break // it takes fewer writes
			}
			require.Error(t, err)
			require.False(t, sent.Sent(), "body %d, write %d", n, failAt)
		}
	}
}

// TestWiredBackends tells the backends whose requests go in one write from those where that cannot be told apart.
func TestWiredBackends(t *testing.T) {
	for backend, want := range map[string]bool{
		"http://h/v1":  true,
		"https://h/v1": false,
		"http://h/v1 {\ntransport http {\nwrite_buffer 8KiB\n}\n}":               true,
		"http://h/v1 {\ntransport http {\nwrite_buffer 1KiB\n}\n}":               false,
		"http://h/v1 {\ntransport http {\nversions h2c\n}\n}":                    false,
		"http://h/v1 {\ntransport http {\nnetwork_proxy url https://proxy\n}\n}": false,
		"http://h/v1 {\ntransport http {\nforward_proxy_url https://proxy\n}\n}": false,
	} {
		h, err := provision(t, "llmroute {\nmodel m {\nbackend openai "+strings.Replace(backend, " {", " {\napi_key k", 1)+"\n}\n}")
		require.NoError(t, err, backend)
		require.Equal(t, want, h.Models[0].Backends[0].oneWrite, backend)
	}
}
