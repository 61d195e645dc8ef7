package postgres

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/testkit"
)

// BenchmarkDay writes a day of 1,000 keys that each call 20 models once, all in one hour, and reports the size of the tables.
func BenchmarkDay(b *testing.B) {
	const records = 20_000
	server := testkit.Postgres(b)
	list := make([]spool.Record, records)
	for n := range list {
		r := sample(n, begin)
		r.KeyID, r.KeyAlias, r.Model = fmt.Sprintf("%064x", n/20), fmt.Sprint("alias-", n/20), fmt.Sprint("model-", n%20)
		r.Team, r.Payer, r.EndUser = fmt.Sprint("team-", n/20%50), fmt.Sprint("payer-", n/20%200), ""
		r.Outcome, r.NotBilled, r.Unpriced, r.ProviderCost = record.OutcomeCompleted, "", "", ""
		r.Lines = []record.Line{
			{Kind: "input", Count: "1000", Price: "2.5", Per: "million", Base: "0.0025"}, {Kind: "output", Count: "2", Price: "10", Per: "million", Base: "0.00002"},
		}
		r.Cost, r.BaseCost = "0.00252", "0.00252"
		list[n] = spool.Record{ID: callID(n), Origin: spool.Origin{Seq: uint64(n) + 1}} //nolint:gosec // small
		list[n].Payload = r.Append(nil, []byte(`{"transaction_id":"0199b3a0-0000-7000-8000-000000000000","properties":{"model":"gpt-4o"}}`))
	}
	for _, all := range []bool{false, true} {
		b.Run(fmt.Sprint("records ", all), func(b *testing.B) {
			name := fmt.Sprint("spend-", all)
			s := sink(b, server.Database(name))
			s.o.Records = all
			n := 0
			for b.Loop() {
				for from := uint64(0); from < records; from += 500 {
					_, err := s.Apply(b.Context(), fmt.Sprint("spool", n), from, from+500, list[from:from+500])
					require.NoError(b, err)
				}
				n++
			}
			b.ReportMetric(float64(records*n)/b.Elapsed().Seconds(), "records/s")
			for _, row := range server.Rows(name, "SELECT relname, pg_total_relation_size(oid) FROM pg_class WHERE relname LIKE 'tollgate%' AND relkind = 'r'") {
				b.Log(row)
			}
		})
	}
}
