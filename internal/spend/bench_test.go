package spend

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/testkit"
)

// year writes the books of a year in which each of 1,000 keys called each of 20 models every day.
func year(b *testing.B, m medium, keys, models, ofDays int) {
	b.Helper()
	now := time.Now()
	last := days.of(now)
	one := newBatch(kept{}, Split{}, new(ids))
	for n := range keys * models {
		r := sample(n, now)
		r.KeyID, r.Model, r.KeyAlias = fmt.Sprintf("%064x", n/models), fmt.Sprint("model-", n%models), fmt.Sprint("key-", n/models)
		r.Team, r.Payer, r.NotBilled, r.Outcome, r.EndUser = fmt.Sprint("team-", n%50), fmt.Sprint("payer-", n%200), "", record.OutcomeCompleted, ""
		require.NoError(b, one.add(spool.Record{Payload: r.Append(nil, nil)}))
	}
	for d := range ofDays {
		period := last - uint32(ofDays-1-d) //nolint:gosec // small
		for _, f := range one.facts {
			f.hour = 24 * period
		}
		add := newBatch(kept{hours: hours.of(now) + 1}, Split{}, one.ids)
		add.facts, add.lines, add.parts = one.facts, one.lines, one.parts
		require.NoError(b, add.roll())
		_, err := m.apply(context.Background(), "spool", uint64(d), uint64(d+1), add) //nolint:gosec // small
		require.NoError(b, err)
	}
}

// BenchmarkYear queries the books of a year of 1,000 keys x 20 models x 365 days, up to today. Building them takes minutes: with
// TOLLGATE_YEAR they are kept in that directory, for the next run and for the console's benchmark.
func BenchmarkYear(b *testing.B) {
	dir := os.Getenv("TOLLGATE_YEAR")
	if dir == "" {
		dir = b.TempDir()
	}
	_, err := os.Stat(filepath.Join(dir, fileName))
	there := err == nil
	book, err := OpenFile(dir, Options{})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, book.Close()) })
	if !there {
		book.medium.(*file).db.NoSync = true
		year(b, book.medium, 1000, 20, 365)
		require.NoError(b, book.medium.(*file).db.Sync())
	}
	info, err := os.Stat(filepath.Join(dir, fileName))
	require.NoError(b, err)
	b.Logf("%d MB", info.Size()>>20)
	now := time.Now().UTC()
	since := time.Date(now.Year()-1, now.Month()+1, 1, 0, 0, 0, 0, time.UTC)
	for name, q := range map[string]Query{
		"model":                {By: []Dimension{Model}},
		"day,model":            {By: []Dimension{Model}, Each: Day},
		"key":                  {By: []Dimension{Key}},
		"day,team":             {By: []Dimension{Team}, Each: Day},
		"team,model":           {By: []Dimension{Team, Model}},
		"month,key,model":      {By: []Dimension{Key, Model}, Each: Month},
		"day,model of one key": {By: []Dimension{Model}, Each: Day, Where: map[Dimension][]string{Key: {fmt.Sprintf("%064x", 7)}}},
		"day,team,model":       {By: []Dimension{Team, Model}, Each: Day},
		"day,key":              {By: []Dimension{Key}, Each: Day},
		"key,model":            {By: []Dimension{Key, Model}},
		"payer,team":           {By: []Dimension{Payer, Team}},
		// The first page of a long answer.
		"first 100: month,key,model": {By: []Dimension{Key, Model}, Each: Month, Limit: 100},
		"first 100: day,key,model":   {By: []Dimension{Key, Model}, Each: Day, Limit: 100},
		"first 100: day,payer,team":  {By: []Dimension{Payer, Team}, Each: Day, Limit: 100},
		"first 100: key,model":       {By: []Dimension{Key, Model}, Limit: 100},
		"first 100: day,key":         {By: []Dimension{Key}, Each: Day, Limit: 100},
		"first 100: day,team,model":  {By: []Dimension{Team, Model}, Each: Day, Limit: 100},
	} {
		b.Run(name, func(b *testing.B) {
			begin := testkit.CPUTime()
			for b.Loop() {
				q.Since = since
				_, err := book.Query(context.Background(), q)
				require.NoError(b, err)
			}
			b.ReportMetric(float64((testkit.CPUTime()-begin).Microseconds())/1000/float64(b.N), "cpu-ms/op")
		})
	}
}

// BenchmarkApply adds records of that many keys and 5 models in batches, to the file and to no store.
func BenchmarkApply(b *testing.B) {
	for _, keys := range []int{8, 1000, 100_000} {
		list := make([]spool.Record, max(BatchSize, min(keys, 16*1024)))
		for n := range list {
			r := sample(n, clock)
			key := n * 7919 % keys
			r.KeyID, r.Model, r.User = fmt.Sprintf("%064x", key), fmt.Sprint("gpt-", n%5), fmt.Sprint("user-", key)
			r.Lines = append(r.Lines, record.Line{Kind: "output", Count: "2", Price: "10", Per: "million", Base: "0.00002"})
			list[n] = spool.Record{Payload: r.Append(nil, []byte(`{"transaction_id":"0199b3a0-0000-7000-8000-000000000000","properties":{"model":"gpt-4o"}}`))}
			list[n].Origin.Seq = uint64(n) + 1 //nolint:gosec // small
		}
		run := func(name string, book *Book) {
			b.Run(fmt.Sprintf("%s/%d keys", name, keys), func(b *testing.B) {
				b.ReportAllocs()
				at, n := uint64(0), 0
				for b.Loop() {
					from := n * BatchSize % (len(list) - BatchSize + 1)
					to, err := book.Apply(context.Background(), "spool", at, at+1, list[from:from+BatchSize])
					require.NoError(b, err)
					at = to
					n++
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*BatchSize), "ns/record")
			})
		}
		o := Options{Now: func() time.Time { return clock }, OnFault: func(err error) { b.Error(err) }}
		run("none", newBook(nowhere{}, o))
		book, err := OpenFile(b.TempDir(), o)
		require.NoError(b, err)
		run("file", book)
		require.NoError(b, book.Close())
	}
}

// nowhere is a medium that takes everything.
type nowhere struct{ medium }

func (nowhere) most() int                            { return math.MaxInt }
func (nowhere) seed(context.Context) ([]byte, error) { return newSeed(), nil }
func (nowhere) apply(_ context.Context, _ string, _, to uint64, _ *batch) (uint64, error) {
	return to, nil
}
