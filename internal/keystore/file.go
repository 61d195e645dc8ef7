package keystore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// File keeps the records in one bbolt file, which one process holds at a time. Each kind has two buckets, such as `key`
// (id to JSON record) and `key-alias` (alias to id).
type File struct {
	db *bbolt.DB
}

const (
	fileName     = "keys.db"
	fileLockWait = time.Second
)

// OpenFile opens keys.db in dir, making both when they are absent, readable by their owner alone.
func OpenFile(dir string) (*File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil { // #nosec G703 -- the operator's own choice
		return nil, fmt.Errorf("key store: %w", err)
	}
	path := filepath.Join(dir, fileName)
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: fileLockWait})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("key store: another process holds %s: a file store serves one process, use store redis for several", path)
	}
	if err != nil {
		return nil, fmt.Errorf("key store: opening %s: %w", path, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, kind := range kinds {
			for _, bucket := range [][]byte{recordBucket(kind), aliasBucket(kind)} {
				if _, err := tx.CreateBucketIfNotExists(bucket); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("key store: preparing %s: %w", path, err), db.Close())
	}
	return &File{db: db}, nil
}

func recordBucket(kind Kind) []byte { return []byte(kind) }
func aliasBucket(kind Kind) []byte  { return []byte(kind + "-alias") }

// Get returns a record.
func (s *File) Get(_ context.Context, kind Kind, id string) (data []byte, err error) {
	return s.read(recordBucket(kind), id)
}

// GetAll returns records in the order of their ids.
func (s *File) GetAll(_ context.Context, kind Kind, ids []string) ([][]byte, error) {
	all := make([][]byte, len(ids))
	err := s.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(recordBucket(kind))
		for i, id := range ids {
			all[i] = bytes.Clone(b.Get([]byte(id)))
		}
		return nil
	})
	return all, err
}

// ByAlias returns the id of the record with that alias.
func (s *File) ByAlias(_ context.Context, kind Kind, alias string) (string, error) {
	id, err := s.read(aliasBucket(kind), alias)
	return string(id), err
}

func (s *File) read(bucket []byte, name string) (data []byte, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		v := tx.Bucket(bucket).Get([]byte(name))
		if v == nil {
			return ErrNotFound
		}
		data = bytes.Clone(v)
		return nil
	})
	return data, err
}

// Apply makes all changes in one transaction, which is on disk when it returns. The changes of a file store are all made
// by this process, whose cache knows them without an announcement.
func (s *File) Apply(ctx context.Context, changes ...Change) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.db.Update(func(tx *bbolt.Tx) error {
		for _, c := range changes {
			if !bytes.Equal(tx.Bucket(recordBucket(c.Kind)).Get([]byte(c.ID)), c.Old) {
				return ErrChanged
			}
		}
		for _, c := range changes {
			if c.OldAlias == "" {
				continue
			}
			if err := tx.Bucket(aliasBucket(c.Kind)).Delete([]byte(c.OldAlias)); err != nil {
				return err
			}
		}
		for _, c := range changes {
			if c.Unchanged() {
				continue
			}
			if err := applyToTx(tx, c); err != nil {
				return err
			}
		}
		return nil
	})
}

func applyToTx(tx *bbolt.Tx, c Change) error {
	if c.NewAlias != "" {
		aliases := tx.Bucket(aliasBucket(c.Kind))
		if aliases.Get([]byte(c.NewAlias)) != nil {
			return ErrAliasTaken
		}
		if err := aliases.Put([]byte(c.NewAlias), []byte(c.ID)); err != nil {
			return err
		}
	}
	records := tx.Bucket(recordBucket(c.Kind))
	if c.New == nil {
		return records.Delete([]byte(c.ID))
	}
	return records.Put([]byte(c.ID), c.New)
}

// List returns records in the order of their ids.
func (s *File) List(ctx context.Context, kind Kind, after string, limit int) (rows []Row, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err = s.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(recordBucket(kind)).Cursor()
		k, v := c.Seek([]byte(after))
		if k != nil && string(k) == after {
			k, v = c.Next()
		}
		for ; k != nil && len(rows) < limit; k, v = c.Next() {
			rows = append(rows, Row{ID: string(k), Data: bytes.Clone(v)})
		}
		return nil
	})
	return rows, err
}

// Watch has nothing to announce: no other process changes the file.
func (s *File) Watch(ctx context.Context, w Watcher) {
	w.Missed()
	<-ctx.Done()
}

// Close releases the file.
func (s *File) Close() error { return s.db.Close() }

// Interface guard.
var _ Store = (*File)(nil)
