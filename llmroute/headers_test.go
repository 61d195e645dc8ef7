package llmroute

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/llmroute/provider"
)

// TestBareProxy sends the same calls through reverse proxies that see the headers of requests and through such that do not:
// the providers must not be able to tell the difference.
func TestBareProxy(t *testing.T) {
	u := newUpstream(t, respond(200, answered))
	g := start(t, fmt.Sprintf(`llmroute {
		model m {
			backend openai %[1]s/v1 {
				api_key sk-provider
			}
			backend anthropic %[1]s {
				api_key sk-provider
			}
		}
	}`, u.URL))
	sdk := []string{
		"Content-Type", "application/json; charset=utf-8", "Accept", "text/event-stream", "User-Agent", "sdk/1", "Idempotency-Key", "i", "Openai-Beta", "b",
		"Anthropic-Version", "2024-01-01", "X-Stainless-Lang", "go", "X-Stainless-Os", "linux", "X-Forwarded-For", "198.51.100.7", "X-Custom", "c", "Via", "1.1 x",
		"Connection", "Idempotency-Key", "Te", "trailers", "Incremental", "?1", "Expect", "100-continue", "Upgrade", "h2c",
	}
	for _, headers := range [][]string{nil, {"User-Agent", ""}, {"Content-Type", ""}, {"Accept-Encoding", "gzip"}, sdk} {
		for _, path := range []string{"/v1/chat/completions?a=b", "/v1/messages"} {
			var got [2]received
			for i, shown := range []bool{true, false} {
				for _, b := range g.handler.Models[0].Backends {
					require.False(t, i == 0 && b.headerShown, "nothing is logged or edited here")
					b.headerShown = shown
				}
				u.got = nil
				resp, _ := g.post(t, path, chat, headers...)
				require.Equal(t, 200, resp.StatusCode)
				got[i] = u.only(t)
				for _, b := range g.handler.Models[0].Backends {
					b.headerShown = false
				}
			}
			require.Equal(t, got[0], got[1], "%s %v", path, headers)
		}
	}
}

// TestEarlyData makes sure that a request which came before the handshake had ended says so upstream.
func TestEarlyData(t *testing.T) {
	for _, shown := range []bool{true, false} {
		a := attempt{backend: &Backend{headerShown: shown}, Call: provider.Call{Endpoint: endpointAt(t, "/v1/chat/completions")}}
		out := a.upstreamHeader(http.Header{"User-Agent": noAgent, "Early-Data": {"1"}, "X-Forwarded-For": nil, "Via": {"2.0 Caddy"}})
		require.Equal(t, http.Header{"User-Agent": noAgent, "Early-Data": {"1"}, "Content-Type": jsonType}, withType(out))
	}
	require.Equal(t, http.Header{"User-Agent": {""}, "X-Forwarded-For": nil, "X-Forwarded-Host": nil, "X-Forwarded-Proto": nil}, bare, "it is never changed")
	require.Equal(t, "2023-06-01", clientHeader(nil, llm.Anthropic).Get("Anthropic-Version"))
}

// withType adds the type that shown headers have before the reverse proxy gets them.
func withType(h http.Header) http.Header {
	h["Content-Type"] = jsonType
	return h
}
