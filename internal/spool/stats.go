package spool

import "time"

// oldestTime caches when the oldest pending record was settled, which is only on disk.
type oldestTime struct {
	seq uint64
	at  time.Time
}

// Stats returns the spool's figures.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{
		Open: s.counts[StateOpen], Interrupted: s.counts[StateInterrupted], Pending: s.counts[StatePending],
		Claimed: int64(len(s.claims)), Rejected: s.counts[StateRejected], Finished: s.counts[StateDone],
		Bytes: s.bytes, Segments: len(s.segments), Full: s.full(0),
	}
	if len(s.o.Consumers) > 0 {
		st.Unread = make(map[string]int64, len(s.o.Consumers))
		for _, name := range s.o.Consumers {
			st.Unread[name] = s.unread(s.cursors[name])
		}
	}
	if s.lost != nil {
		st.Lost, st.LastError = true, s.lost.Error()
	} else if s.lastErr != nil {
		st.LastError = s.lastErr.Error()
	}
	if l, ok := s.oldestPending(); ok {
		if s.oldest.seq != l.seq {
			s.oldest = oldestTime{seq: l.seq, at: s.settled(l)}
		}
		st.Oldest = s.oldest.at
	}
	return st
}

// OldestUnread returns when the oldest record that a consumer has not passed was settled; zero if there is none.
func (s *Spool) OldestUnread(consumer string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.after(s.cursors[consumer], s.readable(), 1)
	if len(list) == 0 {
		return time.Time{}
	}
	return s.settled(list[0])
}

// oldestPending returns the pending record of the lowest sequence number.
func (s *Spool) oldestPending() (l located, ok bool) {
	for _, g := range s.segments {
		if g.pending == 0 {
			continue
		}
		if !ok {
			for g.low < len(g.recs) && g.recs[g.low].state() != StatePending {
				g.low++
			}
			if g.low < len(g.recs) {
				r := g.recs[g.low]
				l, ok = located{place{g, r.off, r.len()}, g.first + uint64(r.delta), StatePending}, true
			}
		}
		for _, c := range g.carried {
			if c.state() != StatePending {
				continue
			}
			if !ok || c.seq < l.seq {
				l, ok = located{place{g, c.off, c.len()}, c.seq, StatePending}, true
			}
			break
		}
	}
	return l, ok
}

// settled reads when a record was settled. If it cannot, it returns the creation time of the segment.
func (s *Spool) settled(l located) time.Time {
	at := fromMillis(l.seg.created)
	if _, err := s.acquire(l.seg); err != nil {
		return at
	}
	err := read([]located{l}, func(_ located, r Record, err error) error {
		if err == nil {
			at = r.Time
		}
		return nil
	})
	s.note(err)
	s.note(s.release(l.seg))
	return at
}
