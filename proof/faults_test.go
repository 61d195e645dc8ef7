package proof

import (
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tollgate-llm/tollgate/internal/testkit"
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
	w.lago.Poison(func(e testkit.LagoEvent) bool { return e.Subscription == poisoned })
	w.provider.Always(tr.ofProvider)
	return tr
}

// ofLago chooses what happens to a batch.
func (tr *trouble) ofLago(c *testkit.LagoCall) testkit.LagoFault {
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
	lost := func(f testkit.LagoFault) testkit.LagoFault {
		tr.lost++
		return f
	}
	switch tr.r.IntN(12) {
	case 0:
		return testkit.FaultStatus(http.StatusInternalServerError, `{"status":500,"error":"Internal Server Error"}`)
	case 1:
		return testkit.FaultHTML(http.StatusBadGateway)
	case 2:
		return testkit.FaultHTML(http.StatusOK)
	case 3:
		return testkit.FaultReset
	case 4:
		return testkit.FaultSlow(200 * time.Millisecond)
	case 5:
		if tr.r.IntN(4) == 0 { // it makes the whole delivery wait for a second
			return testkit.FaultRateLimit(time.Second)
		}
		return testkit.FaultTwice
	case 6:
		return lost(testkit.FaultTruncated)
	case 7, 8:
		return lost(testkit.FaultCommitThen500)
	case 9:
		return testkit.FaultTwice
	default:
		return lost(testkit.FaultCommitThenReset)
	}
}

// came notes the events of a batch. The lock is held.
func (tr *trouble) came(c *testkit.LagoCall) {
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
	kill := func(w http.ResponseWriter, c *testkit.LagoCall) {
		first := false
		once.Do(func() { first = true })
		if !first {
			testkit.FaultSlow(0)(w, c)
			return
		}
		defer close(done)
		tr.w.freeze()
		testkit.FaultSlow(0)(w, c)
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
func lingerOn(x *testkit.Exchange) {
	x.SendAll()
	x.Wait()
}

// ofProvider chooses what happens to a call at the provider, whose lock is held.
func (tr *trouble) ofProvider(c testkit.ProviderCall) testkit.ProviderFault {
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
		return testkit.UpstreamStatus(http.StatusInternalServerError)
	case 1:
		return testkit.UpstreamStatus(http.StatusServiceUnavailable, "Retry-After", "0")
	case 2:
		return testkit.UpstreamStatus(http.StatusTooManyRequests)
	case 3:
		return testkit.UpstreamPage(http.StatusBadGateway)
	case 4:
		return testkit.UpstreamReset
	case 5, 6:
		return testkit.UpstreamResetAfter(after)
	case 7:
		return testkit.UpstreamCutAfter(after)
	case 8:
		return testkit.UpstreamErrorAfter(after)
	case 9:
		return testkit.UpstreamSlow(5 * time.Millisecond)
	case 10:
		return testkit.UpstreamBytewise
	default:
		return testkit.UpstreamChunkedBody
	}
}
