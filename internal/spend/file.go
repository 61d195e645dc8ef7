package spend

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/tollgate-llm/tollgate/internal/price"
)

// Buckets of the file. Numbers are big endian.
var (
	rowBucket     = []byte("row")     // unit (1), dimension (1), period (4), id (8): measures, each a code (varint), a length (1) and an amount without leading zeros
	nameBucket    = []byte("name")    // dimension (1), id (8): text
	measureBucket = []byte("measure") // code (2): name
	cursorBucket  = []byte("cursor")  // spool: sequence number (8)
	keptBucket    = []byte("kept")    // unit (1): the first period (4) whose rows by tuple are kept; pairsKey: the first day (4) with rows by pairs; seedKey: the seed (16)
	pairsKey      = []byte("pairs")
	seedKey       = []byte("seed")
)

const (
	fileName     = "books.db"
	fileLockWait = time.Second
	// trimAtOnce bounds how many old rows are removed with one batch.
	trimAtOnce = 20_000
)

// file keeps the books of one process in a bbolt file, one transaction per batch.
type file struct {
	db    *bbolt.DB
	named map[id]struct{} // names that are in the file
}

// most is no bound: nothing else waits for the file.
func (f *file) most() int { return math.MaxInt }

// OpenFile opens books.db in an existing directory, readable only by its owner. One process at a time can have it open.
func OpenFile(dir string, o Options) (*Book, error) {
	path := filepath.Join(dir, fileName)
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: fileLockWait})
	if err != nil {
		return nil, fmt.Errorf("books: opening %s: %w", path, err)
	}
	b := newBook(&file{db: db}, o)
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{rowBucket, nameBucket, measureBucket, cursorBucket, keptBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		kept := tx.Bucket(keptBucket)
		if kept.Get(seedKey) == nil {
			if err := kept.Put(seedKey, newSeed()); err != nil {
				return err
			}
		}
		if kept.Get(pairsKey) != nil {
			return nil
		}
		first := uint32(0)
		if k, _ := tx.Bucket(rowBucket).Cursor().First(); k != nil { // written before there were pairs
			first = days.of(b.o.Now()) + 1
		}
		return kept.Put(pairsKey, binary.BigEndian.AppendUint32(nil, first))
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("books: %s: %w", path, err), db.Close())
	}
	return b, nil
}

func (f *file) close() error  { return f.db.Close() }
func rowKey(r row) []byte     { return append(periodKey(r.unit, r.dim, r.period), r.id[:]...) }
func codeKey(code int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(code)) } //nolint:gosec // checked by its maker
func number(b []byte) uint32  { return binary.BigEndian.Uint32(b) }
func periodKey(u unit, d Dimension, period uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{byte(u), byte(d)}, period)
}

func (f *file) cursor(_ context.Context, spool string) (cursor uint64, err error) {
	err = f.db.View(func(tx *bbolt.Tx) error {
		cursor = cursorOf(tx, spool)
		return nil
	})
	return cursor, err
}

func (f *file) seed(context.Context) (seed []byte, err error) {
	err = f.db.View(func(tx *bbolt.Tx) error {
		seed = bytes.Clone(tx.Bucket(keptBucket).Get(seedKey))
		return nil
	})
	return seed, err
}

func cursorOf(tx *bbolt.Tx, spool string) uint64 {
	if v := tx.Bucket(cursorBucket).Get([]byte(spool)); len(v) == 8 {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

func (f *file) apply(_ context.Context, spool string, from, to uint64, b *batch) (cursor uint64, err error) {
	err = f.db.Update(func(tx *bbolt.Tx) error {
		if cursor = cursorOf(tx, spool); cursor != from {
			return nil
		}
		if err := f.writeBatch(tx, b); err != nil {
			return err
		}
		if err := trim(tx, b.kept); err != nil {
			return err
		}
		return tx.Bucket(cursorBucket).Put([]byte(spool), binary.BigEndian.AppendUint64(nil, to))
	})
	if err != nil || cursor != from {
		return cursor, err
	}
	if f.named == nil || len(f.named) > maxIDs {
		f.named = make(map[id]struct{})
	}
	for i := range b.names {
		f.named[i] = struct{}{}
	}
	return to, nil
}

func (f *file) writeBatch(tx *bbolt.Tx, b *batch) error {
	names := tx.Bucket(nameBucket)
	for i, n := range b.names {
		if _, known := f.named[i]; known {
			continue
		}
		key := append([]byte{byte(n.dim)}, i[:]...)
		switch had := names.Get(key); {
		case had == nil:
			if err := names.Put(key, []byte(n.text)); err != nil {
				return err
			}
		case string(had) != n.text:
			return twoNames(string(had), n.text)
		}
	}
	codes, err := readCodes(tx)
	if err != nil {
		return err
	}
	slices.SortFunc(b.rows, func(x, y rowSums) int {
		return cmp.Or(cmp.Compare(x.unit, y.unit), cmp.Compare(x.dim, y.dim), cmp.Compare(x.period, y.period), bytes.Compare(x.id[:], y.id[:]))
	})
	w := rowWriter{tx: tx, codes: codes, batch: b}
	rows := tx.Bucket(rowBucket)
	for n := range b.rows {
		key := rowKey(b.rows[n].row)
		v, err := w.addTo(rows.Get(key), b.rows[n].sums)
		if err != nil {
			return err
		}
		if err := rows.Put(key, v); err != nil {
			return err
		}
	}
	return nil
}

func readCodes(tx *bbolt.Tx) (*codes, error) {
	c := &codes{of: make(map[string]int)}
	return c, tx.Bucket(measureBucket).ForEach(func(k, v []byte) error {
		if len(k) != 2 || int(binary.BigEndian.Uint16(k)) != len(c.names) {
			return errors.New("books: the measures' numbers are damaged")
		}
		c.of[string(v)] = len(c.names)
		c.names = append(c.names, string(v))
		return nil
	})
}

// code returns the number of a measure, and assigns one if it has none.
func (c *codes) code(tx *bbolt.Tx, measure string) (int, error) {
	code, known := c.of[measure]
	if known {
		return code, nil
	}
	if code = len(c.names); code > math.MaxUint16 {
		return 0, errors.New("books: more than 65,536 different prices")
	}
	c.names = append(c.names, measure)
	c.of[measure] = code
	return code, tx.Bucket(measureBucket).Put(codeKey(code), []byte(measure))
}

// rowWriter adds the sums of a batch to rows.
type rowWriter struct {
	tx    *bbolt.Tx
	codes *codes
	batch *batch
	of    []int         // the code of each measure of the batch, and one; 0: not known
	left  []codedAmount // not in the row yet
}

type codedAmount struct {
	code   int
	amount price.Amount
}

func (w *rowWriter) code(m measure) (int, error) {
	for int(m) >= len(w.of) {
		w.of = append(w.of, 0)
	}
	if w.of[m] == 0 {
		code, err := w.codes.code(w.tx, w.batch.name(m))
		if err != nil {
			return 0, err
		}
		w.of[m] = code + 1
	}
	return w.of[m] - 1, nil
}

// addTo returns a row with the sums added.
func (w *rowWriter) addTo(v []byte, sums tally) ([]byte, error) {
	w.left = w.left[:0]
	for _, e := range sums {
		code, err := w.code(e.measure)
		if err != nil {
			return nil, err
		}
		w.left = append(w.left, codedAmount{code, e.amount})
	}
	out := make([]byte, 0, len(v)+10*len(sums)) // the file keeps it until the transaction ends
	err := eachMeasure(v, func(code int, amount []byte) error {
		if code >= len(w.codes.names) {
			return errDamaged
		}
		a := amountOf(amount)
		var err error
		for i := range w.left {
			if w.left[i].code == code {
				if a, err = a.Add(w.left[i].amount); err != nil {
					return err
				}
				w.left = slices.Delete(w.left, i, i+1)
				break
			}
		}
		out, err = appendMeasure(out, code, a)
		return err
	})
	for _, l := range w.left {
		if err != nil {
			break
		}
		out, err = appendMeasure(out, l.code, l.amount)
	}
	return out, err
}

func appendMeasure(b []byte, code int, a price.Amount) ([]byte, error) {
	b = binary.AppendUvarint(b, uint64(code)) //nolint:gosec // not negative
	var buf [16]byte
	whole, err := a.AppendBinary(buf[:0])
	if err != nil {
		return nil, err
	}
	short := bytes.TrimLeft(whole, "\x00")
	b = append(b, byte(len(short)))
	b = append(b, short...)
	return b, nil
}

var errDamaged = errors.New("books: a row is damaged")

// eachMeasure calls fn with each measure of a row and its amount in the form that amountOf reads.
func eachMeasure(v []byte, fn func(code int, amount []byte) error) error {
	for len(v) > 0 {
		code, n := binary.Uvarint(v)
		if n <= 0 || code > math.MaxUint16 || n == len(v) {
			return errDamaged
		}
		length := int(v[n])
		v = v[n+1:]
		if length > 16 || length > len(v) {
			return errDamaged
		}
		amount := v[:length]
		v = v[length:]
		if err := fn(int(code), amount); err != nil {
			return err
		}
	}
	return nil
}

// amountOf reads an amount without its leading zeros, of 16 bytes at most.
func amountOf(b []byte) price.Amount {
	var buf [16]byte
	copy(buf[16-len(b):], b)
	return price.AmountOf(buf[:])
}

// trim removes rows by tuple, and by pairs, of periods that are not kept, some at a time.
func trim(tx *bbolt.Tx, k kept) error {
	for u, first := range map[unit]uint32{hours: k.hours, days: k.days} {
		at := []byte{byte(u)}
		if v := tx.Bucket(keptBucket).Get(at); len(v) == 4 && number(v) >= first {
			continue
		}
		left := trimAtOnce
		for _, d := range [...]Dimension{tuple, payerModel, teamModel, userModel} {
			if err := trimRows(tx, u, d, first, &left); err != nil {
				return err
			}
		}
		if left == 0 {
			continue // the rest goes with a later batch; rows are complete only from the first period on
		}
		if err := tx.Bucket(keptBucket).Put(at, binary.BigEndian.AppendUint32(nil, first)); err != nil {
			return err
		}
	}
	return nil
}

// trimRows removes at most as many rows as are left of periods before the first.
func trimRows(tx *bbolt.Tx, u unit, d Dimension, first uint32, left *int) error {
	c := tx.Bucket(rowBucket).Cursor()
	begin, end := []byte{byte(u), byte(d)}, periodKey(u, d, first)
	for key, _ := c.Seek(begin); *left > 0 && key != nil && bytes.Compare(key, end) < 0; key, _ = c.Seek(begin) {
		if err := c.Delete(); err != nil {
			return err
		}
		*left--
	}
	return nil
}

func (f *file) view(_ context.Context, fn func(reader) error) error {
	return f.db.View(func(tx *bbolt.Tx) error {
		c, err := readCodes(tx)
		if err != nil {
			return err
		}
		return fn(&fileReader{tx, c})
	})
}

// fileReader reads one state of the file.
type fileReader struct {
	tx *bbolt.Tx
	c  *codes
}

func (r *fileReader) pairsFrom() (uint32, error) {
	if v := r.tx.Bucket(keptBucket).Get(pairsKey); len(v) == 4 {
		return number(v), nil
	}
	return 0, errDamaged
}

func (r *fileReader) names(d Dimension, fn func(id, string) error) error {
	c := r.tx.Bucket(nameBucket).Cursor()
	for k, v := c.Seek([]byte{byte(d)}); len(k) == 9 && k[0] == byte(d); k, v = c.Next() {
		if err := fn(id(k[1:]), string(v)); err != nil {
			return err
		}
	}
	return nil
}

func (r *fileReader) scan(u unit, d Dimension, from, to uint32, ids []id, fn func(uint32, id) *sums) error {
	c := r.tx.Bucket(rowBucket).Cursor()
	into := func(k, v []byte) error {
		s := fn(number(k[2:6]), id(k[6:]))
		if s == nil {
			return nil
		}
		return s.addRow(v, r.c)
	}
	if ids == nil {
		end := periodKey(u, d, to)
		for k, v := c.Seek(periodKey(u, d, from)); k != nil && bytes.Compare(k, end) < 0; k, v = c.Next() {
			if err := into(k, v); err != nil {
				return err
			}
		}
		return nil
	}
	for period := from; period < to; period++ {
		prefix := periodKey(u, d, period)
		for _, i := range ids {
			key := append(prefix[:6:6], i[:]...)
			if k, v := c.Seek(key); bytes.Equal(k, key) {
				if err := into(k, v); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
