package llmroute

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

// BenchmarkServeHTTP shows what routing adds to a plain reverse proxy, for a call with a body of 2 KB, with the upstream
// behind a loopback connection in both cases.
func BenchmarkServeHTTP(b *testing.B) {
	upstream := httptest.NewServer(respond(200, answered))
	b.Cleanup(upstream.Close)
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	require.NoError(b, err)
	plain, err := ctx.LoadModuleByID("http.handlers.reverse_proxy",
		[]byte(`{"upstreams":[{"dial":"`+strings.TrimPrefix(upstream.URL, "http://")+`"}]}`))
	require.NoError(b, err)
	routed, err := provision(b, fmt.Sprintf(`llmroute {
		model m {
			backend openai %s {
				api_key sk-x
				model other
			}
		}
	}`, upstream.URL))
	require.NoError(b, err)
	body := `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("lorem ipsum ", 165) + `"}]}`
	for name, h := range map[string]caddyhttp.MiddlewareHandler{"reverse_proxy": plain.(caddyhttp.MiddlewareHandler), "llmroute": routed} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/v1/chat/completions", strings.NewReader(body))
				r.Header = http.Header{
					"Content-Type": {"application/json"}, "Accept": {"*/*"}, "User-Agent": {"bench"}, "X-Stainless-Lang": {"go"}, "X-Stainless-Os": {"linux"},
				}
				ctx, call := llm.Ensure(r.Context())
				call.Keyed, call.Metered = true, true
				if err := h.ServeHTTP(w, prepared(w, r.WithContext(ctx)), nothing); err != nil || w.Code != 200 {
					b.Fatal(err, w.Code)
				}
			}
		})
	}
}
