package spend

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path/filepath"
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
	keptBucket    = []byte("kept")    // unit (1): the first period (4) whose rows by tuple are kept
)

const (
	fileName     = "books.db"
	fileLockWait = time.Second
	// trimAtOnce bounds how many old rows go with one batch.
	trimAtOnce = 20_000
)

// file keeps the books of one process in a bbolt file, one transaction a batch.
type file struct {
	db *bbolt.DB
}

// OpenFile opens books.db in a directory that exists, readable by its owner alone. One process at a time holds it.
func OpenFile(dir string, o Options) (*Book, error) {
	path := filepath.Join(dir, fileName)
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: fileLockWait})
	if err != nil {
		return nil, fmt.Errorf("books: opening %s: %w", path, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{rowBucket, nameBucket, measureBucket, cursorBucket, keptBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("books: %s: %w", path, err), db.Close())
	}
	return newBook(&file{db: db}, o), nil
}

func (f *file) close() error  { return f.db.Close() }
func rowKey(r row) []byte     { return append(periodKey(r.unit, r.dim, r.period), r.id[:]...) }
func nameKey(n name) []byte   { i := n.id(); return append([]byte{byte(n.dim)}, i[:]...) }
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
		if err := writeBatch(tx, b); err != nil {
			return err
		}
		if err := trim(tx, b.kept); err != nil {
			return err
		}
		return tx.Bucket(cursorBucket).Put([]byte(spool), binary.BigEndian.AppendUint64(nil, to))
	})
	if err == nil && cursor == from {
		cursor = to
	}
	return cursor, err
}

func writeBatch(tx *bbolt.Tx, b *batch) error {
	names := tx.Bucket(nameBucket)
	for _, n := range b.names {
		key := nameKey(n)
		switch had := names.Get(key); {
		case had == nil:
			if err := names.Put(key, []byte(n.text)); err != nil {
				return err
			}
		case string(had) != n.text:
			return fmt.Errorf("books: two names have one number: %q and %q", had, n.text)
		}
	}
	codes, err := readCodes(tx)
	if err != nil {
		return err
	}
	rows := tx.Bucket(rowBucket)
	for r, sums := range b.rows {
		key := rowKey(r)
		v, err := addTo(tx, codes, rows.Get(key), sums)
		if err != nil {
			return err
		}
		if err := rows.Put(key, v); err != nil {
			return err
		}
	}
	return nil
}

// codes are the measures' numbers in the file.
type codes struct {
	names []string
	of    map[string]int
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

// code returns the number of a measure, a new one when it has none.
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

// addTo returns a row with what sums add to it.
func addTo(tx *bbolt.Tx, c *codes, v []byte, sums Sums) ([]byte, error) {
	left := make(Sums, len(sums))
	for measure, a := range sums {
		if !a.IsZero() {
			left[measure] = a
		}
	}
	out := make([]byte, 0, len(v)+8*len(left))
	err := eachMeasure(v, func(code int, a price.Amount) error {
		if code >= len(c.names) {
			return errDamaged
		}
		if more, ok := left[c.names[code]]; ok {
			var err error
			if a, err = a.Add(more); err != nil {
				return err
			}
			delete(left, c.names[code])
		}
		var err error
		out, err = appendMeasure(out, code, a)
		return err
	})
	if err != nil {
		return nil, err
	}
	for measure, a := range left {
		code, err := c.code(tx, measure)
		if err != nil {
			return nil, err
		}
		if out, err = appendMeasure(out, code, a); err != nil {
			return nil, err
		}
	}
	return out, nil
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

func eachMeasure(v []byte, fn func(code int, a price.Amount) error) error {
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
		var buf [16]byte
		copy(buf[16-length:], v[:length])
		v = v[length:]
		if err := fn(int(code), price.AmountOf(buf[:])); err != nil {
			return err
		}
	}
	return nil
}

// trim removes rows by tuple of periods that are not kept, some at a time.
func trim(tx *bbolt.Tx, k kept) error {
	for u, first := range map[unit]uint32{hours: k.hours, days: k.days} {
		at := []byte{byte(u)}
		if v := tx.Bucket(keptBucket).Get(at); len(v) == 4 && number(v) >= first {
			continue
		}
		c := tx.Bucket(rowBucket).Cursor()
		end := periodKey(u, tuple, first)
		n := 0
		for key, _ := c.Seek([]byte{byte(u), byte(tuple)}); key != nil && bytes.Compare(key, end) < 0 && n < trimAtOnce; key, _ = c.Seek([]byte{byte(u), byte(tuple)}) {
			if err := c.Delete(); err != nil {
				return err
			}
			n++
		}
		if n == trimAtOnce {
			continue // the rest with a later batch; what is there is whole only from the first on
		}
		if err := tx.Bucket(keptBucket).Put(at, binary.BigEndian.AppendUint32(nil, first)); err != nil {
			return err
		}
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
		return eachMeasure(v, func(code int, a price.Amount) error { return s.add(code, a, r.c) })
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
