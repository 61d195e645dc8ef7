package delivery

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate-llm/tollgate/internal/lago"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

// Results of delivery, as named in metrics and the admin API. resultError counts calls, the others events.
const (
	Accepted   = "accepted"  // stored by this call
	Duplicate  = "duplicate" // stored by an earlier call whose answer was lost
	Rejected   = "rejected"  // dead-lettered with Lago's error
	Retried    = "retried"   // sent again, byte-identical
	Refused    = "refused"   // sent alone and refused, but not by Lago; it is sent again
	CallFailed = "error"     // a call that failed or was refused entirely
)

// What happens to a record that is first sent after its billing period has closed.
const (
	LateKeep    = "keep"
	LateRestamp = "restamp"
)

// Bounds of batches.
const (
	maxInFlight = 8   // concurrent batches
	batchMax    = 100 // events in a batch, Lago's maximum
	linger      = 100 * time.Millisecond
)

// Source is the part of a spool that delivery needs.
type Source interface {
	Claim(ctx context.Context, max int) ([]spool.Record, error)
	Release(seqs ...uint64)
	Done(seqs ...uint64) error
	Reject(seq uint64, note []byte) error
	Amend(seq uint64, payload []byte) (uint64, error)
}

// Config holds the settings that a reload may change.
type Config struct {
	// Client is the account's Lago. nil: nothing is sent, records stay pending.
	Client *lago.Client
	// Late is LateKeep (default) or LateRestamp.
	Late string
	// SentFile is where LateRestamp notes up to which record sending may have begun. Default: only records settled since
	// the process started are restamped.
	SentFile string
	// OnResult is called with each result and its count. It must not block, and may be nil.
	OnResult func(result string, n int)
}

// Worker sends the records of one spool to one Lago account. It claims records, packs their events
// into batches and keeps each until Lago has it or has refused it for good. It outlives reloads.
type Worker struct {
	spool Source
	log   *zap.Logger
	now   func() time.Time
	sleep func(ctx context.Context, d time.Duration, wake <-chan struct{})

	limiter           limiter
	late              lateness
	passed            atomic.Int64 // successful calls
	wake              broadcast    // cuts backoff short
	quarantineChanged broadcast    // the quarantined events changed
	freed             broadcast    // a batch is finished, or the settings changed

	maxInFlight int           // concurrent batches
	linger      time.Duration // how long a partial batch waits for more; negative: not at all

	mu          sync.Mutex
	cfg         Config
	batchLimit  int // learned from Lago, at most batchMax
	streak      int // successes since the limit was learned
	outstanding int // batches
	inFlight    int // events
	quarantine  []batch
	refusedAt   time.Time // when a refusal by something in front of Lago was last logged
	refusals    int       // events rejected as poison since the last success
	failures    int       // failures since the last success
	trouble     string
	figures     Status
	asked       *lago.Client // the client whose events_store is known or being queried

	soft, hard            context.Context //nolint:containedctx // the worker's lifetimes: of claiming, and of calling
	endClaiming, endCalls context.CancelFunc
	running               sync.WaitGroup
	started, stopped      bool
}

// Status is the state of delivery in the admin API.
type Status struct {
	EventsStore    string           `json:"events_store,omitempty"` // "postgres" or "clickhouse", once Lago has reported it
	Stopped        string           `json:"stopped,omitempty"`      // why nothing is sent until an operator has fixed it
	LastError      string           `json:"last_error,omitempty"`
	LastErrorAt    time.Time        `json:"last_error_at,omitzero"`
	LastSuccess    time.Time        `json:"last_success,omitzero"`
	InFlight       int              `json:"in_flight"`         // events in progress
	Batches        int              `json:"batches"`           // batches in progress
	Concurrency    int              `json:"concurrency"`       // current bound of concurrent calls
	BatchLimit     int              `json:"batch_limit"`       // current bound of a batch
	Suspects       int              `json:"suspects"`          // single events that Lago fails on, retried apart from the others
	Refused        []Refusal        `json:"refused,omitempty"` // events that something in front of Lago refuses, the first 100
	RefusedTotal   int              `json:"refused_total"`
	Results        map[string]int64 `json:"results"`        // since the process started
	RateRemaining  int              `json:"rate_remaining"` // calls left by Lago's rate limit; -1: not reported
	LateRestamped  int64            `json:"late_restamped"` // records moved into the open period
	LateUndecided  int64            `json:"late_undecided"` // late records kept because they may have been sent before
	DeliveryPaused time.Time        `json:"paused_until,omitzero"`
}

// New returns a worker that has not started.
func New(s Source, logger *zap.Logger) *Worker {
	d := &Worker{spool: s, log: logger, now: time.Now, sleep: sleep, maxInFlight: maxInFlight, linger: linger}
	d.soft, d.endClaiming = context.WithCancel(context.Background())
	d.hard, d.endCalls = context.WithCancel(context.Background())
	d.figures = Status{Results: make(map[string]int64), RateRemaining: -1}
	d.limiter.d = d
	d.late.d = d
	d.Configure(Config{})
	return d
}

// Configure applies settings at once, to batches in progress too. What was learned of an earlier Lago (a wrong key, a batch
// limit) is forgotten.
func (d *Worker) Configure(cfg Config) {
	cfg.Late = cmp.Or(cfg.Late, LateKeep)
	d.mu.Lock()
	d.cfg = cfg
	d.batchLimit = batchMax
	d.figures.Stopped, d.trouble, d.refusals = "", "", 0
	ask := d.started && !d.stopped && cfg.Client != nil && d.asked != cfg.Client
	if ask {
		d.asked = cfg.Client
		d.running.Go(func() { d.askStore(cfg.Client) })
	}
	d.mu.Unlock()
	d.limiter.reset(d.maxInFlight)
	d.late.configure(cfg)
	d.Kick()
}

// Start begins to deliver.
func (d *Worker) Start() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.started || d.stopped {
		return
	}
	d.started = true
	d.running.Go(d.dispatch)
	d.running.Go(d.retryQuarantined)
	if c := d.cfg.Client; c != nil {
		d.asked = c
		d.running.Go(func() { d.askStore(c) })
	}
}

// Stop claims nothing more, lets calls in progress finish until ctx ends, and returns when all goroutines have. Undelivered
// records stay pending in the spool.
func (d *Worker) Stop(ctx context.Context) {
	d.mu.Lock()
	d.stopped = true
	d.mu.Unlock()
	d.endClaiming()
	cut := context.AfterFunc(ctx, d.endCalls)
	d.running.Wait()
	cut()
	d.endCalls()
	d.late.close()
}

// Kick ends all backoffs and pauses, so that everything is retried now.
func (d *Worker) Kick() {
	d.limiter.resume()
	d.wake.send()
	d.quarantineChanged.send()
	d.freed.send()
}

// Adopted notes that records settled up to then came from another spool, where they may have been sent, so they keep their
// time. It must be called before they can be claimed.
func (d *Worker) Adopted(newest time.Time) error { return d.late.adopted(newest) }

// Status returns the state of delivery.
func (d *Worker) Status() Status {
	concurrency, until := d.limiter.figures()
	restamped, undecided := d.late.figures()
	d.mu.Lock()
	defer d.mu.Unlock()
	st := d.figures
	st.Results = maps.Clone(d.figures.Results)
	st.InFlight, st.Batches, st.Suspects, st.BatchLimit = d.inFlight, d.outstanding, len(d.quarantine), d.batchLimit
	st.Refused, st.RefusedTotal = d.refusedNow()
	st.Concurrency, st.LateRestamped, st.LateUndecided = concurrency, restamped, undecided
	if until.After(d.now()) {
		st.DeliveryPaused = until
	}
	return st
}

// dispatch claims records and sends their events in batches, as many at once as the settings allow.
func (d *Worker) dispatch() {
	var carry []item
	defer func() { d.abandon(carry) }()
	for d.slot() {
		batch, rest, err := d.fill(carry)
		carry = rest
		if err != nil {
			d.unslot(0)
			if errors.Is(err, spool.ErrClosed) || d.soft.Err() != nil {
				return
			}
			d.note("reading the spool: "+err.Error(), false)
			d.sleep(d.soft, backoff(3), d.wake.wait())
			continue
		}
		d.mu.Lock()
		d.inFlight += len(batch)
		d.mu.Unlock()
		d.running.Go(func() {
			d.deliver(batch)
			d.unslot(len(batch))
		})
	}
}

// slot waits until another batch may start and Lago is not known to refuse everything.
func (d *Worker) slot() bool {
	for {
		freed := d.freed.wait()
		d.mu.Lock()
		ok := d.outstanding < d.maxInFlight && d.cfg.Client != nil && d.figures.Stopped == ""
		if ok {
			d.outstanding++
		}
		failing := d.failures > 0
		d.mu.Unlock()
		if ok {
			if d.soft.Err() == nil {
				return true
			}
			d.unslot(0)
			return false
		}
		if failing {
			d.late.stalled()
		}
		select {
		case <-freed:
		case <-d.soft.Done():
			return false
		}
	}
}

func (d *Worker) unslot(events int) {
	d.mu.Lock()
	d.outstanding--
	d.inFlight -= events
	d.mu.Unlock()
	d.freed.send()
}

// fill returns the next batch and the items that did not fit. It waits for the first record, then briefly for more.
func (d *Worker) fill(carry []item) (batch, rest []item, err error) {
	d.mu.Lock()
	limit, linger := d.batchLimit, d.linger
	d.mu.Unlock()
	items := carry
	ctx := d.soft
	var deadline time.Time
	scarce := false
	for len(items) < limit {
		if len(items) > 0 {
			if linger < 0 || d.soft.Err() != nil {
				break
			}
			if deadline.IsZero() {
				deadline = time.Now().Add(linger)
				var cancel context.CancelFunc
				ctx, cancel = context.WithDeadline(d.soft, deadline)
				defer cancel()
			}
			if scarce {
				// Waking up for each record would cost more than everything else in delivery.
				sleep(ctx, linger/8, nil)
			}
		}
		began, wanted := d.now(), limit-len(items)
		records, err := d.spool.Claim(ctx, wanted)
		scarce = len(records) < wanted
		d.late.claimed(records, d.now().Sub(began))
		for _, r := range records {
			items = d.unpack(items, r)
		}
		if err != nil {
			if len(items) > 0 {
				break // the deadline, or an error that the next claim will repeat
			}
			return nil, nil, err
		}
	}
	n := min(limit, len(items))
	return items[:n:n], items[n:], nil
}

// unpack appends the items of a record's events. An unreadable record is dead-lettered, so that it does not block others.
func (d *Worker) unpack(items []item, r spool.Record) []item {
	switch d.late.decide(r) {
	case sendNow:
	case sendLater:
		return items
	case undecided:
		d.spool.Release(r.Seq)
		return items
	}
	bodies, err := record.Events(r.Payload)
	if err != nil {
		d.reject(r.Seq, noteOf("the record cannot be read: "+err.Error()))
		d.count(Rejected, 1)
		return items
	}
	if len(bodies) == 0 {
		d.done([]uint64{r.Seq})
		return items
	}
	e := &entry{seq: r.Seq, id: r.ID, settled: r.Time, left: len(bodies)}
	for i, b := range bodies {
		items = append(items, item{entry: e, index: i, body: b})
	}
	return items
}

// askStore asks Lago which events store the organization has, until it answers.
func (d *Worker) askStore(client *lago.Client) {
	for tries := 1; ; tries++ {
		org, err := client.Organization(d.soft)
		d.mu.Lock()
		current := d.asked == client
		if current && err == nil {
			d.figures.EventsStore = org.EventsStore
		}
		d.mu.Unlock()
		if !current || d.soft.Err() != nil {
			return
		}
		if err == nil {
			if org.EventsStore == lago.ClickHouse {
				d.log.Info("this Lago keeps events in ClickHouse: its 200 is not durable, so delivered records are kept for replay; " +
					"see that clickhouse_deduplication_enabled is on")
			}
			return
		}
		if tries == 1 {
			d.log.Warn("asking Lago for its events store", zap.Error(err))
		}
		d.sleep(d.soft, min(backoff(tries)*2, time.Minute), d.wake.wait())
	}
}

// count adds to the counters of a result.
func (d *Worker) count(result string, n int) {
	if n == 0 {
		return
	}
	d.mu.Lock()
	d.figures.Results[result] += int64(n)
	fn := d.cfg.OnResult
	d.mu.Unlock()
	if fn != nil {
		fn(result, n)
	}
}
