package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tollgate-llm/tollgate/internal/spend"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

// ConsumerName is the consumer's name in a spool.
const ConsumerName = "postgres"

const (
	// patience is the timeout of a batch.
	patience = 30 * time.Second
	// bounds end the sessions of a gateway that is gone without the server noticing: the next gateway waits for their locks.
	bounds = "SET LOCAL statement_timeout = '30s'; SET LOCAL idle_in_transaction_session_timeout = '60s'"
)

// Options of a sink. OnFault is optional.
type Options struct {
	Account string
	Records bool // every settled record is a row
	spend.Split

	// OnFault is called with records that cannot be counted.
	OnFault func(error)
}

// Sink writes one account's records into a database. It is for one caller at a time.
type Sink struct {
	config Config
	o      Options
	conn   *pgx.Conn // nil while there is none
}

// New returns a sink. It connects when it is first used and again after the connection is lost.
func New(c Config, o Options) *Sink {
	if o.OnFault == nil {
		o.OnFault = func(error) {}
	}
	return &Sink{config: c, o: o}
}

// Close ends the connection.
func (s *Sink) Close() error {
	if s.conn == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := s.conn.Close(ctx)
	s.conn = nil
	return err
}

// with calls fn with a connection, and closes the connection after an error.
func (s *Sink) with(ctx context.Context, fn func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := s.connect(ctx)
	if err == nil {
		err = fn(ctx, s.conn)
	}
	if err != nil {
		err = fmt.Errorf("PostgreSQL %s: %w", s.config, explained(err))
		if closing := s.Close(); closing != nil && ctx.Err() == nil {
			err = errors.Join(err, closing)
		}
	}
	return err
}

func (s *Sink) connect(ctx context.Context) error {
	if s.conn != nil && !s.conn.IsClosed() {
		return nil
	}
	c, err := pgx.ConnectConfig(ctx, s.config.conn)
	if err != nil {
		return err
	}
	s.conn = c
	return prepare(ctx, c)
}

// explained adds what an operator can do about an error.
func explained(err error) error {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return err
	}
	switch e.Code {
	case "42501": // insufficient_privilege
		return fmt.Errorf("%w: the role needs SELECT, INSERT and UPDATE on the tables tollgate_*", err)
	case "25006": // read_only_sql_transaction
		return fmt.Errorf("%w: this server takes no writes; a connection string of several hosts needs target_session_attrs=read-write", err)
	}
	return err
}

// Cursor implements books.Applier.
func (s *Sink) Cursor(ctx context.Context, spoolID string) (cursor uint64, err error) {
	err = s.with(ctx, func(ctx context.Context, c *pgx.Conn) error {
		cursor, err = cursorOf(ctx, c, "SELECT seq FROM tollgate_cursors WHERE spool = $1", spoolID)
		return err
	})
	return cursor, err
}

func cursorOf(ctx context.Context, q query, sql, spoolID string) (uint64, error) {
	var seq int64
	err := q.QueryRow(ctx, sql, spoolID).Scan(&seq)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	return uint64(seq), err //nolint:gosec // never negative
}

// writes sets the isolation regardless of the role's default: each statement of a batch sees what others have committed before it, as it
// adds to their rows.
var writes = pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}

// Apply implements books.Applier. A batch is one transaction, which locks the row of the spool's cursor. If the database refuses a record,
// the records before it are written, and the error names the call.
func (s *Sink) Apply(ctx context.Context, spoolID string, from, to uint64, records []spool.Record) (cursor uint64, err error) {
	if to > math.MaxInt64 {
		return 0, fmt.Errorf("sequence number %d is too large for PostgreSQL", to)
	}
	for {
		cursor, err = s.write(ctx, spoolID, from, to, records, false)
		if !refused(err) || len(records) < 2 {
			break
		}
		records = records[:len(records)/2]
		to = records[len(records)-1].Origin.Seq
	}
	if !refused(err) || len(records) == 0 {
		return cursor, err
	}
	if s.o.Records {
		if cursor, err = s.write(ctx, spoolID, from, to, records, true); !refused(err) {
			return cursor, err
		}
	}
	return cursor, fmt.Errorf("the record of call %x is refused, and those after it wait: %w", records[0].ID, err)
}

// refused reports whether the database rejects a value of a statement: it is malformed, too large, or violates a constraint or trigger that
// someone has added.
func refused(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || len(e.Code) != 5 {
		return false
	}
	switch e.Code[:2] {
	case "22", "23", "44", "54", "P0": // data exceptions, constraints, checks of views, limits of the program, exceptions of triggers
		return true
	}
	return false
}

// write writes records in one transaction; asText: see addRecords.
func (s *Sink) write(ctx context.Context, spoolID string, from, to uint64, records []spool.Record, asText bool) (cursor uint64, err error) {
	facts, counted, faults := spend.AddUp(spoolID, records, s.o.Split)
	b, err := newBatch(s.o.Account, facts)
	if err == nil && s.o.Records {
		err = b.addRecords(spoolID, counted, asText)
	}
	if err != nil {
		return 0, err
	}
	err = s.with(ctx, func(ctx context.Context, c *pgx.Conn) error {
		cursor, err = apply(ctx, c, b, spoolID, from, to)
		return err
	})
	if err == nil && cursor == to {
		for _, fault := range faults {
			s.o.OnFault(fault)
		}
	}
	return cursor, err
}

func apply(ctx context.Context, c *pgx.Conn, b *batch, spoolID string, from, to uint64) (cursor uint64, err error) {
	tx, err := c.BeginTx(ctx, writes)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, undone(tx.Rollback(ctx))) }() // a no-op after the commit
	if _, err := tx.Exec(ctx, bounds); err != nil {
		return 0, err
	}
	if from == 0 {
		if _, err := tx.Exec(ctx, "INSERT INTO tollgate_cursors VALUES ($1, 0) ON CONFLICT DO NOTHING", spoolID); err != nil {
			return 0, err
		}
	}
	cursor, err = cursorOf(ctx, tx, "SELECT seq FROM tollgate_cursors WHERE spool = $1 FOR UPDATE", spoolID)
	if err != nil || cursor != from {
		return cursor, err
	}
	var all pgx.Batch
	for _, st := range b.statements() {
		all.Queue(st.sql, st.args...)
	}
	all.Queue("UPDATE tollgate_cursors SET seq = $2 WHERE spool = $1", spoolID, int64(to)) //nolint:gosec // checked by the caller
	if err := tx.SendBatch(ctx, &all).Close(); err != nil {
		return 0, err
	}
	if err := tx.Commit(ctx); err != nil {
		return 0, err
	}
	return to, nil
}
