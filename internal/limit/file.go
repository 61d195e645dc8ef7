package limit

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/tollgate-llm/tollgate/internal/price"
)

// Buckets of the file. Numbers are big endian; an amount has 16 bytes.
var (
	cursorBucket = []byte("cursor") // spool: sequence number (8)
	spentBucket  = []byte("spent")  // counter of a budget: amount; of a session's, the second of its last use after it (8)
	rateBucket   = []byte("rate")   // second (8), counter of a rate: usage of the settled calls admitted in that second (8)
	totalBucket  = []byte("total")  // total, a zero byte, field: amount
)

// file keeps limits for one process. Admission is in memory; the spend of settled calls is in a bbolt file, one transaction per
// batch. Everything else that must outlast the process is in the spool, whose records are applied again from the cursor on, so a
// restart refills no limit.
type file struct {
	*engine
	db       *bbolt.DB
	now      func() time.Time
	applying sync.Mutex
	swept    []byte // the budget at which the last search for expired budgets stopped
}

const (
	fileName     = "limits.db"
	fileLockWait = time.Second
)

// OpenFile opens limits.db in dir and creates either if it does not exist, readable only by its owner. Only one
// process at a time can open it.
func OpenFile(dir string) (Store, error) { return openFile(dir, time.Now) }

func openFile(dir string, now func() time.Time) (*file, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil { // #nosec G703 -- the operator's own choice
		return nil, fmt.Errorf("limits: %w", err)
	}
	path := filepath.Join(dir, fileName)
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: fileLockWait})
	if err != nil {
		return nil, fmt.Errorf("limits: opening %s: %w", path, err)
	}
	s := &file{engine: newEngine(), db: db, now: now}
	if err := db.Update(s.load); err != nil {
		return nil, errors.Join(fmt.Errorf("limits: reading %s: %w", path, err), db.Close())
	}
	return s, nil
}

// load reads the counters that still count and removes the rest.
func (s *file) load(tx *bbolt.Tx) error {
	for _, name := range [][]byte{cursorBucket, spentBucket, rateBucket, totalBucket} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	now := s.now()
	var old [][]byte
	spent := tx.Bucket(spentBucket)
	err := spent.ForEach(func(k, v []byte) error {
		amount, used, counts := spentOf(k, v, now)
		if !counts {
			old = append(old, bytes.Clone(k))
			return nil
		}
		s.sum(string(k), used).spent = amount
		return nil
	})
	for _, k := range old {
		err = errors.Join(err, spent.Delete(k))
	}
	if err = errors.Join(err, s.forgetRates(tx, now)); err != nil {
		return err
	}
	return tx.Bucket(rateBucket).ForEach(func(k, v []byte) error {
		if len(k) > 8 && len(v) == 8 {
			s.rate(string(k[8:]), now).add(int64(binary.BigEndian.Uint64(k)), int64(binary.BigEndian.Uint64(v))) //nolint:gosec // written from int64
		}
		return nil
	})
}

// spentOf reads what is spent of a budget, when it was last used if the file has that, and whether it still counts.
func spentOf(k, v []byte, now time.Time) (a price.Amount, used time.Time, counts bool) {
	p, ok := parseCounter(string(k))
	if !ok || !p.kept(now) {
		return a, now, false
	}
	used = now
	if p.idle && len(v) == amountBytes+8 {
		used = time.Unix(int64(binary.BigEndian.Uint64(v[amountBytes:])), 0) //nolint:gosec // written from int64
		v = v[:amountBytes]
	}
	return price.AmountOf(v), used, !p.idle || now.Sub(used) <= sessionKept
}

const amountBytes = 16

// addSpent adds to what is spent of a budget.
func addSpent(tx *bbolt.Tx, name string, p *parsed, a price.Amount, now time.Time) error {
	b, key := tx.Bucket(spentBucket), []byte(name)
	if !p.idle {
		return addAmount(b, key, a)
	}
	v := b.Get(key)
	sum, err := price.AmountOf(v[:min(amountBytes, len(v))]).Add(a)
	if err != nil {
		return err
	}
	if v, err = sum.AppendBinary(nil); err != nil {
		return err
	}
	return b.Put(key, binary.BigEndian.AppendUint64(v, uint64(now.Unix()))) //nolint:gosec // after 1970
}

// forgetSpent checks a few budgets at a time and removes those that no longer count.
func (s *file) forgetSpent(tx *bbolt.Tx, now time.Time) error {
	const few = 8
	b := tx.Bucket(spentBucket)
	var old [][]byte
	c := b.Cursor()
	k, v := c.Seek(s.swept)
	for range few {
		if k == nil {
			break
		}
		if _, _, counts := spentOf(k, v, now); !counts {
			old = append(old, bytes.Clone(k))
		}
		k, v = c.Next()
	}
	s.swept = bytes.Clone(k) // nil: from the beginning
	for _, k := range old {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// forgetRates removes seconds that no longer count.
func (s *file) forgetRates(tx *bbolt.Tx, now time.Time) error {
	from := binary.BigEndian.AppendUint64(nil, uint64(now.Unix()-rateSeconds)) //nolint:gosec // after 1970
	c := tx.Bucket(rateBucket).Cursor()
	for k, _ := c.First(); k != nil && bytes.Compare(k, from) < 0; k, _ = c.Next() {
		if err := c.Delete(); err != nil {
			return err
		}
	}
	return nil
}

// Reserve implements Store.
func (s *file) Reserve(_ context.Context, r *Reservation) (*Grant, error) {
	return s.reserve(r, s.now())
}

// Renew implements Store.
func (s *file) Renew(_ context.Context, _ string, calls []*Held) (int, error) {
	s.renew(calls, s.now())
	return 1, nil
}

// Finish implements Store.
func (s *file) Finish(_ context.Context, ids ...string) error {
	s.finish(ids...)
	return nil
}

// Release implements Store.
func (s *file) Release(_ context.Context, ids ...string) error {
	s.release(s.now(), ids...)
	return nil
}

// Apply implements Store.
func (s *file) Apply(_ context.Context, b *Batch) (cursor uint64, err error) {
	s.applying.Lock()
	defer s.applying.Unlock()
	now := s.now()
	err = s.db.Update(func(tx *bbolt.Tx) error {
		cursor = cursorOf(tx, b.Spool)
		if cursor != b.From {
			return nil
		}
		if err := s.write(tx, b, now); err != nil {
			return err
		}
		return tx.Bucket(cursorBucket).Put([]byte(b.Spool), binary.BigEndian.AppendUint64(nil, b.To))
	})
	if err != nil || cursor != b.From {
		return cursor, err
	}
	s.apply(b.Charges, now)
	return b.To, nil
}

func cursorOf(tx *bbolt.Tx, spool string) uint64 {
	if v := tx.Bucket(cursorBucket).Get([]byte(spool)); len(v) == 8 {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// write adds a batch.
func (s *file) write(tx *bbolt.Tx, b *Batch, now time.Time) error {
	for i := range b.Charges {
		c := &b.Charges[i]
		for _, name := range c.Counters {
			p, ok := parseCounter(name)
			var err error
			switch {
			case !ok:
			case p.metric == Cost && p.kept(now):
				err = addSpent(tx, name, &p, c.Cost, now)
			case p.metric.rate() && c.recent(now):
				key := append(binary.BigEndian.AppendUint64(nil, uint64(c.At.Unix())), name...) //nolint:gosec // after 1970
				bucket := tx.Bucket(rateBucket)
				n := uint64(c.used(p.metric)) //nolint:gosec // not negative
				if v := bucket.Get(key); len(v) == 8 {
					n += binary.BigEndian.Uint64(v)
				}
				err = bucket.Put(key, binary.BigEndian.AppendUint64(nil, n))
			}
			if err != nil {
				return err
			}
		}
	}
	for _, a := range b.Adds {
		if err := addAmount(tx.Bucket(totalBucket), []byte(a.Total+"\x00"+a.Field), a.Amount); err != nil {
			return err
		}
	}
	return errors.Join(s.forgetSpent(tx, now), s.forgetRates(tx, now))
}

func addAmount(b *bbolt.Bucket, key []byte, a price.Amount) error {
	sum, err := price.AmountOf(b.Get(key)).Add(a)
	if err != nil {
		return err
	}
	v, err := sum.AppendBinary(nil)
	if err != nil {
		return err
	}
	return b.Put(key, v)
}

// Cursor implements Store.
func (s *file) Cursor(_ context.Context, spool string) (cursor uint64, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		cursor = cursorOf(tx, spool)
		return nil
	})
	return cursor, err
}

// Status implements Store.
func (s *file) Status(_ context.Context, limits []Limit) ([]State, error) {
	return s.status(limits, s.now())
}

// Totals implements Store. It waits for a batch that is being applied, so that totals are not ahead of budgets.
func (s *file) Totals(_ context.Context, totals ...string) ([]map[string]price.Amount, error) {
	s.applying.Lock()
	defer s.applying.Unlock()
	all := make([]map[string]price.Amount, len(totals))
	err := s.db.View(func(tx *bbolt.Tx) error {
		for i, total := range totals {
			all[i] = make(map[string]price.Amount)
			prefix := []byte(total + "\x00")
			c := tx.Bucket(totalBucket).Cursor()
			for k, v := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, v = c.Next() {
				all[i][string(k[len(prefix):])] = price.AmountOf(v)
			}
		}
		return nil
	})
	return all, err
}

// Put implements Store.
func (s *file) Put(_ context.Context, l Limit, spent price.Amount) error {
	if err := l.checkPut(spent); err != nil {
		return err
	}
	s.applying.Lock()
	defer s.applying.Unlock()
	name, _, _ := l.counter(s.now())
	err := s.db.Update(func(tx *bbolt.Tx) error {
		v, err := spent.AppendBinary(nil)
		if err != nil {
			return err
		}
		return tx.Bucket(spentBucket).Put([]byte(name), v)
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sum(name, s.now()).spent = spent
	return nil
}

// Reset implements Store.
func (s *file) Reset(context.Context) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	err := s.db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{cursorBucket, spentBucket, totalBucket} {
			if err := tx.DeleteBucket(name); err != nil {
				return err
			}
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.sums {
		c.spent = price.Amount{}
	}
	return nil
}

func (l *Limit) checkPut(spent price.Amount) error {
	if _, _, ok := spent.Limbs(); !ok {
		return ErrTooLarge
	}
	if l.Metric != Cost {
		return fmt.Errorf("%w: only money can be put", ErrLimit)
	}
	return l.Window.check()
}

// Close implements Store.
func (s *file) Close() error { return s.db.Close() }

// Interface guard.
var _ Store = (*file)(nil)
