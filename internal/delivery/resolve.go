package delivery

import (
	"encoding/json"
	"errors"

	"go.uber.org/zap"

	"github.com/tollgate-llm/tollgate/internal/lago"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

const (
	passesToRegrow  = 1000 // successes after which a larger batch is tried again
	failuresToAlarm = 3    // failed calls in a row before a line is logged
)

// eventResult is the result of delivering an event.
type eventResult uint8

const (
	resultAccepted eventResult = iota
	resultDuplicate
	resultRejected
	resultAbandoned
)

// eventFault is why an event was rejected, for the note of its record.
type eventFault struct {
	Event         int             `json:"event"` // its place in the record
	TransactionID string          `json:"transaction_id,omitempty"`
	Status        int             `json:"status,omitempty"` // from Lago
	Error         json.RawMessage `json:"error,omitempty"`  // Lago's error
}

// Rejection is the note of a rejected record.
type Rejection struct {
	Events []eventFault `json:"events,omitempty"`
	Error  string       `json:"error,omitempty"` // our reason, if the record as a whole was rejected
}

func noteOf(text string) []byte {
	b, err := json.Marshal(Rejection{Error: text})
	if err != nil {
		return []byte(`{}`)
	}
	return b
}

// resolve notes the results of events, and finishes the records that have no event left. faults are those of rejected items,
// in the same order.
func (d *Worker) resolve(items []item, f eventResult, faults []eventFault) {
	if len(items) == 0 {
		return
	}
	var done, released []uint64
	var rejected []*entry
	d.mu.Lock()
	for i, it := range items {
		e := it.entry
		e.left--
		switch f {
		case resultAccepted, resultDuplicate:
		case resultRejected:
			fault := eventFault{}
			if i < len(faults) {
				fault = faults[i]
			}
			fault.Event, fault.TransactionID = it.index, record.Event(it.body).ID()
			e.faults = append(e.faults, fault)
		case resultAbandoned:
			e.abandoned = true
		}
		if e.left > 0 {
			continue
		}
		switch {
		case e.abandoned:
			released = append(released, e.seq)
		case len(e.faults) > 0:
			rejected = append(rejected, e)
		default:
			done = append(done, e.seq)
		}
	}
	d.mu.Unlock()
	switch f {
	case resultAccepted:
		d.count(Accepted, len(items))
	case resultDuplicate:
		d.count(Duplicate, len(items))
	case resultRejected:
		d.count(Rejected, len(items))
	case resultAbandoned:
	}
	if len(released) > 0 {
		d.spool.Release(released...)
	}
	for _, e := range rejected {
		note, err := json.Marshal(Rejection{Events: e.faults})
		if err != nil {
			note = noteOf("Lago's error cannot be written as JSON: " + err.Error())
		}
		d.late.rejected(e.settled)
		d.reject(e.seq, note)
		d.log.Error("Lago refuses the events of a record; it is dead-lettered", zap.Uint64("record", e.seq), zap.ByteString("why", note))
	}
	if len(done) > 0 {
		d.done(done)
	}
}

// abandon leaves events for later: their records stay pending.
func (d *Worker) abandon(items []item) { d.resolve(items, resultAbandoned, nil) }

// done notes in the spool that Lago has the records. It retries, as a record that is not noted is sent again.
func (d *Worker) done(seqs []uint64) {
	d.persist("noting delivered records", func() error { return d.spool.Done(seqs...) })
}

func (d *Worker) reject(seq uint64, note []byte) {
	d.persist("dead-lettering a record", func() error { return d.spool.Reject(seq, note) })
}

func (d *Worker) persist(what string, write func() error) {
	for tries := 1; ; tries++ {
		err := write()
		if err == nil {
			return
		}
		d.note(what+": "+err.Error(), tries == 1)
		if errors.Is(err, spool.ErrClosed) || d.soft.Err() != nil {
			return
		}
		d.sleep(d.soft, backoff(tries), d.wake.wait())
	}
}

// pass notes a success.
func (d *Worker) pass(out lago.Outcome) {
	d.passed.Add(1)
	d.limiter.passed(out.Remaining, out.RetryAfter)
	d.mu.Lock()
	long := d.failures >= 2*d.maxInFlight
	stopped := d.figures.Stopped != ""
	trouble := d.trouble
	d.failures, d.refusals, d.trouble = 0, 0, ""
	d.figures.Stopped, d.figures.LastSuccess, d.figures.RateRemaining = "", d.now(), out.Remaining
	d.streak++
	if d.streak >= passesToRegrow && d.batchLimit < batchMax {
		d.batchLimit, d.streak = min(2*d.batchLimit, batchMax), 0
	}
	d.mu.Unlock()
	if trouble != "" {
		d.log.Info("Lago takes events again")
	}
	if long || stopped { // the outage is over for all that wait
		d.wake.send()
		d.freed.send()
	}
}

// fail notes a failure.
func (d *Worker) fail(client *lago.Client, out lago.Outcome) {
	d.count(CallFailed, 1)
	d.mu.Lock()
	d.failures++
	alarm := d.failures >= failuresToAlarm
	// An answer to a call with earlier settings does not stop delivery with the current ones.
	if out.Verdict == lago.Stop && client == d.cfg.Client {
		d.figures.Stopped, alarm = out.Words, true
	}
	d.mu.Unlock()
	d.note(out.Words, alarm)
}

// note keeps the last error, and logs it if it is due and differs from the one before.
func (d *Worker) note(words string, alarm bool) {
	d.mu.Lock()
	d.figures.LastError, d.figures.LastErrorAt = words, d.now()
	alarm = alarm && d.trouble != words
	stopped := d.figures.Stopped != ""
	if alarm {
		d.trouble = words
	}
	d.mu.Unlock()
	switch {
	case alarm && stopped:
		d.log.Error("Lago refuses all events; they are kept until this is fixed", zap.String("error", words))
	case alarm:
		d.log.Error("delivery to Lago", zap.String("error", words))
	}
}
