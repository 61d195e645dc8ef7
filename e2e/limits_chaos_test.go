package e2e

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakeprovider"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// TestKilledInTheMiddle kills an instance with calls under way, then all instances and Redis at once, and then empties Redis. What the
// dead instance held is free again when its lease has run out; after each, a key's spend is the sum of the ledgers.
func TestKilledInTheMiddle(t *testing.T) {
	provider := fakeprovider.New(t, fakeprovider.Options{Key: gateway.ProviderKey})
	server := testkit.Redis(t)
	bin, err := gateway.Build()
	require.NoError(t, err)
	gateways := make([]*gateway.Gateway, 2)
	for i := range gateways {
		gateways[i] = gateway.Run(t, limitedSite(t, "redis "+server.Addr, "", provider))
	}
	one, other := gateways[0], gateways[1]
	key := one.NewKey(`{"max_budget":0.1,"budget_duration":"30d","max_parallel_requests":4}`)
	call := capped("gpt-4o", 7, 93)
	exact := func() {
		t.Helper()
		require.Eventually(t, func() bool {
			var costs []string
			for _, g := range gateways {
				for _, r := range g.Ledger() {
					if r.Outcome != "" {
						costs = append(costs, r.Cost)
					}
				}
			}
			a, err := one.Do(http.MethodGet, "/key/info?key="+key, gateway.MasterKey, "")
			if err != nil || a.Status != http.StatusOK {
				return false
			}
			return keyInfo(one, key)["total_spend"].(interface{ String() string }).String() == sum(t, costs...).String()
		}, 30*time.Second, 20*time.Millisecond)
	}
	for range 10 {
		one.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, call)
		other.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, call)
	}
	exact()

	gate := provider.Gate(0, func(fakeprovider.Call) bool { return true })
	for range 4 {
		go func() { _, _ = other.Do(http.MethodPost, "/v1/chat/completions", key, call) }() // it is killed
	}
	require.NoError(t, gate.Await(gateway.Timeout(t, 20*time.Second), 4))
	other.Kill()
	gate.Open()
	one.Must(http.StatusTooManyRequests, http.MethodPost, "/v1/chat/completions", key, call)
	client := redis.NewClient(&redis.Options{Addr: server.Addr})
	defer client.Close() //nolint:errcheck // of this test
	leases, err := client.ZRangeWithScores(t.Context(), "tollgate:leases", 0, -1).Result()
	require.NoError(t, err)
	require.Len(t, leases, 4)
	for _, l := range leases {
		end := time.UnixMilli(int64(l.Score))
		require.WithinDuration(t, time.Now().Add(90*time.Second), end, 80*time.Second)
		require.NoError(t, client.ZAdd(t.Context(), "tollgate:leases", redis.Z{Member: l.Member, Score: 1}).Err()) // as if they had run out
	}
	one.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, call)

	one.Kill()
	server.Kill()
	server.Start()
	for _, g := range gateways {
		g.Launch(bin, "caddyfile")
	}
	exact()
	one.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, call)

	flushAllButKeys(t, client)
	one.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, call)
	other.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, call)
	exact()
	calls, err := client.HGet(t.Context(), "tollgate:total:spend:gateway:", "lcalls").Result()
	require.NoError(t, err)
	n, err := strconv.Atoi(calls)
	require.NoError(t, err)
	require.GreaterOrEqual(t, n, 24)
}
