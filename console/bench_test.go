package console_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/testkit"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// BenchmarkPages opens the console's pages on a gateway with 1,000 keys and 20,000 calls in the last day's ledger. Its books hold
// a year of 1,000 keys x 20 models, which BenchmarkYear in internal/spend writes to the directory TOLLGATE_YEAR.
func BenchmarkPages(b *testing.B) {
	year := os.Getenv("TOLLGATE_YEAR")
	if year == "" {
		b.Skip("TOLLGATE_YEAR is not a directory with a year of books; go test ./internal/spend -run '^$' -bench Year writes one")
	}
	dir := b.TempDir()
	from, err := os.Open(filepath.Join(year, "books.db"))
	require.NoError(b, err)
	to, err := os.OpenFile(filepath.Join(dir, "books.db"), os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(b, err)
	_, err = io.Copy(to, from)
	require.NoError(b, err)
	require.NoError(b, from.Close())
	require.NoError(b, to.Close())
	writeDay(b, dir, 20_000)
	g := gateway.Start(b, "", "console"+gateway.DemoSite(b.TempDir(), dir, ""))
	for n := range 1000 {
		g.NewKey(fmt.Sprintf(`{"key_alias":"made-%d","team_id":"team-%d","max_budget":5}`, n, n%50))
	}
	admin := open(b, g)
	status, _ := admin.signIn(gateway.MasterKey)
	require.Equal(b, http.StatusOK, status)
	for name, path := range map[string]string{
		"now": "now", "calls": "calls", "keys": "keys", "teams": "teams", "models": "models", "decide": "decide",
		"spend, this month by model":        "spend",
		"spend, a year by day and key":      "spend?by=key_alias&each=day&span=12+months",
		"spend, a year by month and key":    "spend?by=key_alias&each=month&span=12+months",
		"spend, a year by key":              "spend?by=key_alias&each=total&span=12+months",
		"spend, a year by day and team":     "spend?by=team&each=day&span=12+months",
		"spend, a year by day and provider": "spend?by=provider&each=day&span=12+months",
		"spend, a year by day":              "spend?by=&each=day&span=12+months",
	} {
		b.Run(name, func(b *testing.B) {
			admin.page("/console/" + path)
			begin := testkit.CPUTime()
			for b.Loop() {
				admin.page("/console/" + path)
			}
			b.ReportMetric(float64((testkit.CPUTime()-begin).Microseconds())/1000/float64(b.N), "cpu-ms/op")
			admin.seen = nil
		})
	}
}

// writeDay writes a spool with n calls in the last day.
func writeDay(b *testing.B, dir string, calls int) {
	b.Helper()
	var clock atomic.Pointer[time.Time]
	now := time.Now().UTC()
	begin := now.Add(-23 * time.Hour)
	clock.Store(&begin)
	s, err := spool.Open(spool.Options{Dir: dir, Now: func() time.Time { return *clock.Load() }})
	require.NoError(b, err)
	for n := range calls {
		at := begin.Add(time.Duration(n) * 22 * time.Hour / time.Duration(calls))
		clock.Store(&at)
		pastCall(b, s, n%len(past), at)
	}
	require.NoError(b, s.Close())
}
