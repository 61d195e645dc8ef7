// Package books reads the settled records of a spool and adds them up, each exactly once: who spent what, and what counts against
// limits.
package books

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

// ConsumerName is the consumer's name in a spool: one of spool.Options.Consumers.
const ConsumerName = "books"

const (
	// readAtOnce bounds a batch of New. A batch is smaller if it would keep the store busy for long: it has at most mostCharges calls
	// under limits, and changes at most mostTotals totals.
	readAtOnce  = 512
	mostCharges = 64
	mostTotals  = 320
	// pace is the time between batches of New, so that a busy gateway's records are applied by the dozen. While no calls are under
	// limits, nothing waits for their records, and batches are further apart.
	pace      = 10 * time.Millisecond
	quietPace = 100 * time.Millisecond
	// idleCheck is how often a consumer with nothing to read checks whether its store has lost something.
	idleCheck = 5 * time.Second
	retryFrom = 50 * time.Millisecond
	retryTo   = 5 * time.Second
)

// Spool is the source of records: *spool.Spool.
type Spool interface {
	ID() spool.LogID
	Cursor(consumer string) uint64
	Read(ctx context.Context, after uint64, limit int) (spool.Batch, error)
	Pass(consumer string, seq uint64) error
	Last() uint64
	Next() uint64
}

// Sink is the store that records are added to: *limit.Limiter.
type Sink interface {
	Apply(ctx context.Context, b *limit.Batch) (cursor uint64, err error)
	Cursor(ctx context.Context, spool string) (uint64, error)
}

// Applier receives the records of Follow.
type Applier interface {
	// Apply adds the records of a spool with numbers above from and at most to if the spool's cursor is at from, and moves the cursor to
	// to, in one step. It may add only the first of them, and then moves the cursor to the last one added. It returns the cursor; if
	// that is neither, nothing was done.
	Apply(ctx context.Context, spool string, from, to uint64, records []spool.Record) (cursor uint64, err error)
	// Cursor returns the number up to which the records of a spool are applied.
	Cursor(ctx context.Context, spool string) (uint64, error)
}

// Loss reports that the store has lost applied records, and from where on they are applied again.
type Loss struct {
	Spool    string
	Had, Has uint64    // sequence numbers up to which the store had the spool's records, and has them now
	Oldest   time.Time // when the oldest record that is applied again was settled; what is older is lost
}

// Options of a consumer. All are optional.
type Options struct {
	// OnFault is called with a fault of the store or the spool, once until it recovers, and with each record that cannot be counted.
	OnFault func(error)
	// OnLoss is called when records are applied again.
	OnLoss func(Loss)
	// Name is the consumer's name in the spool. Default: ConsumerName.
	Name string
	// AtOnce bounds a batch. Default: 512.
	AtOnce int
	// Pace is the minimum time between two batches unless the first was full, so that a store has fewer batches to write.
	// Default: 10ms; for New 100ms after a batch without calls under limits.
	Pace time.Duration
}

// Consumer applies the records of one spool. Run must be running.
type Consumer struct {
	spool Spool
	sink  Applier
	o     Options
	hurry chan struct{} // ends the wait between batches
	next  time.Time     // when the next batch may be read
	quiet func() bool   // reports whether nothing waits for the next batch; nil: unknown

	end     uint64 // of what was in the spool at the start
	caught  chan struct{}
	lag     atomic.Int64 // Unix milliseconds of the oldest record that is read and not applied; 0: none
	cursors map[string]uint64
	pos     uint64
	loss    *Loss // to report, with the time of the next record
	faulty  bool
}

// New returns a consumer that adds up records for limits and totals. decode reads a record; a record with an error is left out.
func New(s Spool, sink Sink, decode func(spool.Record) (*Call, error), o Options) *Consumer {
	c := Follow(s, nil, o)
	t := &totals{Sink: sink, decode: decode, onFault: c.o.OnFault, sums: newSums()}
	c.sink = t
	if o.Pace == 0 {
		c.quiet = func() bool { return !t.limited }
	}
	return c
}

// Follow returns a consumer that gives records to an applier.
func Follow(s Spool, to Applier, o Options) *Consumer {
	if o.OnFault == nil {
		o.OnFault = func(error) {}
	}
	if o.OnLoss == nil {
		o.OnLoss = func(Loss) {}
	}
	o.Name = cmp.Or(o.Name, ConsumerName)
	o.AtOnce = cmp.Or(o.AtOnce, readAtOnce)
	o.Pace = cmp.Or(o.Pace, pace)
	return &Consumer{
		spool: s, sink: to, o: o, end: s.Last(), caught: make(chan struct{}), hurry: make(chan struct{}, 1), cursors: make(map[string]uint64),
	}
}

// Hurry applies what is settled now, without waiting for the pace.
func (c *Consumer) Hurry() {
	select {
	case c.hurry <- struct{}{}:
	default:
	}
}

// CaughtUp is closed once everything that was in the spool when the consumer was made is applied. Until then the file store does not
// know everything that was spent.
func (c *Consumer) CaughtUp() <-chan struct{} { return c.caught }

// Behind returns since when the oldest record that was read and could not be applied has been waiting; zero if there is none.
func (c *Consumer) Behind() time.Time {
	if ms := c.lag.Load(); ms != 0 {
		return time.UnixMilli(ms)
	}
	return time.Time{}
}

// Run applies records until the context ends or the spool is closed.
func (c *Consumer) Run(ctx context.Context) {
	wait := retryFrom
	started := false
	for ctx.Err() == nil {
		var err error
		if !started {
			if err = c.start(ctx); err == nil {
				started = true
			}
		} else {
			err = c.step(ctx)
		}
		switch {
		case err == nil:
			c.faulty, wait = false, retryFrom
			continue
		case errors.Is(err, spool.ErrClosed), ctx.Err() != nil:
			return
		case errors.Is(err, errLost):
			continue
		}
		if !c.faulty {
			c.faulty = true
			c.o.OnFault(err)
		}
		timer := time.NewTimer(wait/2 + rand.N(wait)) //nolint:gosec // spreads instances
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		wait = min(2*wait, retryTo)
	}
}

// start starts from the store's cursor.
func (c *Consumer) start(ctx context.Context) error {
	own := c.spool.ID().String()
	has, err := c.sink.Cursor(ctx, own)
	if err != nil {
		return err
	}
	if had := c.spool.Cursor(c.o.Name); has < had {
		c.loss = &Loss{Spool: own, Had: had, Has: has}
		if err := c.spool.Pass(c.o.Name, has); err != nil { // keeps the records until they are applied again
			return err
		}
	}
	if next := c.spool.Next(); has >= next {
		c.o.OnFault(fmt.Errorf("the store has records of spool %s up to %d, which itself has not come to %d: it is an older copy of that spool, "+
			"and records are not counted until it is past that number", own, has, next))
	}
	c.cursors[own], c.pos = has, has
	c.progress()
	return nil
}

// errLost means that reading goes on from an earlier place.
var errLost = errors.New("the store has lost records")

// rewind goes back to the store's present cursor.
func (c *Consumer) rewind(id string, has uint64) error {
	c.loss = &Loss{Spool: id, Had: c.cursors[id], Has: has}
	clear(c.cursors) // it may have lost those of other spools too
	own := c.spool.ID().String()
	c.pos = 0 // records of another spool may be anywhere
	if id == own {
		c.cursors[own], c.pos = has, has
	}
	return errors.Join(errLost, c.spool.Pass(c.o.Name, c.pos))
}

// step applies the next records.
func (c *Consumer) step(ctx context.Context) error {
	b, err := c.read(ctx)
	if err != nil || b.To == 0 {
		return err
	}
	if len(b.Records) > 0 {
		c.lag.Store(b.Records[0].Time.UnixMilli())
		if c.loss != nil {
			c.loss.Oldest = b.Records[0].Time
			c.o.OnLoss(*c.loss)
			c.loss = nil
		}
	}
	own, adopted := c.spool.ID(), make(map[spool.LogID][]spool.Record)
	records := b.Records[:0]
	for _, r := range b.Records {
		if id := r.Origin.Spool; id != own {
			adopted[id] = append(adopted[id], r)
			continue
		}
		records = append(records, r)
	}
	for id, records := range adopted {
		if err := c.apply(ctx, id.String(), records, records[len(records)-1].Origin.Seq); err != nil {
			return err
		}
	}
	if err := c.apply(ctx, own.String(), records, b.To); err != nil {
		return err
	}
	c.pos = b.To
	c.lag.Store(0)
	c.progress()
	return c.spool.Pass(c.o.Name, c.pos)
}

// progress closes CaughtUp once the records of the start are applied.
func (c *Consumer) progress() {
	if c.pos < c.end {
		return
	}
	select {
	case <-c.caught:
	default:
		close(c.caught)
	}
}

// read waits for records. To is zero if none came for a while and the store has all of them.
func (c *Consumer) read(ctx context.Context) (spool.Batch, error) {
	c.keepPace(ctx)
	within, cancel := context.WithTimeout(ctx, idleCheck)
	defer cancel()
	b, err := c.spool.Read(within, c.pos, c.o.AtOnce)
	if err == nil && len(b.Records) < c.o.AtOnce {
		apart := c.o.Pace
		if c.quiet != nil && c.quiet() {
			apart = quietPace
		}
		c.next = time.Now().Add(apart)
	}
	if err == nil || within.Err() == nil || ctx.Err() != nil {
		return b, err
	}
	own := c.spool.ID().String()
	has, err := c.sink.Cursor(ctx, own)
	if err == nil && has < c.cursors[own] {
		err = c.rewind(own, has)
	}
	return spool.Batch{}, err
}

// keepPace waits until the next batch may be read.
func (c *Consumer) keepPace(ctx context.Context) {
	wait := time.Until(c.next)
	if wait <= 0 {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.hurry:
	case <-ctx.Done():
	}
}

// apply adds the records of one spool, up to that number, that the store does not have.
func (c *Consumer) apply(ctx context.Context, id string, records []spool.Record, to uint64) error {
	at, known := c.cursors[id]
	if !known {
		var err error
		if at, err = c.sink.Cursor(ctx, id); err != nil {
			return err
		}
		c.cursors[id] = at
	}
	for at < to {
		for len(records) > 0 && records[0].Origin.Seq <= at {
			records = records[1:]
		}
		has, err := c.sink.Apply(ctx, id, at, to, records)
		if err != nil {
			return err
		}
		if has < at {
			return c.rewind(id, has)
		}
		if has == at { // the batch was refused although the cursor is right: a retry would not change that
			return fmt.Errorf("the store does not take the records of spool %s after %d", id, at)
		}
		at = has
		c.cursors[id] = at
	}
	return nil
}

// totals applies records to a sink of limits and totals.
type totals struct {
	Sink
	decode  func(spool.Record) (*Call, error)
	onFault func(error)
	sums    *sums
	limited bool // the last batch had calls under limits
}

// Apply implements Applier.
func (t *totals) Apply(ctx context.Context, id string, from, to uint64, records []spool.Record) (uint64, error) {
	b := &limit.Batch{Spool: id, From: from, To: to}
	for i, r := range records {
		if len(b.Charges) == mostCharges || len(t.sums.used) >= mostTotals {
			b.To = records[i-1].Origin.Seq
			break
		}
		call, err := t.decode(r)
		if err == nil {
			err = t.sums.add(call)
		}
		if err != nil {
			t.onFault(fmt.Errorf("record %d of spool %s cannot be counted: %w", r.Origin.Seq, id, err))
			continue
		}
		if !call.At.IsZero() || len(call.Counters) > 0 { // other calls are under no limit and hold nothing
			b.Charges = append(b.Charges, call.Charge)
		}
	}
	t.limited = len(b.Charges) > 0
	b.Adds = t.sums.take()
	return t.Sink.Apply(ctx, b)
}
