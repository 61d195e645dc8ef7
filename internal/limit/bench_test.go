package limit

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/price"
)

// fiveLimits are the limits of one of many keys: its budget, requests, tokens and parallel calls, and its team's budget.
func fiveLimits(key int) []Limit {
	k, team := Scope{Key, fmt.Sprintf("%064x", key)}, Scope{Team, fmt.Sprintf("team-%d", key%50)}
	month := Window{Anchor: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Months: 1}
	plenty := price.FromLimbs(1_000_000_000_000, 0)
	return []Limit{
		{Scope: k, Metric: Cost, Window: month, Money: plenty},
		{Scope: k, Metric: Requests, Max: 1 << 40},
		{Scope: k, Metric: Tokens, Max: 1 << 40},
		{Scope: k, Metric: Parallel, Max: 1 << 40},
		{Scope: team, Metric: Cost, Window: month, Money: plenty},
	}
}

// cpu returns the processor time of this process, and of Redis where there is one.
func cpu(b *testing.B, client redis.UniversalClient) (own, server time.Duration) {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	own = time.Duration(u.Utime.Nano() + u.Stime.Nano())
	if client == nil {
		return own, 0
	}
	info, err := client.InfoMap(b.Context(), "cpu").Result()
	require.NoError(b, err)
	for _, name := range []string{"used_cpu_sys", "used_cpu_user"} {
		seconds, err := strconv.ParseFloat(info["CPU"][name], 64)
		require.NoError(b, err)
		server += time.Duration(seconds * float64(time.Second))
	}
	return own, server
}

func benchmark(b *testing.B, client redis.UniversalClient, s interface {
	Reserve(ctx context.Context, r *Reservation) (*Grant, error)
},
) {
	const callers = 256
	var n atomic.Int64
	took := make([][]time.Duration, callers)
	own, server := cpu(b, client)
	b.ResetTimer()
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for {
				i := int(n.Add(1))
				if i > b.N {
					return
				}
				r := Reservation{ID: fmt.Sprintf("%032x", i), Limits: fiveLimits(i % 1000), Cost: price.FromLimbs(1200, 5), InputTokens: 1000, OutputTokens: 500}
				begin := time.Now()
				if _, err := s.Reserve(b.Context(), &r); err != nil {
					b.Error(err)
					return
				}
				took[caller] = append(took[caller], time.Since(begin))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	ownEnd, serverEnd := cpu(b, client)
	b.ReportMetric(float64((ownEnd-own).Nanoseconds())/1000/float64(b.N), "cpu-µs")
	b.ReportMetric(float64((serverEnd-server).Nanoseconds())/1000/float64(b.N), "redis-cpu-µs")
	all := slices.Concat(took...)
	slices.Sort(all)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "admissions/s")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkReserve admits calls with five limits each, from many callers of one process.
func BenchmarkReserve(b *testing.B) {
	b.Run("file", func(b *testing.B) {
		s, err := OpenFile(b.TempDir())
		require.NoError(b, err)
		defer func() { require.NoError(b, s.Close()) }()
		benchmark(b, nil, s)
	})
	b.Run("redis", func(b *testing.B) {
		client := redisClient(b)
		s := NewRedis(client, "tollgate:")
		defer func() { require.NoError(b, s.Close()) }()
		benchmark(b, client, s)
	})
	b.Run("limiter", func(b *testing.B) {
		client := redisClient(b)
		benchmark(b, client, newInstance(b, "a", client, Options{Timeout: patience}))
	})
}

// BenchmarkSteadily admits 2,000 calls a second and measures how long a call waits for its admission.
func BenchmarkSteadily(b *testing.B) {
	s := NewRedis(redisClient(b), "tollgate:")
	defer func() { require.NoError(b, s.Close()) }()
	const every = 500 * time.Microsecond
	took := make([]time.Duration, b.N)
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range b.N {
		time.Sleep(time.Until(begin.Add(time.Duration(i) * every)))
		wg.Go(func() {
			r := Reservation{ID: fmt.Sprintf("%032x", i), Limits: fiveLimits(i % 1000), Cost: price.FromLimbs(1200, 5), InputTokens: 1000, OutputTokens: 500}
			start := time.Now()
			if _, err := s.Reserve(context.Background(), &r); err != nil {
				b.Error(err)
			}
			took[i] = time.Since(start)
		})
	}
	wg.Wait()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}
