package account

import (
	"maps"
	"sync"
	"time"
)

// containerTime is how long a code container is billed for once: the unit of OpenAI's price.
const containerTime = 20 * time.Minute

// maxContainers bounds the containers that are remembered. Those beyond count in each answer.
const maxContainers = 8192

// containers remembers the code containers that answers have shown, by the hashes of their ids, so that one which serves several answers
// is billed once for each 20 minutes.
type containers struct {
	mu    sync.Mutex
	until map[uint64]time.Time
}

// NewContainers returns how many of these code containers are not among those that were counted within the last 20 minutes, and counts them.
func (a *Account) NewContainers(ids []uint64, now time.Time) (n int) {
	c := &a.containers
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.until == nil {
		c.until = make(map[uint64]time.Time)
	}
	for _, id := range ids {
		if now.Before(c.until[id]) {
			continue
		}
		n++
		if len(c.until) >= maxContainers {
			maps.DeleteFunc(c.until, func(_ uint64, until time.Time) bool { return !now.Before(until) })
		}
		if len(c.until) < maxContainers {
			c.until[id] = now.Add(containerTime)
		}
	}
	return n
}
