package delivery

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/tollgate-llm/tollgate/internal/delivery/lawbreak"
	"github.com/tollgate-llm/tollgate/internal/lago"
)

// How often something must fail before it is taken to be the event's own fault.
const (
	repeatsToSplit = 2    // 500 or 400 of the same batch: one of its events is looked for by bisection
	blockedToSplit = 5    // any failure of the same batch, each time with others passing in between
	refusalsToDrop = 3    // 400 or 413 of a single event
	failuresToDrop = 4    // 500 of a single event
	blockedToDrop  = 10   // another 5xx of a single event, each time with others passing in between
	witnesses      = 2    // times that others passed between two failures on the way to a single event's 500
	dryToForget    = 5    // failures in a row with nothing passing, after which those times count no more
	refusalsInARow = 5    // single events refused with no other passing: from then on it is not the events' fault
	parkedMost     = 1000 // single events that wait apart
)

// entry is a claimed record whose events are under way. delivery.mu guards it.
type entry struct {
	seq       uint64
	settled   time.Time
	left      int // events that are neither delivered nor rejected nor given up for now
	abandoned bool
	faults    []eventFault
}

// item is one event of a record.
type item struct {
	entry *entry
	index int
	body  []byte
}

// piece is a batch or a part of one, on its way.
type piece struct {
	items []item
	due   time.Time
	tries int // calls made for it or for the batch it was a part of
	// Whether others pass is what tells a bad event from a bad day.
	last    int64 // delivery.passed at the latest failure
	witness int   // failures with others passing since the one before
	dry     int   // failures in a row with nothing passing
	suspect int   // failures that a single event can cause
	alone   int   // such failures as a single event
}

// failed notes a failure, and reports whether others passed since the one before.
func (p *piece) failed(passed int64) bool {
	others := p.tries > 1 && passed > p.last
	p.last = passed
	if others {
		p.witness++
		p.dry = 0
		return true
	}
	p.dry++
	if p.dry >= dryToForget {
		p.witness = 0
	}
	return false
}

func (p piece) split() []piece {
	a, b := p, p
	half := len(p.items) / 2
	a.items, b.items = p.items[:half:half], p.items[half:]
	return []piece{a, b}
}

// deliver sends a batch until each of its events is through, or delivery stops.
func (d *Worker) deliver(items []item) {
	todo := []piece{{items: items}}
	for len(todo) > 0 {
		at := 0
		for i := range todo {
			if todo[i].due.Before(todo[at].due) {
				at = i
			}
		}
		p := todo[at]
		todo[at] = todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if !d.await(p) {
			for _, q := range append(todo, p) {
				d.abandon(q.items)
			}
			return
		}
		for _, q := range d.try(p) {
			if len(q.items) == 1 && (q.alone > 0 || q.witness >= blockedToSplit) && d.park(q) {
				continue
			}
			todo = append(todo, q)
		}
	}
}

// await waits for the piece's time and for the right to make a call. false: delivery stops.
func (d *Worker) await(p piece) bool {
	if wait := p.due.Sub(d.now()); wait > 0 {
		d.sleep(d.soft, wait, d.wake.wait())
	}
	if p.tries > 0 && d.soft.Err() != nil {
		return false
	}
	for {
		freed := d.freed.wait()
		d.mu.Lock()
		client := d.cfg.Client
		d.mu.Unlock()
		if client != nil {
			return d.pace.acquire(p.tries == 0)
		}
		select {
		case <-freed:
		case <-d.soft.Done():
			return false
		}
	}
}

// park puts a single event that Lago fails on apart, where it waits for its next try without holding a batch's place.
func (d *Worker) park(p piece) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.parked) >= parkedMost || d.stopped {
		return false
	}
	d.parked = append(d.parked, p)
	d.tended.send()
	return true
}

// tend tries the parked events, one at a time.
func (d *Worker) tend() {
	defer func() {
		d.mu.Lock()
		parked := d.parked
		d.parked = nil
		d.mu.Unlock()
		for _, p := range parked {
			d.abandon(p.items)
		}
	}()
	for d.soft.Err() == nil {
		changed := d.tended.wait()
		d.mu.Lock()
		at := -1
		for i := range d.parked {
			if at < 0 || d.parked[i].due.Before(d.parked[at].due) {
				at = i
			}
		}
		var p piece
		wait := time.Duration(0)
		if at >= 0 {
			p = d.parked[at]
			wait = p.due.Sub(d.now())
		}
		if at >= 0 && wait <= 0 {
			d.parked = append(d.parked[:at:at], d.parked[at+1:]...)
		}
		d.mu.Unlock()
		switch {
		case at < 0:
			select {
			case <-changed:
			case <-d.soft.Done():
			}
		case wait > 0:
			d.sleep(d.soft, wait, changed)
		case !d.await(p):
			d.abandon(p.items)
		default:
			for _, q := range d.try(p) {
				d.mu.Lock()
				d.parked = append(d.parked, q)
				d.mu.Unlock()
			}
		}
	}
}

// try makes one call for the piece, whose turn was acquired, and returns what is left of it to do.
func (d *Worker) try(p piece) []piece {
	d.mu.Lock()
	client, limit := d.cfg.Client, d.batchLimit
	d.mu.Unlock()
	if len(p.items) > limit || client == nil {
		d.pace.release()
		if client == nil || len(p.items) == 1 {
			return []piece{p}
		}
		return p.split()
	}
	bodies := make([][]byte, len(p.items))
	for i, it := range p.items {
		bodies[i] = it.body
	}
	if p.tries > 0 {
		d.count(Retried, len(bodies))
		if !lawbreak.SendIdentical {
			lawbreak.Restamp(bodies, d.now())
		}
	}
	out := client.Batch(d.hard, bodies)
	d.pace.release()
	p.tries++
	switch out.Verdict {
	case lago.Accepted:
		d.pass(out)
		d.settle(p.items, fateAccepted, nil)
		return nil
	case lago.PerEvent:
		d.pass(out)
		if !lawbreak.SortRefusals {
			d.settle(p.items, fateHad, nil)
			return nil
		}
		return d.sort(p, out)
	default:
		if d.hard.Err() != nil {
			return []piece{p} // cut by stop: not Lago's fault
		}
		d.fail(client, out)
		return d.again(p, out)
	}
}

// again says what to do after a call that failed or was refused as a whole.
func (d *Worker) again(p piece, out lago.Outcome) []piece {
	switch out.Verdict {
	case lago.TooMany:
		return d.tooMany(p, out)
	case lago.Stop:
		d.pace.refused()
		return []piece{p}
	case lago.Poison:
		return d.suspect(p, out)
	default:
		if out.Status == http.StatusTooManyRequests {
			d.pace.slow(max(out.RetryAfter, backoff(p.tries)))
			return []piece{p}
		}
		d.pace.failed()
		if out.Suspect {
			return d.suspect(p, out)
		}
		return d.blocked(p, out)
	}
}

// sort handles a 422 that names events: those that Lago has are done, those it refuses are set aside, and the others go
// again at once, as nothing of the batch was stored.
func (d *Worker) sort(p piece, out lago.Outcome) []piece {
	var had, rest, refused []item
	var faults []eventFault
	for i, it := range p.items {
		switch f, named := out.Events[i]; {
		case !named:
			rest = append(rest, it)
		case f.Done:
			had = append(had, it)
		default:
			refused = append(refused, it)
			faults = append(faults, eventFault{Status: out.Status, Error: f.Words})
		}
	}
	d.settle(had, fateHad, nil)
	d.settle(refused, fateRejected, faults)
	if len(rest) == 0 {
		return nil
	}
	return []piece{{items: rest, tries: p.tries, last: d.passed.Load()}}
}

// tooMany learns that this Lago takes fewer events in a batch.
func (d *Worker) tooMany(p piece, out lago.Outcome) []piece {
	if len(p.items) == 1 {
		return d.suspect(p, out)
	}
	d.mu.Lock()
	d.batchLimit = max(min(d.batchLimit, len(p.items)/2), 1)
	d.streak = 0
	d.mu.Unlock()
	return p.split()
}

// suspect handles a failure that a single event of the piece can have caused. The event is found by bisection. It is
// set aside only when it keeps failing alone while others pass, so that a Lago that fails on everything costs nothing.
func (d *Worker) suspect(p piece, out lago.Outcome) []piece {
	p.suspect++
	p.due = time.Time{}
	if others := p.failed(d.passed.Load()); !others || len(p.items) == 1 || out.RetryAfter > 0 {
		p.due = d.now().Add(max(backoff(p.tries), min(out.RetryAfter, rateLimitMost)))
	}
	if len(p.items) > 1 {
		tooLarge := out.Status == http.StatusRequestEntityTooLarge
		if p.suspect < repeatsToSplit && !tooLarge {
			return []piece{p}
		}
		p.suspect = repeatsToSplit - 1 // its halves are as suspect: each splits at its next failure
		if tooLarge {
			p.due = time.Time{}
		}
		return p.split()
	}
	p.alone++
	if out.Verdict == lago.Retry {
		if p.alone < failuresToDrop || p.witness < witnesses {
			return []piece{p}
		}
	} else {
		d.mu.Lock()
		refusals := d.refusals
		d.mu.Unlock()
		if p.alone < refusalsToDrop || p.witness == 0 && refusals >= refusalsInARow {
			return []piece{p}
		}
	}
	d.drop(p, out)
	return nil
}

// blocked handles a failure that says nothing of the events. Only when the same piece keeps failing while others pass
// is it taken apart: an event may crash whatever stands between.
func (d *Worker) blocked(p piece, out lago.Outcome) []piece {
	p.failed(d.passed.Load())
	p.due = d.now().Add(max(backoff(p.tries), min(out.RetryAfter, rateLimitMost)))
	switch {
	case p.witness >= blockedToSplit && len(p.items) > 1:
		p.witness = blockedToSplit - 1
		return p.split()
	case p.witness >= blockedToDrop && len(p.items) == 1 && out.Status >= 500:
		d.drop(p, out)
		return nil
	}
	return []piece{p}
}

// drop sets a single event aside as poison.
func (d *Worker) drop(p piece, out lago.Outcome) {
	words, err := json.Marshal("poison: " + out.Words)
	if err != nil {
		words = nil
	}
	d.mu.Lock()
	d.refusals++
	d.mu.Unlock()
	d.settle(p.items, fateRejected, []eventFault{{Status: out.Status, Error: words}})
}
