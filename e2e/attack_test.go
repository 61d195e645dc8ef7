package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

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
