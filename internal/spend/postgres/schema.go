package postgres

import (
	"context"
	_ "embed"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

//go:embed schema.sql
var schema string

// schemaVersion is the version of the tables of this program.
const schemaVersion = 1

// schemaLock is the number of the advisory lock that an instance holds while it creates the tables.
const schemaLock = 0x746f6c6c67617465

// ErrNewer means that the tables were made by a newer program.
var ErrNewer = errors.New("the tables are of a newer version than this program knows")

// prepare creates the tables if there are none, and refuses those of another version.
func prepare(ctx context.Context, c *pgx.Conn) error {
	version, there, err := versionOf(ctx, c)
	if err == nil && !there {
		version, err = create(ctx, c)
	}
	switch {
	case err != nil:
		return err
	case version > schemaVersion:
		return fmt.Errorf("%w: %d, and not %d", ErrNewer, version, schemaVersion)
	case version < schemaVersion:
		return fmt.Errorf("the tables have version %d, which no program ever wrote", version)
	}
	return nil
}

// query is a connection or a transaction.
type query interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// found reads the catalog: functions that look up names, such as to_regclass, may not know yet what another session has just created.
const found = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class WHERE relname = 'tollgate_schema' AND pg_catalog.pg_table_is_visible(oid))"

func versionOf(ctx context.Context, q query) (version int, there bool, err error) {
	if err := q.QueryRow(ctx, found).Scan(&there); err != nil || !there {
		return 0, false, err
	}
	return version, true, q.QueryRow(ctx, "SELECT coalesce(max(version), 0) FROM tollgate_schema").Scan(&version)
}

func create(ctx context.Context, c *pgx.Conn) (version int, err error) {
	tx, err := c.BeginTx(ctx, writes)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, undone(tx.Rollback(ctx))) }() // a no-op after the commit
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", schemaLock); err != nil {
		return 0, err
	}
	version, there, err := versionOf(ctx, tx) // another instance may have created them meanwhile
	if err != nil || there {
		return version, errors.Join(err, tx.Commit(ctx))
	}
	if _, err := tx.Exec(ctx, schema); err != nil {
		return 0, fmt.Errorf("the tables cannot be made; docs/books.md has the statements for a role that may: %w", err)
	}
	return schemaVersion, tx.Commit(ctx)
}

// undone ignores the error of a transaction that has already ended.
func undone(err error) error {
	if errors.Is(err, pgx.ErrTxClosed) || errors.Is(err, pgconn.ErrConnClosed) {
		return nil
	}
	return err
}
