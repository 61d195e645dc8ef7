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

// BenchmarkServeHTTP shows what routing adds to a plain reverse proxy, for a call with a body of 2 KB, with an upstream that
// answers out of memory in both cases.
func BenchmarkServeHTTP(b *testing.B) {
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	require.NoError(b, err)
	plain, err := ctx.LoadModuleByID("http.handlers.reverse_proxy",
		[]byte(`{"upstreams":[{"dial":"127.0.0.1:1"}]}`))
	require.NoError(b, err)
	plain.(*reverseproxy.Handler).Transport = memory{}
	routed, err := provision(b, `llmroute {
		model m {
			backend openai http://127.0.0.1:1 {
				api_key sk-x
				model other
			}
		}
	}`)
	require.NoError(b, err)
	routed.Models[0].Backends[0].sender.Instead = memory{}
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
