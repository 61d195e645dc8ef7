package limit

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/price"
)

// fiveLimits are those of one of many keys: its budget, requests, tokens and calls at once, and its team's budget.
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

func benchmark(b *testing.B, s interface {
	Reserve(ctx context.Context, r *Reservation) (*Grant, error)
},
) {
	const callers = 256
	var n atomic.Int64
	took := make([][]time.Duration, callers)
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
		benchmark(b, s)
	})
	b.Run("redis", func(b *testing.B) {
		s := NewRedis(redisClient(b), "tollgate:")
		defer func() { require.NoError(b, s.Close()) }()
		benchmark(b, s)
	})
	b.Run("limiter", func(b *testing.B) {
		benchmark(b, newInstance(b, "a", redisClient(b), Options{Timeout: patience}))
	})
}

// BenchmarkSteadily admits 2,000 calls a second: what a call waits for its admission.
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
