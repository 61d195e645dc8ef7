package upstream

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// raw starts a provider that writes its answers byte for byte. answer gets the connection, the number of the connection and that
// of the request on it, both from 1, and returns whether the connection stays.
func raw(t testing.TB, answer func(c *net.TCPConn, conn, request int) bool) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for n := 1; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				from := bufio.NewReader(c)
				for request := 1; ; request++ {
					r, err := http.ReadRequest(from)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					if !answer(c.(*net.TCPConn), n, request) {
						return
					}
				}
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

// reset makes the end of a connection one that its peer notices.
func reset(c *net.TCPConn) { _ = c.SetLinger(0) }

const (
	jsonHead   = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	streamHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)

// TestNoByteIsNoAnswer holds that nothing reaches the client of an answer of which only the header came, or of a stream
// without an event: it is a failure, after which another attempt can be made.
func TestNoByteIsNoAnswer(t *testing.T) {
	for name, answer := range map[string]struct {
		text  string
		reset bool
	}{
		"a header, then a reset":              {jsonHead + "Content-Length: 500\r\n\r\n", true},
		"a header, then the end":              {jsonHead + "Content-Length: 500\r\n\r\n", false},
		"a chunked one, then a reset":         {jsonHead + "Transfer-Encoding: chunked\r\n\r\n", true},
		"an empty one":                        {jsonHead + "Content-Length: 0\r\n\r\n", false},
		"an empty one of chunks":              {jsonHead + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false},
		"a stream, then a reset":              {streamHead, true},
		"a stream without an event":           {streamHead + "0\r\n\r\n", false},
		"a stream of a comment":               {streamHead + "8\r\n: ping\n\n\r\n0\r\n\r\n", false},
		"a stream until the connection's end": {"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			url := raw(t, func(c *net.TCPConn, _, _ int) bool {
				_, _ = io.WriteString(c, answer.text)
				if answer.reset {
					reset(c)
				}
				return false
			})
			a := attemptWith(t, chat)
			w := httptest.NewRecorder()
			res := backendAt(t, url, `{}`).Send(w, request(t, w), a)
			require.Error(t, res.Err)
			require.False(t, res.Spent)
			require.False(t, a.Answered())
			require.True(t, a.Failed(), "it is not billed")
			require.Empty(t, w.Body.String())
			require.Empty(t, w.Header())
		})
	}
}

// TestCommentsAlone has a stream end without an event after comments that kept the connection alive: it must not end as if it
// were whole.
func TestCommentsAlone(t *testing.T) {
	more := make(chan struct{}, 1)
	url := raw(t, func(c *net.TCPConn, _, _ int) bool {
		_, _ = io.WriteString(c, streamHead+"8\r\n: ping\n\n\r\n")
		<-more
		_, _ = io.WriteString(c, "8\r\n: ping\n\n\r\n0\r\n\r\n")
		return true
	})
	a := attemptWith(t, chat)
	w := flushed{httptest.NewRecorder(), func() {
		select {
		case more <- struct{}{}:
		default:
		}
	}}
	require.PanicsWithValue(t, http.ErrAbortHandler, func() { backendAt(t, url, `{}`).Send(w, request(t, w), a) })
	require.Contains(t, w.Body.String(), ": ping", "comments pass: they are what keeps a connection alive")
	require.True(t, a.Failed())
}

// flushed reports flushes.
type flushed struct {
	*httptest.ResponseRecorder
	report func()
}

func (f flushed) Flush() { f.report() }

// TestEventScan tells streams with an event from those without.
func TestEventScan(t *testing.T) {
	for text, want := range map[string]bool{
		"": false, ": c\n\n": false, "\n\r\n": false, "retry: 3\nid: 1\n\n": false, "\xef\xbb\xbf: c\n": false,
		"data: {}\n\n": true, ": c\n\ndata:x\n\n": true, "event: ping\ndata: {}\n\n": true, "\xef\xbb\xbfdata: x\n\n": true, ": c\rdata: x\r\r": true,
	} {
		var whole, byByte eventScan
		require.Equal(t, want, whole.found([]byte(text)), text)
		got := false
		for i := range len(text) {
			got = byByte.found([]byte{text[i]})
		}
		require.Equal(t, want, got, text)
	}
}

// TestStaleConnection has a backend close a connection that had served, as it gets the next call: the call is sent once more, on
// a new one, unless an answer had begun or a part of its body is gone.
func TestStaleConnection(t *testing.T) {
	const whole = jsonHead + "Content-Length: 2\r\n\r\n{}"
	for name, tt := range map[string]struct {
		second string // what comes of the second call on a connection
		reset  bool
		passes bool
	}{
		"closed": {"", false, true}, "reset in use": {"", true, false},
		"closed within an answer": {"HTTP/1.1 200 OK\r\nContent-", false, false}, "an answer without a byte": {jsonHead + "Content-Length: 2\r\n\r\n", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int32
			url := raw(t, func(c *net.TCPConn, _, n int) bool {
				calls.Add(1)
				if n == 2 {
					_, _ = io.WriteString(c, tt.second)
					if tt.reset {
						reset(c)
					}
					return false
				}
				_, _ = io.WriteString(c, whole)
				return true
			})
			b := backendAt(t, url, `{}`)
			for i := range 2 {
				a := attemptWith(t, chat)
				w := httptest.NewRecorder()
				res := b.Send(w, request(t, w), a)
				require.Equal(t, i == 0 || tt.passes, res.Err == nil, res.Err)
			}
			want := int32(2)
			if tt.passes {
				want = 3
			}
			require.Equal(t, want, calls.Load())
		})
	}
	t.Run("no answer in time", func(t *testing.T) {
		var calls atomic.Int32
		url := raw(t, func(c *net.TCPConn, _, n int) bool {
			calls.Add(1)
			if n == 1 {
				_, _ = io.WriteString(c, whole)
			}
			return true
		})
		b := backendAt(t, url, `{}`)
		w := httptest.NewRecorder()
		require.NoError(t, b.Send(w, request(t, w), attemptWith(t, chat)).Err)
		inner(b).ResponseHeaderTimeout = 50 * time.Millisecond
		res := b.Send(w, request(t, w), attemptWith(t, chat))
		require.Error(t, res.Err)
		require.True(t, res.Timeout)
		require.Equal(t, int32(2), calls.Load(), "the backend may still work on it")
	})
	t.Run("on a new connection", func(t *testing.T) {
		var calls atomic.Int32
		url := raw(t, func(*net.TCPConn, int, int) bool { calls.Add(1); return false })
		w := httptest.NewRecorder()
		require.Error(t, backendAt(t, url, `{}`).Send(w, request(t, w), attemptWith(t, chat)).Err)
		require.Equal(t, int32(1), calls.Load(), "a backend that closes new connections is not stale")
	})
}

// TestFirstPieceIsWhole passes answers of lengths about that of the first piece.
func TestFirstPieceIsWhole(t *testing.T) {
	for _, n := range []int{1, firstPiece - 1, firstPiece, firstPiece + 1, 3 * firstPiece} {
		text := strings.Repeat("x", n)
		a := attemptWith(t, chat)
		w := httptest.NewRecorder()
		require.NoError(t, backendAt(t, answering(t, http.StatusOK, text[:n/2], text[n/2:]).URL, `{}`).Send(w, request(t, w), a).Err)
		require.Equal(t, text, w.Body.String())
		require.True(t, a.AnswerRead())
	}
}
