package delivery

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// Bounds of backoff and pauses.
const (
	backoffFirst  = 500 * time.Millisecond
	backoffMost   = 30 * time.Second
	breakerMost   = 5 * time.Second // between calls while Lago fails on everything
	probeMost     = time.Minute     // between retries while the key is refused
	rateLimitMost = 5 * time.Minute // the longest Retry-After that is honored
)

// backoff returns how long to wait after that many failures in a row: exponential, half of it jitter.
func backoff(failures int) time.Duration {
	d := backoffMost
	if failures < 7 {
		d = min(backoffFirst<<max(failures-1, 0), backoffMost)
	}
	return d/2 + rand.N(d/2) //nolint:gosec // spread, not secrecy
}

// sleep waits for d, for wake or for the end of ctx.
func sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-wake:
	case <-ctx.Done():
	}
}

// broadcast wakes all waiters.
type broadcast struct {
	mu sync.Mutex
	ch chan struct{}
}

// wait returns a channel that the next send closes.
func (b *broadcast) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *broadcast) send() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}

// limiter bounds concurrent calls. The bound halves when Lago limits the rate or fails, and grows by one with each
// success; while Lago refuses everything (a wrong key), one call at a time probes it.
type limiter struct {
	d *Worker

	mu      sync.Mutex
	most    int
	limit   int
	active  int
	until   time.Time // no call before this
	probes  int       // refused in a row
	failing int       // failed in a row
	changed broadcast
}

// reset sets the bound and forgets what was learned.
func (p *limiter) reset(most int) {
	p.mu.Lock()
	p.most, p.limit, p.until, p.probes, p.failing = most, most, time.Time{}, 0, 0
	p.mu.Unlock()
	p.changed.send()
}

// resume ends a pause.
func (p *limiter) resume() {
	p.mu.Lock()
	p.until = time.Time{}
	p.mu.Unlock()
	p.changed.send()
}

// acquire waits for permission to make a call. It returns false when delivery stops; a first try may still go then if it
// need not wait for Lago.
func (p *limiter) acquire(first bool) bool {
	for {
		changed := p.changed.wait()
		p.mu.Lock()
		pause := p.until.Sub(p.d.now())
		free := p.active < p.limit
		if pause <= 0 && free && (first || p.d.soft.Err() == nil) && p.d.hard.Err() == nil {
			p.active++
			p.mu.Unlock()
			return true
		}
		p.mu.Unlock()
		ctx := p.d.soft
		if first && pause <= 0 {
			ctx = p.d.hard
		}
		switch {
		case ctx.Err() != nil:
			return false
		case pause > 0:
			p.d.sleep(ctx, pause, changed)
		default:
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}
}

func (p *limiter) release() {
	p.mu.Lock()
	p.active--
	p.mu.Unlock()
	p.changed.send()
}

// passed notes a success, and how many calls the rate limit leaves.
func (p *limiter) passed(remaining int, reset time.Duration) {
	defer p.changed.send()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.probes, p.failing = 0, 0
	p.limit = min(p.limit+1, p.most)
	if remaining == 0 && reset > 0 { // the next call would be refused
		p.until = p.d.now().Add(min(reset, rateLimitMost))
	}
}

// failed notes a failure. If everything fails for long, calls are rare, however many wait.
func (p *limiter) failed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit = max(p.limit/2, 1)
	p.failing++
	if n := p.failing - 2*p.most; n > 0 {
		p.until = p.d.now().Add(min(backoff(n), breakerMost))
	}
}

// slow notes that Lago's rate limit was hit, which applies to all calls.
func (p *limiter) slow(wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit = max(p.limit/2, 1)
	if until := p.d.now().Add(min(wait, rateLimitMost)); until.After(p.until) {
		p.until = until
	}
}

// refused notes that Lago refuses everything. Concurrent calls count as one.
func (p *limiter) refused() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit = 1
	if p.until.After(p.d.now()) {
		return
	}
	p.probes++
	p.until = p.d.now().Add(min(2*backoff(p.probes), probeMost))
}

func (p *limiter) figures() (limit int, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.limit, p.until
}
