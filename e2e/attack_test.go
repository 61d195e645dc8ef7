package e2e

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// rawProvider starts a provider that answers each request with bytes, and then closes the connection, by a reset if that is
// wanted.
func rawProvider(t *testing.T, answer string, reset bool) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, r.Body)
				_, _ = io.WriteString(c, answer)
				if reset {
					_ = c.(*net.TCPConn).SetLinger(0)
				}
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

// TestNothingAnsweredNothingBilled has a backend answer with a header alone, or with a stream without an event: the next backend
// serves the call and is billed, and without one the client gets 502 and no bill.
func TestNothingAnsweredNothingBilled(t *testing.T) {
	const head, stream = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n", "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
	good := upstreamServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"choices":[{"message":{"content":"ok"}}],"usage":{"prompt_tokens":100,"completion_tokens":2,"total_tokens":102}}`)
	})
	for name, bad := range map[string]struct {
		answer string
		reset  bool
	}{
		"reset after the header":       {head + "Content-Length: 500\r\n\r\n", true},
		"reset before the first chunk": {head + "Transfer-Encoding: chunked\r\n\r\n", true},
		"stream without an event":      {stream + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false},
		"stream of a comment":          {stream + "Content-Length: 8\r\n\r\n: ping\n\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			url := rawProvider(t, bad.answer, bad.reset)
			g := gateway.Start(t, "", openSite(t.TempDir(), "", fmt.Sprintf(
				"model m {\nbackend openai %[1]s/v1 {\norder 1\n}\nbackend openai %[2]s/v1 {\norder 2\n}\n}\nmodel alone {\nbackend openai %[1]s/v1\n}", url, good.URL)))
			a := g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", "", gateway.Chat("m", "hi", false))
			require.Contains(t, a.Body, `"ok"`)
			e := g.Record()
			require.Equal(t, "openai-2", e.Backend)
			require.Equal(t, map[string]int64{"input": 100, "output": 2}, e.Counts)
			require.Len(t, e.Events, 1)

			g.Must(http.StatusBadGateway, http.MethodPost, "/v1/chat/completions", "", gateway.Chat("alone", "hi", true))
			all := g.Ledger()
			require.Len(t, all, 2)
			for _, e := range all {
				if e.Model == "alone" {
					require.Equal(t, "error", e.Outcome)
					require.Empty(t, e.Events, "nothing came, so nothing is billed")
				}
			}
		})
	}
}

// TestCompressedAnswerIsMetered has a backend compress its answers although it was asked not to: they are billed as if it had not,
// or they do not reach the client.
func TestCompressedAnswerIsMetered(t *testing.T) {
	const answer = `{"choices":[{"message":{"content":"ok"}}],"usage":{"prompt_tokens":100,"completion_tokens":2,"total_tokens":102}}`
	coding, compress := "gzip", func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }
	up := upstreamServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", coding)
		z := compress(w)
		_, _ = io.WriteString(z, answer)
		_ = z.Close()
	})
	g := gateway.Start(t, "", openSite(t.TempDir(), "", "model m {\nbackend openai "+up.URL+"/v1\n}"))
	a := g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", "", gateway.Chat("m", "hi", false))
	require.Equal(t, answer, a.Body)
	e := g.Record()
	require.Equal(t, "reported", e.Source)
	require.Equal(t, map[string]int64{"input": 100, "output": 2}, e.Counts)
	coding, compress = "br", func(w io.Writer) io.WriteCloser { return brotli.NewWriter(w) }
	a = g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", "", gateway.Chat("m", "hi", false))
	require.Equal(t, answer, a.Body)
	coding = "compress"
	g.Must(http.StatusBadGateway, http.MethodPost, "/v1/chat/completions", "", gateway.Chat("m", "hi", false))
	all := g.Ledger()
	require.Len(t, all, 3)
	for _, e := range all {
		if e.Outcome != "error" {
			require.Equal(t, map[string]int64{"input": 100, "output": 2}, e.Counts)
		}
		require.Equal(t, e.Outcome == "error", len(e.Events) == 0)
	}
}

// TestHTTP10IsBilledOrBroken calls by HTTP/1.0, which takes the end of a connection for that of an answer.
func TestHTTP10IsBilledOrBroken(t *testing.T) {
	up := upstreamServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for _, piece := range []string{`{"choices":[{"message":{"content":"ok"}}],`, `"usage":{"prompt_tokens":100,"completion_tokens":2,"total_tokens":102}}`} {
			_, _ = io.WriteString(w, piece)
			_ = http.NewResponseController(w).Flush()
		}
	})
	g := gateway.Start(t, "", openSite(t.TempDir(), "", "model m {\nbackend openai "+up.URL+"/v1\n}"))
	for stream, status := range map[bool]int{false: http.StatusOK, true: http.StatusHTTPVersionNotSupported} {
		conn, err := net.Dial("tcp", g.Addr)
		require.NoError(t, err)
		body := gateway.Chat("m", "hi", stream)
		_, err = fmt.Fprintf(conn, "POST /v1/chat/completions HTTP/1.0\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s", g.Addr, len(body), body)
		require.NoError(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, errors.Join(err, resp.Body.Close(), conn.Close()))
		require.Equal(t, status, resp.StatusCode)
		require.Equal(t, int64(len(text)), resp.ContentLength, "the client can tell whether the answer is whole")
	}
	require.Equal(t, map[string]int64{"input": 100, "output": 2}, g.Record().Counts)
}
