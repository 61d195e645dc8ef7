package delivery

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"runtime/metrics"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/tollgate-llm/tollgate/internal/lago"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// instantLago takes every batch at once and answers with the ids, which is all that is looked at. Its buffers are used
// again, so that the memory that is measured is the worker's.
func instantLago(w http.ResponseWriter, r *http.Request) {
	buffers := lagoBuffers.Get().(*[2]bytes.Buffer)
	defer lagoBuffers.Put(buffers)
	body, out := &buffers[0], &buffers[1]
	body.Reset()
	out.Reset()
	if _, err := body.ReadFrom(r.Body); err != nil || r.Method != http.MethodPost {
		http.NotFound(w, r)
		return
	}
	out.WriteString(`{"events":[`)
	const id = `"transaction_id":"`
	rest := body.Bytes()
	for first := true; ; first = false {
		at := bytes.Index(rest, []byte(id))
		if at < 0 {
			break
		}
		rest = rest[at:]
		end := len(id) + bytes.IndexByte(rest[len(id):], '"') + 1
		if !first {
			out.WriteByte(',')
		}
		out.WriteByte('{')
		out.Write(rest[:end])
		out.WriteByte('}')
		rest = rest[end:]
	}
	out.WriteString(`]}`)
	_, _ = w.Write(out.Bytes())
}

var lagoBuffers = sync.Pool{New: func() any { return new([2]bytes.Buffer) }}

const drained = 1_000_000

// aRecord is a settled record as a call leaves it, with its one event. idMark stands for the event's id.
var aRecord = sync.OnceValue(func() []byte {
	now := time.UnixMilli(1741219251590)
	r := record.Record{
		ID: "0199b3a0-0000-7000-8000-000000000000", Account: "default", Opened: now, Settled: now, Outcome: record.OutcomeCompleted,
		Status: http.StatusOK, Endpoint: "chat/completions", Asked: "gpt-4o", Model: "gpt-4o", Upstream: "gpt-4o-2024-08-06",
		Backend: "openai", Provider: "openai", ResponseModel: "gpt-4o-2024-08-06", ResponseID: "chatcmpl-BxW5CYcMYc5wBv0eNnHv7QKp2hUqs",
		Tier: "default", Stream: true, Attempts: 1, Payer: "team-42", ChargeBy: "team_id", Key: "sk-...abcd", KeyHash: "0123456789ab",
		KeyAlias: "ci", Team: "team-42", User: "user-1", Source: usage.Reported, Cost: "0.0123", Prices: "genai-prices 0.1.8",
		Bytes: 4096, TTFT: 210, Duration: 4200,
	}
	r.Counts.Set(usage.Input, 420)
	r.Counts.Set(usage.CacheRead, 400)
	r.Counts.Set(usage.Output, 311)
	event := `{"transaction_id":"` + idMark + `","external_subscription_id":"team-42","code":"llm_usage","timestamp":"1741219251.590","properties":{` +
		`"model":"gpt-4o-2024-08-06","model_group":"gpt-4o","response_cost":"0.0123","prompt_tokens":"820","completion_tokens":"311",` +
		`"total_tokens":"1131","input_tokens":"820","output_tokens":"311","cached_input_tokens":"400","provider":"openai","key_alias":"ci",` +
		`"team_id":"team-42","user_id":"user-1","call_id":"0199b3a0-0000-7000-8000-000000000000","usage":"reported"}}`
	return r.Append(nil, []byte(event))
})

const idMark = "00000000-0000-7000-8000-idididididid"

func millionth(i uint64) (id spool.ID, payload []byte) {
	binary.BigEndian.PutUint64(id[8:], i+1)
	return id, bytes.Replace(aRecord(), []byte(idMark), fmt.Appendf(nil, "0199b3a0-0000-7000-8000-%012x", i), 1)
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
				if err := errors.Join(sp.Begin(id, payload[:500]), sp.Settle(id, payload, true)); err != nil {
					b.Fatal(err)
				}
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
func drain(b *testing.B, sp Source) {
	server := httptest.NewServer(http.HandlerFunc(instantLago))
	defer server.Close()
	u, err := url.Parse(server.URL)
	require.NoError(b, err)
	client, err := lago.New(lago.Options{Base: u, Key: "key"})
	require.NoError(b, err)
	defer client.CloseIdle()
	var mu sync.Mutex
	left, through := drained, make(chan struct{})
	d := New(sp, zap.NewNop())
	d.Configure(Config{Client: client, OnResult: func(_ string, n int) {
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
	d.Start()
	<-through
	d.Stop(b.Context())
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

// BenchmarkUnpack measures what delivery does with a claimed record before it is sent.
func BenchmarkUnpack(b *testing.B) {
	b.ReportAllocs()
	d := New(&endlessSpool{}, zap.NewNop())
	id, payload := millionth(1)
	r := spool.Record{Seq: 1, ID: id, Payload: payload, Time: time.Now()}
	var items []item
	for b.Loop() {
		if items = d.unpack(items[:0], r); len(items) != 1 {
			b.Fatal("not one event")
		}
	}
}
