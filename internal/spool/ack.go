package spool

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"
)

// Done marks records as stored by Lago. It is idempotent.
func (s *Spool) Done(seqs ...uint64) error {
	for part := range slices.Chunk(seqs, maxListed) {
		list, err := s.identify(part)
		if err != nil {
			return err
		}
		d := draft{frame: frame{kind: kindDone, time: millis(s.o.Now()), payload: appendFinished(make([]byte, 0, doneEntry*len(list)), list)}, reserve: true}
		d.written = func(place) {
			for _, e := range list {
				delete(s.claims, e.seq)
				s.change(e.seq, StateDone, d.time)
			}
		}
		if err := s.append(&d); err != nil {
			return err
		}
	}
	return nil
}

// identify finds the ids of records. Those that this process claimed are known; others are read.
func (s *Spool) identify(seqs []uint64) ([]finished, error) {
	list := make([]finished, len(seqs))
	var missing []located
	s.mu.Lock()
	for i, seq := range seqs {
		list[i] = finished{seq: seq, id: s.claims[seq]}
		if list[i].id != (ID{}) {
			continue
		}
		if g, r := s.find(seq); r != nil {
			if _, err := s.acquire(g); err != nil {
				s.mu.Unlock()
				return nil, errors.Join(err, s.releaseAll(missing))
			}
			missing = append(missing, located{place: place{g, r.off, r.len()}, seq: seq, state: r.state()})
		}
	}
	s.mu.Unlock()
	if len(missing) == 0 {
		return list, nil
	}
	ids := make(map[uint64]ID, len(missing))
	// A record that cannot be read is finished without its id, which is only needed if the record is damaged later.
	err := read(missing, func(l located, r Record, err error) error {
		if err == nil {
			ids[l.seq] = r.ID
		}
		return nil
	})
	for i := range list {
		if id, ok := ids[list[i].seq]; ok {
			list[i].id = id
		}
	}
	return list, errors.Join(err, s.releaseAll(missing))
}

// Reject marks a pending record as rejected, with Lago's error, so that it can be inspected, fixed and sent again.
func (s *Spool) Reject(seq uint64, note []byte) error {
	if len(note) > maxNote {
		return ErrTooLarge
	}
	d := draft{frame: frame{kind: kindRejected, time: millis(s.o.Now())}, reserve: true}
	d.payload = append(binary.LittleEndian.AppendUint64(make([]byte, 0, 8+len(note)), seq), note...)
	d.written = func(at place) {
		delete(s.claims, seq)
		s.reject(seq, at, d.time)
	}
	return s.append(&d)
}

// reject applies a kindRejected frame.
func (s *Spool) reject(seq uint64, at place, when int64) {
	if _, r := s.find(seq); r == nil || r.state() == StateDone {
		return // a record that Lago has is not sent again
	}
	s.change(seq, StateRejected, when)
	s.notes[seq] = place{at.seg, at.off + frameHeader + 8, at.len - 8}
}

// Retry makes rejected records pending again: all of them if none are named. It returns how many.
func (s *Spool) Retry(seqs ...uint64) (int, error) {
	s.mu.Lock()
	var found []uint64
	if len(seqs) == 0 {
		found = s.rejected()
	}
	for _, seq := range seqs {
		if _, r := s.find(seq); r != nil && r.state() == StateRejected {
			found = append(found, seq)
		}
	}
	s.mu.Unlock()
	return s.again(found, StateRejected)
}

func (s *Spool) rejected() []uint64 {
	seqs := make([]uint64, 0, s.counts[StateRejected])
	for _, g := range s.segments {
		for _, r := range g.recs {
			if r.state() == StateRejected {
				seqs = append(seqs, g.first+uint64(r.delta))
			}
		}
		for _, c := range g.carried {
			if c.state() == StateRejected {
				seqs = append(seqs, c.seq)
			}
		}
	}
	return seqs
}

// Replay makes matching finished records pending again, so that they are sent once more unchanged. It returns how many. The bounds
// are those of Scan.
func (s *Spool) Replay(since, until time.Time, match func(Record) bool) (int, error) {
	var seqs []uint64
	err := s.Scan(since, until, func(r Record) error {
		if r.State == StateDone && match(r) {
			seqs = append(seqs, r.Seq)
		}
		return nil
	})
	n, aerr := s.again(seqs, StateDone)
	return n, errors.Join(err, aerr)
}

// errNone means that no record is in the required state.
var errNone = errors.New("no record is in that state any more")

// again makes pending those of the records that are still in the state was.
func (s *Spool) again(seqs []uint64, was State) (n int, err error) {
	for part := range slices.Chunk(seqs, maxListed) {
		d := draft{frame: frame{kind: kindRetry, time: millis(s.o.Now())}, bound: 8 * len(part), reserve: true}
		var list []uint64
		notes := make(map[uint64]place)
		// A frame that was written and then lost in a failed sync has no effect.
		undo := func() {
			for _, seq := range list {
				if _, r := s.find(seq); r == nil || r.state() != StatePending {
					continue
				}
				s.change(seq, was, d.time)
				if note, ok := notes[seq]; ok {
					s.notes[seq] = note
				}
			}
			list = list[:0]
		}
		d.compose = func() error {
			undo()
			for _, seq := range part {
				if _, r := s.find(seq); r != nil && r.state() == was {
					list = append(list, seq)
					if note, ok := s.notes[seq]; ok {
						notes[seq] = note
					}
				}
			}
			if d.payload = appendSeqs(d.payload[:0], list); len(list) == 0 {
				return errNone
			}
			return nil
		}
		d.written = func(place) {
			for _, seq := range list {
				s.change(seq, StatePending, d.time)
			}
		}
		if err := s.append(&d); err != nil && !errors.Is(err, errNone) {
			s.mu.Lock()
			undo()
			s.mu.Unlock()
			return n, err
		}
		n += len(list)
	}
	return n, nil
}
