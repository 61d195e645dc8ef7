package spool

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// readAhead is the maximum size of one read from a segment, where records are close together.
const readAhead = 256 << 10

// located is a record with its place.
type located struct {
	place
	seq   uint64
	state State
}

// read reads and checks records; the caller has acquired their segments. Consecutive ones in a file are read together. fn gets each
// record, or why it cannot be read, and owns the payload. It runs without the lock.
func read(list []located, fn func(located, Record, error) error) error {
	for len(list) > 0 {
		g, from, n := list[0].seg, int64(list[0].off), 1
		to := list[0].end()
		for n < len(list) && list[n].seg == g && int64(list[n].off) >= to && int64(list[n].off) < to+4<<10 && list[n].end()-from <= readAhead {
			to = list[n].end()
			n++
		}
		b := make([]byte, to-from)
		got, err := g.file.ReadAt(b, from)
		if err != nil && !errors.Is(err, io.EOF) {
			if n > 1 { // one bad sector must not affect its neighbours
				for i := range n {
					if err := read(list[i:i+1], fn); err != nil {
						return err
					}
				}
				list = list[n:]
				continue
			}
			err = fmt.Errorf("reading record %d in %s: %w", list[0].seq, segmentName(g.number), err)
		} else {
			err = nil
		}
		for _, l := range list[:n] {
			r := Record{Seq: l.seq, State: l.state}
			rerr := err
			if rerr == nil {
				rerr = r.parse(l, b[min(int64(l.off)-from, int64(got)):got])
			}
			if err := fn(l, r, rerr); err != nil {
				return err
			}
		}
		list = list[n:]
	}
	return nil
}

// errDamaged means that a record's bytes are not those that were written.
var errDamaged = errors.New("damaged")

func (r *Record) parse(l located, b []byte) error {
	f, ok := parseFrame(b, l.seg.number, int64(l.off))
	var m moved
	if ok {
		m, ok = f.record()
	}
	if !ok || m.seq != l.seq {
		return fmt.Errorf("record %d in %s at offset %d is %w", l.seq, segmentName(l.seg.number), l.off, errDamaged)
	}
	r.ID, r.Time, r.Payload = f.id, fromMillis(m.time), m.payload
	return nil
}

func (s *Spool) releaseAll(list []located) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for _, l := range list {
		err = errors.Join(err, s.release(l.seg))
	}
	return err
}

// view is the state of a Scan.
type view struct {
	at    uint64              // number of the segment that was reached
	limit uint64              // sequence numbers from here on came later
	skip  map[uint64]struct{} // records that were moved ahead, or settled, after they were seen
}

// Scan calls fn for every record that is still readable and was settled (opened, for an open one) within [since, until): first those of
// calls that are open or interrupted, then the settled ones in the order of the log, each once. A zero bound is open. It holds a few
// records in memory. An error of fn ends it; unreadable records are left out and reported in the error at the end.
func (s *Spool) Scan(since, until time.Time, fn func(Record) error) error {
	return s.Select(nil, since, until, fn)
}

// Select is Scan for records in the given states, or in all if none are given. It reads no others from disk.
func (s *Spool) Select(states []State, since, until time.Time, fn func(Record) error) error {
	other := func(l located) bool { return len(states) > 0 && !slices.Contains(states, l.state) }
	var unreadable error
	missed := 0
	visit := func(l located, r Record, err error) error {
		switch {
		case err != nil:
			if missed++; missed == 1 {
				unreadable = err
			}
			return nil
		case !since.IsZero() && r.Time.Before(since), !until.IsZero() && !r.Time.Before(until):
			return nil
		}
		if l.state == StateRejected {
			r.Note = s.readNote(l.seq)
		}
		return fn(r)
	}
	v := &view{skip: make(map[uint64]struct{})}
	s.mu.Lock()
	v.limit = s.nextSeq
	s.views[v] = struct{}{}
	calls, err := s.openCalls()
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.views, v)
		s.mu.Unlock()
	}()
	if err == nil {
		err = errors.Join(read(slices.DeleteFunc(slices.Clone(calls), other), visit), s.releaseAll(calls))
	}
	for err == nil {
		s.mu.Lock()
		var g *segment
		for _, at := range s.segments {
			if at.number > v.at && (since.IsZero() || at.newest >= millis(since)) {
				g = at
				break
			}
		}
		if g == nil {
			s.mu.Unlock()
			break
		}
		v.at = g.number
		list := g.list(v.limit, v.skip)
		if _, err = s.acquire(g); err != nil {
			s.mu.Unlock()
			break
		}
		s.mu.Unlock()
		err = errors.Join(read(slices.DeleteFunc(list, other), visit), s.releaseAll([]located{{place: place{seg: g}}}))
	}
	if err == nil && missed > 0 {
		err = fmt.Errorf("%d records cannot be read: %w", missed, unreadable)
	}
	return err
}

// openCalls locates the calls that are open or interrupted and acquires the segment of each.
func (s *Spool) openCalls() ([]located, error) {
	list := make([]located, 0, len(s.open))
	for _, c := range s.open {
		if c.opening() {
			continue
		}
		if _, err := s.acquire(c.at.seg); err != nil {
			for _, l := range list {
				err = errors.Join(err, s.release(l.seg))
			}
			return nil, err
		}
		list = append(list, located{place: c.at, seq: c.seq, state: c.state})
	}
	slices.SortFunc(list, func(a, b located) int {
		return cmp.Or(cmp.Compare(a.seg.number, b.seg.number), cmp.Compare(a.off, b.off))
	})
	return list, nil
}

// list locates the settled records of a segment, in order of place, except those from limit on and the skipped ones.
func (g *segment) list(limit uint64, skip map[uint64]struct{}) []located {
	list := make([]located, 0, len(g.recs)+len(g.carried))
	add := func(seq uint64, r rec) {
		if _, ok := skip[seq]; !ok && seq < limit && r.state() != stateGone {
			list = append(list, located{place: place{g, r.off, r.len()}, seq: seq, state: r.state()})
		}
	}
	for _, r := range g.recs {
		add(g.first+uint64(r.delta), r)
	}
	if len(g.carried) > 0 {
		for _, c := range g.carried {
			add(c.seq, c.rec)
		}
		slices.SortFunc(list, func(a, b located) int { return cmp.Compare(a.off, b.off) })
	}
	return list
}

// readNote returns Lago's error on a rejected record; nil if there is none or it cannot be read.
func (s *Spool) readNote(seq uint64) []byte {
	s.mu.Lock()
	p, ok := s.notes[seq]
	if !ok || p.len == 0 {
		s.mu.Unlock()
		return nil
	}
	f, err := s.acquire(p.seg)
	s.mu.Unlock()
	if err != nil {
		return nil
	}
	b := make([]byte, p.len)
	_, err = f.ReadAt(b, int64(p.off))
	if err = errors.Join(err, s.releaseAll([]located{{place: p}})); err != nil {
		return nil
	}
	return b
}

// Interrupted returns the records of calls that an earlier process left open.
func (s *Spool) Interrupted() ([]Record, error) {
	s.mu.Lock()
	calls, err := s.openCalls()
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var found []Record
	err = read(calls, func(l located, r Record, err error) error {
		if err == nil && l.state == StateInterrupted {
			found = append(found, r)
		}
		return err
	})
	return found, errors.Join(err, s.releaseAll(calls))
}

var errFound = errors.New("found")

// Get returns the record of a call. It searches linearly: it is for operators, not for the path of a call.
func (s *Spool) Get(id ID) (record Record, ok bool, err error) {
	err = s.Scan(time.Time{}, time.Time{}, func(r Record) error {
		if r.ID == id {
			record, ok = r, true
			return errFound
		}
		return nil
	})
	if ok {
		err = nil
	}
	return record, ok, err
}
