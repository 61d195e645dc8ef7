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

// TestWhatARecordCountsFor writes a record as lagobilling does, and checks what it adds to which totals.
func TestWhatARecordCountsFor(t *testing.T) {
	at := time.Date(2026, 11, 30, 10, 11, 12, 13_000_000, time.UTC)
	r := record.Record{
		ID: "id", Settled: at, Model: "gpt", KeyID: "hash", KeyHash: "ha", Team: "a/b", User: "ann", Payer: "acme", Cost: "0.000000000000123",
		Admitted: at, Limits: []string{"requests|||key:hash", `cost|1-2||team:"x"`},
	}
	for kind, n := range map[usage.Kind]int64{usage.Input: 3, usage.CacheRead: 4, usage.Output: 5, usage.Reasoning: 6} {
		r.Counts.Set(kind, n)
	}
	var reader Reader
	c, err := reader.Decode(spool.Record{Payload: r.Append(nil, nil)})
	require.NoError(t, err)
	require.Equal(t, limit.Charge{ID: "id", At: at, Counters: r.Limits, Cost: usd(t, r.Cost), InputTokens: 7, OutputTokens: 11}, c.Charge)
	s := newSums()
	require.NoError(t, s.add(c))
	require.NoError(t, s.add(c))
	totals := make(map[string]map[string]string)
	for _, a := range s.take() {
		if totals[a.Total] == nil {
			totals[a.Total] = make(map[string]string)
		}
		totals[a.Total][a.Field] = a.Amount.String()
	}
	require.Len(t, totals, 6)
	for _, name := range []string{"spend:gateway:", "spend:key:hash", "spend:team:a%2Fb", "spend:user:ann", "spend:member:a%252Fb%2Fann", "spend:customer:acme"} {
		require.Equal(t, map[string]string{
			"cost": "0.000000000000246", "cost|gpt": "0.000000000000246", "calls": "0.000000000000002", "input_tokens": "0.000000000000014",
			"output_tokens": "0.000000000000022",
		}, totals[name], name)
	}
	_, err = reader.Decode(spool.Record{Payload: []byte(`{"v":99}`)})
	require.Error(t, err)
}

// batches is a sink that keeps what it is given.
type batches struct {
	Sink
	list []*limit.Batch
}

func (b *batches) Apply(_ context.Context, batch *limit.Batch) (uint64, error) {
	b.list = append(b.list, batch)
	return batch.To, nil
}

// TestWhatABatchHolds checks that a store is given only the calls under limits, and no more in one batch than keep it busy for long,
// and that totals include all calls.
func TestWhatABatchHolds(t *testing.T) {
	apply := func(n int, call func(n int) Call) *batches {
		var sink batches
		totals := &totals{Sink: &sink, sums: newSums(), onFault: func(err error) { t.Error(err) }, decode: func(r spool.Record) (*Call, error) {
			c := call(int(r.Origin.Seq)) //nolint:gosec // small
			return &c, nil
		}}
		list := make([]spool.Record, n)
		for i := range list {
			list[i].Origin.Seq = uint64(i + 1)
		}
		for at := 0; at < n; {
			end, err := totals.Apply(t.Context(), "s", uint64(at), uint64(n), list[at:])
			require.NoError(t, err)
			require.Greater(t, int(end), at)
			at = int(end)
			require.Equal(t, len(sink.list[len(sink.list)-1].Charges) > 0, totals.limited)
		}
		return &sink
	}
	calls := func(b *limit.Batch) uint64 {
		for _, a := range b.Adds {
			if a.Total == Spend(limit.Scope{Kind: limit.Gateway}) && a.Field == Calls {
				_, n, _ := a.Amount.Limbs()
				return n
			}
		}
		return 0
	}
	// Calls of one key, of which a third came under limits.
	sink := apply(300, func(n int) Call {
		c := Call{Charge: limit.Charge{ID: fmt.Sprint("call-", n)}, KeyID: "key"}
		if n%3 == 0 {
			c.At = time.Unix(1, 0)
		}
		return c
	})
	require.Len(t, sink.list, 2)
	require.Len(t, sink.list[0].Charges, mostCharges)
	require.Equal(t, "call-3", sink.list[0].Charges[0].ID)
	require.EqualValues(t, 3*mostCharges, sink.list[0].To)
	require.Len(t, sink.list[1].Charges, 100-mostCharges)
	require.EqualValues(t, 300, calls(sink.list[0])+calls(sink.list[1]))
	// Calls without limits, each with its own key.
	sink = apply(1000, func(n int) Call { return Call{KeyID: fmt.Sprint("key-", n)} })
	require.Len(t, sink.list, 4)
	var sum uint64
	for _, b := range sink.list {
		require.Empty(t, b.Charges)
		require.LessOrEqual(t, calls(b), uint64(mostTotals))
		sum += calls(b)
	}
	require.EqualValues(t, 1000, sum)
}
