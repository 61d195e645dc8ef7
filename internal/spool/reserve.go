package spool

import (
	"errors"
	"io/fs"
	"path/filepath"
)

// The reserve is a file whose only use is to be removed when the disk is full, so that calls in flight can settle. While
// it does not stand no new call begins: it would use up the room of those that did.

func (s *Spool) reserveName() string { return filepath.Join(s.o.Dir, "reserve") }

// holdReserve makes the reserve when the spool is opened. That a full disk has no room for it is told by Begin.
func (s *Spool) holdReserve() {
	err := s.makeReserve()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(err)
}

// makeReserve makes the reserve where it does not stand.
func (s *Spool) makeReserve() error {
	s.reserving.Lock()
	defer s.reserving.Unlock()
	s.mu.Lock()
	have := s.reserve
	s.mu.Unlock()
	if have {
		return nil
	}
	if s.o.ReserveBytes > 0 {
		if err := s.writeReserve(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reserve = true
	s.lastErr = s.fault
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
	// Bytes that do not compress: a file system that stores zeros in no space would keep no space free.
	chunk, x := make([]byte, min(64<<10, s.o.ReserveBytes)), uint32(2463534242)
	for i := range chunk {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		chunk[i] = byte(x) //nolint:gosec // the low bits are wanted
	}
	for off := int64(0); off < s.o.ReserveBytes && err == nil; off += int64(len(chunk)) {
		_, err = f.WriteAt(chunk[:min(int64(len(chunk)), s.o.ReserveBytes-off)], off)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, s.o.FS.Remove(name))
	}
	return nil
}

// dropReserve gives the reserve's room to calls in flight. cause is shown for as long as it is missing.
func (s *Spool) dropReserve(cause error) bool {
	if !s.reserve || s.o.ReserveBytes < 0 {
		return false
	}
	if s.o.FS.Remove(s.reserveName()) != nil {
		return false
	}
	s.reserve, s.lastErr, s.failedAt = false, cause, s.o.Now()
	return true
}
