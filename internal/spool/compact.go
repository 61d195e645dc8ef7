package spool

import (
	"context"
	"errors"
	"maps"
	"time"
)

const (
	maintainEvery = 30 * time.Second
	// movedAtOnce bounds how many records are copied forward between two looks at the log.
	movedAtOnce = 256
)

// maintain prunes and keeps the reserve until the spool closes.
func (s *Spool) maintain(ctx context.Context) {
	tick := time.NewTicker(maintainEvery)
	defer tick.Stop()
	for {
		if err := errors.Join(s.Compact(), s.makeReserve()); err != nil && !errors.Is(err, ErrClosed) {
			s.mu.Lock()
			s.note(err)
			s.mu.Unlock()
			s.o.OnFault(err)
		}
		select {
		case <-tick.C:
		case <-s.compactor:
		case <-ctx.Done():
			return
		}
	}
}

// Compact removes segments in which all records were finished longer than Options.Retain ago. It removes the oldest first, so that
// no acknowledgement is removed before what it acknowledges. Unfinished records are copied forward out of old segments once that
// frees at least as much as it copies.
func (s *Spool) Compact() error {
	s.pruning.Lock()
	defer s.pruning.Unlock()
	for {
		g, err := s.next()
		if g == nil || err != nil {
			return err
		}
		more, err := s.empty(g)
		if err != nil || !more {
			return err
		}
		if more, err = s.prune(g); err != nil || !more {
			return err
		}
	}
}

// next returns the oldest segment if it is due.
func (s *Spool) next() (*segment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.o.ReadOnly {
		return nil, ErrClosed
	}
	before := millis(s.o.Now().Add(-s.o.Retain))
	// A segment without new records must end before its records can expire.
	if g := s.current; g != nil && g.size > segmentHeader && g.created < before && g.refs == 1 {
		if err := s.retire(); err != nil {
			return nil, err
		}
	}
	var size, live int64
	for _, g := range s.segments {
		if g == s.current || g.newest >= before || g.finished >= before || g.refs > 0 || !s.passed(g) {
			break
		}
		size += g.size
		if live += g.live; 2*live <= size {
			return s.segments[0], nil
		}
	}
	return nil, nil
}

// empty copies the unfinished records of a segment to the end of the log. It returns false if some cannot be moved yet because their
// settlement is being written.
func (s *Spool) empty(g *segment) (bool, error) {
	for {
		s.moving.Lock()
		s.mu.Lock()
		moves := g.unfinished(s)
		kept := g.kept
		s.mu.Unlock()
		done := moves[:0]
		var err error
		for i := range moves {
			m := moves[i]
			switch cerr := s.copyForward(&m); {
			case cerr == nil:
				done = append(done, m)
				continue
			case errors.Is(cerr, errMovedOn), errors.Is(cerr, ErrUnknown):
				continue
			case errors.Is(cerr, errDamaged):
				s.lose(&m, cerr)
				continue
			default:
				err = cerr
			}
			break
		}
		err = errors.Join(err, s.settleMoves(done, true))
		s.moving.Unlock()
		if err != nil {
			return false, err
		}
		s.mu.Lock()
		left := g.kept
		s.mu.Unlock()
		switch left {
		case 0:
			return true, nil
		case kept:
			return false, nil
		}
	}
}

// unfinished lists some of the unfinished records of a segment.
func (g *segment) unfinished(s *Spool) []move {
	moves := make([]move, 0, min(g.kept, movedAtOnce))
	for id, c := range s.open {
		if c.at.seg == g && len(moves) < movedAtOnce {
			moves = append(moves, move{seq: c.seq, id: id, open: true})
		}
	}
	for _, l := range g.list(s.nextSeq, nil) {
		if l.state.keeps() && len(moves) < movedAtOnce {
			moves = append(moves, move{seq: l.seq})
		}
	}
	return moves
}

// lose gives up a damaged record: its bytes are moved to a damage file and reported, as at opening.
func (s *Spool) lose(m *move, cause error) {
	s.mu.Lock()
	_, ok := s.locateMove(m)
	if !ok {
		s.mu.Unlock()
		return
	}
	f, err := s.acquire(m.from.seg)
	if err == nil {
		s.setAside(m.from.seg, f, int64(m.from.off), frameHeader+int64(m.from.len))
		if m.open {
			s.dropOpen(m.id)
		} else {
			delete(s.notes, m.seq)
			delete(s.claims, m.seq)
			s.remove(m.seq)
		}
		err = s.release(m.from.seg)
	}
	s.mu.Unlock()
	s.o.OnFault(errors.Join(cause, err))
}

// prune removes a segment in which nothing is unfinished. It returns false while the segment is being read.
func (s *Spool) prune(g *segment) (bool, error) {
	// Earlier changes of names must be durable: if this segment were gone and an earlier one came back, finished records would be
	// pending again.
	if err := s.o.FS.SyncDir(s.o.Dir); err != nil {
		return false, err
	}
	s.mu.Lock()
	if err := s.keepOne(); err != nil {
		s.mu.Unlock()
		return false, err
	}
	if s.closed || g.kept > 0 || g.refs > 0 || s.segments[0] != g {
		s.mu.Unlock()
		return false, nil
	}
	s.segments = s.segments[1:]
	s.mu.Unlock()
	if err := s.o.FS.Remove(s.segmentPath(g)); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.segments = append([]*segment{g}, s.segments...)
		return false, err
	}
	s.mu.Lock()
	s.bytes -= g.size
	maps.DeleteFunc(s.origins, func(seq uint64, _ Origin) bool { return seq < s.segments[0].first })
	for _, r := range g.recs {
		s.leave(g, r)
	}
	for _, c := range g.carried {
		s.leave(g, c.rec)
	}
	s.mu.Unlock()
	return true, s.o.FS.SyncDir(s.o.Dir)
}

// keepOne ensures that one segment remains after a removal: its header prevents numbers from being reused. On a full disk it uses
// the space of the reserve, as the removal frees more.
func (s *Spool) keepOne() error {
	var errs error
	for try := range 2 {
		if s.closed || len(s.segments) > 1 {
			return nil
		}
		_, err := s.newSegment()
		if err == nil {
			return nil
		}
		if errs = errors.Join(errs, err); try == 0 && !s.dropReserve(err) {
			break
		}
	}
	return errs
}
