package account

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/tollgate-llm/tollgate/internal/lago"
)

// What is done about payers that Lago does not know. Lago answers 200 for their events and bills nothing.
const (
	PayerCheckOff    = "off"
	PayerCheckWarn   = "warn"
	PayerCheckReject = "reject"
)

// The bounds of look-ups.
const (
	payerKnownFor    = 10 * time.Minute
	payerUnknownFor  = time.Minute
	payerDownFor     = 10 * time.Second // after a look-up failed, no call waits for one
	payerWait        = 2 * time.Second  // the longest that a call waits for a look-up
	payersKept       = 10_000           // of those that Lago knows, and as many others
	payersListed     = 1000
	payerWorkers     = 4
	payerLookupLimit = 10 * time.Second
)

// PayerAnswer is what is known of the payer of a call.
type PayerAnswer uint8

// The answers.
const (
	PayerAllowed   PayerAnswer = iota // Lago knows the payer, or cannot be asked, or need not be
	PayerUnknown                      // Lago does not know the payer
	PayerUndecided                    // Lago could not be asked in time, as too many look-ups wait: the call may be repeated
)

// payers knows which payers Lago knows. Look-ups are cached, bounded in number and rate, and made apart from the calls;
// only a call that PayerCheckReject asks about waits for one, briefly. A Lago that cannot be asked refuses no call, but one whose
// look-up has to wait for those of others gets PayerUndecided.
type payers struct {
	now    func() time.Time
	lookup func(ctx context.Context, payer string) (known bool, err error) // nil: no Lago is configured
	wait   time.Duration                                                   // payerWait, but in tests

	mu        sync.Mutex
	mode      string
	byID      map[string]*list.Element
	order     *list.List // of *payerEntry that are not known, most recently used first
	known     *list.List // of *payerEntry that are known: a flood of others does not reach them
	listed    map[string]*unknownPayer
	queue     lookups
	queued    *sync.Cond // a payer waits to be looked up, or the check has stopped; with mu
	asking    map[*payerEntry]struct{}
	lastFail  time.Time
	lastError string
	unchecked int64 // calls let pass because Lago could not be asked in time
	undecided int64 // calls refused because too many look-ups waited
	unknown   int64 // calls of payers that Lago does not know

	ctx     context.Context //nolint:containedctx // the life of the workers
	end     context.CancelFunc
	running sync.WaitGroup
	started bool
}

type payerEntry struct {
	id      string
	known   bool
	asked   time.Time     // zero: never
	failed  time.Time     // when a look-up last failed
	early   int64         // calls let pass before the first answer
	pending chan struct{} // closed when the look-up under way has ended; nil when there is none
	begun   time.Time     // when that was taken from the queue; zero while it waits
}

// unknownPayer is a payer that Lago does not know.
type unknownPayer struct {
	Payer string    `json:"payer"`
	Calls int64     `json:"calls"` // since it was first found unknown
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
}

// PayerStatus is the state of the payer check, as the admin API reports it.
type PayerStatus struct {
	Mode         string         `json:"payer_check"`
	UnknownCalls int64          `json:"unknown_calls"`   // calls of payers that Lago does not know
	Unchecked    int64          `json:"unchecked_calls"` // calls let pass because Lago could not be asked in time
	Undecided    int64          `json:"undecided_calls"` // calls refused for a while because too many look-ups waited
	LastError    string         `json:"last_error,omitempty"`
	Unknown      []unknownPayer `json:"unknown,omitempty"` // at most 1,000, most calls first
}

// newPayers returns a check that is off until it is configured.
func newPayers(now func() time.Time) *payers {
	if now == nil {
		now = time.Now
	}
	p := &payers{
		now: now, wait: payerWait, mode: PayerCheckOff,
		byID: make(map[string]*list.Element), order: list.New(), known: list.New(), listed: make(map[string]*unknownPayer),
		asking: make(map[*payerEntry]struct{}),
	}
	p.queued = sync.NewCond(&p.mu)
	p.ctx, p.end = context.WithCancel(context.Background())
	return p
}

// configure puts a mode and a client in force. Without a client the check is off.
func (p *payers) configure(mode string, client *lago.Client) {
	var lookup func(context.Context, string) (bool, error)
	if client != nil {
		lookup = func(ctx context.Context, payer string) (bool, error) {
			_, err := client.Subscription(ctx, payer)
			// Lago's router answers resource_not_found: then api_base is wrong, and nothing is known of the payer.
			if e, ok := errors.AsType[*lago.Error](err); ok && errors.Is(err, lago.ErrNotFound) && e.Code == "subscription_not_found" {
				return false, nil
			}
			return err == nil, err
		}
	}
	p.configureLookup(mode, lookup)
}

func (p *payers) configureLookup(mode string, lookup func(context.Context, string) (bool, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode, p.lookup = cmp.Or(mode, PayerCheckOff), lookup
	p.lastFail, p.lastError = time.Time{}, ""
	if p.mode != PayerCheckOff && lookup != nil && !p.started && p.ctx.Err() == nil {
		p.started = true
		for range payerWorkers {
			p.running.Go(p.work)
		}
	}
}

// stop ends look-ups.
func (p *payers) stop() {
	p.mu.Lock()
	p.end()
	p.queued.Broadcast()
	p.mu.Unlock()
	p.running.Wait()
}

// allowed returns what is known of a payer that a key's call names, and counts the call when Lago does not know the payer. It waits,
// briefly, only under PayerCheckReject and for a payer that it knows nothing of.
func (p *payers) allowed(ctx context.Context, key, payer string) PayerAnswer {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mode == PayerCheckOff || p.lookup == nil {
		return PayerAllowed
	}
	e := p.entry(payer)
	if p.current(e) {
		return p.decide(e)
	}
	asked := p.ask(key, e)
	if p.mode == PayerCheckReject && !e.known && asked && !p.down(e) {
		pending := e.pending
		p.mu.Unlock()
		t := time.NewTimer(p.wait)
		select {
		case <-pending:
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
		p.mu.Lock()
	}
	return p.decide(e)
}

// current reports whether what is known of a payer still holds.
func (p *payers) current(e *payerEntry) bool {
	age := p.now().Sub(e.asked)
	return !e.asked.IsZero() && (e.known && age < payerKnownFor || !e.known && age < payerUnknownFor)
}

// down reports whether Lago does not answer, or not for that payer, so that no call waits for it.
func (p *payers) down(e *payerEntry) bool {
	now := p.now()
	return now.Sub(p.lastFail) < payerDownFor || now.Sub(e.failed) < payerDownFor || p.stuck(now)
}

// decide answers by what is known of a payer. One that was known stays so until Lago reports otherwise.
func (p *payers) decide(e *payerEntry) PayerAnswer {
	reject := p.mode == PayerCheckReject
	switch {
	case e.known:
		return PayerAllowed
	case p.current(e):
		p.found(e.id, 1)
		if reject {
			return PayerUnknown
		}
		return PayerAllowed
	case reject && !p.down(e) && (e.pending == nil || e.begun.IsZero()): // our own bounds keep Lago from being asked
		p.undecided++
		return PayerUndecided
	case reject:
		p.unchecked++
	}
	if e.asked.IsZero() {
		e.early++
	} else if !reject {
		p.found(e.id, 1)
	}
	return PayerAllowed
}

// entry returns the payer's entry, made when there is none.
func (p *payers) entry(payer string) *payerEntry {
	if el, ok := p.byID[payer]; ok {
		e := el.Value.(*payerEntry)
		p.listOf(e).MoveToFront(el)
		return e
	}
	e := &payerEntry{id: payer}
	p.keep(e)
	return e
}

func (p *payers) listOf(e *payerEntry) *list.List {
	if e.known {
		return p.known
	}
	return p.order
}

// keep puts a payer's entry into its list, whose least recently used one goes when it is full.
func (p *payers) keep(e *payerEntry) {
	l := p.listOf(e)
	if l.Len() >= payersKept {
		last := l.Back()
		delete(p.byID, last.Value.(*payerEntry).id)
		l.Remove(last)
	}
	p.byID[e.id] = l.PushFront(e)
}

// ask queues a look-up for a key. It reports whether one is under way or waits in that key's line.
func (p *payers) ask(key string, e *payerEntry) bool {
	if p.ctx.Err() != nil {
		return false
	}
	if e.pending != nil && !e.begun.IsZero() {
		return true
	}
	if !p.queue.add(key, e) {
		return false
	}
	if e.pending == nil {
		e.pending = make(chan struct{})
	}
	p.queued.Signal()
	return true
}

// found counts calls of a payer that Lago does not know, and lists it.
func (p *payers) found(payer string, calls int64) {
	p.unknown += calls
	now := p.now()
	u := p.listed[payer]
	if u == nil {
		if len(p.listed) >= payersListed {
			p.unlistOldest()
		}
		u = &unknownPayer{Payer: payer, First: now}
		p.listed[payer] = u
	}
	u.Calls += calls
	u.Last = now
}

func (p *payers) unlistOldest() {
	var oldest *unknownPayer
	for _, u := range p.listed {
		if oldest == nil || u.Last.Before(oldest.Last) {
			oldest = u
		}
	}
	if oldest != nil {
		delete(p.listed, oldest.Payer)
	}
}

// look looks a payer up. It is called with the lock, which is let go meanwhile.
func (p *payers) look(e *payerEntry) {
	e.begun = p.now()
	p.asking[e] = struct{}{}
	lookup := p.lookup
	p.mu.Unlock()
	known, err := false, errors.New("there is no Lago to ask")
	if lookup != nil {
		ctx, cancel := context.WithTimeout(p.ctx, payerLookupLimit)
		known, err = lookup(ctx, e.id)
		cancel()
	}
	p.mu.Lock()
	delete(p.asking, e)
	if err != nil {
		e.failed, p.lastError = p.now(), err.Error()
		// An answer that refuses the question may be about this payer's name alone.
		if a, ok := errors.AsType[*lago.Error](err); !ok || a.Status < 400 || a.Status >= 500 {
			p.lastFail = e.failed
		}
	} else {
		p.learn(e, known)
	}
	close(e.pending)
	e.pending, e.begun = nil, time.Time{}
}

// learn notes Lago's answer.
func (p *payers) learn(e *payerEntry, known bool) {
	if el := p.byID[e.id]; known != e.known && el != nil && el.Value.(*payerEntry) == e {
		p.listOf(e).Remove(el)
		e.known = known
		p.keep(e)
	}
	e.known, e.asked = known, p.now()
	p.lastFail, p.lastError = time.Time{}, ""
	if known {
		delete(p.listed, e.id)
	} else if e.early > 0 {
		p.found(e.id, e.early)
	}
	e.early = 0
}

// state returns the figures of the check.
func (p *payers) state() PayerStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := PayerStatus{Mode: p.mode, UnknownCalls: p.unknown, Unchecked: p.unchecked, Undecided: p.undecided, LastError: p.lastError}
	for _, u := range p.listed {
		st.Unknown = append(st.Unknown, *u)
	}
	slices.SortFunc(st.Unknown, func(a, b unknownPayer) int {
		return cmp.Or(cmp.Compare(b.Calls, a.Calls), cmp.Compare(a.Payer, b.Payer))
	})
	return st
}
