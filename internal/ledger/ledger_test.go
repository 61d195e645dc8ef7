package ledger

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

// TestFindIsASearchOfAllRecords compares searches with a look at each record.
func TestFindIsASearchOfAllRecords(t *testing.T) {
	var clock atomic.Pointer[time.Time] // which the spool's own goroutine reads too
	clock.Store(new(time.Time))
	sp, err := spool.Open(spool.Options{Dir: t.TempDir(), Now: func() time.Time { return *clock.Load() }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sp.Close()) })
	begin := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	pick := func(list ...string) string { return list[rand.IntN(len(list))] }
	var all []*record.Record
	for n := range 400 {
		at := begin.Add(time.Duration(n) * time.Second)
		clock.Store(&at)
		id := uuid.Must(uuid.NewV7())
		r := &record.Record{
			ID: id.String(), ResponseID: fmt.Sprint("chatcmpl-", n), Account: "a", Opened: at, Settled: at, Outcome: pick("completed", "error", "cut"),
			Endpoint: "chat/completions", Asked: pick("gpt", "fast"), Model: pick("gpt", "claude"), Upstream: pick("gpt-4o", "sonnet"),
			KeyID: strings.Repeat(pick("a", "b"), 64), KeyAlias: pick("", "ci", `a "quoted" <name>`), Team: pick("", "red", "blüe"), User: pick("ann", "bob"),
			EndUser: pick("", "x"), Session: pick("", "s1", "s2"), Payer: pick("p", "q"), Cost: fmt.Sprintf("0.%03d", rand.IntN(1000)),
		}
		require.NoError(t, sp.Begin(spool.ID(id), nil))
		require.NoError(t, sp.Settle(spool.ID(id), r.Append(nil, nil), false))
		all = append(all, r)
	}
	for range 300 {
		q := &Search{Most: rand.IntN(50), Oldest: rand.IntN(2) == 0}
		var tests []func(r *record.Record) bool
		equal := func(to *string, value string, of func(r *record.Record) string) {
			if rand.IntN(5) == 0 {
				*to = value
				tests = append(tests, func(r *record.Record) bool { return of(r) == value })
			}
		}
		equal(&q.KeyID, strings.Repeat("a", 64), func(r *record.Record) string { return r.KeyID })
		equal(&q.KeyAlias, `a "quoted" <name>`, func(r *record.Record) string { return r.KeyAlias })
		equal(&q.Team, pick("red", "blüe"), func(r *record.Record) string { return r.Team })
		equal(&q.User, "ann", func(r *record.Record) string { return r.User })
		equal(&q.EndUser, "x", func(r *record.Record) string { return r.EndUser })
		equal(&q.Session, "s1", func(r *record.Record) string { return r.Session })
		equal(&q.Payer, "q", func(r *record.Record) string { return r.Payer })
		equal(&q.Group, "gpt", func(r *record.Record) string { return r.Model })
		equal(&q.Upstream, "gpt-4o", func(r *record.Record) string { return r.Upstream })
		equal(&q.Outcome, "cut", func(r *record.Record) string { return r.Outcome })
		if rand.IntN(5) == 0 {
			q.Model = "gpt"
			tests = append(tests, func(r *record.Record) bool { return r.Model == "gpt" || r.Asked == "gpt" || r.Upstream == "gpt" })
		}
		if rand.IntN(5) == 0 {
			failed := rand.IntN(2) == 0
			q.Failed = &failed
			tests = append(tests, func(r *record.Record) bool { return (r.Outcome == "error") == failed })
		}
		if rand.IntN(5) == 0 {
			low, err := price.ParseUSD("0.3")
			require.NoError(t, err)
			high, err := price.ParseUSD("0.7")
			require.NoError(t, err)
			q.MinCost, q.MaxCost = &low, &high
			tests = append(tests, func(r *record.Record) bool { return r.Cost >= "0.300" && r.Cost <= "0.700" })
		}
		if rand.IntN(20) == 0 {
			one := all[rand.IntN(len(all))]
			q.ID = pick(one.ID, one.ResponseID)
			tests = append(tests, func(r *record.Record) bool { return r == one })
		}
		if rand.IntN(5) == 0 {
			q.Since, q.Until = begin.Add(100*time.Second), begin.Add(300*time.Second)
			tests = append(tests, func(r *record.Record) bool { return !r.Settled.Before(q.Since) && r.Settled.Before(q.Until) })
		}
		var want []string
		total, cost := 0, price.Amount{}
		for _, r := range all {
			if slices.ContainsFunc(tests, func(fits func(*record.Record) bool) bool { return !fits(r) }) {
				continue
			}
			total++
			c, err := price.ParseUSD(r.Cost)
			require.NoError(t, err)
			cost, err = cost.Add(c)
			require.NoError(t, err)
			want = append(want, r.ID)
		}
		if !q.Oldest {
			slices.Reverse(want)
		}
		got, err := Find(context.Background(), sp, q)
		require.NoError(t, err)
		require.NoError(t, got.Broken)
		require.Equal(t, total, got.Total, "%+v", q)
		require.Equal(t, cost.String(), got.Cost.String())
		require.Len(t, got.Calls, min(q.Most, len(want)))
		for i, c := range got.Calls {
			require.Equal(t, want[i], c.ID)
			require.Equal(t, spool.StateDone, c.State)
		}
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = Find(ended, sp, new(Search))
	require.ErrorIs(t, err, context.Canceled)
}
