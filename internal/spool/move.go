package spool

import (
	"errors"
)

// move is the copy of one unfinished record to the end of the log, unchanged or amended. The record keeps its
// sequence number; it takes its new place once the copy is as durable as it must be.
type move struct {
	seq      uint64
	id       ID
	open     bool
	from     place
	to       place
	note     place // where the note was read from
	noteLen  int
	replaced []byte // the new payload; nil: the old one
}

// errMovedOn means that the record has changed since its copy was begun.
var errMovedOn = errors.New("the record has changed meanwhile")

// Amend replaces the payload of a pending or rejected record. It returns the record's sequence number, which does not change. The
// caller ensures that the record is not sent meanwhile.
func (s *Spool) Amend(seq uint64, payload []byte) (uint64, error) {
	if len(payload) > maxPayload {
		return 0, ErrTooLarge
	}
	s.moving.Lock()
	defer s.moving.Unlock()
	m := move{seq: seq, replaced: payload}
	err := errMovedOn
	for try := 0; errors.Is(err, errMovedOn) && try < 8; try++ {
		err = s.copyForward(&m)
	}
	if err != nil {
		return 0, err
	}
	if err := s.settleMoves([]move{m}, s.o.Durability == Fsync); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		return 0, s.wentWrong(err)
	}
	return seq, nil
}

// locateMove finds the record, and whether it may be moved. Only settled records can be amended.
func (s *Spool) locateMove(m *move) (State, bool) {
	if m.open {
		c := s.open[m.id]
		if c == nil || c.seq != m.seq || c.settling {
			return 0, false
		}
		m.from = c.at
		return c.state, true
	}
	g, r := s.find(m.seq)
	if r == nil || (r.state() != StatePending && r.state() != StateRejected) {
		return 0, false
	}
	m.from = place{g, r.off, r.len()}
	return r.state(), true
}

// copyForward writes the copy. The caller holds the moving lock and must call settleMoves, which makes it count.
func (s *Spool) copyForward(m *move) error {
	s.mu.Lock()
	state, ok := s.locateMove(m)
	if !ok {
		s.mu.Unlock()
		return ErrUnknown
	}
	from := m.from
	_, err := s.acquire(from.seg)
	m.note = s.notes[m.seq]
	s.mu.Unlock()
	if err != nil {
		return err
	}
	defer func() {
		s.mu.Lock()
		s.note(s.release(from.seg))
		s.mu.Unlock()
	}()
	var record Record
	err = read([]located{{place: from, seq: m.seq, state: state}}, func(_ located, r Record, err error) error {
		record = r
		return err
	})
	if err != nil {
		return err
	}
	m.id = record.ID
	body := moved{seq: m.seq, time: millis(record.Time), payload: record.Payload}
	if m.replaced != nil {
		body.payload = m.replaced
	}
	if state == StateRejected {
		body.note = s.readNote(m.seq)
	}
	m.noteLen = len(body.note)
	d := draft{frame: frame{kind: kindMoved, time: millis(s.o.Now()), id: m.id}, reserve: m.replaced != nil}
	d.bound = movedHead + len(body.note) + len(body.payload)
	d.compose = func() error {
		now, ok := s.locateMove(m)
		if !ok || m.from != from || now != state || s.notes[m.seq] != m.note {
			return errMovedOn
		}
		body.state = now
		d.payload = body.append(d.payload[:0])
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.beginWrite(); err != nil {
		return err
	}
	defer s.endWrite()
	m.to, err = s.write(&d)
	if err != nil && !d.refused {
		return s.wentWrong(err)
	}
	return err
}

// settleMoves gives records the places of their copies, after a sync if the copies must survive a loss of power.
func (s *Spool) settleMoves(moves []move, hard bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for i := range moves {
		if to := moves[i].to; hard && err == nil {
			err = s.syncTo(to.seg, to.end())
		}
	}
	for i := range moves {
		m := &moves[i]
		if err == nil {
			s.takePlace(m)
		}
		s.note(s.release(m.to.seg))
	}
	return err
}

// takePlace makes a copy count, unless the record was finished meanwhile.
func (s *Spool) takePlace(m *move) {
	if m.open {
		if c := s.open[m.id]; c != nil && c.at == m.from {
			s.moveOpen(c, m.to)
		}
		return
	}
	g, r := s.find(m.seq)
	if r == nil || (place{g, r.off, r.len()}) != m.from {
		return
	}
	state := r.state()
	s.remove(m.seq)
	s.addCarried(m.to, m.seq, state)
	if state == StateRejected && m.noteLen > 0 && s.notes[m.seq] == m.note {
		s.notes[m.seq] = movedNote(m.to, m.noteLen)
	}
	for v := range s.views {
		if m.from.seg.number <= v.at {
			v.skip[m.seq] = struct{}{}
		}
	}
}
