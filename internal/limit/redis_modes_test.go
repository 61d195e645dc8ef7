package limit

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/testkit"
)

// TestOneBudgetOnACluster runs against three nodes that share the slots.
func TestOneBudgetOnACluster(t *testing.T) {
	var addrs []string
	servers := testkit.RedisCluster(t)
	for _, server := range servers {
		addrs = append(addrs, server.Addr)
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, MaxRedirects: 8})
	defer func() { require.NoError(t, client.Close()) }()
	instances := []*instance{newInstance(t, "a", client, Options{Timeout: 10 * time.Second}), newInstance(t, "b", client, Options{Timeout: 10 * time.Second})}
	budget, parallel := teamBudget(t, "0.1"), Limit{Scope: Scope{Key, "k"}, Metric: Parallel, Max: 1000}
	granted := storm(t, instances, 0, 200, []Limit{budget, parallel, {Scope: Scope{User, "ann"}, Metric: Tokens, Max: 1000}}, usd(t, "0.01"))
	require.Len(t, granted, 10)
	b := &Batch{Spool: "s", To: 10, Adds: []Add{{Total: "gateway", Field: "cost", Amount: usd(t, "0.1")}}}
	for _, g := range granted {
		b.Charges = append(b.Charges, Charge{ID: g.ID, At: g.At, Counters: g.Counters, Cost: usd(t, "0.009")})
	}
	_, err := instances[1].Apply(t.Context(), b)
	require.NoError(t, err)
	states, err := instances[0].Status(t.Context(), budget, parallel)
	require.NoError(t, err)
	require.Equal(t, [2]any{usd(t, "0.09"), price.Amount{}}, [2]any{states[0].Spent, states[0].Reserved})
	require.Zero(t, states[1].Used)
	totals, err := instances[0].Totals(t.Context(), "gateway", "other")
	require.NoError(t, err)
	require.Equal(t, usd(t, "0.1"), totals[0]["cost"])
	require.NoError(t, client.ForEachMaster(t.Context(), func(ctx context.Context, node *redis.Client) error {
		for _, key := range node.Keys(ctx, "*").Val() {
			require.Regexp(t, `^\{tollgate:\}`, key, "one hash slot")
		}
		return nil
	}))
}

// TestABudgetOutlivesItsMaster kills the master of a replicated Redis. What the new one lacks is applied again from where its
// cursor is, and live calls bring back what they hold.
func TestABudgetOutlivesItsMaster(t *testing.T) {
	sentinel := testkit.RedisSentinel(t, "")
	client := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: sentinel.Name, SentinelAddrs: []string{sentinel.Addr}, MaxRetries: -1, DialTimeout: time.Second})
	defer func() { require.NoError(t, client.Close()) }()
	in := newInstance(t, "a", client, Options{Timeout: 10 * time.Second})
	budget := teamBudget(t, "1")
	granted := storm(t, []*instance{in}, 0, 30, []Limit{budget}, usd(t, "0.01"))
	require.Len(t, granted, 30)
	seq := uint64(0)
	apply := func(calls []*Grant) *Batch {
		b := &Batch{Spool: "s", From: seq, To: seq + uint64(len(calls))}
		for _, g := range calls {
			b.Charges = append(b.Charges, Charge{ID: g.ID, At: g.At, Counters: g.Counters, Cost: usd(t, "0.005")})
		}
		seq = b.To
		return b
	}
	batches := []*Batch{apply(granted[:10]), apply(granted[10:20])}
	for _, b := range batches {
		_, err := in.Apply(t.Context(), b)
		require.NoError(t, err)
	}
	sentinel.Master.Kill()
	require.Eventually(t, func() bool {
		_, err := in.Reserve(context.Background(), &Reservation{ID: "again", Limits: []Limit{budget}, Cost: usd(t, "0.01")})
		return err == nil && in.Away() == nil
	}, 2*patience, 50*time.Millisecond)
	for _, b := range batches {
		cursor, err := in.Cursor(t.Context(), "s")
		require.NoError(t, err)
		if cursor == b.From {
			_, err = in.Apply(t.Context(), b)
			require.NoError(t, err)
		}
	}
	states, err := in.Status(t.Context(), budget)
	require.NoError(t, err)
	require.Equal(t, usd(t, "0.1"), states[0].Spent, "twenty calls")
	require.GreaterOrEqual(t, states[0].Reserved.Cmp(usd(t, "0.11")), 0, "ten live calls, and the new one")
}

// memory of Redis for a key with five limits, in bytes, as docs/redis.md states it.
const (
	keyBytes  = 1500 // with a call in the last minute
	idleBytes = 300  // its budgets alone
)

// TestMemoryOfAKeyWithLimits gives 100,000 keys five limits each, and compares Redis' memory with the document.
func TestMemoryOfAKeyWithLimits(t *testing.T) {
	const keys = 100_000
	server := testkit.Redis(t, "--appendonly", "no")
	client := redis.NewClient(&redis.Options{Addr: server.Addr, MaxRetries: -1, ReadTimeout: patience, WriteTimeout: patience})
	defer func() { require.NoError(t, client.Close()) }()
	store := newRedis(client, "tollgate:", nil)
	defer func() { require.NoError(t, store.Close()) }()
	used := func() int {
		info, err := client.InfoMap(t.Context(), "memory").Result()
		require.NoError(t, err)
		n, err := strconv.Atoi(info["Memory"]["used_memory_dataset"])
		require.NoError(t, err)
		return n
	}
	before := used()
	jobs := make(chan int)
	done := make(chan struct{})
	for range 128 {
		go func() {
			for i := range jobs {
				r := Reservation{ID: fmt.Sprintf("%032x", i), Limits: fiveLimits(i), Cost: price.FromLimbs(1200, 5), InputTokens: 1000, OutputTokens: 500}
				if _, err := store.Reserve(context.Background(), &r); err != nil {
					t.Error(err)
				}
			}
			done <- struct{}{}
		}()
	}
	for i := range keys {
		jobs <- i
	}
	close(jobs)
	for range 128 {
		<-done
	}
	each := (used() - before) / keys
	t.Logf("%d bytes a key with five limits and a call under way", each)
	require.Less(t, each, keyBytes)
	for i := 0; i < keys; i += 500 {
		ids := make([]string, 500)
		for j := range ids {
			ids[j] = fmt.Sprintf("%032x", i+j)
		}
		require.NoError(t, store.Release(t.Context(), ids...))
	}
	require.NoError(t, client.Del(t.Context(), store.reservations(), store.leases()).Err())
	var rates []string
	iter := client.Scan(t.Context(), 0, "tollgate:limit:*", 1000).Iterator()
	for iter.Next(t.Context()) {
		if p, ok := parseCounter(strings.TrimPrefix(iter.Val(), "tollgate:limit:")); ok && p.metric.rate() {
			rates = append(rates, iter.Val())
		}
	}
	require.NoError(t, iter.Err())
	require.Len(t, rates, 2*keys)
	for _, key := range []string{rates[0], rates[len(rates)-1]} {
		ttl, err := client.TTL(t.Context(), key).Result()
		require.NoError(t, err)
		require.Positive(t, ttl, "a rate goes by itself")
		require.LessOrEqual(t, ttl, 62*time.Second)
	}
	for len(rates) > 0 {
		n := min(1000, len(rates))
		require.NoError(t, client.Unlink(t.Context(), rates[:n]...).Err())
		rates = rates[n:]
	}
	each = (used() - before) / keys
	t.Logf("%d bytes an idle one", each)
	require.Less(t, each, idleBytes)
	left, err := client.Keys(t.Context(), "tollgate:limit:cost*team-1").Result()
	require.NoError(t, err)
	require.Len(t, left, 1)
	ttl, err := client.TTL(t.Context(), left[0]).Result()
	require.NoError(t, err)
	require.Greater(t, ttl, keepWindow)
	require.Less(t, ttl, keepWindow+32*24*time.Hour)
}
