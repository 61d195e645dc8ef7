package e2e

import (
	"encoding/json"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/app/limits"
	"github.com/tollgate-llm/tollgate/internal/testkit"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakeprovider"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// rebuild runs `caddy tollgate limits rebuild` against the gateway.
func rebuild(g *gateway.Gateway, args ...string) string {
	g.T.Helper()
	bin, err := gateway.Build()
	require.NoError(g.T, err)
	out, err := exec.Command(bin, append([]string{"tollgate", "limits", "rebuild", "--address", g.Admin}, args...)...).CombinedOutput()
	require.NoError(g.T, err, "%s", out)
	return string(out)
}

func rebuilt(g *gateway.Gateway, args ...string) (r limits.Rebuilt) {
	g.T.Helper()
	require.NoError(g.T, json.Unmarshal([]byte(rebuild(g, append(args, "--json")...)), &r))
	return r
}

// flushAllButKeys empties Redis, and brings back the records of keys and teams, as an operator would who has them elsewhere.
func flushAllButKeys(t testing.TB, client *redis.Client) {
	t.Helper()
	kept := make(map[string]string)
	names, err := client.Keys(t.Context(), "tollgate:*").Result()
	require.NoError(t, err)
	for _, name := range names {
		switch part, _, _ := strings.Cut(strings.TrimPrefix(name, "tollgate:"), ":"); part {
		case "limit", "total", "cursors", "leases", "reservations", "instances", "books":
		default:
			kept[name], err = client.Dump(t.Context(), name).Result()
			require.NoError(t, err)
		}
	}
	require.NotEmpty(t, kept)
	require.NoError(t, client.FlushAll(t.Context()).Err())
	for name, data := range kept {
		require.NoError(t, client.Restore(t.Context(), name, 0, data).Err())
	}
}

// TestLimitsAreRebuilt empties the store, and then has wrong numbers in it: when the command has ended, a key's spend, its budget
// and the whole gateway's spend are the sum of the ledger.
func TestLimitsAreRebuilt(t *testing.T) {
	server := testkit.Redis(t)
	provider := fakeprovider.New(t, fakeprovider.Options{Key: gateway.ProviderKey})
	for name, store := range map[string]string{"redis": "redis " + server.Addr, "file": "file " + t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			g := gateway.Run(t, limitedSite(t, store, "", provider, "markup 7.3"))
			began := time.Now()
			key := g.NewKey(`{"key_alias":"rebuilt","max_budget":1,"budget_duration":"30d"}`)
			for n := range 12 {
				g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, capped("gpt-4o", 7+n, 93))
			}
			awaitSpend(g, key)
			var costs []string
			for _, r := range g.Ledger() {
				costs = append(costs, r.Cost)
			}
			require.Len(t, costs, 12)
			want := sum(t, costs...).String()
			exact := func(r limits.Rebuilt) {
				t.Helper()
				require.Equal(t, want, r.Stores[0].After)
				row := keyInfo(g, key)
				require.Equal(t, want, row["spend"].(json.Number).String(), "of the budget")
				require.Equal(t, want, row["total_spend"].(json.Number).String())
				require.Len(t, r.Accounts, 1)
				require.WithinRange(t, *r.Accounts[0].Oldest, began.Add(-time.Second), time.Now())
			}
			exact(rebuilt(g))
			if name == "redis" {
				client := redis.NewClient(&redis.Options{Addr: server.Addr})
				defer client.Close() //nolint:errcheck // of this test
				flushAllButKeys(t, client)
				exact(rebuilt(g))
				totals, err := client.Keys(t.Context(), "*total:spend:*").Result()
				require.NoError(t, err)
				require.NotEmpty(t, totals)
				for _, name := range totals {
					require.NoError(t, client.HIncrBy(t.Context(), name, "lcost", 12345).Err())
				}
				dry := rebuilt(g, "--dry-run")
				require.True(t, dry.DryRun)
				require.NotEqual(t, want, dry.Stores[0].Before)
				require.Empty(t, dry.Stores[0].After)
				require.Contains(t, rebuild(g, "--dry-run"), "warning: a rebuild forgets what was spent before these times")
				require.NotEqual(t, want, keyInfo(g, key)["total_spend"].(json.Number).String(), "a dry run changes nothing")
				require.Contains(t, rebuild(g), "warning: 0.0", "the wrong numbers are gone")
				exact(rebuilt(g))
			}
			lines := strings.Split(rebuild(g), "\n")
			require.Regexp(t, `^ACCOUNT +SPOOL +RECORDS SINCE$`, lines[0])
			require.Regexp(t, `^default +/\S+ +\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`, lines[1])
			require.Equal(t, "spent by the store: "+want+" USD before, "+want+" USD now", lines[2])
			g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, capped("gpt-4o", 7, 93))
			require.Equal(t, 1, awaitSpend(g, key).Cmp(dollars(t, want)), "calls are counted on")
		})
	}
}
