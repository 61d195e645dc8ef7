package lagobilling

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tollgate-llm/tollgate/app"
)

// discard is a client that takes everything.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) WriteHeader(int)             {}
func (d discard) Write(p []byte) (int, error) { return len(p), nil }

// BenchmarkCall measures what metering, pricing and the two records add to a call: subtract BenchmarkCall/bare.
func BenchmarkCall(b *testing.B) {
	h := &Handler{Spool: b.TempDir()}
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	require.NoError(b, err)
	require.NoError(b, h.Provision(ctx))
	a, err := app.Load(ctx)
	require.NoError(b, err)
	require.NoError(b, a.Start())
	b.Cleanup(func() { require.NoError(b, a.Cleanup()) })
	serve := func(b *testing.B, rt route, metered bool) {
		b.Helper()
		b.ReportAllocs()
		next := caddyhttp.HandlerFunc(rt.serve)
		bare := caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			rt.answer(w, r)
			return nil
		})
		r := httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/v1/chat/completions", http.NoBody)
		for b.Loop() {
			w := discard{http.Header{}}
			req := caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, nil)
			if !metered {
				require.NoError(b, bare.ServeHTTP(w, req))
				continue
			}
			if err := h.ServeHTTP(w, req, next); err != nil {
				b.Fatal(err)
			}
		}
	}
	whole := chatRoute(plain("application/json", jsonAnswer))
	b.Run("bare", func(b *testing.B) { serve(b, whole, false) })
	b.Run("json", func(b *testing.B) { serve(b, whole, true) })
	streamed := chatRoute(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", stream)
		for range 50 {
			_, _ = w.Write([]byte(sseStart))
		}
		_, _ = w.Write([]byte(sseUsage))
		_, _ = w.Write([]byte(sseDone))
	})
	b.Run("bare stream of 100 events", func(b *testing.B) { serve(b, streamed, false) })
	b.Run("stream of 100 events", func(b *testing.B) { serve(b, streamed, true) })
}
