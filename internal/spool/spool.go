// Package spool is the durable log of usage records: a segment log over a small file-system interface. A record is
// opened before its call is forwarded and settled once; acknowledgements are records too. docs/spool.md specifies the
// format on disk and what each durability mode survives.
package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Spool is an open spool. It is safe for concurrent use.
type Spool struct {
	o    Options
	lock io.Closer

	mu       sync.Mutex // held while writing, never while reading or, except at the end of a segment, syncing
	changed  *sync.Cond // a sync or the last pending write has ended; with mu
	segments []*segment
	current  *segment // the segment that is written to; nil if the next append begins one
	nextSeq  uint64
	nextSeg  uint64
	lostSeq  uint64           // frames in damaged tails may have had numbers below it
	open     map[ID]*openCall // including calls for which the opened record is still being written
	notes    map[uint64]place // why records were rejected
	claims   map[uint64]ID
	recent   recent
	counts   [stateGone + 1]int64
	bytes    int64
	typical  int64 // average size of a settled record in bytes
	reserve  bool  // the reserve file exists
	making   bool  // it is being made
	yield    bool  // its maker must leave the space to a call in flight
	fault    error // of the last write; nil if it succeeded
	failedAt time.Time
	lost     error // the directory is no longer the one that was opened
	lastErr  error // shown in Stats
	writers  int   // appends in progress
	views    map[*view]struct{}
	ready    bell // a record is pending
	news     bell // a record was settled
	closed   bool
	report   Report
	adopted  map[adoption]bool
	id       LogID               // zero: it has none
	cursors  map[string]uint64   // sequence number up to which each consumer has read
	origins  map[uint64]Origin   // of adopted records
	settling map[*draft]struct{} // settlements that are being written
	adopting uint64              // lowest number of the copies of an adoption that may yet take effect; 0: none
	doubt    bool                // whether an adoption took effect is unknown until the spool is opened again
	oldest   oldestTime
	buf      []byte

	moving    sync.Mutex // held while records change their places, so that each move sees the one before it
	reserving sync.Mutex // one at a time makes the reserve
	pruning   sync.Mutex // one Compact at a time
	compactor chan struct{}
	stop      context.CancelFunc
	done      sync.WaitGroup
}

// Open opens the spool in o.Dir or creates it. Damage never prevents it from opening: damaged bytes are moved to
// a file and reported. ErrLocked means that another process has the spool open. ErrAdopted means that another
// spool took it over.
func Open(o Options) (*Spool, error) {
	s, err := open(o, !o.ReadOnly)
	if err != nil {
		return nil, fmt.Errorf("spool %s: %w", o.Dir, err)
	}
	if o.ReadOnly {
		return s, nil
	}
	s.holdReserve()
	if !o.manual {
		ctx, cancel := context.WithCancel(context.Background())
		s.stop = cancel
		s.done.Go(func() { s.maintain(ctx) })
		if fs, ok := s.o.FS.(present); ok {
			s.done.Go(func() { s.watch(ctx, fs) })
		}
	}
	return s, nil
}

// open reads the spool. lock is taken except for offline reading.
func open(o Options, lock bool) (*Spool, error) {
	o.defaults()
	s := &Spool{o: o, compactor: make(chan struct{}, 1), typical: 2 << 10}
	s.views = make(map[*view]struct{})
	s.changed = sync.NewCond(&s.mu)
	if lock {
		if !o.ReadOnly {
			if err := o.FS.MkdirAll(o.Dir); err != nil {
				return nil, err
			}
		}
		held, err := o.FS.Lock(filepath.Join(o.Dir, "LOCK"))
		if err != nil {
			return nil, err
		}
		s.lock = held
	}
	if err := s.recover(); err != nil {
		return nil, errors.Join(err, s.closeFiles())
	}
	return s, nil
}

// Report returns what opening found, and damage that was found since.
func (s *Spool) Report() Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.report
	r.Damage = slices.Clone(r.Damage)
	return r
}

// Close waits for pending writes, ends background work and closes the files. Records stay as they are.
func (s *Spool) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.ready.ring()
	s.news.ring()
	for s.writers > 0 {
		s.changed.Wait()
	}
	s.mu.Unlock()
	if s.stop != nil {
		s.stop()
		s.done.Wait()
	}
	// The spool is closed for all others, so moves in progress have ended or fail.
	s.moving.Lock()
	defer s.moving.Unlock()
	return errors.Join(s.Sync(), s.closeFiles())
}

func (s *Spool) closeFiles() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if s.current != nil {
		err = s.release(s.current)
		s.current = nil
	}
	err = errors.Join(err, s.letGo())
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
		s.lock = nil
	}
	return err
}

// Sync makes everything written so far survive a loss of power.
func (s *Spool) Sync() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.o.ReadOnly {
		return nil
	}
	for _, g := range slices.Clone(s.segments) {
		// Compact may remove a segment while another one is synced.
		if g.synced == g.size || !slices.Contains(s.segments, g) {
			continue
		}
		if _, err := s.acquire(g); err != nil {
			return err
		}
		err := s.syncTo(g, g.size)
		if err = errors.Join(err, s.release(g)); err != nil {
			return err
		}
	}
	s.mu.Unlock()
	err := s.o.FS.SyncDir(s.o.Dir)
	s.mu.Lock()
	return err
}
