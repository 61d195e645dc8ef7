package account

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate-llm/tollgate/internal/books"
	"github.com/tollgate-llm/tollgate/internal/spend/postgres"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

// warehousePace is how far batches are apart, and warehouseReminder how far log lines while the database does not take them.
const (
	warehousePace     = 500 * time.Millisecond
	warehouseAtOnce   = 500
	warehouseReminder = time.Minute
)

// Warehouse says which database has a copy of the books. Options.Account and Options.OnFault are the account's own.
type Warehouse struct {
	// Name tells them apart: it has what another database, user or password changes. Empty: there is none.
	Name    string
	Config  postgres.Config
	Options postgres.Options
}

// warehouse writes an account's settled records into a database.
type warehouse struct {
	name     string
	database string // its name, without what is secret
	sink     *postgres.Sink
	consumer *books.Consumer
	cancel   context.CancelFunc
	done     sync.WaitGroup
	account  *Account

	mu       sync.Mutex
	since    time.Time // when the database was lost; zero while it takes records
	logged   time.Time
	fault    string // the last error, which may be over
	faultyAt time.Time
}

// WarehouseStatus is how the writing into a database goes.
type WarehouseStatus struct {
	Database      string    `json:"database"` // user@host:port/database
	Waiting       int64     `json:"waiting"`  // settled records that it does not have yet
	OldestSeconds int64     `json:"oldest_seconds"`
	CaughtUp      bool      `json:"caught_up"`           // it has what was in the spool when the writing began; until then more may wait
	LostSince     time.Time `json:"lost_since,omitzero"` // since when it takes no records
	LastError     string    `json:"last_error,omitempty"`
	LastErrorAt   time.Time `json:"last_error_at,omitzero"`
}

// WarehouseStatus returns how the writing into a database goes; nil where there is none.
func (a *Account) WarehouseStatus(now time.Time) *WarehouseStatus {
	a.warehousing.Lock()
	defer a.warehousing.Unlock()
	b := a.warehouse
	if b == nil {
		return nil
	}
	st := &WarehouseStatus{Database: b.database, Waiting: b.waiting()}
	if oldest := a.spool.OldestUnread(postgres.ConsumerName); !oldest.IsZero() {
		st.OldestSeconds = max(0, int64(now.Sub(oldest)/time.Second))
	}
	select {
	case <-b.consumer.CaughtUp():
		st.CaughtUp = true
	default:
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	st.LostSince, st.LastError, st.LastErrorAt = b.since, b.fault, b.faultyAt
	return st
}

// KeepWarehouse has the account's records written into a database from now on, in the place of the one before.
func (a *Account) KeepWarehouse(w Warehouse) {
	a.warehousing.Lock()
	defer a.warehousing.Unlock()
	if a.warehouse != nil {
		if a.warehouse.name == w.Name {
			return
		}
		a.warehouse.stop()
		a.warehouse = nil
	}
	a.spool.Consume(postgres.ConsumerName, w.Name != "")
	if w.Name == "" {
		return
	}
	b := &warehouse{name: w.Name, database: w.Config.String(), account: a}
	o := w.Options
	o.Account, o.OnFault = a.name, func(err error) { a.logger.Error("a record is not in PostgreSQL", zap.Error(err)) }
	b.sink = postgres.New(w.Config, o)
	b.consumer = books.Follow(a.spool, b, books.Options{
		Name: postgres.ConsumerName, AtOnce: warehouseAtOnce, Pace: warehousePace, OnFault: func(err error) { b.log(err) },
		OnLoss: func(l books.Loss) {
			a.logger.Warn("PostgreSQL lacks records that it had, or is another database: those that are still in the spool are written again",
				zap.String("spool", l.Spool), zap.Uint64("had", l.Had), zap.Uint64("has", l.Has), zap.Time("from", l.Oldest))
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	b.done.Go(func() { b.consumer.Run(ctx) })
	a.warehouse = b
}

// Apply implements books.Applier.
func (b *warehouse) Apply(ctx context.Context, id string, from, to uint64, records []spool.Record) (uint64, error) {
	cursor, err := b.sink.Apply(ctx, id, from, to, records)
	b.note(ctx, err)
	return cursor, err
}

// Cursor implements books.Applier.
func (b *warehouse) Cursor(ctx context.Context, id string) (uint64, error) {
	cursor, err := b.sink.Cursor(ctx, id)
	b.note(ctx, err)
	return cursor, err
}

// note keeps since when the database does not take records, and reminds of it. The first line of an outage is the consumer's.
func (b *warehouse) note(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	b.mu.Lock()
	now, since := time.Now(), b.since
	if err != nil {
		b.fault, b.faultyAt = err.Error(), now
	}
	remind := err != nil && !since.IsZero() && now.Sub(b.logged) >= warehouseReminder
	switch {
	case err == nil:
		b.since = time.Time{}
	case since.IsZero():
		b.since, b.logged = now, now
	}
	b.mu.Unlock()
	switch {
	case remind:
		b.log(err)
	case err == nil && !since.IsZero():
		b.account.logger.Info("PostgreSQL takes records again", zap.Time("lost", since), zap.Int64("waiting", b.waiting()))
	}
}

func (b *warehouse) waiting() int64 { return b.account.spool.Stats().Unread[postgres.ConsumerName] }

func (b *warehouse) log(err error) {
	b.mu.Lock()
	b.logged = time.Now()
	b.mu.Unlock()
	fields := []zap.Field{zap.Int64("waiting", b.waiting()), zap.Error(err)}
	if oldest := b.account.spool.OldestUnread(postgres.ConsumerName); !oldest.IsZero() {
		fields = append(fields, zap.Duration("lag", time.Since(oldest)))
	}
	b.account.logger.Error("records are not in PostgreSQL; they wait in the spool and are tried again", fields...)
}

func (b *warehouse) lost() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.since.IsZero()
}

// stop ends the writing.
func (b *warehouse) stop() {
	b.cancel()
	b.done.Wait()
	if err := b.sink.Close(); err != nil {
		b.account.logger.Error("closing the connection to PostgreSQL", zap.Error(err))
	}
}

// closeWarehouse ends the writing once all records are written, or after a while. What is left is written when the spool is open again.
func (a *Account) closeWarehouse() {
	a.warehousing.Lock()
	defer a.warehousing.Unlock()
	b := a.warehouse
	if b == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), reloadPatience)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !b.lost() && ctx.Err() == nil && a.spool.Cursor(postgres.ConsumerName) < a.spool.Last() {
		b.consumer.Hurry()
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	b.stop()
	a.warehouse = nil
}
