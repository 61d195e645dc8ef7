package spool

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Claim returns up to limit pending records that are not claimed, oldest first except for those that were amended or copied forward.
// It waits until there is one, the context ends, or the spool closes (ErrClosed). A record that cannot be read back is rejected with
// a note about it, so that it does not block later ones.
func (s *Spool) Claim(ctx context.Context, limit int) ([]Record, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return nil, ErrClosed
		}
		found, records, err := s.claim(limit)
		if len(found) > 0 {
			s.mu.Unlock()
			return s.readClaimed(found, records)
		}
		if err != nil {
			s.mu.Unlock()
			return nil, err
		}
		wake := s.ready.wait()
		s.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
		}
	}
}

// claim marks records as claimed. For each it returns the record if that was kept in memory. Otherwise it returns a record with
// sequence number zero, and acquires the segment.
func (s *Spool) claim(limit int) (found []located, records []Record, err error) {
	free := s.counts[StatePending] - int64(len(s.claims))
	if free <= 0 {
		return nil, nil, nil
	}
	free = min(free, int64(max(limit, 0)))
	found, records = make([]located, 0, free), make([]Record, 0, free)
	take := func(g *segment, seq uint64, r rec) error {
		if _, taken := s.claims[seq]; taken || r.state() != StatePending {
			return nil
		}
		l := located{place: place{g, r.off, r.len()}, seq: seq, state: StatePending}
		record, kept := s.recent.get(l)
		if !kept {
			if _, err := s.acquire(g); err != nil {
				return err
			}
		}
		s.claims[seq] = record.ID
		found, records = append(found, l), append(records, record)
		return nil
	}
	var unreachable error
	for _, g := range s.segments {
		if len(found) >= limit {
			break
		}
		if g.pending == 0 {
			continue
		}
		for g.low < len(g.recs) && g.recs[g.low].state() != StatePending {
			g.low++
		}
		for i := g.low; i < len(g.recs) && len(found) < limit && err == nil; i++ {
			err = take(g, g.first+uint64(g.recs[i].delta), g.recs[i])
		}
		for i := 0; i < len(g.carried) && len(found) < limit && err == nil; i++ {
			err = take(g, g.carried[i].seq, g.carried[i].rec)
		}
		// A segment that cannot be opened does not stop later ones from being sent.
		unreachable, err = errors.Join(unreachable, err), nil
	}
	return found, records, unreachable
}

// readClaimed reads the claimed records that were not kept in memory, and releases their segments.
func (s *Spool) readClaimed(found []located, records []Record) ([]Record, error) {
	var missing []located
	for i, l := range found {
		if records[i].Seq == 0 {
			missing = append(missing, l)
		}
	}
	if len(missing) == 0 {
		return records, nil
	}
	unreadable := make(map[uint64]error)
	i := 0
	err := read(missing, func(l located, r Record, err error) error {
		for found[i].seq != l.seq {
			i++
		}
		if err != nil {
			unreadable[l.seq] = err
			return nil
		}
		records[i] = r
		return nil
	})
	records = slices.DeleteFunc(records, func(r Record) bool { return r.Seq == 0 })
	s.mu.Lock()
	for _, l := range missing {
		s.note(s.release(l.seg))
	}
	for _, r := range records {
		if _, ok := s.claims[r.Seq]; ok {
			s.claims[r.Seq] = r.ID
		}
	}
	s.mu.Unlock()
	for seq, cause := range unreadable {
		s.o.OnFault(cause)
		if rerr := s.Reject(seq, fmt.Appendf(nil, `{"error":"the record cannot be read back from disk","cause":%q}`, cause)); rerr != nil {
			s.Release(seq)
			err = errors.Join(err, cause, rerr)
		}
	}
	return records, err
}

// Release returns claimed records: they can be claimed again.
func (s *Spool) Release(seqs ...uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, seq := range seqs {
		if _, ok := s.claims[seq]; ok {
			delete(s.claims, seq)
			s.ready.ring()
		}
	}
}
