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
