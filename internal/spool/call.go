package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"
)

// probeEvery is how often a new call may try a disk that failed.
const probeEvery = time.Second

// probeBytes is how much is written to test a disk: a block of most file systems.
const probeBytes = 4096

// Begin opens the record of a call that is about to be forwarded. ErrFull and ErrUnavailable mean that the call must be
// refused.
func (s *Spool) Begin(id ID, payload []byte) error {
	if len(payload) > maxPayload {
		return ErrTooLarge
	}
	d := draft{frame: frame{kind: kindOpened, time: millis(s.o.Now()), id: id, payload: payload}}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.admit(len(payload)); err != nil {
		return err
	}
	if s.open[id] != nil {
		return ErrOpen
	}
	c := &openCall{state: StateOpen}
	s.open[id] = c
	at, err := s.appendLocked(&d)
	if err != nil {
		delete(s.open, id)
		return err
	}
	c.seq, c.at = d.seq, at
	s.countOpen(c)
	return nil
}

// admit reports whether a new call may begin: there must be room for its settlement and for those of all calls in flight, and the
// disk must work.
func (s *Spool) admit(n int) error {
	switch {
	case s.closed:
		return ErrClosed
	case s.o.ReadOnly:
		return ErrReadOnly
	case s.lost != nil:
		return s.lost
	case s.full(n):
		return ErrFull
	case s.fault == nil && s.reserve:
		return nil
	}
	now := s.o.Now()
	if now.Sub(s.failedAt) < probeEvery {
		return s.unavailable()
	}
	s.failedAt = now
	if s.reserve {
		return nil
	}
	s.mu.Unlock()
	err := s.makeReserve()
	s.mu.Lock()
	if err != nil {
		return s.wentWrong(err)
	}
	return nil
}

// Ready returns why a new call would be refused. It tests a disk that failed, at most once a second.
func (s *Spool) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	failed := s.fault != nil
	if failed && s.o.Now().Sub(s.failedAt) < probeEvery {
		return s.unavailable()
	}
	if err := s.admit(int(s.typical)); err != nil || !failed { // room for an opened record, which is no larger than a settled one
		return err
	}
	s.mu.Unlock()
	err := s.probe()
	s.mu.Lock()
	if err != nil {
		return s.wentWrong(err)
	}
	s.fault = nil
	return nil
}

// probe writes a small file and removes it.
func (s *Spool) probe() error {
	name := filepath.Join(s.o.Dir, "probe")
	f, err := s.o.FS.Create(name)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err == nil {
		_, err = f.WriteAt(make([]byte, probeBytes), 0)
		err = errors.Join(err, f.Sync(), f.Close())
	} else {
		err = nil // left by a process that ended during a probe
	}
	return errors.Join(err, s.o.FS.Remove(name))
}

func (s *Spool) unavailable() error {
	switch {
	case s.fault != nil:
		return fmt.Errorf("%w: %w", ErrUnavailable, s.fault)
	case s.lastErr != nil:
		return fmt.Errorf("%w: %w", ErrUnavailable, s.lastErr)
	}
	return ErrUnavailable
}

// full reports whether the spool has no room for one more call and n bytes.
func (s *Spool) full(n int) bool {
	return s.bytes+int64(frameHeader+n)+(s.counts[StateOpen]+1)*s.typical >= s.o.MaxBytes
}

// Settle writes the settled record of an open or interrupted call; it is durable on return. With deliver the record is sent to Lago;
// without, it is finished immediately. ErrUnknown means that the call is not open: it never was, or it is already settled, and
// nothing is written. After any other error the call is still open, and the record is not in the spool.
func (s *Spool) Settle(id ID, payload []byte, deliver bool) error {
	if len(payload) > maxPayload {
		return ErrTooLarge
	}
	d := draft{frame: frame{kind: kindLedger, time: millis(s.o.Now()), id: id, payload: payload}, reserve: true}
	state := StateDone
	if deliver {
		d.kind, state = kindSettled, StatePending
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.open[id]
	if c == nil || c.opening() || c.settling {
		return ErrUnknown
	}
	if s.lost != nil {
		return s.lost
	}
	c.settling = true
	s.settling[&d] = struct{}{}
	at, err := s.appendLocked(&d)
	delete(s.settling, &d)
	if err != nil {
		c.settling = false
		return err
	}
	s.dropOpen(id)
	s.addRecord(at, d.seq, state)
	s.news.ring()
	s.recent.add(at, &d.frame)
	for v := range s.views {
		if d.seq < v.limit { // already seen as an open call
			v.skip[d.seq] = struct{}{}
		}
	}
	s.typical += (frameHeader + int64(len(payload)) - s.typical) / 16
	if !deliver {
		at.seg.finished = max(at.seg.finished, d.time)
	}
	return nil
}
