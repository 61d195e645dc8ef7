package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/books"
	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spend"
	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/testkit"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

const (
	longest = 60 * time.Second
	// sums are the totals of every table that has them.
	sums = `SELECT 'hours', sum(calls)::text, trim_scale(sum(cost)) FROM tollgate_hourly UNION ALL
		SELECT 'days', sum(calls)::text, trim_scale(sum(cost)) FROM tollgate_daily UNION ALL
		SELECT 'lines', (SELECT sum(calls)::text FROM tollgate_daily), trim_scale(sum(cost)) FROM tollgate_daily_lines UNION ALL
		SELECT 'records', count(*)::text, trim_scale(sum(cost)) FROM tollgate_records ORDER BY 1`
)

var begin = time.Date(2026, 11, 30, 10, 30, 0, 0, time.UTC)

// sample is a settled record with a distinct last digit in its cost.
func sample(n int, at time.Time) *record.Record {
	r := &record.Record{
		ID: fmt.Sprint("call-", n), Account: "main", Opened: at, Settled: at, Outcome: record.OutcomeCompleted, Endpoint: "chat/completions",
		Asked: "gpt", Model: fmt.Sprint("model-", n%3), Upstream: "gpt-4o", Backend: "b", Provider: "openai", Payer: fmt.Sprint("payer-", n%2),
		Team: fmt.Sprint("team-", n%4), User: "ann", KeyID: fmt.Sprint("key-", n%3), KeyAlias: "it's \"ci\", {x}\\", EndUser: fmt.Sprint("end-", n%2),
		Session: fmt.Sprint("s-", n), Source: usage.Reported, Cost: cost(n), BaseCost: cost(n),
	}
	r.Counts.Set(usage.Input, int64(n))
	r.Counts.Set(usage.Output, 2)
	switch n % 6 {
	case 0:
		r.Outcome, r.NotBilled = record.OutcomeError, record.NotBilledError
	case 1:
		r.Unpriced, r.NotBilled, r.Cost, r.BaseCost = "no price", record.NotBilledPrice, "", ""
	case 2: // a record of an earlier version has no lines
	case 3:
		r.Lines = []record.Line{{Kind: "total", Count: "0", Base: r.Cost}}
		r.ProviderCost = "0.001"
	default:
		r.Lines = []record.Line{{Kind: "input", Count: fmt.Sprint(n, ".125"), Price: "2.5", Per: "million", Base: r.Cost}}
	}
	return r
}

func cost(n int) string { return fmt.Sprintf("0.%06d%09d", n, 7*n+1) }

// total is what the first n samples cost.
func total(t testing.TB, n int) string {
	t.Helper()
	var all price.Amount
	for i := range n {
		if i%6 == 1 {
			continue
		}
		a, err := price.ParseUSD(cost(i))
		require.NoError(t, err)
		all, err = all.Add(a)
		require.NoError(t, err)
	}
	return all.String()
}

func callID(n int) (id spool.ID) {
	binary.BigEndian.PutUint64(id[8:], uint64(n)+1) //nolint:gosec // small
	return id
}

func sink(t testing.TB, dsn string) *Sink {
	t.Helper()
	c, err := Parse(dsn)
	require.NoError(t, err)
	s := New(c, Options{Account: "main", Records: true, Split: spend.Split{EndUsers: true}, OnFault: func(err error) { t.Error(err) }})
	t.Cleanup(func() { _ = s.Close() }) // a server that is gone
	return s
}

func open(t testing.TB, dir string) *spool.Spool {
	t.Helper()
	s, err := spool.Open(spool.Options{Dir: dir, Consumers: []string{ConsumerName}})
	require.NoError(t, err)
	return s
}

func settle(t testing.TB, s *spool.Spool, n int) {
	t.Helper()
	at := begin.Add(-time.Duration(n) * 7 * time.Minute)
	require.NoError(t, s.Begin(callID(n), nil))
	require.NoError(t, s.Settle(callID(n), sample(n, at).Append(nil, nil), n%2 == 0))
}

// follow writes a spool's records until stop is called.
func follow(t testing.TB, s *spool.Spool, to *Sink) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	c := books.Follow(s, to, books.Options{Name: ConsumerName, AtOnce: 16, Pace: time.Millisecond, OnFault: func(err error) { t.Log(err) }})
	var run sync.WaitGroup
	run.Go(func() { c.Run(ctx) })
	return func() {
		cancel()
		run.Wait()
	}
}

// await waits until the records of a spool are written.
func await(t testing.TB, s *spool.Spool) {
	t.Helper()
	require.Eventually(t, func() bool { return s.Cursor(ConsumerName) >= s.Last() }, longest, 2*time.Millisecond)
}

// expect checks that every table adds up to the first n samples, to the last digit.
func expect(t testing.TB, server *testkit.PostgresServer, database string, n int) {
	t.Helper()
	var want [][]string
	for _, table := range []string{"days", "hours", "lines", "records"} {
		want = append(want, []string{table, fmt.Sprint(n), total(t, n)})
	}
	require.Equal(t, want, server.Rows(database, sums))
}

// TestTotalsAreThoseOfTheBooks writes the same records to books and to PostgreSQL: each sum of each group and day is the same, line by
// line, and the records add up to it.
func TestTotalsAreThoseOfTheBooks(t *testing.T) {
	server := testkit.Postgres(t)
	p := sink(t, server.Database("spend"))
	book, err := spend.OpenFile(t.TempDir(), spend.Options{Split: spend.Split{EndUsers: true}, Now: func() time.Time { return begin }})
	require.NoError(t, err)
	defer func() { require.NoError(t, book.Close()) }()
	at, n := uint64(0), 0
	for range 12 {
		var list []spool.Record
		for range 1 + rand.IntN(60) {
			r := sample(n, begin.Add(-time.Duration(rand.Int64N(int64(60*time.Hour)))).Truncate(time.Millisecond))
			list = append(list, spool.Record{ID: callID(n), Payload: r.Append(nil, nil), Origin: spool.Origin{Seq: uint64(n) + 1}}) //nolint:gosec // small
			n++
		}
		for range 2 { // a batch that comes twice adds nothing
			to, err := p.Apply(t.Context(), "spool", at, uint64(n), list) //nolint:gosec // small
			require.NoError(t, err)
			require.EqualValues(t, n, to)
		}
		for has := at; has < uint64(n); { //nolint:gosec // small
			has, err = book.Apply(t.Context(), "spool", has, uint64(n), list[has-at:]) //nolint:gosec // small
			require.NoError(t, err)
		}
		at = uint64(n) //nolint:gosec // small
	}
	cursor, err := p.Cursor(t.Context(), "spool")
	require.NoError(t, err)
	require.Equal(t, at, cursor)
	expect(t, server, "spend", n)

	by := make([]spend.Dimension, 0, len(dimensions))
	for _, d := range dimensions {
		if d != spend.Session {
			by = append(by, d)
		}
	}
	rows, err := book.Query(t.Context(), spend.Query{Since: begin.Truncate(24*time.Hour).AddDate(0, 0, -3), Each: spend.Day, By: by, Lines: true})
	require.NoError(t, err)
	var days, kinds, lines []string
	for _, r := range rows {
		at := strings.Join(append([]string{r.Start.Format(time.DateOnly)}, r.Values...), "|")
		days = append(days, strings.Join([]string{
			at, number(r.Sums[spend.Calls], 0), number(r.Sums[spend.Failed], 0), number(r.Sums[spend.Unpriced], 0), r.Sums[spend.Cost].String(),
			r.Sums[spend.BaseCost].String(), r.Sums[spend.ProviderCost].String(), number(r.Sums[spend.Stated], 0), r.Sums[spend.StatedCost].String(),
			number(r.Sums[spend.InputTokens], 0), number(r.Sums[spend.OutputTokens], 0),
		}, "|"))
		for measure, a := range r.Sums {
			if kind, is := strings.CutPrefix(measure, spend.KindPrefix); is {
				kinds = append(kinds, at+"|"+kind+"|"+number(a, 0))
			}
		}
		list, err := spend.LinesOf(r.Sums)
		require.NoError(t, err)
		for _, l := range list {
			lines = append(lines, strings.Join([]string{at, l.Kind, l.Price, l.Per, number(l.Count, 3), l.Base.String(), l.Cost.String()}, "|"))
		}
	}
	const group = `day, payer, team, user_id, key, key_alias, end_user, model, upstream, provider, backend, endpoint, outcome, source, billed, factor`
	joined := func(sql string) (list []string) {
		for _, row := range server.Rows("spend", sql) {
			list = append(list, strings.Join(row, "|"))
		}
		return list
	}
	same := func(want, got []string) {
		slices.Sort(want)
		slices.Sort(got)
		require.Len(t, got, len(want))
		for i := range want {
			require.Equal(t, want[i], got[i])
		}
	}
	same(days, joined("SELECT "+group+`, calls, failed, unpriced, trim_scale(cost), trim_scale(base_cost), trim_scale(provider_cost), provider_stated,
		trim_scale(provider_stated_cost), input_tokens, output_tokens FROM tollgate_daily`))
	same(kinds, joined("SELECT "+group+", kind, quantity FROM tollgate_daily_kinds"))
	same(lines, joined("SELECT "+group+", kind, price, per, quantity, trim_scale(base_cost), trim_scale(cost) FROM tollgate_daily_lines"))
	require.Equal(t, [][]string{{"0"}}, server.Rows("spend", `SELECT count(*) FROM (
		SELECT date_trunc('hour', settled) AS hour, count(*), sum(cost), sum(input_tokens) FROM tollgate_records GROUP BY 1 EXCEPT
		SELECT hour, sum(calls), sum(cost), sum(input_tokens) FROM tollgate_hourly GROUP BY 1) AS differ`), "hours are the sums of their records")
	require.Equal(t, [][]string{{"0"}}, server.Rows("spend", "SELECT count(*) FROM tollgate_records WHERE session <> record->>'session' OR key <> record->>'key_id'"))
}

// TestTextsThatPostgresRefuses writes names that PostgreSQL's text and JSON types cannot hold, and one longer than an index row: they do not
// stop later records.
func TestTextsThatPostgresRefuses(t *testing.T) {
	server := testkit.Postgres(t)
	p := sink(t, server.Database("spend"))
	raw := strings.Repeat("x\xff", 20_000)
	for seq, payload := range []string{
		`{"v":1,"id":"a","settled":"2026-11-30T10:00:00.000Z","endpoint":"e","asked":"\u0000 \ud800 \\u0000","model":"a\u0000b","cost":"0.5"}`,
		`{"v":1,"id":"b","settled":"2026-11-30T10:00:00.000Z","endpoint":"e","model":"\u0001\u001b[2J","cost":"0.25","end_user":"` + raw + `"}`,
	} {
		at := uint64(seq) //nolint:gosec // small
		to, err := p.Apply(t.Context(), "spool", at, at+1, []spool.Record{{ID: callID(seq), Payload: []byte(payload), Origin: spool.Origin{Seq: at + 1}}})
		require.NoError(t, err)
		require.Equal(t, at+1, to)
	}
	require.Equal(t, [][]string{{"a\ufffdb", "0.5", "\ufffd \ufffd \\u0000", "0"}, {"\x01\x1b[2J", "0.25", "", "40000"}},
		server.Rows("spend", "SELECT model, cost, record->>'asked', length(end_user) FROM tollgate_records ORDER BY cost DESC"))
	require.Equal(t, [][]string{{"2", "0.75"}}, server.Rows("spend", "SELECT sum(calls), trim_scale(sum(cost)) FROM tollgate_daily"))
}

// TestACallIsOneRow writes a call that the table of records has already: its row stays as it is.
func TestACallIsOneRow(t *testing.T) {
	server := testkit.Postgres(t)
	p := sink(t, server.Database("spend"))
	for _, spoolID := range []string{"spool", "copy"} {
		_, err := p.Apply(t.Context(), spoolID, 0, 1, []spool.Record{{ID: callID(2), Payload: sample(2, begin).Append(nil, nil), Origin: spool.Origin{Seq: 1}}})
		require.NoError(t, err)
	}
	require.Equal(t, [][]string{{"1", cost(2)}}, server.Rows("spend", "SELECT count(*), trim_scale(sum(cost)) FROM tollgate_records"))
}

// TestRecordsThatPostgresRefuses writes a batch with a record that jsonb cannot hold, which is stored as a string, and one that a trigger
// refuses: the records before it are written, it and the later ones wait, and the error names the call.
func TestRecordsThatPostgresRefuses(t *testing.T) {
	server := testkit.Postgres(t)
	p := sink(t, server.Database("spend"))
	const count = 50
	records := make([]spool.Record, count)
	for n := range records {
		payload := sample(n, begin).Append(nil, nil)
		if n == 17 { // a number beyond the range of numeric
			payload = append(payload[:len(payload)-1], `,"later":1e999999}`...)
		}
		records[n] = spool.Record{ID: callID(n), Payload: payload, Origin: spool.Origin{Seq: uint64(n) + 1}} //nolint:gosec // small
	}
	at := uint64(0)
	all := func() (err error) {
		for at < count {
			has, err := p.Apply(t.Context(), "spool", at, count, records[at:])
			if err != nil {
				return err
			}
			require.Greater(t, has, at)
			at = has
		}
		return nil
	}
	_, err := p.Cursor(t.Context(), "spool") // makes the tables
	require.NoError(t, err)
	server.Exec("spend", `CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF NEW.session = 's-30' THEN RAISE 'not this one'; END IF; RETURN NEW; END $$;
		CREATE TRIGGER no BEFORE INSERT ON tollgate_records FOR EACH ROW EXECUTE FUNCTION no()`)
	for range 2 { // it is tried again, and nothing counts twice
		err = all()
		require.ErrorContains(t, err, "not this one")
		require.ErrorContains(t, err, fmt.Sprintf("the record of call %x is refused", callID(30)))
		expect(t, server, "spend", 30)
	}
	server.Exec("spend", "DROP TRIGGER no ON tollgate_records")
	require.NoError(t, all())
	expect(t, server, "spend", count)
	require.Equal(t, [][]string{{string(records[17].Payload)}},
		server.Rows("spend", "SELECT record #>> '{}' FROM tollgate_records WHERE jsonb_typeof(record) <> 'object'"))
}

// TestInterruptedBatchesCountOnce has two instances write concurrently while connections are cut in the middle of batches, answers to
// commits are lost, and the server is killed and restarted; then one adopts the other's spool.
func TestInterruptedBatchesCountOnce(t *testing.T) {
	server := testkit.Postgres(t)
	dsn := server.Database("spend")
	cutter := newCutter(t, server.Addr)
	dir := t.TempDir()
	var spools [2]*spool.Spool
	var stops [2]func()
	for i := range spools {
		spools[i] = open(t, filepath.Join(dir, fmt.Sprint(i)))
		stops[i] = follow(t, spools[i], sink(t, strings.Replace(dsn, server.Addr, cutter.addr, 1)))
	}
	n := 0
	some := func(count int) {
		for range count {
			settle(t, spools[n%2], n)
			n++
		}
	}
	for round := range 6 {
		for what, happened := range map[*atomic.Bool]*atomic.Int32{&cutter.lose: &cutter.commits, &cutter.cut: &cutter.batches} {
			before := happened.Load()
			what.Store(true)
			some(40)
			require.Eventually(t, func() bool { return happened.Load() > before }, longest, time.Millisecond)
		}
		some(40)
		server.Exec("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'spend'")
		if round%2 == 0 {
			server.Kill()
			server.Start()
		}
	}
	await(t, spools[0])
	await(t, spools[1])
	expect(t, server, "spend", n)

	some(80) // of these, some are written before the end of their instance
	stops[0]()
	require.NoError(t, spools[0].Close())
	_, err := spools[1].Adopt(filepath.Join(dir, "0"))
	require.NoError(t, err)
	await(t, spools[1])
	expect(t, server, "spend", n)
	stops[1]()
	require.NoError(t, spools[1].Close())
}

// TestRecordsWaitForTheServer settles records while the server is down: they stay in the spool, and are written once when it is back,
// also by a later process. An emptied database is filled again.
func TestRecordsWaitForTheServer(t *testing.T) {
	server := testkit.Postgres(t)
	dsn, dir := server.Database("spend"), t.TempDir()
	s := open(t, dir)
	stop := follow(t, s, sink(t, dsn))
	for n := range 20 {
		settle(t, s, n)
	}
	await(t, s)
	server.Stop()
	for n := 20; n < 40; n++ {
		settle(t, s, n)
	}
	stop()
	require.EqualValues(t, 20, s.Stats().Unread[ConsumerName])
	require.NoError(t, s.Close())

	s = open(t, dir)
	stop = follow(t, s, sink(t, dsn))
	server.Start()
	await(t, s)
	expect(t, server, "spend", 40)
	stop()
	server.Exec("postgres", "DROP DATABASE spend WITH (FORCE)")
	server.Database("spend")
	stop = follow(t, s, sink(t, dsn))
	require.Eventually(t, func() bool {
		return len(server.Rows("spend", "SELECT 1 FROM pg_tables WHERE tablename = 'tollgate_records'")) == 1 &&
			len(server.Rows("spend", "SELECT 1 FROM tollgate_records")) >= 40
	}, longest, time.Millisecond)
	expect(t, server, "spend", 40)
	stop()
	require.NoError(t, s.Close())
}

// cutter passes bytes on to a server, and cuts a connection when asked: before the answer to a commit, or within a batch.
type cutter struct {
	addr             string
	lose, cut        atomic.Bool
	commits, batches atomic.Int32
}

func newCutter(t *testing.T, to string) *cutter {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &cutter{addr: ln.Addr().String()}
	var all sync.WaitGroup
	t.Cleanup(func() {
		require.NoError(t, ln.Close())
		all.Wait()
	})
	all.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				_ = client.Close()
				continue
			}
			all.Go(func() { c.pass(client, server) })
		}
	})
	return c
}

func (c *cutter) pass(client, server net.Conn) {
	var deaf atomic.Bool // the server's bytes are not passed on
	var back sync.WaitGroup
	back.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			if n > 0 && deaf.Load() {
				c.commits.Add(1)
				break
			}
			if _, write := client.Write(buf[:n]); err != nil || write != nil {
				break
			}
		}
		_ = client.Close()
		_ = server.Close()
	})
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		part := buf[:n]
		if bytes.Contains(part, []byte("commit\x00")) && c.lose.CompareAndSwap(true, false) {
			deaf.Store(true)
		}
		if bytes.Contains(part, []byte("tollgate_hours")) && c.cut.CompareAndSwap(true, false) {
			c.batches.Add(1)
			_, _ = server.Write(part[:n/2])
			break
		}
		if _, write := server.Write(part); err != nil || write != nil {
			break
		}
	}
	_ = server.(*net.TCPConn).CloseWrite()
	back.Wait()
}
