package keys

import (
	"sync"
	"sync/atomic"
	"time"
)

// probeEvery is how often a store that is down is tried.
const probeEvery = time.Second

// circuit keeps calls from waiting for a store that is down: after a failure one of them a second tries it, and the
// others fail at once.
type circuit struct {
	down atomic.Bool

	mu     sync.Mutex
	cause  error
	probed time.Time
}

// allow reports whether the store may be asked, with the last failure when it may not.
func (c *circuit) allow(now time.Time) (bool, error) {
	if !c.down.Load() {
		return true, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if since := now.Sub(c.probed); since >= 0 && since < probeEvery {
		return false, c.cause
	}
	c.probed = now
	return true, nil
}

// failed notes a failure and reports whether it is the first one.
func (c *circuit) failed(now time.Time, err error) (first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cause, c.probed = err, now
	return !c.down.Swap(true)
}

// succeeded notes that the store answered and reports whether it was down before.
func (c *circuit) succeeded() (back bool) {
	return c.down.Load() && c.down.Swap(false)
}
