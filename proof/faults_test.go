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

// trouble makes the fake provider and the fake Lago fail at random, and counts what that must lead to.
type trouble struct {
	w *world

	mu         sync.Mutex
	r          *rand.Rand
	calm       bool            // Lago is healthy
	answered   map[string]bool // events whose 200 was sent to a process that was killed before it could note it
	resent     int             // events that came again
	seen       map[string]bool // all events that came
	lagoFaults int
	lost       int // answers of Lago that were lost after it had committed
	upstream   int // faults of the provider
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

// ofLago chooses what happens to a batch.
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
		if tr.r.IntN(4) == 0 { // it makes the whole delivery wait for a second
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

// came notes the events of a batch. The lock is held.
func (tr *trouble) came(c *fakelago.Call) {
	for _, id := range c.IDs() {
		if tr.seen[id] {
			tr.resent++
		}
		tr.seen[id] = true
		delete(tr.answered, id)
	}
}

// heal makes Lago healthy, poison included.
func (tr *trouble) heal() {
	tr.mu.Lock()
	tr.calm = true
	tr.mu.Unlock()
	tr.w.lago.Poison(nil)
}

// killBeforeNote arms Lago: when the next batch comes, the gateway is frozen, the batch is committed, its 200 is sent to
// the frozen process, and that is killed. It has the answer and could not note it. fired is closed when it was done.
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

// lingerOn sends the whole answer and keeps the connection open behind it.
func lingerOn(x *fakeprovider.Exchange) {
	x.SendAll()
	x.Wait()
}

// ofProvider chooses what happens to a call at the provider, whose lock is held.
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
