package spend

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"time"

	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

// BatchSize is the best number of records to apply in one batch.
const BatchSize = 500

// Split selects which names that requests choose are kept apart. There may be very many of them.
type Split struct{ EndUsers, Sessions bool }

// Options of books. All are optional.
type Options struct {
	Split
	// Instance is the instance that adds to the books. What it adds is also kept separately, for Served. Empty: it is not.
	Instance string
	// OnFault is called with records that cannot be counted.
	OnFault func(error)
	Now     func() time.Time
}

// kept is the first period of each unit whose rows by tuple are kept.
type kept struct{ hours, days uint32 }

// medium is where rows are: a file or Redis.
type medium interface {
	// apply adds a batch if the spool's cursor is at from, and moves the cursor to to. It returns the cursor.
	apply(ctx context.Context, spool string, from, to uint64, b *batch) (uint64, error)
	// most is how many sums one batch may change, so that the store is not busy for long.
	most() int
	cursor(ctx context.Context, spool string) (uint64, error)
	// seed returns the secret that names are numbered with. Names from before there was one have numbers without it, and may have both.
	seed(ctx context.Context) ([]byte, error)
	view(ctx context.Context, fn func(reader) error) error
	close() error
}

// reader reads rows.
type reader interface {
	// pairsFrom returns the first day from which rows by pairs are complete.
	pairsFrom() (uint32, error)
	// names calls fn with every value of a dimension, or with every tuple.
	names(d Dimension, fn func(id, string) error) error
	// scan adds the rows of the periods [from, to) to the sums that fn returns; nil leaves a row out. With ids it reads only their
	// rows.
	scan(u unit, d Dimension, from, to uint32, ids []id, fn func(uint32, id) *sums) error
}

// Book is the books of one account.
type Book struct {
	medium medium
	o      Options

	applying sync.Mutex // guards the fields below
	atOnce   int        // how many records the latest batches could have
	ids      ids
}

func newBook(m medium, o Options) *Book {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.OnFault == nil {
		o.OnFault = func(error) {}
	}
	return &Book{medium: m, o: o, atOnce: BatchSize}
}

// Close releases the books.
func (b *Book) Close() error { return b.medium.close() }

// Cursor implements books.Applier.
func (b *Book) Cursor(ctx context.Context, spool string) (uint64, error) {
	return b.medium.cursor(ctx, spool)
}

// Apply implements books.Applier. It applies only a part of the records if all of them would keep the store busy for long.
func (b *Book) Apply(ctx context.Context, spoolID string, from, to uint64, records []spool.Record) (uint64, error) {
	b.applying.Lock()
	defer b.applying.Unlock()
	if b.ids.seed == nil {
		seed, err := b.medium.seed(ctx)
		if err != nil {
			return 0, err
		}
		b.ids.seed = seed
	}
	most := b.medium.most()
	for {
		part, end := records, to
		if len(part) > b.atOnce {
			part = records[:b.atOnce]
			end = part[len(part)-1].Origin.Seq
		}
		add, err := b.build(spoolID, part)
		if err != nil {
			return 0, err
		}
		size := add.size()
		if size > most && len(part) > 1 {
			b.atOnce = max(1, len(part)*most/size)
			continue
		}
		if size < most/2 && len(part) == b.atOnce {
			b.atOnce = min(2*b.atOnce, BatchSize)
		}
		for _, err := range add.faults {
			b.o.OnFault(err)
		}
		return b.medium.apply(ctx, spoolID, from, end, add)
	}
}

// newSeed makes a seed.
func newSeed() []byte {
	seed := make([]byte, 16)
	_, _ = rand.Read(seed) // never fails
	return seed
}

// sums are sums being added up, by the measures' codes.
type sums struct {
	amounts []price.Amount
	names   *codes
	lines   bool // include lines of prices
}

func (s *sums) add(code int, a price.Amount, c *codes) error {
	if code >= len(c.names) {
		return errDamaged
	}
	s.names = c
	if !s.lines && c.line(code) {
		return nil
	}
	if code >= len(s.amounts) {
		s.amounts = append(s.amounts, make([]price.Amount, code+8-len(s.amounts))...)
	}
	sum, err := s.amounts[code].Add(a)
	s.amounts[code] = sum
	return err
}

// addRow adds the measures of a row in the file. It skips lines of prices unless they are included.
func (s *sums) addRow(v []byte, c *codes) error {
	return eachMeasure(v, func(code int, amount []byte) error {
		if code < len(c.names) && !s.lines && c.line(code) {
			return nil
		}
		return s.add(code, amountOf(amount), c)
	})
}

// done returns the sums by name.
func (s *sums) done() Sums {
	n := 0
	for _, a := range s.amounts {
		if !a.IsZero() {
			n++
		}
	}
	out := make(Sums, n)
	for code, a := range s.amounts {
		if !a.IsZero() {
			out[s.names.names[code]] = a
		}
	}
	return out
}

// codes holds the measures' numbers in a store.
type codes struct {
	names []string
	of    map[string]int
	lines []bool // whether it belongs to a line of prices, as far as known
}

// line reports whether a measure belongs to a line of prices.
func (c *codes) line(code int) bool {
	for code >= len(c.lines) {
		c.lines = append(c.lines, strings.HasPrefix(c.names[len(c.lines)], linePrefix))
	}
	return c.lines[code]
}
