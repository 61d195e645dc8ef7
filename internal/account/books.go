package account

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate-llm/tollgate/internal/books"
	"github.com/tollgate-llm/tollgate/internal/delivery/lawbreak"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

// bookkeeper counts an account's settled records in a sink.
type bookkeeper struct {
	name    string
	release func() // of the sink; nil where there is none
	counts  bool
	sink    books.Sink
	records *books.Consumer
	cancel  context.CancelFunc
	done    sync.WaitGroup
	caught  <-chan struct{}
	ended   <-chan struct{} // closed when the counting is stopped
}

// Keep has the account's records counted in a sink of that name from now on, in the place of the one before. release is called
// when the sink is not used any more. It returns what is closed once the records are counted that were there. Without a sink,
// which is nil, records are passed uncounted, so that none waits.
func (a *Account) Keep(name string, sink books.Sink, release func()) (counted <-chan struct{}) {
	a.keeping.Lock()
	defer a.keeping.Unlock()
	if b := a.books; b != nil && b.name == name {
		if release != nil {
			release() // it has one already
		}
		return b.caught
	}
	a.stopBooks()
	b := &bookkeeper{name: name, release: release, counts: sink != nil, sink: sink}
	if sink == nil {
		b.sink = uncounted{a.spool.ID().String(): a.spool.Cursor(books.ConsumerName)}
	}
	a.count(b)
	a.books = b
	return b.caught
}

// count begins the counting. The caller has a.keeping.
func (a *Account) count(b *bookkeeper) {
	consumer := books.New(a.spool, b.sink, decoder(), books.Options{
		OnFault: func(err error) { a.logger.Error("what was spent cannot be counted; it is tried again", zap.Error(err)) },
		OnLoss: func(l books.Loss) {
			a.logger.Warn("the store of limits had lost what was spent: the records that are still there are counted again",
				zap.String("spool", l.Spool), zap.Uint64("had", l.Had), zap.Uint64("has", l.Has), zap.Time("from", l.Oldest))
		},
	})
	b.records, b.caught = consumer, consumer.CaughtUp()
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	ended := make(chan struct{})
	b.ended = ended
	b.done.Go(func() {
		defer close(ended)
		consumer.Run(ctx)
	})
}

// ErrNotCounted means that the counting ended before all records were counted.
var ErrNotCounted = errors.New("the counting of records was stopped: it goes on when the account is open again")

// Recount begins the counting anew from where the sink is now, and waits until the records are counted that are there. It reports
// whether the account's records are counted at all.
func (a *Account) Recount(ctx context.Context) (counts bool, err error) {
	a.keeping.Lock()
	b := a.books
	if b == nil || !b.counts {
		a.keeping.Unlock()
		return false, nil
	}
	b.cancel()
	b.done.Wait()
	a.count(b)
	caught, ended := b.caught, b.ended
	a.keeping.Unlock()
	select {
	case <-caught:
		return true, nil
	case <-ended:
		return true, ErrNotCounted
	case <-ctx.Done():
		return true, ctx.Err()
	}
}

// OldestRecord returns when the oldest settled record was settled that is still in the spool; zero when there is none.
func (a *Account) OldestRecord(ctx context.Context) (time.Time, error) {
	after, last := uint64(0), a.spool.Last()
	for after < last {
		b, err := a.spool.Read(ctx, after, 1)
		if err != nil {
			return time.Time{}, err
		}
		if len(b.Records) > 0 {
			return b.Records[0].Time, nil
		}
		after = b.To
	}
	return time.Time{}, nil
}

// Recent tells each of up to n settled records that are the last in the spool: the configured model and the tokens of its answers.
func (a *Account) Recent(n uint64, each func(model string, output int64)) error {
	const atOnce = 100
	ctx, cancel := context.WithTimeout(context.Background(), time.Second) // the last ones may be gone, and none follows them
	defer cancel()
	decode := decoder()
	last := a.spool.Last()
	for after := last - min(n, last); after < last; {
		b, err := a.spool.Read(ctx, after, atOnce)
		if err != nil {
			if ctx.Err() != nil {
				err = nil
			}
			return err
		}
		for _, r := range b.Records {
			if c, err := decode(r); err == nil && c.OutputTokens > 0 { // one that cannot be read is reported by who counts it
				each(c.Model, c.OutputTokens)
			}
		}
		after = b.To
	}
	return nil
}

// decoder returns what reads records for the books.
func decoder() func(spool.Record) (*books.Call, error) {
	var reader books.Reader
	return func(r spool.Record) (*books.Call, error) {
		c, err := reader.Decode(r)
		if err == nil && !lawbreak.CountOnce && r.Origin.Seq%100 == 0 {
			c.Cost, err = c.Cost.Add(c.Cost)
		}
		return c, err
	}
}

// stopBooks ends the counting. The caller has a.keeping.
func (a *Account) stopBooks() {
	b := a.books
	if b == nil {
		return
	}
	a.books = nil
	b.cancel()
	b.done.Wait()
	if b.release != nil {
		b.release()
	}
}

// closeBooks ends the counting once all records are counted, or after a while.
func (a *Account) closeBooks() {
	ctx, cancel := context.WithTimeout(context.Background(), reloadPatience)
	defer cancel()
	a.keeping.Lock()
	defer a.keeping.Unlock()
	if a.books != nil && a.books.counts {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for a.spool.Cursor(books.ConsumerName) < a.spool.Last() {
			a.books.records.Hurry()
			select {
			case <-tick.C:
				continue
			case <-ctx.Done():
			}
			break
		}
	}
	a.stopBooks()
}

// uncounted is the sink of an account whose records are counted nowhere: how far each spool was read. It is its consumer's alone.
type uncounted map[string]uint64

// Apply takes every batch.
func (u uncounted) Apply(_ context.Context, b *limit.Batch) (uint64, error) {
	u[b.Spool] = b.To
	return b.To, nil
}

// Cursor returns how far a spool was read.
func (u uncounted) Cursor(_ context.Context, spool string) (uint64, error) { return u[spool], nil }
