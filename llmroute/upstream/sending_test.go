package upstream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/body"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// meteredConn counts writes, and keeps what is written when the call is already said to be sent.
type meteredConn struct {
	net.Conn
	attempt *llm.Attempt
	writes  int
	late    string // what was written by the others
	failAt  int    // the write that fails half way; 0: none
}

func (c *meteredConn) Write(p []byte) (int, error) {
	if c.attempt.Sent() {
		c.late += string(p)
	}
	if c.writes++; c.writes == c.failAt {
		n, err := c.Conn.Write(p[:len(p)/2])
		return n, errors.Join(errors.New("cut"), err)
	}
	return c.Conn.Write(p)
}

// watched is an exchange of which only the writing is watched.
func watched(a *llm.Attempt, payload *body.Payload) *exchange {
	return &exchange{Attempt: Attempt{Attempt: a}, payload: payload}
}

// countedCall sends a body over a connection whose writes are counted, with a header of about that size besides, and returns the
// attempt and its connection.
func countedCall(t *testing.T, base string, payload *body.Payload, header, failAt int) (*llm.Attempt, *meteredConn, error) {
	t.Helper()
	sent := new(llm.Attempt)
	conn := &meteredConn{attempt: sent, failAt: failAt}
	b := backendAt(t, base, `{"headers":{"request":{"set":{"Filler":["`+strings.Repeat("x", header)+`"]}}}}`)
	inner(b).DialContext = func(ctx context.Context, network, addr string) (_ net.Conn, err error) {
		conn.Conn, err = new(net.Dialer).DialContext(ctx, network, addr)
		return conn, err
	}
	a := attemptWith(t, chat)
	a.Attempt = sent
	w := httptest.NewRecorder()
	x := &exchange{Attempt: a, backend: b, w: w, r: request(t, w), payload: payload}
	resp, err := x.send(x.r.Context())
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
				sent, conn, err := countedCall(t, server.URL, payload, header, 0)
				require.NoError(t, err)
				require.True(t, bytes.Equal(payload.Bytes(), got))
				awaitSent(t, sent)
				require.Empty(t, conn.late, "header %d, body %d: written after it was said to be", header, n)
			}
		}
	}
}

// TestSentWhenChunked holds the same for a form of unstated length, but for its end mark, which net/http writes right after it said
// that the request was written.
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
	sent, conn, err := countedCall(t, server.URL, payload, 0, 0)
	require.NoError(t, err)
	awaitSent(t, sent)
	require.Contains(t, []string{"", "0\r\n\r\n"}, conn.late, "written after it was said to be")
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
			sent, conn, err := countedCall(t, server.URL, b.Edited("", false), 0, failAt)
			if conn.writes < failAt {
				require.Greater(t, failAt, 1)
				break // it takes fewer writes
			}
			require.Error(t, err)
			require.False(t, sent.Sent(), "body %d, write %d", n, failAt)
		}
	}
}

// TestSentBesideAnotherTrace keeps the traces that are there.
func TestSentBesideAnotherTrace(t *testing.T) {
	written, connected := 0, 0
	for _, before := range []*httptrace.ClientTrace{nil, {}, {
		GetConn:      func(string) { connected++ },
		WroteRequest: func(httptrace.WroteRequestInfo) { written++ },
	}} {
		ctx, sent := t.Context(), new(llm.Attempt)
		if before != nil {
			ctx = httptrace.WithClientTrace(ctx, before)
		}
		trace := httptrace.ContextClientTrace(watched(sent, new(body.Payload)).watch(sentContext{Context: ctx}))
		wrote := trace.WroteRequest
		trace.GetConn("first:443")
		wrote(httptrace.WroteRequestInfo{Err: io.ErrClosedPipe})
		require.False(t, sent.Sent())
		wrote(httptrace.WroteRequestInfo{})
		require.True(t, sent.Sent())
		trace.GetConn("again:443")
		require.False(t, sent.Sent(), "the connection had been closed, so it is made again")
		wrote(httptrace.WroteRequestInfo{})
		require.True(t, sent.Sent())
	}
	require.Equal(t, []int{3, 2}, []int{written, connected})
}

// TestSentAnew holds that a request whose writer ends late says nothing of the one that follows it within the same attempt.
func TestSentAnew(t *testing.T) {
	ctx, sent := t.Context(), new(llm.Attempt)
	a := watched(sent, new(body.Payload))
	first := httptrace.ContextClientTrace(a.watch(sentContext{Context: ctx}))
	first.GetConn("one:80")
	second := httptrace.ContextClientTrace(a.watch(sentContext{Context: ctx}))
	second.GetConn("two:80")
	first.WroteRequest(httptrace.WroteRequestInfo{})
	require.False(t, sent.Sent())
	second.WroteRequest(httptrace.WroteRequestInfo{})
	require.True(t, sent.Sent())
}

// TestSentOverEveryTransport holds that a call counts as sent once its provider has it, whatever carries it there.
func TestSentOverEveryTransport(t *testing.T) {
	plain := answering(t, http.StatusOK, "{}")
	h2c := httptest.NewUnstartedServer(plain.Config.Handler)
	h2c.Config.Protocols = new(http.Protocols)
	h2c.Config.Protocols.SetUnencryptedHTTP2(true)
	h2c.Start()
	t.Cleanup(h2c.Close)
	secure := httptest.NewTLSServer(plain.Config.Handler)
	t.Cleanup(secure.Close)
	proxy := httptest.NewTLSServer(plain.Config.Handler) // a proxy that answers by itself
	t.Cleanup(proxy.Close)
	for settings, base := range map[string]string{
		`{}`: plain.URL,
		`{"transport":{"protocol":"http","write_buffer_size":8192}}`:                     plain.URL,
		`{"transport":{"protocol":"http","write_buffer_size":1024}}`:                     plain.URL,
		`{"transport":{"protocol":"http","versions":["h2c"]}}`:                           h2c.URL,
		`{"transport":{"protocol":"http","tls":{"insecure_skip_verify":true}}}`:          secure.URL,
		`{"transport":{"protocol":"http","network_proxy":{"from":"url","url":"PROXY"}}}`: "http://elsewhere.invalid",
		`{"transport":{"protocol":"http","forward_proxy_url":"PROXY"}}`:                  "http://elsewhere.invalid",
	} {
		b := backendAt(t, base, strings.ReplaceAll(settings, "PROXY", proxy.URL))
		inner(b).TLSClientConfig = proxy.Client().Transport.(*http.Transport).TLSClientConfig
		for _, n := range []int{2, 3900, 64 << 10} {
			a := attemptWith(t, `{"model":"m","x":"`+strings.Repeat("y", n)+`"}`)
			w := httptest.NewRecorder()
			require.NoError(t, b.Send(w, request(t, w), a).Err, settings)
			require.Equal(t, "{}", w.Body.String())
			awaitSent(t, a.Attempt)
		}
	}
}
