package account

import (
	"slices"
	"time"
)

// The bounds of the look-ups that wait. Each key has room for one however many others do.
const (
	lookupsQueued = 1024
	lookupsPerKey = 32
)

// lookups are the payers that wait to be looked up: a line for each key, and the keys take turns, so that none fills the
// look-ups of others.
type lookups struct {
	lines map[string][]*payerEntry
	turns []string // the keys whose lines are not empty
	n     int
}

// add queues a payer for a key. It reports whether the payer is in the key's line.
func (q *lookups) add(key string, e *payerEntry) bool {
	line := q.lines[key]
	switch {
	case slices.Contains(line, e):
		return true
	case len(line) >= lookupsPerKey || len(line) > 0 && q.n >= lookupsQueued:
		return false
	case len(line) == 0:
		q.turns = append(q.turns, key)
	}
	if q.lines == nil {
		q.lines = make(map[string][]*payerEntry)
	}
	q.lines[key] = append(line, e)
	q.n++
	return true
}

// next takes the first payer of the key whose turn it is; nil when none waits.
func (q *lookups) next() *payerEntry {
	if len(q.turns) == 0 {
		return nil
	}
	key := q.turns[0]
	q.turns = q.turns[1:]
	line := q.lines[key]
	e := line[0]
	q.n--
	if line = line[1:]; len(line) > 0 {
		q.lines[key] = line
		q.turns = append(q.turns, key)
	} else {
		delete(q.lines, key)
	}
	return e
}

// work looks payers up until the check stops.
func (p *payers) work() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.ctx.Err() == nil {
		e := p.queue.next()
		switch {
		case e == nil:
			p.queued.Wait()
		case e.pending != nil && e.begun.IsZero(): // it may have been looked up in another key's turn
			p.look(e)
		}
	}
}

// stuck reports whether Lago has left a look-up without an answer for longer than a call waits.
func (p *payers) stuck(now time.Time) bool {
	for e := range p.asking {
		if now.Sub(e.begun) >= p.wait {
			return true
		}
	}
	return false
}
