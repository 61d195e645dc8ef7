package proof

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/quic-go/quic-go/http3"
)

// lingering is the tag prefix of calls whose connection the provider keeps open after the end of the answer.
const lingering = "linger-"

// load is the clients' traffic.
type load struct {
	w      *world
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex
	calls []*call
}

// startLoad starts clients that call until stopped. Each makes its calls one after another; every third client uses
// HTTP/2, the others HTTP/1.1. Clients continue on their own after the gateway restarts.
func startLoad(w *world, seed uint64, clients int) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{w: w, cancel: cancel}
	for i := range clients {
		r := rand.New(rand.NewPCG(seed, uint64(100+i))) //nolint:gosec // repeatable on purpose
		client, base := w.client(1 + i%3/2)
		l.wg.Go(func() {
			defer client.CloseIdleConnections()
			for n := 0; ; n++ {
				if w.await(ctx) != nil {
					return
				}
				c := newCall(r, fmt.Sprintf("call-%d-%d", i, n))
				c.do(context.Background(), client, base, w.keys[c.payer], nil)
				l.add(c)
				breath := time.NewTimer(time.Duration(2+r.IntN(20)) * time.Millisecond)
				select {
				case <-breath.C:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	return l
}

// client returns a client for HTTP/1.1, or for HTTP/2 or 3 over TLS, and its base URL. Close it with
// CloseIdleConnections.
func (p *process) client(version int) (client *http.Client, base string) {
	if version == 1 {
		return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}}, "http://127.0.0.1:" + p.plain
	}
	trust := &tls.Config{RootCAs: p.roots(), MinVersion: tls.VersionTLS13}
	base = "https://localhost:" + p.tls
	if version == 3 {
		return &http.Client{Transport: &http3.Transport{TLSClientConfig: trust}}, base
	}
	return &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: trust}}, base
}

func (l *load) add(c *call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, c)
}

// stop lets running calls finish and returns all calls made.
func (l *load) stop() []*call {
	l.cancel()
	l.wg.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls
}
