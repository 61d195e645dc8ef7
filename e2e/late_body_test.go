package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// TestLateBodiesAreAnswered has metered calls whose bodies do not come in time, stalled at every point of every kind of body.
// The server takes such a client for gone; it gets its 408 all the same, and nothing is billed.
func TestLateBodiesAreAnswered(t *testing.T) {
	const (
		multipart = "multipart/form-data; boundary=b"
		form      = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--b\r\n" +
			"Content-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n"
	)
	up := upstreamServer(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })
	models := "body_timeout 1s\nmodel m {\nbackend openai " + up.URL + "\n}"
	cases := map[string]struct {
		path, kind, part string
		length           int // -1: chunked
	}{
		"nothing sent":            {"/v1/chat/completions", "application/json", "", 30_000_000},
		"a little left":           {"/v1/chat/completions", "application/json", `{"model":"m"`, 100},
		"chunked":                 {"/v1/chat/completions", "application/json", `{"model":"m"`, -1},
		"Anthropic's":             {"/v1/messages", "application/json", `{"model":"m"`, 100},
		"a form":                  {"/v1/audio/transcriptions", multipart, form + "x", 100_000},
		"a form on its way":       {"/v1/audio/transcriptions", multipart, form + strings.Repeat("x", 3_000_000), 9_000_000},
		"a form on its way, part": {"/v1/audio/transcriptions", multipart, form + strings.Repeat("x", 3_000_000), -1},
	}
	g := gateway.Start(t, "", openSite(t.TempDir(), "", models))
	conns := make(map[string]net.Conn)
	for name, c := range cases {
		conn, err := net.Dial("tcp", g.Addr)
		require.NoError(t, err)
		defer func() { require.NoError(t, conn.Close()) }()
		size, part := fmt.Sprintf("Content-Length: %d\r\n", c.length), c.part
		if c.length < 0 {
			size, part = "Transfer-Encoding: chunked\r\n", fmt.Sprintf("%x\r\n%s\r\n", len(part), part)
		}
		_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\n%s\r\n%s", c.path, g.Addr, c.kind, size, part)
		require.NoError(t, err)
		conns[name] = conn
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			res, err := http.ReadResponse(bufio.NewReader(conns[name]), nil)
			require.NoError(t, err)
			body, err := io.ReadAll(res.Body)
			require.NoError(t, errors.Join(err, res.Body.Close()))
			require.Equal(t, http.StatusRequestTimeout, res.StatusCode, "%s", body)
			require.Contains(t, string(body), "body_timeout")
			require.Equal(t, strings.HasSuffix(c.path, "messages"), strings.Contains(string(body), `"type":"error"`), "%s", body)
			require.True(t, res.Close)
		})
	}
	require.Eventually(t, func() bool { return strings.Contains(g.Billing(), `"open":0`) }, time.Minute, time.Millisecond)
	forwarded := g.Ledger()
	require.Len(t, forwarded, 2, "the forms that were on their way to the backend")
	for _, r := range forwarded {
		require.Equal(t, "error", r.Outcome)
		require.Equal(t, http.StatusRequestTimeout, r.Status)
		require.Empty(t, r.Events, "%s", r.NotBilled)
	}
}
