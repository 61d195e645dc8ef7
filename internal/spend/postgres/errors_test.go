package postgres

import (
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/testkit"
)

// TestConnectionStringsAreInNoError refuses strings with passwords that would end up in names that errors show.
func TestConnectionStringsAreInNoError(t *testing.T) {
	for _, dsn := range []string{
		"postgres://user:p/ssw0rd-secret@host/db", "postgres://user:12/ssw0rd-secret@host/db", "postgres://user:12?ssw0rd-secret@host/db",
		"postgres://user:12#ssw0rd-secret@host/db", "postgres://user:pass w0rd-secret@host:99999/db", "postgres://%zz:w0rd-secret@host/db",
		"host=db password=pass w0rd-secret", "w0rd-secret", "postgres://user:w0rd-secret@host/db?sslmode=w0rd-secret",
	} {
		_, err := Parse(dsn)
		require.Error(t, err, dsn)
		require.NotContains(t, err.Error(), "w0rd-secret")
	}
	_, err := Parse("postgres://user:w0rd-secret@host/db?sslmode=verify-full&sslrootcert=/no/such/file")
	require.ErrorIs(t, err, ErrFile)
	require.NotContains(t, err.Error(), "w0rd-secret")
	c, err := Parse("postgres://user:w0rd-secret@127.0.0.1:1/db")
	require.NoError(t, err)
	require.Equal(t, "user@127.0.0.1:1/db", c.String())
	_, err = New(c, Options{}).Cursor(t.Context(), "spool")
	require.ErrorContains(t, err, "user@127.0.0.1:1/db")
	require.NotContains(t, err.Error(), "w0rd-secret")
}

// TestWhatTheRoleMayNot tries a wrong password, roles that may not write or create tables, tables of a newer version, and a missing
// database.
func TestWhatTheRoleMayNot(t *testing.T) {
	server := testkit.Postgres(t)
	dsn := server.Database("spend")
	record := []spool.Record{{Payload: sample(2, begin).Append(nil, nil), Origin: spool.Origin{Seq: 1}}}
	apply := func(dsn string) error {
		_, err := sink(t, dsn).Apply(t.Context(), "spool", 0, 1, record)
		return err
	}
	as := func(role string) string {
		return strings.Replace(dsn, "tollgate:"+testkit.PostgresPassword, role+":w0rd-secret", 1)
	}
	server.Exec("spend", "CREATE ROLE reader LOGIN PASSWORD 'w0rd-secret'; CREATE ROLE writer LOGIN PASSWORD 'w0rd-secret'")

	err := apply(strings.Replace(dsn, testkit.PostgresPassword, "wr0ng-secret", 1))
	require.ErrorContains(t, err, "password authentication failed")
	require.NotContains(t, err.Error(), "wr0ng-secret")
	require.ErrorContains(t, apply(server.DSN("elsewhere")), `database "elsewhere" does not exist`)
	err = apply(as("writer"))
	require.ErrorContains(t, err, "permission denied")
	require.ErrorContains(t, err, "docs/books.md", "the role may not make the tables")
	require.NotContains(t, err.Error(), "w0rd-secret")

	server.Exec("spend", schema) // as an operator does
	server.Exec("spend", `GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader;
		GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO writer`)
	require.ErrorContains(t, apply(as("reader")), "needs SELECT, INSERT and UPDATE")
	require.NoError(t, apply(as("writer")+"&default_transaction_read_only=on"))
	require.Equal(t, [][]string{{"1"}}, server.Rows("spend", "SELECT sum(calls) FROM tollgate_daily"))

	server.Exec("spend", "UPDATE tollgate_schema SET version = 2")
	require.ErrorIs(t, apply(as("writer")), ErrNewer)
	require.Equal(t, [][]string{{"1"}}, server.Rows("spend", "SELECT count(*) FROM tollgate_records"))
}

// TestInstancesMakeTheTablesOnce starts many instances at the same time on an empty database, one of them without records.
func TestInstancesMakeTheTablesOnce(t *testing.T) {
	server := testkit.Postgres(t)
	dsn := server.Database("spend")
	var all sync.WaitGroup
	for range 8 {
		s := sink(t, dsn)
		all.Go(func() {
			_, err := s.Cursor(t.Context(), "spool")
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	require.Equal(t, [][]string{{"1"}}, server.Rows("spend", "SELECT version FROM tollgate_schema"))
	s := sink(t, dsn)
	s.o.Records = false
	_, err := s.Apply(t.Context(), "spool", 0, 1, []spool.Record{{Payload: sample(2, begin).Append(nil, nil), Origin: spool.Origin{Seq: 1}}})
	require.NoError(t, err)
	require.Equal(t, [][]string{{"1", "0"}}, server.Rows("spend", "SELECT sum(calls), (SELECT count(*) FROM tollgate_records) FROM tollgate_hourly"))
}

// TestTheDocumentHasTheStatements checks that the statements in docs/books.md create the tables.
func TestTheDocumentHasTheStatements(t *testing.T) {
	page, err := os.ReadFile("../../../docs/books.md")
	require.NoError(t, err)
	require.Contains(t, string(page), "```sql\n"+schema+"```\n")
}
