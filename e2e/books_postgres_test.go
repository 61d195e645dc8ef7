package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/testkit"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// TestBooksInPostgres has a gateway write its books into PostgreSQL: they are those that it shows, while the server is away calls go on,
// and what was settled meanwhile is written once it is back.
func TestBooksInPostgres(t *testing.T) {
	server := testkit.Postgres(t)
	t.Setenv("BOOKS_DSN", server.Database("spend"))
	options := func(books string) string { return "\ttollgate {\n\t\tbooks_by_session\n" + books + "\n\t}" }
	const on = "\t\tbooks postgres {env.BOOKS_DSN} {\n\t\t\trecords\n\t\t}"
	keys, spool := t.TempDir(), t.TempDir()
	site := postgresSite(keys, spool)
	g := gateway.Start(t, options(on), site)
	key := g.NewKey(`{"team_id":"blue"}`)
	n := 0
	calls := func(count int) {
		for range count {
			g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, `{"model":"demo","messages":[{"role":"user","content":"hi"}]}`,
				"X-Litellm-Session-Id", fmt.Sprint("session-", n%3))
			n++
		}
	}
	admin := &gateway.Gateway{T: t, Addr: g.Admin}
	unread := func() float64 {
		return scrapeGauge(t, g, "caddy_tollgate_spool_unread_records", "postgres")
	}
	same := func() {
		require.Eventually(t, func() bool { return unread() == 0 }, 30*time.Second, 10*time.Millisecond)
		var want [][]string
		for line := range strings.Lines(admin.Must(http.StatusOK, http.MethodGet, "/tollgate/books/spend?by=session&format=json", "", "").Body) {
			r := gjson.Parse(line)
			want = append(want, []string{r.Get("session").String(), r.Get("calls").String(), r.Get("cost").String(), r.Get("input_tokens").String()})
		}
		const columns = ", trim_scale(sum(cost)), sum(input_tokens) FROM "
		require.Equal(t, want, server.Rows("spend", "SELECT session, sum(calls)"+columns+"tollgate_daily GROUP BY 1 ORDER BY 1"))
		require.Equal(t, want, server.Rows("spend", "SELECT session, count(*)"+columns+"tollgate_records GROUP BY 1 ORDER BY 1"))
	}
	calls(6)
	same()

	server.Stop()
	calls(6)
	require.EqualValues(t, 6, unread())
	server.Start()
	same()

	g.Caddyfile = gateway.Site(g.Addr, g.Admin, options(""), site)
	g.Load()
	g.AwaitAnswer()
	calls(3) // they wait for no database
	require.NotContains(t, admin.Must(http.StatusOK, http.MethodGet, "/metrics", "", "").Body, `consumer="postgres"`)
	g.Caddyfile = gateway.Site(g.Addr, g.Admin, options(on), site)
	g.Load()
	same()
	gateway.Stop(t)
	require.Equal(t, [][]string{{fmt.Sprint(n)}}, server.Rows("spend", "SELECT count(*) FROM tollgate_records"))
}

// postgresSite is a site whose books are written into PostgreSQL.
func postgresSite(keys, spool string) string {
	return fmt.Sprintf(`
	keyauth {
		store file %s
		master_key %s
	}
	lagobilling {
		charge_by team_id
		spool %s
	}
	llmroute {
		model demo {
			backend mock {
				price input 1.000000001
				price output 2.123456789
			}
		}
	}`, keys, gateway.MasterKey, spool)
}

const postgresOn = "\ttollgate {\n\t\tbooks postgres {env.BOOKS_DSN} {\n\t\t\trecords\n\t\t}\n\t}"

// sameInPostgres waits until the gateway's records are written, and holds that each call of the ledger is a row with its cost, and that the
// totals by team add up to them.
func sameInPostgres(t *testing.T, g *gateway.Gateway, server *testkit.PostgresServer, database string, calls int) {
	t.Helper()
	require.Eventually(t, func() bool {
		st := gjson.Get(g.Billing(), "accounts.0.postgres")
		return st.Get("caught_up").Bool() && st.Get("waiting").Int() == 0
	}, time.Minute, 10*time.Millisecond)
	want, teams := make(map[string]string), make(sums)
	for _, l := range g.Ledger() {
		if l.Outcome == "" {
			continue
		}
		cost, err := decimal.NewFromString(l.Cost)
		require.NoError(t, err)
		want[l.ID] = cost.String()
		teams.add(l.Team, cost)
	}
	require.Len(t, want, calls)
	stored := make(map[string]string)
	for _, row := range server.Rows(database, "SELECT record->>'id', trim_scale(cost) FROM tollgate_records") {
		stored[row[0]] = row[1]
	}
	require.Equal(t, want, stored)
	for _, table := range []string{"tollgate_daily", "tollgate_hourly", "tollgate_daily_lines"} {
		has := make(sums)
		for _, row := range server.Rows(database, "SELECT team, sum(cost) FROM "+table+" GROUP BY 1") {
			cost, err := decimal.NewFromString(row[1])
			require.NoError(t, err)
			has.add(row[0], cost)
		}
		require.Equal(t, teams.plain(), has.plain(), table)
	}
	require.Equal(t, [][]string{{fmt.Sprint(calls)}}, server.Rows(database, "SELECT sum(calls) FROM tollgate_daily"))
}

// TestKilledWhilePostgresIsWritten kills the gateway's process in the middle of a batch, at each of the tables that a batch writes, and
// right behind a commit: PostgreSQL has the same as the ledger after each restart.
func TestKilledWhilePostgresIsWritten(t *testing.T) {
	server := testkit.Postgres(t)
	t.Setenv("BOOKS_DSN", server.Database("spend"))
	bin, err := gateway.Build()
	require.NoError(t, err)
	g := &gateway.Gateway{T: t, Addr: gateway.FreeAddr(t), Admin: gateway.FreeAddr(t)}
	g.Caddyfile = gateway.Site(g.Addr, g.Admin, postgresOn, postgresSite(t.TempDir(), t.TempDir()))
	g.Launch(bin, "caddyfile")
	keys := []string{g.NewKey(`{"team_id":"blue"}`), g.NewKey(`{"team_id":"red"}`)}
	n := 0
	calls := func(count int) {
		for range count {
			g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", keys[n%2],
				fmt.Sprintf(`{"model":"demo","messages":[{"role":"user","content":"%s"}]}`, strings.Repeat("word ", n%7)))
			n++
		}
	}
	restart := func() {
		g.Kill()
		g.Launch(bin, "caddyfile")
	}
	calls(5)
	sameInPostgres(t, g, server, "spend", n)

	ctx := gateway.Timeout(t, 5*time.Minute)
	holder, err := pgx.Connect(ctx, server.DSN("spend"))
	require.NoError(t, err)
	defer func() { require.NoError(t, holder.Close(context.Background())) }()
	for i, table := range []string{"tollgate_groups", "tollgate_hours", "tollgate_day_lines", "tollgate_records"} {
		_, err = holder.Exec(ctx, "BEGIN; LOCK TABLE "+table+" IN EXCLUSIVE MODE")
		require.NoError(t, err)
		calls(4)
		require.Eventually(t, func() bool {
			return len(server.Rows("spend", "SELECT 1 FROM pg_stat_activity WHERE application_name = 'tollgate' AND wait_event_type = 'Lock'")) > 0
		}, time.Minute, 5*time.Millisecond, "a batch waits for %s", table)
		g.Kill()
		late := i%2 == 1 // what the killed process has sent is still under way
		if late {
			g.Launch(bin, "caddyfile")
			calls(1)
		}
		_, err = holder.Exec(ctx, "ROLLBACK")
		require.NoError(t, err)
		if !late {
			g.Launch(bin, "caddyfile")
		}
		sameInPostgres(t, g, server, "spend", n)
	}

	const cursor = "SELECT max(seq) FROM tollgate_cursors"
	for range 3 {
		before := server.Rows("spend", cursor)[0][0]
		calls(3)
		require.Eventually(t, func() bool { return server.Rows("spend", cursor)[0][0] != before }, time.Minute, time.Millisecond)
		restart()
		sameInPostgres(t, g, server, "spend", n)
	}
}

// TestPostgresIsAnother reloads a gateway to a wrong password and to another database: calls go on, the fault is in the status and the log
// without the password, and the other database gets what the spool has. A misspelled connection string is refused before.
func TestPostgresIsAnother(t *testing.T) {
	const wrong = "wr0ng-secret"
	server := testkit.Postgres(t)
	first, second := server.Database("first"), server.Database("second")
	log := filepath.Join(t.TempDir(), "log")
	site := postgresSite(t.TempDir(), t.TempDir())
	t.Setenv("BOOKS_DSN", first)
	g := gateway.Start(t, postgresOn+"\n\tlog {\n\t\toutput file "+log+"\n\t}", site)
	key := g.NewKey(`{"team_id":"blue"}`)
	n := 0
	calls := func() {
		for range 4 {
			g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, `{"model":"demo","messages":[{"role":"user","content":"hi"}]}`)
			n++
		}
	}
	bin, err := gateway.Build()
	require.NoError(t, err)
	status := func() string {
		out, err := exec.Command(bin, "tollgate", "billing", "status", "--address", g.Admin).CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	calls()
	sameInPostgres(t, g, server, "first", n)
	require.Contains(t, status(), "has all records")

	t.Setenv("BOOKS_DSN", strings.Replace(first, testkit.PostgresPassword, wrong, 1))
	g.Load()
	g.AwaitAnswer()
	calls()
	require.Eventually(t, func() bool { return gjson.Get(g.Billing(), "accounts.0.postgres.lost_since").Exists() }, time.Minute, 5*time.Millisecond)
	shown := status()
	require.Contains(t, shown, "tollgate@"+server.Addr+"/first")
	require.Contains(t, shown, "4 records to write")
	require.Regexp(t, "NOT WRITTEN +since .*password authentication failed", shown)

	t.Setenv("BOOKS_DSN", second)
	g.Load()
	g.AwaitAnswer()
	calls()
	sameInPostgres(t, g, server, "second", n)

	t.Setenv("BOOKS_DSN", first)
	g.Load()
	g.AwaitAnswer()
	sameInPostgres(t, g, server, "first", n)

	file := filepath.Join(t.TempDir(), "Caddyfile")
	require.NoError(t, os.WriteFile(file, []byte(gateway.Site(g.Addr, g.Admin, postgresOn, site)), 0o600))
	validate := exec.Command(bin, "validate", "--config", file, "--adapter", "caddyfile")
	validate.Env = append(os.Environ(), "BOOKS_DSN=postgres://user:"+wrong+"/x@host/db")
	refusal, err := validate.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(refusal), "not a connection string of PostgreSQL")

	logged, err := os.ReadFile(log)
	require.NoError(t, err)
	require.Contains(t, string(logged), "password authentication failed")
	admin := &gateway.Gateway{T: t, Addr: g.Admin}
	for _, secret := range []string{wrong, testkit.PostgresPassword} {
		for _, text := range []string{
			string(logged), string(refusal), shown, g.Billing(), admin.Must(http.StatusOK, http.MethodGet, "/metrics", "", "").Body,
			admin.Must(http.StatusOK, http.MethodGet, "/config/", "", "").Body,
		} {
			require.NotContains(t, text, secret)
		}
	}
}

// TestPostgresWithoutBilling warns of a database into which nothing is ever written.
func TestPostgresWithoutBilling(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	t.Setenv("BOOKS_DSN", "postgres://127.0.0.1:1/spend")
	gateway.Start(t, postgresOn+"\n\tlog {\n\t\toutput file "+log+"\n\t}", "keyauth {\n\tstore file "+t.TempDir()+"\n\tmaster_key "+gateway.MasterKey+"\n}")
	logged, err := os.ReadFile(log)
	require.NoError(t, err)
	require.Contains(t, string(logged), "books postgres writes nothing: there is no lagobilling")
}
