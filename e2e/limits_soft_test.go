package e2e

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakeprovider"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

func init() { caddy.RegisterModule(softHandler{}) }

// softHandler is a handler of Caddy's events, as an operator configures one.
type softHandler struct{}

var softEvents = make(chan map[string]any, 100)

func (softHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.test_soft", New: func() caddy.Module { return new(softHandler) }}
}

func (softHandler) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

func (softHandler) Handle(_ context.Context, e caddy.Event) error {
	softEvents <- e.Data
	return nil
}

var _ caddyevents.Handler = (*softHandler)(nil)

// TestASoftBudgetIsAnEvent passes a soft budget: every call is answered, one event says so, and each call beyond it is counted.
func TestASoftBudgetIsAnEvent(t *testing.T) {
	provider := fakeprovider.New(t, fakeprovider.Options{Key: gateway.ProviderKey})
	g := gateway.Start(t, "events {\n on soft_budget_passed test_soft\n}", limitedSite(t, "file "+t.TempDir(), "", provider))
	key := g.NewKey(`{"soft_budget":0.00025,"budget_duration":"1d"}`)
	for range 4 {
		g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, capped("gpt-4o", 10, 100))
	}
	select {
	case data := <-softEvents:
		require.Equal(t, []any{"key", "sk-..." + key[len(key)-4:], "0.00025"}, []any{data["scope"], data["id"], data["limit"]})
		require.NotEmpty(t, data["resets_at"])
	case <-time.After(20 * time.Second):
		t.Fatal("there is no event")
	}
	require.Empty(t, softEvents, "one for the window")
	a, err := (&gateway.Gateway{T: t, Addr: g.Admin}).Do(http.MethodGet, "/metrics", "", "")
	require.NoError(t, err)
	require.Regexp(t, `caddy_tollgate_soft_budget_passed_total\{scope="key"\} [1-9]`, a.Body)
}
