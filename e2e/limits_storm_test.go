package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakeprovider"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

const (
	stormProcesses = 4
	stormCalls     = 20 // that the budget has room for
	stormCallers   = 50 * stormCalls
)

// storm is four processes of the built gateway that share a store of limits, a Lago, and callers that keep their connections.
type storm struct {
	t        *testing.T
	gateways []*gateway.Gateway
	lago     *fakelago.Server
	client   *http.Client
	key      string
}

// underRace reports whether this test runs with the race detector.
func underRace() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "-race" && s.Value == "true" })
}

func newStorm(t *testing.T, store string, race bool) *storm {
	build := gateway.Build
	if race && underRace() {
		build = gateway.BuildRace
	}
	bin, err := build()
	require.NoError(t, err)
	provider := fakeprovider.New(t, fakeprovider.Options{Key: gateway.ProviderKey})
	s := &storm{t: t, lago: fakelago.New(t, fakelago.Options{}), client: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: stormCallers}, Timeout: time.Minute,
	}}
	t.Cleanup(s.client.CloseIdleConnections)
	s.lago.AddMetric(fakelago.Metric{Code: "llm", Field: "total_tokens"})
	s.lago.AddSubscription(fakelago.Subscription{ExternalID: "storm"})
	for range stormProcesses {
		g := &gateway.Gateway{T: t, Addr: gateway.FreeAddr(t), Admin: gateway.FreeAddr(t)}
		g.Caddyfile = gateway.Site(g.Addr, g.Admin, "", limitedSite(t, store, "", provider,
			"api_base "+s.lago.URL, "api_key "+s.lago.Key(), "event_code llm"))
		g.Launch(bin, "caddyfile")
		s.gateways = append(s.gateways, g)
	}
	s.key = s.gateways[0].NewKey(fmt.Sprintf(`{"key_alias":"storm","max_budget":%s,"budget_duration":"1d"}`, stormBudget))
	return s
}

const (
	stormBudget = "0.002" // twenty calls
	stormCost   = "0.0001"
	stormNeed   = "0.000166" // what one reserves: its input and a quarter, 64 tokens, and the answer's bound
)

var stormCall = capped("gpt-4o", 7, 93)

// post makes one call by way of one of the processes.
func (s *storm) post(n int, body string) (status int, answer []byte, err error) {
	req, err := http.NewRequest(http.MethodPost, s.gateways[n%stormProcesses].URL("/v1/chat/completions"), strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+s.key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	answer, err = io.ReadAll(resp.Body)
	if e := resp.Body.Close(); err == nil {
		err = e
	}
	return resp.StatusCode, answer, err
}

// storeAway is in the answer of a process that decided without the store.
var storeAway = []byte(`"store_away"`)

// wave has all callers call at once. It returns how many were answered, and how many could not be judged; all others are refused for
// the budget, by the store. after gets the number after every answer.
func (s *storm) wave(after func(answered int64)) (answered, unjudged int64) {
	s.t.Helper()
	var yes, away atomic.Int64
	var wg sync.WaitGroup
	for i := range stormCallers {
		wg.Go(func() {
			status, body, err := s.post(i, stormCall)
			switch {
			case err != nil:
				s.t.Error(err)
			case status == http.StatusOK:
				if n := yes.Add(1); after != nil {
					after(n)
				}
			case status == http.StatusServiceUnavailable, bytes.Contains(body, storeAway):
				away.Add(1)
			case status != http.StatusUnprocessableEntity:
				s.t.Errorf("%d %s", status, body)
			}
		})
	}
	wg.Wait()
	return yes.Load(), away.Load()
}

// settled waits until nothing is reserved, and has each process learn what is left: a call that no budget has room for.
func (s *storm) settled() {
	s.t.Helper()
	awaitSpend(s.gateways[0], s.key)
	for i := range s.gateways {
		require.Eventually(s.t, func() bool {
			status, body, err := s.post(i, capped("gpt-4o", 7, 10_000_000))
			return err == nil && status == http.StatusUnprocessableEntity && !bytes.Contains(body, storeAway)
		}, 30*time.Second, 20*time.Millisecond)
	}
}

// exhaust sends waves until one finds no room, and returns how many calls were answered.
func (s *storm) exhaust() (answered int64) {
	s.t.Helper()
	for {
		n, unjudged := s.wave(nil)
		answered += n
		s.settled()
		if n == 0 && unjudged == 0 {
			return answered
		}
	}
}

// exact compares what is spent with the ledgers of all processes and with Lago's events, to the last digit, and with the budget:
// at most as much more as given, and at most one reservation less.
func (s *storm) exact(answered int64, more string) {
	t := s.t
	t.Helper()
	spent := awaitSpend(s.gateways[0], s.key)
	require.LessOrEqual(t, spent.Cmp(sum(t, stormBudget, more)), 0, "spent %s of %s", spent, stormBudget)
	require.Positive(t, sum(t, spent.String(), stormNeed).Cmp(dollars(t, stormBudget)), "spent %s of %s: there is room for one more call", spent, stormBudget)
	var costs []string
	for _, g := range s.gateways {
		for _, r := range g.Ledger() {
			costs = append(costs, r.Cost)
		}
	}
	require.EqualValues(t, answered, len(costs))
	require.Equal(t, sum(t, costs...).String(), spent.String(), "the ledgers")
	require.NoError(t, s.lago.Await(gateway.Timeout(t, 30*time.Second), func() bool { return s.lago.EventCount() == len(costs) }))
	costs = costs[:0]
	for _, e := range s.lago.Events() {
		costs = append(costs, e.Property("response_cost"))
	}
	require.Equal(t, sum(t, costs...).String(), spent.String(), "Lago's events")
	for _, g := range s.gateways {
		require.Equal(t, json.Number(spent.String()), keyInfo(g, s.key)["spend"])
	}
}

// TestABudgetUnderAStorm has fifty times as many callers as a budget has room for calls, by way of four processes, at once, until none finds
// room any more. The budget is not passed, what is left of it has no room for one more call, and all books agree to the last digit.
func TestABudgetUnderAStorm(t *testing.T) {
	t.Run("single", func(t *testing.T) {
		s := newStorm(t, "redis "+testkit.Redis(t).Addr, true)
		s.exact(s.exhaust(), "0")
	})
	t.Run("frozen Redis", func(t *testing.T) {
		redis := testkit.Redis(t)
		s := newStorm(t, "redis "+redis.Addr, false)
		s.settled()
		redis.Pause()
		answered, _ := s.wave(nil)
		redis.Resume()
		require.Positive(t, answered, "each process goes on with its share")
		s.settled()
		s.exact(answered+s.exhaust(), "0")
	})
	t.Run("cluster", func(t *testing.T) {
		var addrs []string
		for _, node := range testkit.RedisCluster(t) {
			addrs = append(addrs, node.Addr)
		}
		s := newStorm(t, "redis "+strings.Join(addrs, " "), false)
		s.exact(s.exhaust(), "0")
	})
	// The replica that takes over may lack the last writes: what was reserved by them may be given out once more.
	t.Run("sentinel, the master is killed", func(t *testing.T) {
		sentinel := testkit.RedisSentinel(t, "")
		s := newStorm(t, "redis "+sentinel.Addr+" {\n sentinel "+sentinel.Name+"\n}", false)
		var once sync.Once
		answered, _ := s.wave(func(n int64) {
			if n >= 3 {
				once.Do(sentinel.Master.Kill)
			}
		})
		require.Eventually(t, func() bool { // each of them has found the new master
			a, err := s.gateways[0].Do(http.MethodGet, "/key/info?key="+s.key, gateway.MasterKey, "")
			return err == nil && a.Status == http.StatusOK
		}, 30*time.Second, 20*time.Millisecond)
		s.exact(answered+s.exhaust(), stormBudget)
	})
}
