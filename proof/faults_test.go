package proof

import (
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakeprovider"
)

// trouble injects random faults into the fake provider and the fake Lago, and counts the effects they must have.
type trouble struct {
	w *world

	mu         sync.Mutex
	r          *rand.Rand
	calm       bool            // Lago is healthy
	answered   map[string]bool // events whose 200 went to a process that was killed before it could record it
	resent     int             // events sent again
	seen       map[string]bool // all events received
	lagoFaults int
	lost       int // answers that Lago lost after the commit
	upstream   int // provider faults
}

func newTrouble(w *world, seed uint64) *trouble {
	tr := &trouble{
		w: w, r: rand.New(rand.NewPCG(seed, 2)), //nolint:gosec // repeatable on purpose
		answered: make(map[string]bool), seen: make(map[string]bool),
	}
	w.lago.Always(tr.ofLago)
	w.lago.Poison(func(e fakelago.Event) bool { return e.Subscription == poisoned })
	w.provider.Always(tr.ofProvider)
	return tr
}

// ofLago chooses the fault for a batch.
func (tr *trouble) ofLago(c *fakelago.Call) fakelago.Fault {
	if !c.Batch() {
		return nil
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.came(c)
	if tr.calm || tr.r.IntN(100) >= 35 {
		return nil
	}
	tr.lagoFaults++
	lost := func(f fakelago.Fault) fakelago.Fault {
		tr.lost++
		return f
	}
	switch tr.r.IntN(12) {
	case 0:
		return fakelago.FaultStatus(http.StatusInternalServerError, `{"status":500,"error":"Internal Server Error"}`)
	case 1:
		return fakelago.FaultHTML(http.StatusBadGateway)
	case 2:
		return fakelago.FaultHTML(http.StatusOK)
	case 3:
		return fakelago.FaultReset
	case 4:
		return fakelago.FaultSlow(200 * time.Millisecond)
	case 5:
		if tr.r.IntN(4) == 0 { // delays all delivery for a second
			return fakelago.FaultRateLimit(time.Second)
		}
		return fakelago.FaultTwice
	case 6:
		return lost(fakelago.FaultTruncated)
	case 7, 8:
		return lost(fakelago.FaultCommitThen500)
	case 9:
		return fakelago.FaultTwice
	default:
		return lost(fakelago.FaultCommitThenReset)
	}
}

// came records the events of a batch. The lock is held.
func (tr *trouble) came(c *fakelago.Call) {
	for _, id := range c.IDs() {
		if tr.seen[id] {
			tr.resent++
		}
		tr.seen[id] = true
		delete(tr.answered, id)
	}
}

// heal ends all faults of Lago, poison included.
func (tr *trouble) heal() {
	tr.mu.Lock()
	tr.calm = true
	tr.mu.Unlock()
	tr.w.lago.Poison(nil)
}

// killBeforeNote arms Lago: when the next batch arrives, the gateway is frozen, the batch is committed, its 200 is sent
// to the frozen process, and the process is killed. The process has received the answer but could not record it. fired is
// closed once this has happened.
func (tr *trouble) killBeforeNote() (fired <-chan struct{}, disarm func() bool) {
	done := make(chan struct{})
	var once sync.Once
	kill := func(w http.ResponseWriter, c *fakelago.Call) {
		first := false
		once.Do(func() { first = true })
		if !first {
			fakelago.FaultSlow(0)(w, c)
			return
		}
		defer close(done)
		tr.w.freeze()
		fakelago.FaultSlow(0)(w, c)
		tr.mu.Lock()
		tr.came(c)
		for _, id := range c.IDs() {
			tr.answered[id] = true
		}
		tr.mu.Unlock()
		tr.w.kill()
	}
	tr.w.lago.Next(kill)
	return done, func() (disarmed bool) {
		once.Do(func() { disarmed = true })
		return disarmed
	}
}

// lingerOn sends the whole answer and then keeps the connection open.
func lingerOn(x *fakeprovider.Exchange) {
	x.SendAll()
	x.Wait()
}

// ofProvider chooses the fault for a provider call. The provider's lock is held.
func (tr *trouble) ofProvider(c fakeprovider.Call) fakeprovider.Fault {
	if strings.HasPrefix(c.Header.Get("X-Request-Id"), lingering) {
		return lingerOn
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.r.IntN(100) >= 20 {
		return nil
	}
	tr.upstream++
	after := tr.r.IntN(6)
	switch tr.r.IntN(12) {
	case 0:
		return fakeprovider.FaultStatus(http.StatusInternalServerError)
	case 1:
		return fakeprovider.FaultStatus(http.StatusServiceUnavailable, "Retry-After", "0")
	case 2:
		return fakeprovider.FaultStatus(http.StatusTooManyRequests)
	case 3:
		return fakeprovider.FaultPage(http.StatusBadGateway)
	case 4:
		return fakeprovider.FaultReset
	case 5, 6:
		return fakeprovider.FaultResetAfter(after)
	case 7:
		return fakeprovider.FaultCutAfter(after)
	case 8:
		return fakeprovider.FaultErrorAfter(after)
	case 9:
		return fakeprovider.FaultSlow(5 * time.Millisecond)
	case 10:
		return fakeprovider.FaultBytewise
	default:
		return fakeprovider.FaultChunkedBody
	}
}
