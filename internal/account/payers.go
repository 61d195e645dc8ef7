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
	payersKept       = 10_000
	payersListed     = 1000
	payersQueued     = 1024
	payerWorkers     = 4
	payerLookupLimit = 10 * time.Second
)

// payers knows which payers Lago knows. Look-ups are cached, bounded in number and rate, and made apart from the calls;
// only a call that payerCheckReject asks about waits for one, briefly. A Lago that cannot be asked refuses nobody.
type payers struct {
	now    func() time.Time
	lookup func(ctx context.Context, payer string) (known bool, err error) // nil: nobody to ask
	wait   time.Duration                                                   // payerWait, but in tests

	mu        sync.Mutex
	mode      string
	byID      map[string]*list.Element
	order     *list.List // of *payerEntry, most recently used first
	listed    map[string]*unknownPayer
	queue     chan *payerEntry
	lastFail  time.Time
	lastError string
	unchecked int64 // calls let pass because Lago could not be asked in time
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
	early   int64         // calls let pass before the first answer
	pending chan struct{} // closed when the look-up under way has ended; nil when none is
}

// unknownPayer is a payer that Lago does not know.
type unknownPayer struct {
	Payer string    `json:"payer"`
	Calls int64     `json:"calls"` // since it was first found unknown
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
}

// PayerStatus is what the admin API tells of the payer check.
type PayerStatus struct {
	Mode         string         `json:"payer_check"`
	UnknownCalls int64          `json:"unknown_calls"`   // calls of payers that Lago does not know
	Unchecked    int64          `json:"unchecked_calls"` // calls let pass because Lago could not be asked in time
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
		byID: make(map[string]*list.Element), order: list.New(), listed: make(map[string]*unknownPayer),
		queue: make(chan *payerEntry, payersQueued),
	}
	p.ctx, p.end = context.WithCancel(context.Background())
	return p
}

// configure puts a mode and a client in force. Without a client the check is off.
func (p *payers) configure(mode string, client *lago.Client) {
	var lookup func(context.Context, string) (bool, error)
	if client != nil {
		lookup = func(ctx context.Context, payer string) (bool, error) {
			_, err := client.Subscription(ctx, payer)
			if errors.Is(err, lago.ErrNotFound) {
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
	p.mu.Unlock()
	p.running.Wait()
}

// allowed reports whether a call of that payer may go on, and counts it when Lago does not know the payer. It waits,
// briefly, only under payerCheckReject and for a payer that it knows nothing of.
func (p *payers) allowed(ctx context.Context, payer string) bool {
	p.mu.Lock()
	if p.mode == PayerCheckOff || p.lookup == nil {
		p.mu.Unlock()
		return true
	}
	e := p.entry(payer)
	now := p.now()
	age := now.Sub(e.asked)
	current := !e.asked.IsZero() && (e.known && age < payerKnownFor || !e.known && age < payerUnknownFor)
	if current && e.known {
		p.mu.Unlock()
		return true
	}
	if !current {
		p.ask(e)
	}
	reject := p.mode == PayerCheckReject
	pending := e.pending
	mustWait := reject && !current && !(e.known && !e.asked.IsZero()) // one known before stays so until Lago says otherwise
	if mustWait && (pending == nil || now.Sub(p.lastFail) < payerDownFor) {
		mustWait = false
	}
	p.mu.Unlock()
	if mustWait {
		t := time.NewTimer(p.wait)
		defer t.Stop()
		select {
		case <-pending:
		case <-t.C:
		case <-ctx.Done():
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case e.asked.IsZero():
		e.early++
		if reject {
			p.unchecked++
		}
		return true
	case e.known:
		return true
	case reject && p.now().Sub(e.asked) >= payerUnknownFor: // it may have been created since, and Lago cannot be asked
		p.unchecked++
		return true
	}
	p.found(payer, 1)
	return !reject
}

// entry returns the payer's entry, made when there is none. The least recently used one goes for it.
func (p *payers) entry(payer string) *payerEntry {
	if el, ok := p.byID[payer]; ok {
		p.order.MoveToFront(el)
		return el.Value.(*payerEntry)
	}
	if p.order.Len() >= payersKept {
		last := p.order.Back()
		delete(p.byID, last.Value.(*payerEntry).id)
		p.order.Remove(last)
	}
	e := &payerEntry{id: payer}
	p.byID[payer] = p.order.PushFront(e)
	return e
}

// ask queues a look-up, unless one is under way or too many are.
func (p *payers) ask(e *payerEntry) {
	if e.pending != nil || p.ctx.Err() != nil {
		return
	}
	e.pending = make(chan struct{})
	select {
	case p.queue <- e:
	default:
		e.pending = nil
	}
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

// work looks payers up until the check stops.
func (p *payers) work() {
	for {
		select {
		case e := <-p.queue:
			p.look(e)
		case <-p.ctx.Done():
			return
		}
	}
}

func (p *payers) look(e *payerEntry) {
	p.mu.Lock()
	lookup := p.lookup
	p.mu.Unlock()
	known, err := false, errors.New("nobody to ask")
	if lookup != nil {
		ctx, cancel := context.WithTimeout(p.ctx, payerLookupLimit)
		known, err = lookup(ctx, e.id)
		cancel()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.lastFail, p.lastError = p.now(), err.Error()
	} else {
		e.known, e.asked = known, p.now()
		p.lastFail, p.lastError = time.Time{}, ""
		if known {
			delete(p.listed, e.id)
		} else if e.early > 0 {
			p.found(e.id, e.early)
		}
		e.early = 0
	}
	close(e.pending)
	e.pending = nil
}

// state returns the figures of the check.
func (p *payers) state() PayerStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := PayerStatus{Mode: p.mode, UnknownCalls: p.unknown, Unchecked: p.unchecked, LastError: p.lastError}
	for _, u := range p.listed {
		st.Unknown = append(st.Unknown, *u)
	}
	slices.SortFunc(st.Unknown, func(a, b unknownPayer) int {
		return cmp.Or(cmp.Compare(b.Calls, a.Calls), cmp.Compare(a.Payer, b.Payer))
	})
	return st
}
