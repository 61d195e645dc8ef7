package fakeprovider

import (
	"context"
	"fmt"
	"net/http"
	"sync"
)

// Gate holds answers midway until a test lets them continue.
type Gate struct {
	after int
	match func(Call) bool

	mu      sync.Mutex
	open    bool
	passes  int // answers that may still pass
	waiting int
	changed chan struct{}
}

// Gate holds every answer that begins from now on, after the given number of stream events or before the last one, until
// the gate lets it pass. A body, and with 0 also a stream, is held before its header. match selects the calls to hold;
// nil means all. A new gate replaces the previous one for later answers; the previous one keeps holding its own.
func (p *Server) Gate(after int, match func(c Call) bool) *Gate {
	g := &Gate{after: after, match: match, changed: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gate = g
	return g
}

// Await waits until the gate holds n answers, or ctx ends.
func (g *Gate) Await(ctx context.Context, n int) error {
	for {
		g.mu.Lock()
		waiting, changed := g.waiting, g.changed
		g.mu.Unlock()
		if waiting >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d answers stand at the gate: %w", waiting, n, ctx.Err())
		}
	}
}

// Waiting returns how many answers the gate holds.
func (g *Gate) Waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.waiting
}

// Pass lets n more answers pass.
func (g *Gate) Pass(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.passes += n
	g.signal()
}

// Open lets all answers pass, permanently.
func (g *Gate) Open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = true
	g.signal()
}

func (g *Gate) signal() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// stand waits at the gate. It ends the call if the client is gone or the provider closes.
func (x *Exchange) stand() {
	g := x.gate
	if x.status == 0 && g.after > 0 && x.query.stream {
		x.header(http.StatusOK)
	}
	x.flush()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting++
	g.signal()
	defer func() {
		g.waiting--
		g.signal()
	}()
	for !g.open && g.passes == 0 {
		changed := g.changed
		g.mu.Unlock()
		gone := false
		select {
		case <-changed:
		case <-x.Request.Context().Done():
			gone = true
		case <-x.p.closed:
			gone = true
		}
		g.mu.Lock()
		if gone {
			panic(http.ErrAbortHandler)
		}
	}
	if !g.open {
		g.passes--
	}
}
