package upstream

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

// flusher is a writer that compresses.
type flusher interface {
	io.WriteCloser
	Flush() error
}

var compressors = map[string]struct {
	coding string
	to     func(io.Writer) flusher
}{
	"gzip":    {"gzip", func(w io.Writer) flusher { return gzip.NewWriter(w) }},
	"x-gzip":  {"X-Gzip", func(w io.Writer) flusher { return gzip.NewWriter(w) }},
	"zlib":    {"deflate", func(w io.Writer) flusher { return zlib.NewWriter(w) }},
	"deflate": {"deflate", func(w io.Writer) flusher { f, _ := flate.NewWriter(w, 6); return f }},
	"br":      {"br", func(w io.Writer) flusher { return brotli.NewWriter(w) }},
	"zstd":    {"zstd", func(w io.Writer) flusher { z, _ := zstd.NewWriter(w); return z }},
}

// TestCompressedAnswers passes plain what backends compress unasked, each piece before the next is sent.
func TestCompressedAnswers(t *testing.T) {
	for name, c := range compressors {
		t.Run(name, func(t *testing.T) {
			got := make(chan struct{}, 1)
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Encoding", c.coding)
				w.Header().Set("Content-Type", "text/event-stream")
				z := c.to(w)
				for _, piece := range []string{"data: 1\n\n", "data: 2\n\n"} {
					_, _ = io.WriteString(z, piece)
					_ = z.Flush()
					_ = http.NewResponseController(w).Flush()
					<-got
				}
				_ = z.Close()
			}))
			t.Cleanup(s.Close)
			a := attemptWith(t, chat)
			w := flushed{httptest.NewRecorder(), nil}
			seen := 0
			w.report = func() {
				if n := strings.Count(w.Body.String(), "\n\n"); n > seen {
					seen = n
					got <- struct{}{}
				}
			}
			require.NoError(t, backendAt(t, s.URL, `{}`).Send(w, request(t, w), a).Err)
			require.Equal(t, "data: 1\n\ndata: 2\n\n", w.Body.String())
			require.Empty(t, w.Header().Get("Content-Encoding"))
			require.True(t, a.AnswerRead())
		})
	}
}

// TestUnreadableCodings holds that an answer of a model whose usage cannot be read never reaches a client, while an error does.
func TestUnreadableCodings(t *testing.T) {
	for name, tt := range map[string]struct {
		coding, body string
		status       int
		passes       bool
	}{
		"lzw": {"compress", "\x1f\x9d", 200, false}, "two": {"gzip, br", "x", 200, false}, "no gzip": {"gzip", "plain", 200, false},
		"no brotli": {"br", "plain text that is none", 200, false}, "an error": {"compress", "x", 400, true}, "identity": {"identity", "{}", 200, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Encoding", tt.coding)
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			}))
			t.Cleanup(s.Close)
			w := httptest.NewRecorder()
			a := attemptWith(t, chat)
			require.Equal(t, tt.passes, backendAt(t, s.URL, `{}`).Send(w, request(t, w), a).Err == nil)
			require.Equal(t, !tt.passes, a.Failed())
			if tt.passes {
				require.Equal(t, tt.body, w.Body.String())
			} else {
				require.Empty(t, w.Body.String())
			}
		})
	}
}

// TestCompressedRefusal reads the error of a refused prompt that is compressed.
func TestCompressedRefusal(t *testing.T) {
	var text bytes.Buffer
	z := gzip.NewWriter(&text)
	_, _ = io.WriteString(z, refusedLength)
	require.NoError(t, z.Close())
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write(text.Bytes())
	}))
	t.Cleanup(s.Close)
	a := attemptWith(t, chat)
	var why Refusal
	a.Refused = func(r Refusal) bool { why = r; return true }
	w := httptest.NewRecorder()
	require.True(t, backendAt(t, s.URL, `{}`).Send(w, request(t, w), a).Refused)
	require.Equal(t, ContextWindow, why)
}

// TestSlowCompressedFailure drops an error that is compressed and whose end does not come, while it is read.
func TestSlowCompressedFailure(t *testing.T) {
	for name, c := range compressors {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Encoding", c.coding)
				w.WriteHeader(http.StatusServiceUnavailable)
				z := c.to(w)
				_, _ = io.WriteString(z, "overloaded")
				_ = z.Flush()
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			}))
			t.Cleanup(s.Close)
			a := attemptWith(t, chat)
			a.Last = false
			w := httptest.NewRecorder()
			res := backendAt(t, s.URL, `{}`).Send(w, request(t, w), a)
			require.Equal(t, http.StatusServiceUnavailable, res.Status)
			require.True(t, a.Failed())
			require.Empty(t, w.Body.String())
		})
	}
}
