package spend

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

// year writes the books of a year in which each of 1,000 keys has called each of 20 models on every day.
func year(b *testing.B, m medium, keys, models, ofDays int) {
	b.Helper()
	last := days.of(clock)
	one := &batch{rows: make(map[row]Sums), names: make(map[id]name)}
	for n := range keys * models {
		r := sample(n, clock)
		r.KeyID, r.Model = fmt.Sprintf("%064x", n/models), fmt.Sprint("model-", n%models)
		r.Team, r.Payer, r.NotBilled, r.Outcome, r.EndUser = fmt.Sprint("team-", n%50), fmt.Sprint("payer-", n%200), "", record.OutcomeCompleted, ""
		f, err := read(spool.Record{Payload: r.Append(nil, nil)}, false)
		require.NoError(b, err)
		require.NoError(b, one.add(f))
	}
	for d := range ofDays {
		period := last - uint32(ofDays-1-d) //nolint:gosec // small
		add := &batch{rows: make(map[row]Sums, len(one.rows)), names: one.names}
		for r, sums := range one.rows {
			switch r.unit {
			case hours:
				continue
			case days:
				r.period = period
			case months:
				r.period = months.of(days.start(period))
			}
			add.rows[r] = sums
		}
		_, err := m.apply(context.Background(), "spool", uint64(d), uint64(d+1), add) //nolint:gosec // small
		require.NoError(b, err)
	}
}

// BenchmarkYear asks the books of a year of 1,000 keys x 20 models x 365 days. To build them takes minutes.
func BenchmarkYear(b *testing.B) {
	dir := b.TempDir()
	book, err := OpenFile(dir, Options{Now: func() time.Time { return clock }})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, book.Close()) })
	begin := time.Now()
	year(b, book.medium, 1000, 20, 365)
	info, err := os.Stat(filepath.Join(dir, fileName))
	require.NoError(b, err)
	b.Logf("built in %s, %d MB", time.Since(begin).Round(time.Second), info.Size()>>20)
	since := time.Date(2025, 12, 1, 0, 0, 0, 0, time.UTC)
	for name, q := range map[string]Query{
		"model":                {By: []Dimension{Model}},
		"day,model":            {By: []Dimension{Model}, Each: Day},
		"key":                  {By: []Dimension{Key}},
		"day,team":             {By: []Dimension{Team}, Each: Day},
		"team,model":           {By: []Dimension{Team, Model}},
		"month,key,model":      {By: []Dimension{Key, Model}, Each: Month},
		"day,model of one key": {By: []Dimension{Model}, Each: Day, Where: map[Dimension][]string{Key: {fmt.Sprintf("%064x", 7)}}},
		"day,team,model":       {By: []Dimension{Team, Model}, Each: Day},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				q.Since = since
				_, err := book.Query(context.Background(), q)
				require.NoError(b, err)
			}
		})
	}
}

// BenchmarkApply adds records of 100 keys and 5 models in batches.
func BenchmarkApply(b *testing.B) {
	book, err := OpenFile(b.TempDir(), Options{Now: func() time.Time { return clock }})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, book.Close()) })
	list := make([]spool.Record, BatchSize)
	for n := range list {
		r := sample(n, clock)
		r.KeyID, r.Model = fmt.Sprint(n%100), fmt.Sprint(n%5)
		list[n] = spool.Record{Payload: r.Append(nil, nil)}
	}
	at := uint64(0)
	for b.Loop() {
		at, err = book.Apply(context.Background(), "spool", at, at+1, list)
		require.NoError(b, err)
	}
	b.ReportMetric(float64(b.N*len(list))/b.Elapsed().Seconds(), "records/s")
}
