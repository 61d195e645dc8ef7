package upstream

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/endpoint"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/llmroute/provider"
)

// TestEarlyData makes sure that a request which came before the handshake had ended says so upstream.
func TestEarlyData(t *testing.T) {
	for _, shown := range []bool{true, false} {
		x := exchange{backend: &Backend{headerShown: shown}, Attempt: Attempt{Call: provider.Call{Endpoint: new(endpoint.Endpoint)}}}
		out := x.upstreamHeader(http.Header{"User-Agent": noAgent, "Early-Data": {"1"}, "X-Forwarded-For": nil, "Via": {"2.0 Caddy"}})
		require.Equal(t, http.Header{"User-Agent": noAgent, "Early-Data": {"1"}, "Content-Type": jsonType}, withType(out))
	}
	require.Equal(t, http.Header{"User-Agent": {""}, "X-Forwarded-For": nil, "X-Forwarded-Host": nil, "X-Forwarded-Proto": nil}, bare, "it is never changed")
	require.Equal(t, "2023-06-01", clientHeader(nil, llm.Anthropic, false).Get("Anthropic-Version"))
}

// withType adds the type that shown headers have before the reverse proxy gets them.
func withType(h http.Header) http.Header {
	h["Content-Type"] = jsonType
	return h
}
