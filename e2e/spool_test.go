package e2e

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// TestSpoolRemoved removes the spool's directory under the gateway: calls are refused, logged once and counted, and the one under
// way is cut short.
func TestSpoolRemoved(t *testing.T) {
	more, begun := make(chan struct{}), make(chan struct{})
	up := upstreamServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, sseContent)
		w.(http.Flusher).Flush()
		close(begun)
		<-more
		_, _ = io.WriteString(w, sseUsage+sseDone)
	})
	dir := filepath.Join(t.TempDir(), "spool")
	log := filepath.Join(t.TempDir(), "log")
	g := gateway.Start(t, "\tlog {\n\t\toutput file "+log+"\n\t}", openSite(dir, "", "model m {\nbackend openai "+up.URL+"/v1\n}"))
	under := make(chan gateway.Answer, 1)
	go func() {
		a, err := g.Do(http.MethodPost, "/v1/chat/completions", "", gateway.Chat("m", "hi", true))
		if err != nil {
			a.Body = "cut"
		}
		under <- a
	}()
	<-begun
	require.NoError(t, os.RemoveAll(dir))
	require.Eventually(t, func() bool { return strings.Contains(g.Billing(), `"spool_lost":true`) }, 10*time.Second, 5*time.Millisecond)
	for range 5 {
		a := g.Must(http.StatusServiceUnavailable, http.MethodPost, "/v1/chat/completions", "", gateway.Chat("m", "hi", true))
		require.NotEmpty(t, a.Header.Get("Retry-After"))
	}
	close(more)
	require.NotContains(t, (<-under).Body, "[DONE]", "its record would be lost")
	require.Contains(t, g.Billing(), `"refused_calls":5`)
	text, err := os.ReadFile(log) //nolint:gosec // the test's own file
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(text), "calls are refused"))
	require.Equal(t, 1, strings.Count(string(text), "its directory was removed or replaced\"")+strings.Count(string(text), `"msg":"spool"`))
}

// TestSpoolMoved reloads with another spool, and with another account, while Lago is down: the old one is delivered to its end, is
// seen until then, and the gauges have one series for each account.
func TestSpoolMoved(t *testing.T) {
	for name, change := range map[string]func(string) string{
		"moved": func(c string) string { return strings.Replace(c, "/first", "/second", 1) },
		"renamed": func(c string) string {
			return strings.Replace(strings.Replace(c, "/first", "/second", 1), "charge_by", "account other\ncharge_by", 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := gateway.NewWorld(t, fakelago.Options{})
			w.Gateway = gateway.Start(t, "\tservers {\n\t\tmetrics\n\t}", w.Directives(filepath.Join(t.TempDir(), "first"), ""))
			key := w.NewKey(`{"team_id":"` + gateway.Payer + `"}`)
			w.Lago.Always(func(*fakelago.Call) fakelago.Fault { return fakelago.FaultStatus(503, "") })
			call := func() {
				w.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, gateway.Chat("gpt-4o", "tokens=in:1,out:1", false))
			}
			call()
			w.Caddyfile = change(w.Caddyfile)
			w.Load()
			http.DefaultClient.CloseIdleConnections() // those of the server before
			w.AwaitAnswer()
			call()
			state := w.Billing()
			require.Contains(t, state, "/first\"", "the old spool is seen as long as it has records")
			require.Contains(t, state, "/second\"")
			metrics, err := (&gateway.Gateway{T: t, Addr: w.Admin}).Do(http.MethodGet, "/metrics", "", "")
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, metrics.Status, metrics.Body)
			if name == "moved" {
				require.Contains(t, metrics.Body, `caddy_tollgate_spool_records{account="default",state="pending"} 2`, "both spools are the account's")
			} else {
				require.Contains(t, metrics.Body, `caddy_tollgate_spool_records{account="default",state="pending"} 1`)
				require.Contains(t, metrics.Body, `caddy_tollgate_spool_records{account="other",state="pending"} 1`)
			}
			w.Lago.Always(nil)
			w.Settled(2)
			require.Eventually(t, func() bool { return !strings.Contains(w.Billing(), "/first\"") }, 20*time.Second, 10*time.Millisecond)
		})
	}
}
