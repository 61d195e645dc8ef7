package spend

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/testkit"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

var clock = time.Date(2026, 11, 30, 10, 30, 0, 0, time.UTC)

// sample is a settled record with a distinct last digit in its cost.
func sample(n int, at time.Time) *record.Record {
	r := &record.Record{
		ID: fmt.Sprint("call-", n), Account: "main", Opened: at, Settled: at, Outcome: record.OutcomeCompleted, Endpoint: "chat/completions",
		Asked: "gpt", Model: fmt.Sprint("model-", n%3), Upstream: "gpt-4o", Backend: "b", Provider: "openai", Payer: fmt.Sprint("payer-", n%2),
		Team: fmt.Sprint("team-", n%4), User: "ann", KeyID: fmt.Sprint("key-", n%5), KeyAlias: "ci", EndUser: fmt.Sprint("end-", n%7), Session: fmt.Sprint("session-", n%6),
		Source: usage.Reported, Cost: fmt.Sprintf("0.%06d%09d", n, 7*n+1), Factor: "11/10",
	}
	if n%6 == 0 {
		r.Outcome, r.NotBilled = record.OutcomeError, record.NotBilledError
	}
	r.BaseCost = r.Cost
	r.Counts.Set(usage.Input, int64(n))
	r.Counts.Set(usage.Output, 2)
	r.Lines = []record.Line{{Kind: "input", Count: fmt.Sprint(n), Price: "2.5", Per: "million", Base: r.Cost}}
	return r
}

func apply(t testing.TB, b *Book, log string, from uint64, records ...*record.Record) uint64 {
	t.Helper()
	list := make([]spool.Record, len(records))
	for i, r := range records {
		list[i] = spool.Record{Payload: r.Append(nil, nil), Time: r.Settled, Origin: spool.Origin{Seq: from + uint64(i) + 1}}
	}
	end := from + uint64(len(list))
	at := from
	for at < end {
		rest := list[at-from:]
		to, err := b.Apply(context.Background(), log, at, end, rest)
		require.NoError(t, err)
		if to < end { // as many as the store takes in one batch
			require.Greater(t, to, at)
			again, err := b.Apply(context.Background(), log, at, end, rest)
			require.NoError(t, err)
			require.Equal(t, to, again, "a part that comes twice adds nothing")
		}
		at = to
	}
	return at
}

func usd(t testing.TB, text string) price.Amount {
	t.Helper()
	a, err := price.ParseUSD(text)
	require.NoError(t, err)
	return a
}

// TestBooksAreTheSumOfTheRecords asks random questions and compares each answer with the sum over the records themselves.
func TestBooksAreTheSumOfTheRecords(t *testing.T) {
	stores(t, func(t *testing.T, open func() *Book) {
		b := open()
		var records []*record.Record
		at := uint64(0)
		for range 20 {
			part := make([]*record.Record, 1+rand.IntN(20))
			for i := range part {
				ago := time.Duration(rand.Int64N(int64(70 * time.Hour)))
				if rand.IntN(2) == 0 {
					ago = time.Duration(rand.Int64N(int64(300 * 24 * time.Hour)))
				}
				part[i] = sample(len(records)+i, clock.Add(-ago).Truncate(time.Millisecond))
			}
			to := apply(t, b, "spool", at, part...)
			require.Equal(t, to, apply(t, b, "spool", at, part...), "a batch that comes twice adds nothing")
			at, records = to, append(records, part...)
		}
		require.NoError(t, b.Close())
		b = open()
		for range 300 {
			q := Query{Since: clock.Add(-time.Duration(rand.IntN(300*24)) * time.Hour).Truncate(time.Hour), Each: []Unit{Whole, Day, Month}[rand.IntN(3)]}
			switch rand.IntN(3) {
			case 0:
				q.Since, q.Each = clock.Add(-time.Duration(rand.IntN(70))*time.Hour).Truncate(time.Hour), Hour
			case 1:
				q.Since = q.Since.Truncate(24 * time.Hour)
				q.Lines = rand.IntN(2) == 0
			default: // from a whole day on, as hours of old days are folded
				q.Since = time.Date(q.Since.Year(), q.Since.Month(), 1, 0, 0, 0, 0, time.UTC)
			}
			dims := rand.Perm(numDimensions - 1)
			for _, d := range dims[:rand.IntN(4)] {
				q.By = append(q.By, Dimension(d+1))
			}
			if rand.IntN(2) == 0 {
				q.Where = map[Dimension][]string{Model: {"model-1", "none"}}
				if rand.IntN(2) == 0 { // with one more, these are answered by pairs
					q.By = []Dimension{[]Dimension{Payer, Team, User}[rand.IntN(3)]}
				}
			}
			got, err := b.Query(context.Background(), q)
			require.NoError(t, err)
			all := expected(t, q, records)
			require.Equal(t, all, got, "%+v", q)
			q.Limit, q.Offset = 1+rand.IntN(20), rand.IntN(10)
			got, err = b.Query(context.Background(), q)
			require.NoError(t, err)
			all = all[min(q.Offset, len(all)):]
			require.Equal(t, all[:min(q.Limit, len(all))], got, "%+v", q)
		}
		_, err := b.Query(context.Background(), Query{Since: clock.Add(-90 * time.Hour).Truncate(time.Hour), Each: Hour})
		require.ErrorIs(t, err, ErrFolded)
		_, err = b.Query(context.Background(), Query{Since: clock.Add(-time.Minute)})
		require.ErrorIs(t, err, ErrQuery)
	})
}

// expected answers a question from the records.
func expected(t *testing.T, q Query, records []*record.Record) []Row {
	rows := make(map[string]*Row)
	for i, r := range records {
		if r.Settled.Before(q.Since) || q.Where != nil && r.Model != "model-1" {
			continue
		}
		v := values{
			Payer: r.Payer, Team: r.Team, User: r.User, Key: r.KeyID, KeyAlias: r.KeyAlias, EndUser: r.EndUser, Session: r.Session, Model: r.Model, Upstream: r.Upstream,
			Provider: r.Provider, Backend: r.Backend, Endpoint: r.Endpoint, Outcome: r.Outcome, Source: string(r.Source), Billed: "billed", Factor: r.Factor,
		}
		if r.NotBilled != "" {
			v[Billed] = r.NotBilled
		}
		row := Row{Values: []string{}, Sums: make(Sums)}
		for _, d := range q.By {
			row.Values = append(row.Values, v[d])
		}
		switch s := r.Settled; q.Each {
		case Hour:
			row.Start = s.Truncate(time.Hour)
		case Day:
			row.Start = s.Truncate(24 * time.Hour)
		case Month:
			row.Start = time.Date(s.Year(), s.Month(), 1, 0, 0, 0, 0, time.UTC)
		case Whole:
		}
		key := fmt.Sprint(row.Start, row.Values)
		if rows[key] == nil {
			rows[key] = &row
		}
		add := func(measure string, a price.Amount) { require.NoError(t, rows[key].Sums.add(measure, a)) }
		add(Calls, count(1))
		if r.NotBilled != "" {
			add(Failed, count(1))
		}
		add(Cost, usd(t, r.Cost))
		add(BaseCost, usd(t, r.BaseCost))
		add(InputTokens, count(int64(i)))
		add(OutputTokens, count(2))
		add(KindPrefix+"input", count(int64(i)))
		add(KindPrefix+"output", count(2))
		if q.Lines {
			add("l:q|input|2.5|million|", count(1000*int64(i)))
			add("l:b|input|2.5|million|", usd(t, r.Cost))
			add("l:c|input|2.5|million|", usd(t, r.Cost))
		}
	}
	list := make([]Row, 0, len(rows))
	for _, r := range rows {
		list = append(list, *r)
	}
	slices.SortFunc(list, func(x, y Row) int {
		return cmp.Or(x.Start.Compare(y.Start), slices.Compare(x.Values, y.Values))
	})
	return list
}

// stores runs a test with books in every medium; open opens the same books again.
func stores(t *testing.T, test func(t *testing.T, open func() *Book)) {
	o := Options{Split: Split{EndUsers: true, Sessions: true}, Now: func() time.Time { return clock }, OnFault: func(err error) { t.Error(err) }}
	t.Run("file", func(t *testing.T) {
		dir := t.TempDir()
		test(t, func() *Book {
			b, err := OpenFile(dir, o)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, b.Close()) })
			return b
		})
	})
	t.Run("redis", func(t *testing.T) {
		addr := testkit.Redis(t).Addr
		test(t, func() *Book {
			return NewRedis(redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1}), "tollgate:", "main", o)
		})
	})
}

// TestBooksOlderThanPairs queries books from before rows by pairs were kept.
func TestBooksOlderThanPairs(t *testing.T) {
	now := clock
	dir := t.TempDir()
	client := redis.NewClient(&redis.Options{Addr: testkit.Redis(t).Addr, MaxRetries: -1})
	o := Options{Now: func() time.Time { return now }, OnFault: func(err error) { t.Error(err) }}
	for name, m := range map[string]struct {
		open   func() *Book
		forget func(b *Book) // makes the books older
	}{
		"file": {
			func() *Book {
				b, err := OpenFile(dir, o)
				require.NoError(t, err)
				return b
			},
			func(b *Book) {
				require.NoError(t, b.medium.(*file).db.Update(func(tx *bbolt.Tx) error {
					rows := tx.Bucket(rowBucket)
					c := rows.Cursor()
					for k, _ := c.First(); k != nil; k, _ = c.Next() {
						if d := Dimension(k[1]); d.joint() && d != tuple {
							require.NoError(t, c.Delete())
						}
					}
					return tx.Bucket(keptBucket).Delete(pairsKey)
				}))
			},
		},
		"redis": {
			func() *Book { return NewRedis(client, "tollgate:", "main", o) },
			func(*Book) {
				keys, err := client.Keys(t.Context(), "tollgate:books:main:*:[dm]20[0-2]:*").Result()
				require.NoError(t, err)
				require.NotEmpty(t, keys)
				require.NoError(t, client.Del(t.Context(), append(keys, "tollgate:books:main:pairs")...).Err())
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			now = clock
			var records []*record.Record
			for n := range 20 {
				records = append(records, sample(n, clock.Add(-time.Duration(n)*time.Hour)))
			}
			b := m.open()
			at := apply(t, b, "spool", 0, records...)
			m.forget(b)
			if name == "file" {
				require.NoError(t, b.Close())
				b = m.open()
			}
			for day := range 3 {
				now = clock.Add(time.Duration(24*day) * time.Hour)
				r := sample(20+day, now)
				records = append(records, r)
				at = apply(t, b, "spool", at, r)
				for _, each := range []Unit{Whole, Day, Month} {
					q := Query{Since: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), By: []Dimension{Team, Model}, Each: each}
					got, err := b.Query(t.Context(), q)
					require.NoError(t, err)
					require.Equal(t, expected(t, q, records), got, "%s on day %d", each, day)
				}
			}
			require.NoError(t, b.Close())
		})
	}
}

// TestNumbersOfNamesAreSecret checks that names have different numbers in each store, the same ones when it is opened again, and that
// queries do not distinguish names that were added before a store had a seed.
func TestNumbersOfNamesAreSecret(t *testing.T) {
	var numbers []id
	stores(t, func(t *testing.T, open func() *Book) {
		b := open()
		b.ids.seed = []byte{} // as before
		records := []*record.Record{sample(0, clock), sample(1, clock.Add(-time.Hour))}
		at := apply(t, b, "spool", 0, records...)
		require.NoError(t, b.Close())
		of := name{EndUser, "ann"}
		for range 2 {
			b = open()
			more := sample(len(records), clock)
			at = apply(t, b, "spool", at, more)
			records = append(records, more)
			numbers = append(numbers, b.ids.of(of))
			require.Equal(t, numbers[len(numbers)-1], of.id(b.ids.seed))
			for _, by := range [][]Dimension{{EndUser}, {Team, Model}, {Key, Session}} {
				q := Query{Since: clock.AddDate(0, 0, -1).Truncate(24 * time.Hour), By: by, Each: Day}
				got, err := b.Query(t.Context(), q)
				require.NoError(t, err)
				require.Equal(t, expected(t, q, records), got)
			}
			require.NoError(t, b.Close())
		}
	})
	require.Len(t, numbers, 4)
	require.Equal(t, numbers[0], numbers[1])
	require.Equal(t, numbers[2], numbers[3])
	require.NotEqual(t, numbers[0], numbers[2])
	require.NotContains(t, numbers, name{EndUser, "ann"}.id(nil))
}
