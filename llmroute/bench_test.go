package llmroute

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

// memory answers requests at once, so that the network's cost hides nothing.
type memory struct{}

func (memory) RoundTrip(r *http.Request) (*http.Response, error) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: http.StatusOK, Status: "200 OK", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{
			"Content-Type": {"application/json"}, "Date": {"Thu, 01 Jan 1970 00:00:00 GMT"}, "Content-Length": {strconv.Itoa(len(answered))},
		},
		Body: io.NopCloser(strings.NewReader(answered)), ContentLength: int64(len(answered)),
	}, nil
}

// proxies returns a plain reverse proxy and llmroute, with an upstream that answers out of memory.
func proxies(t testing.TB) map[string]caddyhttp.MiddlewareHandler {
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	require.NoError(t, err)
	plain, err := ctx.LoadModuleByID("http.handlers.reverse_proxy", []byte(`{"upstreams":[{"dial":"127.0.0.1:1"}]}`))
	require.NoError(t, err)
	plain.(*reverseproxy.Handler).Transport = memory{}
	routed, err := provision(t, `llmroute {
		model m {
			backend openai http://127.0.0.1:1 {
				api_key sk-x
				model other
			}
		}
	}`)
	require.NoError(t, err)
	routed.Models[0].Backends[0].sender.Instead = memory{}
	return map[string]caddyhttp.MiddlewareHandler{"reverse_proxy": plain.(caddyhttp.MiddlewareHandler), "llmroute": routed}
}

// callWith makes a call with a body of 2 KB.
func callWith(t testing.TB, h caddyhttp.MiddlewareHandler) {
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/chat/completions", strings.NewReader(asked))
	r.Header = http.Header{
		"Content-Type": {"application/json"}, "Accept": {"*/*"}, "User-Agent": {"bench"}, "X-Stainless-Lang": {"go"}, "X-Stainless-Os": {"linux"},
	}
	ctx, call := llm.Ensure(r.Context())
	call.Keyed, call.Metered = true, true
	if err := h.ServeHTTP(w, prepared(w, r.WithContext(ctx)), nothing); err != nil || w.Code != 200 {
		t.Fatal(err, w.Code)
	}
}

var asked = `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("lorem ipsum ", 165) + `"}]}`

// BenchmarkServeHTTP shows what routing adds to a plain reverse proxy.
func BenchmarkServeHTTP(b *testing.B) {
	for name, h := range proxies(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				callWith(b, h)
			}
		})
	}
}

// TestAllocations holds how much a call allocates, in which a plain reverse proxy is a measure for what the test itself does.
func TestAllocations(t *testing.T) {
	allocs := make(map[string]float64)
	for name, h := range proxies(t) {
		allocs[name] = testing.AllocsPerRun(200, func() { callWith(t, h) })
	}
	require.LessOrEqual(t, allocs["llmroute"], allocs["reverse_proxy"]-30)
}
