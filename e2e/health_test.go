package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// ready is the answer about readiness: the status of the whole, and of each check by its name.
func ready(t *testing.T, g *gateway.Gateway, path string, status int) (whole string, checks map[string]string) {
	t.Helper()
	a := g.Must(status, http.MethodGet, path, "", "")
	require.Equal(t, "application/json", a.Header.Get("Content-Type"))
	var out struct {
		Status string
		Checks []struct{ Name, Account, Status, Reason string }
	}
	require.NoError(t, json.Unmarshal([]byte(a.Body), &out), a.Body)
	checks = make(map[string]string)
	for _, c := range out.Checks {
		checks[c.Name+c.Account] = strings.TrimSpace(c.Status + " " + c.Reason)
	}
	return out.Status, checks
}

// TestHealth asks for health without a key, as load balancers and Kubernetes do: while all is well, with Lago down, which refuses nothing,
// with a store that is down, for as long as its keys are served and after, and with a full spool.
func TestHealth(t *testing.T) {
	w := gateway.NewWorld(t, fakelago.Options{})
	directives := w.Directives(t.TempDir(), "")
	w.Gateway = gateway.Start(t, "", directives)
	key := w.NewKey(`{"team_id":"` + gateway.Payer + `"}`)
	for _, path := range []string{"/health/liveliness", "/health/liveness"} {
		require.Equal(t, `"I'm alive!"`, w.Must(http.StatusOK, http.MethodGet, path, "", "").Body)
		w.Must(http.StatusOK, http.MethodHead, path, "", "")
	}
	for _, path := range []string{"/health", "/health/readiness"} {
		status, checks := ready(t, w.Gateway, path, http.StatusOK)
		require.Equal(t, "healthy", status)
		require.Equal(t, map[string]string{"store": "ok", "spooldefault": "ok", "lagodefault": "ok"}, checks)
	}
	for _, path := range []string{"/health/other", "/healthy", "/health/readiness/x"} {
		w.Must(http.StatusUnauthorized, http.MethodGet, path, "", "")
	}
	w.Must(http.StatusUnauthorized, http.MethodPost, "/health", "", "")
	require.NotContains(t, w.Must(http.StatusOK, http.MethodGet, "/health", "", "").Body, w.Redis.Addr)

	w.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, gateway.Chat("gpt-4o", "hi", false))

	w.Redis.Stop()
	require.Eventually(t, func() bool {
		_, checks := ready(t, w.Gateway, "/health", http.StatusOK)
		return strings.HasPrefix(checks["store"], "degraded")
	}, 30*time.Second, 20*time.Millisecond, "a store that is down is reported, and its keys are served")
	w.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, gateway.Chat("gpt-4o", "hi", false))
	w.Caddyfile = gateway.Site(w.Addr, w.Admin, "", strings.Replace(directives, "cache_ttl 10s", "cache_ttl 0s\nstale_ttl 0s", 1))
	w.Load()
	w.AwaitAnswer()
	status, checks := ready(t, w.Gateway, "/health/readiness", http.StatusServiceUnavailable)
	require.Equal(t, "unhealthy", status)
	require.Equal(t, "down the key store does not answer", checks["store"])
	w.Must(http.StatusServiceUnavailable, http.MethodPost, "/v1/chat/completions", key, gateway.Chat("gpt-4o", "hi", false))
	w.Redis.Start()
	require.Eventually(t, func() bool {
		a, err := w.Do(http.MethodGet, "/health/readiness", "", "")
		return err == nil && a.Status == http.StatusOK
	}, 30*time.Second, 20*time.Millisecond, "a store that is back is found by the checks alone")
	w.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, gateway.Chat("gpt-4o", "hi", false))
}

// TestHealthWhereLimitsDeny has calls with limits refused while their store is away: then an instance is not ready, although its keys
// go on working for calls without limits.
func TestHealthWhereLimitsDeny(t *testing.T) {
	w := gateway.NewWorld(t, fakelago.Options{})
	w.Gateway = gateway.Start(t, "", strings.Replace(w.Directives(t.TempDir(), ""), "cache_ttl 10s", "cache_ttl 10s\nlimits {\non_store_failure deny\n}", 1))
	limited, free := w.NewKey(`{"team_id":"`+gateway.Payer+`","rpm_limit":100}`), w.NewKey(`{"team_id":"`+gateway.Payer+`"}`)
	call := func(status int, key string) {
		w.Must(status, http.MethodPost, "/v1/chat/completions", key, gateway.Chat("gpt-4o", "hi", false))
	}
	call(http.StatusOK, limited)
	call(http.StatusOK, free)
	_, checks := ready(t, w.Gateway, "/health/readiness", http.StatusOK)
	require.Equal(t, "ok", checks["limits"])

	w.Redis.Stop()
	require.Eventually(t, func() bool {
		a, err := w.Do(http.MethodGet, "/health/readiness", "", "")
		return err == nil && a.Status == http.StatusServiceUnavailable
	}, 30*time.Second, 20*time.Millisecond)
	status, checks := ready(t, w.Gateway, "/health/readiness", http.StatusServiceUnavailable)
	require.Equal(t, "unhealthy", status)
	require.Contains(t, checks["limits"], "down the store of limits does not answer")
	require.Contains(t, checks["store"], "degraded")
	call(http.StatusServiceUnavailable, limited)
	call(http.StatusOK, free)

	w.Redis.Start()
	require.Eventually(t, func() bool {
		a, err := w.Do(http.MethodGet, "/health/readiness", "", "")
		return err == nil && a.Status == http.StatusOK
	}, 30*time.Second, 20*time.Millisecond, "it is ready again without a call")
	call(http.StatusOK, limited)
}

// TestHealthOfFullSpool is that of an instance that refuses calls because nothing more can be recorded, and of one without keyauth.
func TestHealthOfFullSpool(t *testing.T) {
	g := gateway.Start(t, "", `
	lagobilling {
		spool `+t.TempDir()+`
		missing_payer unbilled
		spool_max 66KB
	}
	llmroute {
		anonymous
		model m {
			backend mock
		}
	}`)
	status, checks := ready(t, g, "/health", http.StatusOK)
	require.Equal(t, "healthy", status)
	require.Equal(t, map[string]string{"spooldefault": "ok"}, checks)
	full := false
	for i := 0; i < 1000 && !full; i++ { // room that is freed meanwhile is used up again
		if a, err := g.Do(http.MethodPost, "/v1/chat/completions", "", gateway.Chat("m", "hi", false)); err == nil && a.Status == http.StatusServiceUnavailable {
			a, err := g.Do(http.MethodGet, "/health", "", "")
			full = err == nil && a.Status == http.StatusServiceUnavailable
		}
	}
	require.True(t, full)
	_, checks = ready(t, g, "/health", http.StatusServiceUnavailable)
	require.Equal(t, "down the spool is full", checks["spooldefault"])
	g.Must(http.StatusOK, http.MethodGet, "/health/liveness", "", "")
}
