package books

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// nowhere is a sink that takes everything.
type nowhere struct{ Sink }

func (nowhere) Apply(_ context.Context, b *limit.Batch) (uint64, error) { return b.To, nil }

// BenchmarkApply reads records of as many keys and adds them up, without a store.
func BenchmarkApply(b *testing.B) {
	for _, keys := range []int{8, 1000, 100_000} {
		b.Run(fmt.Sprint(keys, " keys"), func(b *testing.B) {
			b.ReportAllocs()
			at := time.Date(2026, 11, 30, 10, 11, 12, 13_000_000, time.UTC)
			list := make([]spool.Record, max(mostCharges, min(keys, 16*1024)))
			for n := range list {
				key := fmt.Sprintf("%064x", n*7919%keys)
				r := record.Record{
					ID: fmt.Sprint("0199b3a0-0000-7000-8000-00000000000", n), Opened: at, Settled: at, Endpoint: "chat/completions", Asked: "gpt-4o", Model: "gpt-4o",
					Upstream: "gpt-4o", Backend: "openai", Provider: "openai", Payer: "team-42", Key: "sk-...abcd", KeyAlias: "ci", Team: "team-42",
					User: "user-" + key[56:], KeyID: key, Admitted: at, Limits: []string{"cost|1764547200-1767225600||key:" + key, "requests|||key:" + key},
					Cost: "0.000123", Lines: []record.Line{{Kind: "input", Count: "420", Price: "2.5", Per: "million", Base: "0.000123"}},
				}
				r.Counts.Set(usage.Input, 420)
				r.Counts.Set(usage.Output, 42)
				list[n].Payload = r.Append(nil, []byte(`{"transaction_id":"0199b3a0-0000-7000-8000-000000000000","properties":{"model":"gpt-4o","cost":"0.000123"}}`))
			}
			var reader Reader
			t := &totals{Sink: nowhere{}, decode: reader.Decode, onFault: func(err error) { b.Error(err) }, sums: newSums()}
			n := 0
			for b.Loop() {
				from := n * mostCharges % (len(list) - mostCharges + 1)
				_, err := t.Apply(b.Context(), "spool", 0, 1, list[from:from+mostCharges])
				require.NoError(b, err)
				n++
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*mostCharges), "ns/record")
		})
	}
}
