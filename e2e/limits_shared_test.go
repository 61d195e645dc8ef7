package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/testkit"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakeprovider"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

func dollars(t testing.TB, text string) price.Amount {
	t.Helper()
	a, err := price.ParseUSD(text)
	require.NoError(t, err)
	return a
}

func sum(t testing.TB, texts ...string) (total price.Amount) {
	t.Helper()
	for _, text := range texts {
		var err error
		total, err = total.Add(dollars(t, text))
		require.NoError(t, err)
	}
	return total
}

// awaitSpend waits until nothing of a key's budget is reserved, and returns what is spent of it.
func awaitSpend(g *gateway.Gateway, key string) price.Amount {
	g.T.Helper()
	var row map[string]any
	require.Eventually(g.T, func() bool {
		row = keyInfo(g, key)
		return row["reserved"] == json.Number("0")
	}, 20*time.Second, 10*time.Millisecond, "a reservation stays")
	return dollars(g.T, row["spend"].(json.Number).String())
}

// spendAll has callers call until the budget has no room for one more call, and returns how many calls were answered. each gets the
// number after every answer; where it is set, calls may meet a store that is away.
func spendAll(t *testing.T, gateways []*gateway.Gateway, key, body string, callers int, each func(answered int64)) int64 {
	t.Helper()
	var answered atomic.Int64
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for {
				a, err := gateways[i%len(gateways)].Do(http.MethodPost, "/v1/chat/completions", key, body)
				if err != nil {
					t.Error(err)
					return
				}
				switch a.Status {
				case http.StatusOK:
					if n := answered.Add(1); each != nil {
						each(n)
					}
					continue
				case http.StatusUnprocessableEntity:
				case http.StatusServiceUnavailable:
					if each != nil {
						continue
					}
					t.Error(a.Status, a.Body)
					return
				default:
					t.Error(a.Status, a.Body)
					return
				}
				var b refusedBody
				if err := json.Unmarshal([]byte(a.Body), &b); err != nil {
					t.Error(err)
					return
				}
				after, err := dollars(t, b.Error.Spent.String()).Add(dollars(t, b.Error.Needed.String()))
				if err != nil || after.Cmp(dollars(t, b.Error.Limit.String())) > 0 {
					return
				}
			}
		})
	}
	wg.Wait()
	return answered.Load()
}

// TestABudgetIsOneForAllProcesses has many callers spend a budget by way of several processes on one Redis: it is never passed, nearly
// all of it is used, and what is shown as spent is the sum of the ledgers and of Lago's events, to the last digit. The master of
// Redis is killed in the middle where another one can take over: then what live calls held may be given out once more.
func TestABudgetIsOneForAllProcesses(t *testing.T) {
	t.Run("single", func(t *testing.T) { oneBudget(t, "redis "+testkit.Redis(t).Addr, 3, nil) })
	t.Run("cluster", func(t *testing.T) {
		var addrs []string
		for _, s := range testkit.RedisCluster(t) {
			addrs = append(addrs, s.Addr)
		}
		oneBudget(t, "redis "+strings.Join(addrs, " "), 2, nil)
	})
	t.Run("sentinel", func(t *testing.T) {
		s := testkit.RedisSentinel(t, "")
		oneBudget(t, "redis "+s.Addr+" {\n sentinel "+s.Name+"\n}", 2, s.Master.Kill)
	})
}

func oneBudget(t *testing.T, store string, processes int, kill func()) {
	provider := fakeprovider.New(t, fakeprovider.Options{Key: gateway.ProviderKey})
	lago := fakelago.New(t, fakelago.Options{})
	lago.AddMetric(fakelago.Metric{Code: "llm", Field: "total_tokens"})
	lago.AddSubscription(fakelago.Subscription{ExternalID: "burst"})
	var gateways []*gateway.Gateway
	for range processes {
		gateways = append(gateways, gateway.Run(t, limitedSite(t, store, "", provider,
			"api_base "+lago.URL, "api_key "+lago.Key(), "event_code llm", "markup 7.3")))
	}
	g := gateways[0]
	const budget, callers = "0.010000000000007", 24
	most := dollars(t, budget)
	var each func(int64)
	if kill != nil {
		var once sync.Once
		each = func(n int64) {
			if n >= 30 {
				once.Do(kill)
			}
		}
		most = sum(t, budget, fmt.Sprintf("%.15f", callers*0.0002)) // what each of the callers had reserved at most
	}
	key := g.NewKey(`{"key_alias":"burst","max_budget":` + budget + `,"budget_duration":"1d"}`)
	answered := spendAll(t, gateways, key, capped("gpt-4o", 7, 93), callers, each)
	spent := awaitSpend(g, key)
	require.LessOrEqual(t, spent.Cmp(most), 0, "spent %s of %s", spent, budget)
	require.Greater(t, spent.Cmp(dollars(t, "0.0096")), 0, "nearly all of %s can be used; spent %s", budget, spent)

	var costs []string
	for _, g := range gateways {
		for _, r := range g.Ledger() {
			costs = append(costs, r.Cost)
		}
	}
	require.EqualValues(t, answered, len(costs))
	require.Equal(t, sum(t, costs...).String(), spent.String(), "the ledgers")
	require.NoError(t, lago.Await(gateway.Timeout(t, 20*time.Second), func() bool { return lago.EventCount() == len(costs) }))
	costs = costs[:0]
	for _, e := range lago.Events() {
		costs = append(costs, e.Property("response_cost"))
	}
	require.Equal(t, sum(t, costs...).String(), spent.String(), "Lago's events")
	row := keyInfo(gateways[1], key)
	require.Equal(t, spent.String(), row["total_spend"].(json.Number).String(), "the other process")
	require.Equal(t, json.Number(budget), row["max_budget"])
}

// TestDiscussion50438 runs the cases of BerriAI/litellm discussion 50438. docs/limits.md has their table.
func TestDiscussion50438(t *testing.T) {
	provider := fakeprovider.New(t, fakeprovider.Options{Key: gateway.ProviderKey})
	const budget = `{"max_budget":0.001,"budget_duration":"1d"}` // room for five calls at once
	call := capped("gpt-4o", 10, 100)
	t.Run("burst of 20 calls", func(t *testing.T) {
		g := gateway.Run(t, limitedSite(t, "redis "+testkit.Redis(t).Addr, "", provider))
		key := g.NewKey(budget)
		gate := provider.Gate(0, func(fakeprovider.Call) bool { return true })
		var wg sync.WaitGroup
		results := make(chan int, 20)
		for range 20 {
			wg.Go(func() {
				a, err := g.Do(http.MethodPost, "/v1/chat/completions", key, call)
				if err != nil {
					t.Error(err)
				}
				if a.Status == http.StatusUnprocessableEntity {
					results <- a.Status
					return
				}
				results <- a.Status
			})
		}
		for range 15 {
			require.Equal(t, http.StatusUnprocessableEntity, <-results, "refused while the others are under way")
		}
		gate.Open()
		wg.Wait()
		for range 5 {
			require.Equal(t, http.StatusOK, <-results)
		}
		require.Equal(t, "0.00055", awaitSpend(g, key).String())
	})
	t.Run("oversized call", func(t *testing.T) {
		g := gateway.Run(t, limitedSite(t, "file "+t.TempDir(), "", provider))
		key := g.NewKey(budget)
		g.Must(http.StatusUnprocessableEntity, http.MethodPost, "/v1/chat/completions", key, capped("gpt-4o", 10, 2000))
		require.Equal(t, "0", awaitSpend(g, key).String())
	})
	t.Run("store away", func(t *testing.T) {
		for failure, want := range map[string]int{"deny": 0, "local": 5} {
			redis := testkit.Redis(t)
			g := gateway.Run(t, limitedSite(t, "redis "+redis.Addr, "limits {\n on_store_failure "+failure+"\n}", provider))
			key := g.NewKey(budget)
			g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, call)
			require.Equal(t, "0.00011", awaitSpend(g, key).String())
			redis.Stop()
			var answered int
			for range 20 {
				a, err := g.Do(http.MethodPost, "/v1/chat/completions", key, call)
				require.NoError(t, err)
				switch {
				case a.Status == http.StatusOK:
					answered++
				case failure == "deny":
					require.Equal(t, http.StatusServiceUnavailable, a.Status, a.Body)
				default:
					require.Equal(t, http.StatusUnprocessableEntity, a.Status, a.Body)
				}
			}
			require.LessOrEqual(t, answered, want, failure)
			require.Equal(t, failure == "local", answered > 0, failure)
		}
	})
	t.Run("restart", func(t *testing.T) {
		for _, store := range []string{"file " + t.TempDir(), "redis " + testkit.Redis(t).Addr} {
			g := gateway.Run(t, limitedSite(t, store, "", provider))
			key := g.NewKey(budget)
			answered := spendAll(t, []*gateway.Gateway{g}, key, call, 1, nil)
			bin, err := gateway.Build()
			require.NoError(t, err)
			g.Kill()
			g.Launch(bin, "caddyfile")
			g.Must(http.StatusUnprocessableEntity, http.MethodPost, "/v1/chat/completions", key, call)
			spent := awaitSpend(g, key)
			require.Equal(t, fmt.Sprintf("0.%05d", 11*answered), spent.String(), store)
		}
	})
}
