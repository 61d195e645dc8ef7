package spool

import (
	"errors"
	"io/fs"
	"path/filepath"
)

// The reserve is a file that is removed when the disk is full, so that calls in flight can settle. While it is missing, no new call
// begins: it would use up the space of calls in flight.

func (s *Spool) reserveName() string { return filepath.Join(s.o.Dir, "reserve") }

// holdReserve makes the reserve when the spool is opened. If a full disk has no room for it, Begin reports that.
func (s *Spool) holdReserve() {
	err := s.makeReserve()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(err)
}

// makeReserve makes the reserve if it is missing.
func (s *Spool) makeReserve() error {
	s.reserving.Lock()
	defer s.reserving.Unlock()
	s.mu.Lock()
	have := s.reserve
	s.making, s.yield = !have, false
	s.mu.Unlock()
	if have {
		return nil
	}
	var err error
	if s.o.ReserveBytes > 0 {
		err = s.writeReserve()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.making = false
	s.changed.Broadcast()
	if err != nil {
		return err
	}
	s.reserve = true
	s.lastErr = s.fault
	return nil
}

// errYield ends the making of the reserve.
var errYield = errors.New("the room for the reserve was needed by a call in flight")

func (s *Spool) mustYield() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.yield {
		return errYield
	}
	return nil
}

func (s *Spool) writeReserve() error {
	name := s.reserveName()
	if f, err := s.o.FS.Open(name, true); err == nil {
		size, err := f.Size()
		if err = errors.Join(err, f.Close()); err == nil && size == s.o.ReserveBytes {
			return nil
		}
		if err := s.o.FS.Remove(name); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := s.o.FS.Create(name)
	if err != nil {
		return err
	}
	// Incompressible bytes: a file system that compresses zeros away would reserve no space.
	chunk, x := make([]byte, min(64<<10, s.o.ReserveBytes)), uint32(2463534242)
	for i := range chunk {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		chunk[i] = byte(x) //nolint:gosec // the low bits are wanted
	}
	for off := int64(0); off < s.o.ReserveBytes && err == nil; off += int64(len(chunk)) {
		if err = s.mustYield(); err == nil {
			_, err = f.WriteAt(chunk[:min(int64(len(chunk)), s.o.ReserveBytes-off)], off)
		}
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, s.o.FS.Remove(name))
	}
	return nil
}

// dropReserve frees the reserve's space for calls in flight, and reports whether it did. cause is shown while the reserve is missing.
// If the reserve is being made, it may be what filled the disk: then this releases the lock until that has ended.
func (s *Spool) dropReserve(cause error) bool {
	made := s.making
	for s.making {
		s.yield = true
		s.changed.Wait()
	}
	if !s.reserve || s.o.ReserveBytes < 0 {
		return made
	}
	if err := s.o.FS.Remove(s.reserveName()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return made
	}
	s.reserve, s.lastErr, s.failedAt = false, cause, s.o.Now()
	return true
}
