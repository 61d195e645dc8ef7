package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// TestPricesByURL follows a price document: a new one is billed by from the next call on, one that cannot be read or that changes a price
// more than tenfold is not, and a start without the server uses the last good one.
func TestPricesByURL(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	document := func(usd string) string {
		return `{"models":[{"model":"m","prices":{"input":` + usd + `,"output":` + usd + `}}]}`
	}
	var served atomic.Value
	var asked atomic.Int64
	served.Store(document("1"))
	source := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = io.WriteString(w, served.Load().(string))
	}))
	t.Cleanup(source.Close)
	g := gateway.Start(t, "", `
	lagobilling {
		spool `+t.TempDir()+`
		missing_payer unbilled
		prices `+source.URL+`/prices.json
		prices_refresh 1s
	}
	llmroute {
		anonymous
		model m {
			backend mock
		}
	}`)
	cost := func() string {
		a := g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", "", gateway.Chat("m", "hi", false))
		return a.Header.Get("X-Litellm-Response-Cost")
	}
	first := cost()
	require.NotEmpty(t, first)
	change := func(to string) {
		served.Store(to)
		seen := asked.Load()
		require.Eventually(t, func() bool { return asked.Load() >= seen+3 }, 30*time.Second, 20*time.Millisecond)
	}
	change(document("2"))
	second := cost()
	require.NotEqual(t, first, second)
	for _, refused := range []string{document("2000"), document("0.001"), document("0"), "<html>", `{"models":[{"model":"m","prices":{"input":"x"}}]}`, strings.Repeat("[", 100)} {
		change(refused)
		require.Equal(t, second, cost(), refused)
	}
	change(document("1"))
	require.Equal(t, first, cost())

	source.Close()
	gateway.Stop(t)
	g.Load()
	g.AwaitAnswer()
	require.Equal(t, first, cost(), "the cached document")
}
