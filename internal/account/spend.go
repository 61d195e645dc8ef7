package account

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate-llm/tollgate/internal/books"
	"github.com/tollgate-llm/tollgate/internal/spend"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

const (
	// spendPace is how far batches of the books are apart.
	spendPace = 500 * time.Millisecond
	// spendPatience is how long a question waits for records that were settled before it.
	spendPatience = 10 * time.Second
)

// SpendStore is where an account's books are kept.
type SpendStore struct {
	// Name identifies the store.
	Name string
	// Open opens the books.
	Open func(o spend.Options) (*spend.Book, error)
	// AtOnce is how many records are applied at once. Default: spend.BatchSize.
	AtOnce int
	Split  spend.Split
}

// accountant adds an account's settled records to its books.
type accountant struct {
	store    SpendStore
	instance string
	onFault  func(error)
	consumer *books.Consumer
	cancel   context.CancelFunc
	done     sync.WaitGroup

	mu   sync.Mutex
	book *spend.Book // nil until it could be opened
}

// KeepSpend has the account's books kept in a store from now on. Without a store, whose Open is nil, that is a file beside the spool.
func (a *Account) KeepSpend(s SpendStore) {
	if s.Open == nil {
		s.Open = func(o spend.Options) (*spend.Book, error) { return spend.OpenFile(a.dir, o) }
	}
	a.accounting.Lock()
	defer a.accounting.Unlock()
	if b := a.accountant; b != nil {
		if b.store.Name == s.Name && b.store.Split == s.Split {
			return
		}
		b.stop(a.logger)
	}
	b := &accountant{store: s, instance: a.spool.ID().String(), onFault: func(err error) {
		a.logger.Error("spend cannot be added to the books; it is tried again", zap.Error(err))
	}}
	b.consumer = books.Follow(a.spool, b, books.Options{
		Name: spend.ConsumerName, AtOnce: cmp.Or(s.AtOnce, spend.BatchSize), Pace: spendPace, OnFault: b.onFault,
		OnLoss: func(l books.Loss) {
			a.logger.Warn("the books lack records that they had: those that are still there are added again",
				zap.String("spool", l.Spool), zap.Uint64("had", l.Had), zap.Uint64("has", l.Has), zap.Time("from", l.Oldest))
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	b.done.Go(func() { b.consumer.Run(ctx) })
	a.accountant = b
}

// open returns the books, which it opens when they are not.
func (b *accountant) open() (*spend.Book, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.book == nil {
		book, err := b.store.Open(spend.Options{Split: b.store.Split, Instance: b.instance, OnFault: b.onFault})
		if err != nil {
			return nil, err
		}
		b.book = book
	}
	return b.book, nil
}

// Apply implements books.Applier.
func (b *accountant) Apply(ctx context.Context, id string, from, to uint64, records []spool.Record) (uint64, error) {
	book, err := b.open()
	if err != nil {
		return 0, err
	}
	return book.Apply(ctx, id, from, to, records)
}

// Cursor implements books.Applier.
func (b *accountant) Cursor(ctx context.Context, id string) (uint64, error) {
	book, err := b.open()
	if err != nil {
		return 0, err
	}
	return book.Cursor(ctx, id)
}

// stop ends the adding and closes the books.
func (b *accountant) stop(logger *zap.Logger) {
	b.cancel()
	b.done.Wait()
	if b.book != nil {
		if err := b.book.Close(); err != nil {
			logger.Error("closing the books", zap.Error(err))
		}
	}
}

// closeSpend ends the adding once all records are in the books, or after a while.
func (a *Account) closeSpend() {
	ctx, cancel := context.WithTimeout(context.Background(), reloadPatience)
	defer cancel()
	a.accounting.Lock()
	defer a.accounting.Unlock()
	if b := a.accountant; b != nil {
		_ = a.awaitSpend(ctx, b) // what is left is added when the spool is opened again
		b.stop(a.logger)
		a.accountant = nil
	}
}

// awaitSpend waits until the records that are settled now are in the books.
func (a *Account) awaitSpend(ctx context.Context, b *accountant) error {
	last := a.spool.Last()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for a.spool.Cursor(spend.ConsumerName) < last {
		b.consumer.Hurry()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// ErrBooksBehind means that the books do not have all settled records yet, and cannot be asked.
var ErrBooksBehind = errors.New("the books are behind")

// Spend asks the account's books, once they have every record that was settled before.
func (a *Account) Spend(ctx context.Context, q spend.Query) (rows []spend.Row, err error) {
	err = a.withBooks(ctx, func(book *spend.Book) error {
		rows, err = book.Query(ctx, q)
		return err
	})
	return rows, err
}

// ViewSpend is Spend for several questions, which fn asks.
func (a *Account) ViewSpend(ctx context.Context, fn func(ask func(spend.Query) ([]spend.Row, error)) error) error {
	return a.withBooks(ctx, func(book *spend.Book) error { return book.View(ctx, fn) })
}

// Served returns what this instance has added to the account's books, once they have every record that was settled before.
func (a *Account) Served(ctx context.Context) (list []spend.Served, err error) {
	err = a.withBooks(ctx, func(book *spend.Book) error {
		list, err = book.Served(ctx)
		return err
	})
	return list, err
}

// withBooks calls fn with the account's books once they have every record that was settled before.
func (a *Account) withBooks(ctx context.Context, fn func(*spend.Book) error) error {
	a.accounting.RLock()
	defer a.accounting.RUnlock()
	b := a.accountant
	if b == nil {
		return fmt.Errorf("account %s: %w: it is being closed", a.name, ErrBooksBehind)
	}
	within, cancel := context.WithTimeout(ctx, spendPatience)
	defer cancel()
	if err := a.awaitSpend(within, b); err != nil {
		return fmt.Errorf("account %s: %w: records wait to be added; the log has the reason", a.name, ErrBooksBehind)
	}
	book, err := b.open()
	if err != nil {
		return err
	}
	return fn(book)
}
