package lagobilling

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tollgate-llm/tollgate/app"
	"github.com/tollgate-llm/tollgate/internal/settle"
	"github.com/tollgate-llm/tollgate/internal/translate"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// discard is a client that takes everything.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) WriteHeader(int)             {}
func (d discard) Write(p []byte) (int, error) { return len(p), nil }

func benchHandler(b *testing.B, durability string) *Handler {
	b.Helper()
	h := &Handler{Spool: b.TempDir(), Durability: durability}
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	require.NoError(b, err)
	require.NoError(b, h.Provision(ctx))
	a, err := app.Load(ctx)
	require.NoError(b, err)
	require.NoError(b, a.Start())
	b.Cleanup(func() { require.NoError(b, a.Cleanup()) })
	return h
}

// BenchmarkSettle measures how long an answer's last bytes wait: usage to cost to record to spool. It reports the median
// and the 99th percentile of the settled record, and the median of the opened one, in microseconds.
func BenchmarkSettle(b *testing.B) {
	for _, durability := range []string{"process", "fsync"} {
		b.Run(durability, func(b *testing.B) {
			h := benchHandler(b, durability)
			account, release, err := h.account.Acquire(b.Context())
			require.NoError(b, err)
			defer release()
			rt := chatRoute(nil)
			var opens, settles []time.Duration
			r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/v1/chat/completions", http.NoBody)
			for b.Loop() {
				w := discard{http.Header{"Content-Type": {"application/json"}}}
				call := newCall(rt)
				call.Plan(rt.target)
				m := newMeter(h, account, call, w, caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, nil))
				began := time.Now()
				if refused := m.open(b.Context(), call); refused != nil {
					b.Fatal(refused)
				}
				opens = append(opens, time.Since(began))
				m.WriteHeader(http.StatusOK)
				m.reader.Next([]byte(jsonAnswer))
				m.bytes = int64(len(jsonAnswer))
				began = time.Now()
				m.settle(settle.Ended)
				settles = append(settles, time.Since(began))
				if m.aborted || m.Record().Source != usage.Reported || m.Record().Cost == "" {
					b.Fatal("the call was not settled as a whole answer is")
				}
				m.reader.Close()
			}
			slices.Sort(opens)
			slices.Sort(settles)
			us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
			b.ReportMetric(us(opens[len(opens)/2]), "open-p50-us")
			b.ReportMetric(us(settles[len(settles)/2]), "settle-p50-us")
			b.ReportMetric(us(settles[len(settles)*99/100]), "settle-p99-us")
		})
	}
}

// BenchmarkCall measures what metering, pricing and the two records add to a call: subtract BenchmarkCall/bare.
func BenchmarkCall(b *testing.B) {
	h := benchHandler(b, "process")
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
	onChat := translatedRoute(translate.Messages, messages, chat, streamed.answer)
	b.Run("translated stream of 100 events", func(b *testing.B) { serve(b, onChat, true) })
	onMessages := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", stream)
		_, _ = w.Write([]byte(messagesStart))
		for range 100 {
			_, _ = w.Write([]byte(messagesDelta))
		}
		_, _ = w.Write([]byte(messagesEnd))
	}
	own := translatedRoute(translate.Messages, messages, messages, onMessages)
	own.caller = ""
	b.Run("Messages, stream of 100 events", func(b *testing.B) { serve(b, own, true) })
	b.Run("Messages, translated stream of 100 events", func(b *testing.B) { serve(b, translatedRoute(translate.Chat, chat, messages, onMessages), true) })
}
