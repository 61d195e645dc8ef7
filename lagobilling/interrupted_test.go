package lagobilling

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"

	"github.com/tollgate-llm/tollgate/app"
	"github.com/tollgate-llm/tollgate/internal/account"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/lagobilling/operator"
)

// startTogether starts a configuration whose handlers share one account, and returns the account.
func startTogether(t *testing.T, handlers ...*Handler) *account.Account {
	t.Helper()
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	require.NoError(t, err)
	for _, h := range handlers {
		require.NoError(t, h.Provision(ctx))
	}
	a, err := app.Load(ctx)
	require.NoError(t, err)
	require.NoError(t, a.Start())
	account, release, err := handlers[0].account.Acquire(context.Background())
	require.NoError(t, err)
	t.Cleanup(func() {
		release()
		require.NoError(t, a.Cleanup())
	})
	return account
}

// interruptedCosts returns what the interrupted calls of a ledger cost, by the name that was asked for.
func interruptedCosts(t *testing.T, a *account.Account) map[string]string {
	t.Helper()
	costs := make(map[string]string)
	require.NoError(t, a.Spool().Scan(time.Time{}, time.Time{}, func(rec spool.Record) error {
		r, err := record.Parse(rec.Payload)
		if err == nil && r.Outcome == record.OutcomeInterrupted {
			costs[r.Asked] = fmt.Sprintf("%s (%s) %d %s", r.Cost, r.BaseCost, len(r.Events), r.Prices)
			for _, e := range r.Events {
				costs[r.Asked] += " " + record.Event(e).Code()
			}
		}
		return err
	}))
	return costs
}

// TestInterruptedCallsAreBilledByTheirSite has two sites share an account with different markups, prices and shapes of events.
// Whoever bills their interrupted calls, also after the configuration changed, bills what the site that took each would have.
func TestInterruptedCallsAreBilledByTheirSite(t *testing.T) {
	dir, kept := t.TempDir(), t.TempDir()
	prices := dir + "/prices.json"
	require.NoError(t, os.WriteFile(prices, []byte(`{"mine": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 0.5, "output_cost_per_token": 1}}`), 0o600))
	sites := func() []*Handler {
		return []*Handler{
			{Spool: dir + "/spool", EventCode: "tokens"},
			{Spool: dir + "/spool", EventCode: "tokens", Markup: []Percent{{Percent: "100"}}},
			{Spool: dir + "/spool", EventCode: "tokens", Events: "cost", Discount: []Percent{{Provider: "openai", Percent: "25"}}},
			{Spool: dir + "/spool", EventCode: "tokens", Prices: prices},
			{Spool: dir + "/spool", EventCode: "tokens", Events: "per_token_type"},
		}
	}
	live := sites()
	var died []string // the spool as a process leaves it that is killed
	t.Run("calls", func(t *testing.T) {
		account := startTogether(t, live...)
		for i, h := range live {
			rt := chatRoute(nil)
			rt.request.Asked = fmt.Sprint("site ", i)
			call := newCall(rt)
			target := *rt.target
			target.Prices = map[string]string{"input": "1000000"}
			if h.Prices != "" {
				target.Prices, target.Upstream = nil, "mine"
			}
			call.Plan(&target)
			m := newMeter(h, account, call, httptestWriter(), newRequest(t))
			require.Nil(t, m.open(t.Context(), call))
		}
		for i := range 3 {
			left := filepath.Join(kept, strconv.Itoa(i))
			require.NoError(t, os.CopyFS(left, os.DirFS(dir+"/spool")))
			died = append(died, left)
		}
	})
	version := live[0].tariff.Version() + " + configuration"
	want := map[string]string{
		"site 0": "8 () 1 " + version + " tokens",
		"site 1": "16 (8) 1 " + version + " tokens",
		"site 2": "6 (8) 1 " + version + " tokens",
		"site 3": "4 () 1 " + live[3].tariff.Version() + " tokens",
		"site 4": "8 () 1 " + version + " llm_input_tokens",
	}
	other := func(spool, interrupted string) *Handler {
		return &Handler{Spool: spool, EventCode: "other", Interrupted: interrupted, Markup: []Percent{{Percent: "900"}}}
	}
	ask := func(path, body string) {
		routes := operator.Admin{}.Routes()
		at := slices.IndexFunc(routes, func(r caddy.AdminRoute) bool { return r.Pattern == "/tollgate/billing/"+path })
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		require.NoError(t, routes[at].Handler.ServeHTTP(httptest.NewRecorder(), r))
	}
	t.Run("at start", func(t *testing.T) {
		require.Equal(t, want, interruptedCosts(t, startTogether(t, other(died[0], "estimate"))))
	})
	t.Run("by an operator", func(t *testing.T) {
		a := startTogether(t, other(died[1], "hold"))
		ask("estimate", `{"all":true}`)
		require.Equal(t, want, interruptedCosts(t, a))
	})
	t.Run("by another instance", func(t *testing.T) {
		a := startTogether(t, other(t.TempDir(), "estimate"))
		ask("adopt", `{"dir":"`+died[2]+`"}`)
		require.Equal(t, want, interruptedCosts(t, a))
	})
}
