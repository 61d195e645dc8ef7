package books

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// TestWhatARecordCountsFor writes a record as lagobilling does, and reads what it adds to which totals.
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
