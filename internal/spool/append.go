package spool

import (
	"errors"
	"fmt"
)

// draft is a frame on its way to the log. Its functions are called under the lock.
type draft struct {
	frame
	bound   int          // the maximum size of the payload that compose makes
	reserve bool         // it may take the disk space kept for calls in flight
	compose func() error // fills in what must be true at the frame's place in the log; an error keeps it from being written
	written func(place)  // applies what the frame records about earlier records: in the order of the log, as recovery does
	refused bool         // by compose
}

// append writes one frame and returns when it is as durable as the options require.
func (s *Spool) append(d *draft) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.appendLocked(d)
	return err
}

// appendLocked is append for a caller that has the lock, which is released while the frame becomes durable. When it returns, the
// frame can no longer be lost, so the caller makes the frame's own record known.
func (s *Spool) appendLocked(d *draft) (place, error) {
	if len(d.payload) > maxFrame {
		return place{}, ErrTooLarge
	}
	if err := s.beginWrite(); err != nil {
		return place{}, err
	}
	defer s.endWrite()
	var errs error
	for try := range 3 {
		// A file system that allocates at sync reports only then that there is no room.
		if try == 2 && (!d.reserve || !s.dropReserve(errs)) {
			break
		}
		at, err := s.write(d)
		if d.refused {
			return place{}, err
		}
		if err != nil {
			errs = errors.Join(errs, err)
			break
		}
		if s.o.Durability == Fsync {
			err = s.syncTo(at.seg, at.end())
		}
		s.note(s.release(at.seg))
		if err == nil {
			s.wentWell()
			return at, nil
		}
		// The failed sync sealed the segment in front of the frame, so writing it again cannot double it.
		errs = errors.Join(errs, err)
	}
	return place{}, s.wentWrong(errs)
}

// beginWrite refuses a write if none is possible. Otherwise endWrite must follow.
func (s *Spool) beginWrite() error {
	switch {
	case s.closed:
		return ErrClosed
	case s.o.ReadOnly:
		return ErrReadOnly
	}
	s.writers++
	return nil
}

func (s *Spool) endWrite() {
	if s.writers--; s.writers == 0 {
		s.changed.Broadcast()
	}
}

func (s *Spool) wentWell() {
	s.fault = nil
	if s.reserve {
		s.lastErr = nil
	}
}

func (s *Spool) wentWrong(err error) error {
	s.fault, s.lastErr, s.failedAt = err, err, s.o.Now()
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// note keeps an error that does not affect the caller, for Stats.
func (s *Spool) note(err error) {
	if err != nil {
		s.lastErr = err
	}
}

// end is the offset after the frame.
func (p place) end() int64 { return int64(p.off) + frameHeader + int64(p.len) }

// write puts one frame at the end of the log and acquires its segment. A failed write seals the segment at its last good
// offset: the next segment's header records it, and any part of the failed frame that reached the disk is never read.
func (s *Spool) write(d *draft) (place, error) {
	var errs error
	for try := range 3 {
		if try == 2 && (!d.reserve || !s.dropReserve(errs)) {
			break
		}
		g, err := s.writable(frameHeader + int64(max(d.bound, len(d.payload))))
		if err != nil {
			errs = errors.Join(errs, err)
			continue
		}
		if d.compose != nil {
			if err := d.compose(); err != nil {
				d.refused = true
				return place{}, err
			}
		}
		d.seq = s.nextSeq
		s.nextSeq++
		s.buf = appendFrame(s.buf[:0], &d.frame, g.number, g.size)
		_, err = g.file.WriteAt(s.buf, g.size)
		n := int64(len(s.buf))
		if cap(s.buf) > 1<<20 {
			s.buf = nil
		}
		if err != nil {
			errs = errors.Join(errs, err, s.seal(g))
			continue
		}
		at := place{g, uint32(g.size), uint32(len(d.payload))} //nolint:gosec // segments stay below 4 GiB
		g.size += n
		g.newest = max(g.newest, d.time)
		s.bytes += n
		g.refs++
		if d.written != nil {
			d.written(at)
		}
		return at, nil
	}
	return place{}, errs
}

// writable returns the segment for the next frame, of n bytes. It may release the lock, but not between its last check and its
// return.
func (s *Spool) writable(n int64) (*segment, error) {
	for {
		if g := s.current; g != nil {
			if g.size == segmentHeader || g.size+n <= s.o.SegmentBytes {
				return g, nil
			}
		}
		if s.o.Durability == Fsync && len(s.segments) > 0 {
			// The next header records where this segment ends, so by then it must be known how much of it is durable.
			last := s.segments[len(s.segments)-1]
			if last.syncing {
				s.changed.Wait()
				continue
			}
			if last.synced < last.size {
				if err := s.syncLast(last); err != nil {
					return nil, err
				}
				continue
			}
		}
		if s.current != nil {
			s.note(s.retire())
		}
		return s.newSegment()
	}
}

// syncLast syncs the segment that is about to end. From then on, only callers that syncTo will wake may wait for it.
func (s *Spool) syncLast(g *segment) error {
	f, err := s.acquire(g)
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		s.note(s.failSync(g, err))
	} else {
		g.synced = g.size
	}
	s.changed.Broadcast()
	s.note(s.release(g))
	return nil
}

// seal ends the segment at its last good offset after a failed write. A segment without a frame is removed from the log.
func (s *Spool) seal(g *segment) error {
	if g.size > segmentHeader {
		return errors.Join(g.file.Truncate(g.size), s.retire())
	}
	s.segments = s.segments[:len(s.segments)-1]
	s.bytes -= segmentHeader
	return errors.Join(s.retire(), s.o.FS.Remove(s.segmentPath(g)))
}

// syncTo returns when the segment survives a loss of power up to end. The first caller syncs for all that wait. The caller has the
// lock, which is released meanwhile, and has acquired the segment.
func (s *Spool) syncTo(g *segment, end int64) error {
	for {
		switch {
		case g.synced >= end:
			return nil
		case g.failed != nil:
			return g.failed
		case g.syncing:
			s.changed.Wait()
			continue
		}
		g.syncing = true
		target := g.size
		s.mu.Unlock()
		err := g.file.Sync()
		s.mu.Lock()
		g.syncing = false
		switch {
		case err == nil:
			g.synced = target
		case s.o.Durability == Fsync:
			err = errors.Join(err, s.failSync(g, err))
		}
		s.changed.Broadcast()
		if err != nil {
			return err
		}
	}
}

// failSync seals a segment where its last good sync left it. After a failed sync it is unknown what reached the disk, and
// the next one would not report it, so all waiting callers write their frames again, elsewhere.
func (s *Spool) failSync(g *segment, err error) error {
	g.failed = err
	s.bytes -= g.size - g.synced
	g.size = g.synced
	terr := g.file.Truncate(g.size)
	if s.current == g {
		terr = errors.Join(terr, s.retire())
	}
	return terr
}
