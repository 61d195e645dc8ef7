package spool

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkSettle opens and settles calls, as the path of each call does: its time is what the spool adds to one. It
// reports the 50th and 99th percentile in microseconds.
func BenchmarkSettle(b *testing.B) {
	for _, d := range []Durability{Process, Fsync} {
		b.Run([...]string{"process", "fsync"}[d], func(b *testing.B) {
			s := mustOpen(b, Options{Dir: b.TempDir(), Durability: d, MaxBytes: 1 << 40})
			opened, settled := make([]byte, 300), make([]byte, 900)
			took := make([]time.Duration, 0, 1<<20)
			for i := 0; b.Loop(); i++ {
				start := time.Now()
				err := s.Begin(testID(i), opened)
				if err == nil {
					err = s.Settle(testID(i), settled, true)
				}
				took = append(took, time.Since(start))
				if err != nil {
					b.Fatal(err)
				}
			}
			report(b, took)
		})
	}
}

// BenchmarkSettleTogether has 64 callers settle at once, so that in durability fsync one sync serves many.
func BenchmarkSettleTogether(b *testing.B) {
	for _, d := range []Durability{Process, Fsync} {
		b.Run([...]string{"process", "fsync"}[d], func(b *testing.B) {
			const callers = 64
			s := mustOpen(b, Options{Dir: b.TempDir(), Durability: d, MaxBytes: 1 << 40})
			opened, settled := make([]byte, 300), make([]byte, 900)
			var took []time.Duration
			for round := 0; b.Loop(); round++ {
				var wg sync.WaitGroup
				each := make([]time.Duration, callers)
				for caller := range callers {
					wg.Go(func() {
						start := time.Now()
						id := testID(round*callers + caller)
						if s.Begin(id, opened) != nil || s.Settle(id, settled, true) != nil {
							b.Error("refused")
						}
						each[caller] = time.Since(start)
					})
				}
				wg.Wait()
				took = append(took, each...)
			}
			report(b, took)
			b.ReportMetric(float64(len(took))/b.Elapsed().Seconds(), "calls/s")
		})
	}
}

func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	at := func(share float64) float64 {
		return float64(took[int(share*float64(len(took)-1))].Nanoseconds()) / 1e3
	}
	b.ReportMetric(at(0.5), "p50-µs")
	b.ReportMetric(at(0.99), "p99-µs")
}

// BenchmarkOpen opens a spool of as many pending records. It reports the seconds, and the heap that the index takes in MB.
func BenchmarkOpen(b *testing.B) {
	for _, millions := range []int{1, 10} {
		b.Run(fmt.Sprint(millions, " million"), func(b *testing.B) { benchmarkOpen(b, millions*1_000_000) })
	}
}

func benchmarkOpen(b *testing.B, records int) {
	dir := b.TempDir()
	s, err := Open(Options{Dir: dir, MaxBytes: 1 << 40})
	require.NoError(b, err)
	var payload []byte
	for i := range records {
		payload = fmt.Appendf(payload[:0], `[{"transaction_id":"0199b3a0-0000-7000-8000-%012x","external_subscription_id":"team-%d",`+
			`"code":"llm_usage","timestamp":"1741219251.590","properties":{"model":"gpt-4o-2024-08-06","model_group":"gpt-4o",`+
			`"response_cost":"0.0123","prompt_tokens":"820","completion_tokens":"311","total_tokens":"1131"}}]`, i, i%100)
		require.NoError(b, s.Begin(testID(i), payload[:200]))
		require.NoError(b, s.Settle(testID(i), payload, true))
	}
	size := s.Stats().Bytes
	require.NoError(b, s.Close())
	var heap float64
	for b.Loop() {
		before := liveHeap()
		s, err := Open(Options{Dir: dir, MaxBytes: 1 << 40})
		require.NoError(b, err)
		heap = max(heap, liveHeap()-before)
		require.EqualValues(b, records, s.Stats().Pending)
		require.NoError(b, s.Close())
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/open")
	b.ReportMetric(heap, "heap-MB")
	b.ReportMetric(float64(size)/1e6, "disk-MB")
}

func liveHeap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / 1e6
}
