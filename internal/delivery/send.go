package delivery

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/tollgate-llm/tollgate/internal/delivery/lawbreak"
	"github.com/tollgate-llm/tollgate/internal/lago"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

// How often something must fail before the event itself is blamed.
const (
	repeatsToSplit = 2    // 500 or 400 of the same batch: bisection begins
	blockedToSplit = 5    // any failure of the same batch, each with successes of others in between
	refusalsToDrop = 3    // refusals of a single event by Lago
	failuresToDrop = 4    // 500 of a single event
	blockedToDrop  = 10   // another 5xx of a single event, each with successes of others in between
	isolatedToDrop = 2    // failures with successes of others in between, before a single event's 500 counts
	outageToForget = 5    // failures in a row without any success, which reset those counts
	refusalsInARow = 5    // single events refused without any success: from then on the events are not blamed
	quarantineMax  = 1000 // single events in quarantine
)

// entry is a claimed record whose events are being delivered. Worker.mu guards it.
type entry struct {
	seq       uint64
	id        spool.ID
	settled   time.Time
	left      int // events neither delivered, rejected nor abandoned
	abandoned bool
	faults    []eventFault
}

// item is one event of a record.
type item struct {
	entry *entry
	index int
	body  []byte
}

// batch is a batch, or part of one, in delivery.
type batch struct {
	items    []item
	due      time.Time
	attempts int // calls made for it, or for the batch it was part of
	// Successes of others distinguish a bad event from an outage.
	last     int64 // Worker.passed at the latest failure
	isolated int   // failures with successes of others since the previous one
	outage   int   // failures in a row without any success
	suspect  int   // failures that a single event may cause
	single   int   // such failures as a single event
	refusal  *Refusal
}

// failed notes a failure, and reports whether others succeeded since the previous one.
func (p *batch) failed(passed int64) bool {
	others := p.attempts > 1 && passed > p.last
	p.last = passed
	if others {
		p.isolated++
		p.outage = 0
		return true
	}
	p.outage++
	if p.outage >= outageToForget {
		p.isolated = 0
	}
	return false
}

func (p batch) split() []batch {
	a, b := p, p
	half := len(p.items) / 2
	a.items, b.items = p.items[:half:half], p.items[half:]
	return []batch{a, b}
}

// deliver sends a batch until all of its events are resolved or delivery stops.
func (d *Worker) deliver(items []item) {
	todo := []batch{{items: items}}
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
		for _, q := range d.attempt(p) {
			if len(q.items) == 1 && (q.single > 0 || q.isolated >= blockedToSplit) && d.isolate(q) {
				continue
			}
			todo = append(todo, q)
		}
	}
}

// await waits for the batch's backoff and for permission to call. false: delivery stops.
func (d *Worker) await(p batch) bool {
	if wait := p.due.Sub(d.now()); wait > 0 {
		d.sleep(d.soft, wait, d.wake.wait())
	}
	if p.attempts > 0 && d.soft.Err() != nil {
		return false
	}
	for {
		freed := d.freed.wait()
		d.mu.Lock()
		client := d.cfg.Client
		d.mu.Unlock()
		if client != nil {
			return d.limiter.acquire(p.attempts == 0)
		}
		select {
		case <-freed:
		case <-d.soft.Done():
			return false
		}
	}
}

// isolate quarantines a single event that Lago fails on, so that it does not occupy a batch's slot while it waits.
func (d *Worker) isolate(p batch) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.quarantine) >= quarantineMax || d.stopped {
		return false
	}
	d.quarantine = append(d.quarantine, p)
	d.quarantineChanged.send()
	return true
}

// retryQuarantined retries the quarantined events, one at a time.
func (d *Worker) retryQuarantined() {
	defer func() {
		d.mu.Lock()
		left := d.quarantine
		d.quarantine = nil
		d.mu.Unlock()
		for _, p := range left {
			d.abandon(p.items)
		}
	}()
	for d.soft.Err() == nil {
		changed := d.quarantineChanged.wait()
		d.mu.Lock()
		at := -1
		for i := range d.quarantine {
			if at < 0 || d.quarantine[i].due.Before(d.quarantine[at].due) {
				at = i
			}
		}
		var p batch
		wait := time.Duration(0)
		if at >= 0 {
			p = d.quarantine[at]
			wait = p.due.Sub(d.now())
		}
		if at >= 0 && wait <= 0 {
			d.quarantine = append(d.quarantine[:at:at], d.quarantine[at+1:]...)
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
			for _, q := range d.attempt(p) {
				d.mu.Lock()
				d.quarantine = append(d.quarantine, q)
				d.mu.Unlock()
			}
		}
	}
}

// attempt makes one call for the batch, which has permission, and returns what remains of it.
func (d *Worker) attempt(p batch) []batch {
	d.mu.Lock()
	client, limit := d.cfg.Client, d.batchLimit
	d.mu.Unlock()
	if len(p.items) > limit || client == nil {
		d.limiter.release()
		if client == nil || len(p.items) == 1 {
			return []batch{p}
		}
		return p.split()
	}
	bodies := make([][]byte, len(p.items))
	for i, it := range p.items {
		bodies[i] = it.body
	}
	if p.attempts > 0 {
		d.count(Retried, len(bodies))
		if !lawbreak.SendIdentical {
			lawbreak.Restamp(bodies, d.now())
		}
	}
	out := client.Batch(d.hard, bodies)
	d.limiter.release()
	p.attempts++
	switch out.Verdict {
	case lago.Accepted:
		d.pass(out)
		d.resolve(p.items, resultAccepted, nil)
		return nil
	case lago.PerEvent:
		d.pass(out)
		if !lawbreak.SortRefusals {
			d.resolve(p.items, resultDuplicate, nil)
			return nil
		}
		return d.sort(p, out)
	default:
		if d.hard.Err() != nil {
			return []batch{p} // cut short by Stop: not Lago's fault
		}
		d.fail(client, out)
		return d.again(p, out)
	}
}

// again returns what remains after a call that failed or was refused entirely.
func (d *Worker) again(p batch, out lago.Outcome) []batch {
	switch out.Verdict {
	case lago.TooMany:
		return d.tooMany(p, out)
	case lago.Stop:
		d.limiter.refused()
		return []batch{p}
	case lago.Poison:
		return d.suspect(p, out)
	default:
		if out.Status == http.StatusTooManyRequests {
			d.limiter.slow(max(out.RetryAfter, backoff(p.attempts)))
			return []batch{p}
		}
		d.limiter.failed()
		if out.Suspect {
			return d.suspect(p, out)
		}
		return d.blocked(p, out)
	}
}

// sort handles a 422 that names events: duplicates are done, refused ones are dead-lettered, and the others are sent again at
// once, as nothing of the batch was stored.
func (d *Worker) sort(p batch, out lago.Outcome) []batch {
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
	d.resolve(had, resultDuplicate, nil)
	d.resolve(refused, resultRejected, faults)
	if len(rest) == 0 {
		return nil
	}
	return []batch{{items: rest, attempts: p.attempts, last: d.passed.Load()}}
}

// tooMany learns this Lago's smaller batch limit.
func (d *Worker) tooMany(p batch, out lago.Outcome) []batch {
	if len(p.items) == 1 {
		return d.suspect(p, out)
	}
	d.mu.Lock()
	d.batchLimit = max(min(d.batchLimit, len(p.items)/2), 1)
	d.streak = 0
	d.mu.Unlock()
	return p.split()
}

// suspect handles a failure that a single event of the batch may have caused. Bisection finds it. It is dead-lettered only if
// it keeps failing alone while others succeed, so that an outage of Lago costs no event.
func (d *Worker) suspect(p batch, out lago.Outcome) []batch {
	p.suspect++
	p.due = time.Time{}
	if others := p.failed(d.passed.Load()); !others || len(p.items) == 1 || out.RetryAfter > 0 {
		p.due = d.now().Add(max(backoff(p.attempts), min(out.RetryAfter, rateLimitMost)))
	}
	if len(p.items) > 1 {
		tooLarge := out.Status == http.StatusRequestEntityTooLarge
		if p.suspect < repeatsToSplit && !tooLarge {
			return []batch{p}
		}
		p.suspect = repeatsToSplit - 1 // its halves are as suspect: each is split at its next failure
		if tooLarge {
			p.due = time.Time{}
		}
		return p.split()
	}
	p.single++
	if out.Foreign {
		p.refusal = p.refusal.again(d.now(), p.items[0].entry.id, out)
		d.alarmRefused(out)
		return []batch{p}
	}
	if out.Verdict == lago.Retry {
		if p.single < failuresToDrop || p.isolated < isolatedToDrop {
			return []batch{p}
		}
	} else {
		d.mu.Lock()
		refusals := d.refusals
		d.mu.Unlock()
		if p.single < refusalsToDrop || p.isolated == 0 && refusals >= refusalsInARow {
			return []batch{p}
		}
	}
	d.drop(p, out)
	return nil
}

// blocked handles a failure that does not depend on the events. The batch is split only if it keeps failing while others
// succeed: an event may crash a proxy in between.
func (d *Worker) blocked(p batch, out lago.Outcome) []batch {
	p.failed(d.passed.Load())
	p.due = d.now().Add(max(backoff(p.attempts), min(out.RetryAfter, rateLimitMost)))
	switch {
	case p.isolated >= blockedToSplit && len(p.items) > 1:
		p.isolated = blockedToSplit - 1
		return p.split()
	case p.isolated >= blockedToDrop && len(p.items) == 1 && out.Status >= 500:
		d.drop(p, out)
		return nil
	}
	return []batch{p}
}

// drop dead-letters a single event.
func (d *Worker) drop(p batch, out lago.Outcome) {
	words, err := json.Marshal("poison: " + out.Words)
	if err != nil {
		words = nil
	}
	d.mu.Lock()
	d.refusals++
	d.mu.Unlock()
	d.resolve(p.items, resultRejected, []eventFault{{Status: out.Status, Error: words}})
}
