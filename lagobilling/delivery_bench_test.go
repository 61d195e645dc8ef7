package lagobilling

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"runtime/metrics"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/lago"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

// instantLago takes every batch at once and answers with the ids, which is all that is looked at.
func instantLago(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Method != http.MethodPost {
		http.NotFound(w, r)
		return
	}
	out := make([]byte, 0, 8<<10)
	out = append(out, `{"events":[`...)
	first := true
	gjson.GetBytes(body, "events").ForEach(func(_, e gjson.Result) bool {
		if !first {
			out = append(out, ',')
		}
		first = false
		out = append(out, `{"transaction_id":`...)
		out = append(out, e.Get("transaction_id").Raw...)
		out = append(out, '}')
		return true
	})
	_, _ = w.Write(append(out, `]}`...))
}

const drained = 1_000_000

func millionth(i uint64) (id spool.ID, payload []byte) {
	binary.BigEndian.PutUint64(id[8:], i+1)
	return id, fmt.Appendf(nil, `[{"transaction_id":"0199b3a0-0000-7000-8000-%012x","external_subscription_id":"team-%d",`+
		`"code":"llm_usage","timestamp":"1741219251.590","properties":{"model":"gpt-4o-2024-08-06","model_group":"gpt-4o",`+
		`"response_cost":"0.0123","prompt_tokens":"820","completion_tokens":"311","total_tokens":"1131"}}]`, i, i%100)
}

// BenchmarkDrainMillion drains a backlog of 1,000,000 records into an instant Lago, from a spool on disk and from
// memory. It reports events/s, the peak of the heap in MB, garbage included, and the peak of what of it is live. From
// memory, that is the worker's own.
func BenchmarkDrainMillion(b *testing.B) {
	b.Run("disk", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			sp, err := spool.Open(spool.Options{Dir: b.TempDir()})
			require.NoError(b, err)
			for i := range uint64(drained) {
				id, payload := millionth(i)
				require.NoError(b, sp.Begin(id, []byte(`[]`)))
				require.NoError(b, sp.Settle(id, payload, true))
			}
			drain(b, sp)
			require.Zero(b, sp.Stats().Pending)
			require.NoError(b, sp.Close())
			b.StartTimer()
		}
	})
	b.Run("memory", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			drain(b, &endlessSpool{left: drained})
			b.StartTimer()
		}
	})
}

// endlessSpool makes its records as they are claimed.
type endlessSpool struct {
	mu         sync.Mutex
	next, left uint64
}

func (e *endlessSpool) Claim(ctx context.Context, limit int) ([]spool.Record, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.left == 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	records := make([]spool.Record, min(uint64(limit), e.left))
	for i := range records {
		records[i].Seq = e.next + 1
		records[i].ID, records[i].Payload = millionth(e.next)
		e.next++
	}
	e.left -= uint64(len(records))
	return records, nil
}

func (*endlessSpool) Release(...uint64)                    {}
func (*endlessSpool) Done(...uint64) error                 { return nil }
func (*endlessSpool) Reject(uint64, []byte) error          { return nil }
func (*endlessSpool) Amend(uint64, []byte) (uint64, error) { return 0, nil }

// drain times the worker, and starts and stops the benchmark's clock around it.
func drain(b *testing.B, sp deliverySpool) {
	server := httptest.NewServer(http.HandlerFunc(instantLago))
	defer server.Close()
	u, err := url.Parse(server.URL)
	require.NoError(b, err)
	client, err := lago.New(lago.Options{Base: u, Key: "key"})
	require.NoError(b, err)
	defer client.CloseIdle()
	var mu sync.Mutex
	left, through := drained, make(chan struct{})
	d := newDelivery(sp, eventsOf, nil, nil)
	d.configure(deliveryConfig{client: client, onResult: func(_ string, n int) {
		mu.Lock()
		defer mu.Unlock()
		if left -= n; left == 0 {
			close(through)
		}
	}})
	runtime.GC()
	ctx, cancel := context.WithCancel(b.Context())
	peak := watchHeap(ctx)
	b.StartTimer()
	began := time.Now()
	d.start()
	<-through
	d.stop(b.Context())
	took := time.Since(began)
	b.StopTimer()
	cancel()
	most := <-peak
	b.ReportMetric(float64(drained)/took.Seconds(), "events/s")
	b.ReportMetric(float64(most[0])/1e6, "peak-heap-MB")
	b.ReportMetric(float64(most[1])/1e6, "peak-live-MB")
}

// watchHeap returns the peaks of the heap, with garbage and without, when ctx ends.
func watchHeap(ctx context.Context) <-chan [2]uint64 {
	peak := make(chan [2]uint64, 1)
	go func() {
		var most [2]uint64
		s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"}}
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				metrics.Read(s)
				for i := range most {
					most[i] = max(most[i], s[i].Value.Uint64())
				}
			case <-ctx.Done():
				peak <- most
				return
			}
		}
	}()
	return peak
}
