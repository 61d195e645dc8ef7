package keys

import (
	"context"
	"sync"
	"time"

	"github.com/tollgate-llm/tollgate/internal/keystore"
)

// readyFor is how long an answer of Ready holds: frequent questions ask the store once a second.
const readyFor = time.Second

// readyState is what Ready found last.
type readyState struct {
	sync.Mutex
	at  time.Time
	err error
}

// Ready asks the store whether it answers, and returns why it does not. serves reports whether keys that it has confirmed go on working
// meanwhile, for as long as stale lasts.
func (c *Cache) Ready(ctx context.Context, stale time.Duration) (serves bool, err error) {
	c.ready.Lock()
	defer c.ready.Unlock()
	if now := c.now(); c.ready.at.IsZero() || now.Sub(c.ready.at) >= readyFor {
		ctx, cancel := context.WithTimeout(ctx, storeTimeout)
		defer cancel()
		_, c.ready.err = c.read(ctx, keystore.KeyKind, Digest{}.String())
		c.ready.at = now
	}
	if c.ready.err == nil {
		return true, nil
	}
	last := c.lastAnswer.Load()
	return last != 0 && c.now().Sub(time.Unix(0, last)) < stale, c.ready.err
}
