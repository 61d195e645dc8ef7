package spool

import (
	"cmp"
	"slices"
	"sort"
)

// place is where a record's frame is.
type place struct {
	seg *segment
	off uint32
	len uint32 // of the frame's payload
}

// rec is a settled record's place and state, in 12 bytes, so that a million pending records fit in memory.
type rec struct {
	delta uint32 // sequence number minus the segment's first
	off   uint32
	bits  uint32 // state, and the length of the frame's payload in the lower 24 bits
}

func makeRec(delta uint64, at place, st State) rec {
	return rec{delta: uint32(delta), off: at.off, bits: uint32(st)<<24 | at.len} //nolint:gosec // a segment has less than 1<<32 frames
}

func (r rec) state() State { return State(r.bits >> 24) } //nolint:gosec // eight bits are left

func (r rec) len() uint32 { return r.bits & maxFrame }

func (r *rec) put(st State) { r.bits = r.bits&maxFrame | uint32(st)<<24 }

// carried is a record in a later segment than its own, because it was copied forward or amended.
type carried struct {
	seq uint64
	rec
}

// openCall is a call in flight, or one that was interrupted.
type openCall struct {
	seq      uint64
	at       place
	state    State
	settling bool // its settlement is being written
}

// opening reports whether the call's record is still being written: only Begin may use the call yet.
func (c *openCall) opening() bool { return c.at.seg == nil }

// addOpen indexes the record of a call that was opened.
func (s *Spool) addOpen(id ID, c *openCall) {
	s.open[id] = c
	s.countOpen(c)
}

func (s *Spool) countOpen(c *openCall) {
	s.counts[c.state]++
	s.keep(c.at, 1)
}

func (s *Spool) dropOpen(id ID) {
	c := s.open[id]
	delete(s.open, id)
	s.counts[c.state]--
	s.keep(c.at, -1)
}

func (s *Spool) moveOpen(c *openCall, to place) {
	s.keep(c.at, -1)
	c.at = to
	s.keep(to, 1)
}

// keep counts a record that keeps its segment from being removed.
func (s *Spool) keep(at place, n int) {
	at.seg.kept += n
	at.seg.live += int64(n) * (frameHeader + int64(at.len))
}

// enter and leave count a settled record in its segment and in the spool.
func (s *Spool) enter(g *segment, r rec) {
	st := r.state()
	s.counts[st]++
	if st.keeps() {
		s.keep(place{g, r.off, r.len()}, 1)
	}
	if st == StatePending {
		g.pending++
		s.ready.ring()
	}
}

func (s *Spool) leave(g *segment, r rec) {
	st := r.state()
	s.counts[st]--
	if st.keeps() {
		s.keep(place{g, r.off, r.len()}, -1)
	}
	if st == StatePending {
		g.pending--
	}
}

// addRecord indexes a settled record. Callers that wait for one sync return in any order, so it may not be the last.
func (s *Spool) addRecord(at place, seq uint64, st State) {
	g := at.seg
	r := makeRec(seq-g.first, at, st)
	i := len(g.recs)
	for i > 0 && g.recs[i-1].delta > r.delta {
		i--
	}
	g.recs = slices.Insert(g.recs, i, r)
	g.low = min(g.low, i)
	s.enter(g, r)
}

// addCarried indexes a record that was copied here.
func (s *Spool) addCarried(at place, seq uint64, st State) {
	g := at.seg
	i, _ := g.findCarried(seq)
	c := carried{seq: seq, rec: makeRec(0, at, st)}
	g.carried = slices.Insert(g.carried, i, c)
	s.enter(g, c.rec)
}

func (g *segment) findCarried(seq uint64) (int, bool) {
	return slices.BinarySearchFunc(g.carried, seq, func(c carried, seq uint64) int { return cmp.Compare(c.seq, seq) })
}

// find returns the settled record with that sequence number at its current place. The pointer is valid until the index next changes.
func (s *Spool) find(seq uint64) (*segment, *rec) {
	if i := sort.Search(len(s.segments), func(i int) bool { return s.segments[i].first > seq }); i > 0 {
		g := s.segments[i-1]
		j, ok := sort.Find(len(g.recs), func(j int) int { return cmp.Compare(seq-g.first, uint64(g.recs[j].delta)) })
		if ok && g.recs[j].state() != stateGone {
			return g, &g.recs[j]
		}
	}
	for _, g := range slices.Backward(s.segments) {
		if len(g.carried) == 0 {
			continue
		}
		if i, ok := g.findCarried(seq); ok {
			return g, &g.carried[i].rec
		}
	}
	return nil, nil
}

// set changes a record's state and all counts that depend on it.
func (s *Spool) set(g *segment, r *rec, st State) {
	s.leave(g, *r)
	r.put(st)
	if st == StatePending {
		g.low = 0
	}
	s.enter(g, *r)
}

// remove removes a record from its place; it was copied elsewhere, or is lost.
func (s *Spool) remove(seq uint64) {
	g, r := s.find(seq)
	if r == nil {
		return
	}
	s.leave(g, *r)
	if i, ok := g.findCarried(seq); ok && &g.carried[i].rec == r {
		g.carried = slices.Delete(g.carried, i, i+1)
		return
	}
	r.put(stateGone)
	s.counts[stateGone]++
}

// change applies an acknowledgement to a settled record, as of that time; any other is left as it is.
func (s *Spool) change(seq uint64, to State, at int64) {
	g, r := s.find(seq)
	if r == nil {
		return
	}
	if r.state() == StateRejected {
		delete(s.notes, seq)
	}
	if to == StateDone {
		g.finished = max(g.finished, at)
	}
	s.set(g, r, to)
}

// bell wakes waiting goroutines. The spool's lock guards it.
type bell struct {
	waiting int
	wake    chan struct{} // closed when it rings
}

// wait returns a channel that is closed when the bell rings next.
func (b *bell) wait() <-chan struct{} {
	if b.waiting == 0 {
		b.wake = make(chan struct{})
	}
	b.waiting++
	return b.wake
}

func (b *bell) ring() {
	if b.waiting > 0 {
		close(b.wake)
		b.waiting = 0
	}
}
