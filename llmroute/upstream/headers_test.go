package upstream

import (
	"crypto/tls"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/endpoint"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/llmroute/provider"
)

// TestClientHeader holds what goes upstream of a client's headers beside those of the table: that a request came before the
// handshake had ended, what a provider needs, and nothing that is about the client's connection.
func TestClientHeader(t *testing.T) {
	for _, tt := range []struct {
		api  llm.API
		in   *http.Request
		want http.Header
	}{
		{llm.OpenAI, &http.Request{}, http.Header{"User-Agent": {""}, "Content-Type": {"application/json"}}},
		{llm.OpenAI, &http.Request{TLS: new(tls.ConnectionState)}, http.Header{"User-Agent": {""}, "Content-Type": {"application/json"}, "Early-Data": {"1"}}},
		{llm.OpenAI, &http.Request{TLS: &tls.ConnectionState{HandshakeComplete: true}}, http.Header{"User-Agent": {""}, "Content-Type": {"application/json"}}},
		{llm.Anthropic, &http.Request{}, http.Header{"User-Agent": {""}, "Content-Type": {"application/json"}, "Anthropic-Version": {"2023-06-01"}}},
		{llm.OpenAI, &http.Request{Header: http.Header{
			"Connection": {"accept, Idempotency-Key"}, "Accept": {"a"}, "Idempotency-Key": {"i"}, "X-Request-Id": {"r"}, "User-Agent": {"u"}, "Content-Type": {"c"},
		}}, http.Header{"X-Request-Id": {"r"}, "User-Agent": {"u"}, "Content-Type": {"c"}}},
	} {
		x := exchange{backend: new(Backend), r: tt.in, Attempt: Attempt{Call: provider.Call{Endpoint: &endpoint.Endpoint{Endpoint: llm.Endpoint{API: tt.api}}}}}
		require.Equal(t, tt.want, x.clientHeader())
	}
}
