package spend

import (
	"context"
	"fmt"
	"time"

	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

// How long rows by every dimension at once are kept. Months, and days by one dimension, are kept for ever.
const (
	KeepHours = 3 * 24 * time.Hour
	KeepDays  = 400 * 24 * time.Hour
)

// BatchSize is how many records are best applied at once.
const BatchSize = 250

// Options of books. All of them may be left out.
type Options struct {
	// EndUsers keeps the end users that requests name apart. There may be very many.
	EndUsers bool
	// OnFault is told of records that cannot be counted.
	OnFault func(error)
	Now     func() time.Time
}

// kept is the first period of each unit whose rows by tuple are kept.
type kept struct{ hours, days uint32 }

// medium is where rows are: a file or Redis.
type medium interface {
	// apply adds a batch when the spool's cursor is at from, and moves that to to; it returns the cursor.
	apply(ctx context.Context, spool string, from, to uint64, b *batch) (uint64, error)
	cursor(ctx context.Context, spool string) (uint64, error)
	view(ctx context.Context, fn func(reader) error) error
	close() error
}

// reader reads rows.
type reader interface {
	// names calls fn with every value of a dimension, or with every tuple.
	names(d Dimension, fn func(id, string) error) error
	// scan adds the rows of the periods [from, to) to the sums that fn returns; nil leaves a row out. With ids it reads
	// theirs alone.
	scan(u unit, d Dimension, from, to uint32, ids []id, fn func(uint32, id) *sums) error
}

// Book is the books of one account.
type Book struct {
	medium medium
	o      Options
}

func newBook(m medium, o Options) *Book {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.OnFault == nil {
		o.OnFault = func(error) {}
	}
	return &Book{m, o}
}

// Close releases the books.
func (b *Book) Close() error { return b.medium.close() }

// Cursor implements books.Applier.
func (b *Book) Cursor(ctx context.Context, spool string) (uint64, error) {
	return b.medium.cursor(ctx, spool)
}

// Apply implements books.Applier.
func (b *Book) Apply(ctx context.Context, spoolID string, from, to uint64, records []spool.Record) (uint64, error) {
	add := &batch{kept: b.kept(), rows: make(map[row]Sums), names: make(map[id]name)}
	for _, r := range records {
		f, err := read(r, b.o.EndUsers)
		if err == nil {
			err = add.add(f)
		}
		if err != nil {
			b.o.OnFault(fmt.Errorf("record %d of spool %s cannot be counted: %w", r.Origin.Seq, spoolID, err))
		}
	}
	return b.medium.apply(ctx, spoolID, from, to, add)
}

func (b *Book) kept() kept {
	now := b.o.Now()
	return kept{hours: hours.of(now.Add(-KeepHours)), days: days.of(now.Add(-KeepDays))}
}

// sums are sums under way, by the measures' codes.
type sums struct {
	amounts []price.Amount
	names   *codes
	lines   bool
}

func (s *sums) add(code int, a price.Amount, c *codes) error {
	if code >= len(c.names) {
		return errDamaged
	}
	for code >= len(s.amounts) {
		s.amounts = append(s.amounts, price.Amount{})
	}
	s.names = c
	sum, err := s.amounts[code].Add(a)
	s.amounts[code] = sum
	return err
}

// done returns the sums by name.
func (s *sums) done() Sums {
	out := make(Sums)
	for code, a := range s.amounts {
		measure := s.names.names[code]
		if _, _, line := ParseLine(measure); a.IsZero() || line && !s.lines {
			continue
		}
		out[measure] = a
	}
	return out
}
