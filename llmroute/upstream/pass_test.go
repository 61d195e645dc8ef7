package upstream

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// TestWhatIsNotForTheClient writes answers of a provider byte for byte: what is about the provider's connection or account reaches the
// client neither in headers nor in trailers, and nothing reaches it that is no answer.
func TestWhatIsNotForTheClient(t *testing.T) {
	for name, c := range map[string]struct {
		answer, proto string
		want          string // the beginning of what the client gets
		passes        string
	}{
		"a hint": {
			answer: "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nSet-Cookie: a=b\r\n\r\n" + jsonHead + "Content-Length: 2\r\n\r\n{}",
			proto:  "1.1", want: "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK", passes: "{}",
		},
		"a hint for HTTP/1.0": {
			answer: "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + jsonHead + "Content-Length: 2\r\n\r\n{}",
			proto:  "1.0", want: "HTTP/1.0 200 OK", passes: "{}",
		},
		"trailers": {
			answer: jsonHead + "Trailer: X-Sum, Set-Cookie\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a=b\r\nX-Litellm-Key: 2\r\n\r\n",
			proto:  "1.1", want: "HTTP/1.1 200 OK", passes: "X-Sum: 1",
		},
		"a status below 100":         {answer: "HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n", proto: "1.1", want: "HTTP/1.1 502"},
		"another protocol, unasked":  {answer: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", proto: "1.1", want: "HTTP/1.1 502"},
		"a body that a status lacks": {answer: "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", proto: "1.1", want: "HTTP/1.1 204 No Content"},
	} {
		t.Run(name, func(t *testing.T) {
			b := backendAt(t, raw(t, func(conn *net.TCPConn, _, _ int) bool {
				_, _ = io.WriteString(conn, c.answer)
				return false
			})+"/v1", `{}`)
			g := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, &caddyhttp.Server{})
				if res := b.Send(w, r, attemptWith(t, chat)); res.Err != nil {
					w.WriteHeader(http.StatusBadGateway)
				}
			}))
			t.Cleanup(g.Close)
			client, err := new(net.Dialer).DialContext(t.Context(), "tcp", g.Listener.Addr().String())
			require.NoError(t, err)
			t.Cleanup(func() { _ = client.Close() })
			_, err = io.WriteString(client, "POST / HTTP/"+c.proto+"\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			require.NoError(t, err)
			text, err := io.ReadAll(client)
			require.NoError(t, err)
			got := string(text)
			require.True(t, strings.HasPrefix(got, c.want), got)
			require.Contains(t, got, c.passes)
			for _, hidden := range []string{"Cookie", "a=b", "Litellm", "hello"} {
				require.NotContains(t, got, hidden)
			}
		})
	}
}
