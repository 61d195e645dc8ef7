package delivery

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"net/url"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/tollgate-llm/tollgate/internal/lago"
	"github.com/tollgate-llm/tollgate/internal/spool"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
)

// fakeTime is a clock that only sleeping moves: a backoff of minutes takes none.
type fakeTime struct {
	mu    sync.Mutex
	t     time.Time
	slept []time.Duration
}

func (c *fakeTime) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *fakeTime) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func (c *fakeTime) sleep(_ context.Context, d time.Duration, _ <-chan struct{}) {
	c.mu.Lock()
	c.t = c.t.Add(d)
	c.slept = append(c.slept, d)
	c.mu.Unlock()
	runtime.Gosched()
}

func (c *fakeTime) longest() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	longest := time.Duration(0)
	for _, d := range c.slept {
		longest = max(longest, d)
	}
	return longest
}

// watchedSpool tells when records are finished.
type watchedSpool struct {
	*spool.Spool
	changed broadcast
}

func (w *watchedSpool) Done(seqs ...uint64) error {
	defer w.changed.send()
	return w.Spool.Done(seqs...)
}

func (w *watchedSpool) Reject(seq uint64, note []byte) error {
	defer w.changed.send()
	return w.Spool.Reject(seq, note)
}

// rig is a spool, a fake Lago and the worker between them.
type rig struct {
	t           *testing.T
	dir         string
	clock       *fakeTime
	lago        *fakelago.Server
	spool       *watchedSpool
	d           *Worker
	cfg         Config
	n           uint64
	maxInFlight int            // of the worker, when it is not its own
	want        map[string]int // sum of quantities by subscription
}

func newRig(t *testing.T, o fakelago.Options) *rig {
	r := &rig{t: t, dir: t.TempDir(), clock: &fakeTime{t: time.Now().Truncate(time.Millisecond)}, want: make(map[string]int)}
	o.Now = r.clock.now
	r.lago = fakelago.New(t, o)
	r.lago.AddMetric(fakelago.Metric{Code: "tokens", Field: "value"})
	r.lago.AddSubscription(fakelago.Subscription{ExternalID: "sub"})
	r.cfg = Config{Client: r.client(r.lago.Key())}
	r.open()
	t.Cleanup(func() { r.close() })
	return r
}

func (r *rig) client(key string) *lago.Client {
	u, err := url.Parse(r.lago.URL)
	require.NoError(r.t, err)
	c, err := lago.New(lago.Options{Base: u, Key: key, Timeout: time.Second})
	require.NoError(r.t, err)
	r.t.Cleanup(c.CloseIdle)
	return c
}

// open opens the spool with a worker that has not started, as a new process does.
func (r *rig) open() {
	sp, err := spool.Open(spool.Options{Dir: filepath.Join(r.dir, "spool"), Now: r.clock.now, Retain: 24 * 365 * time.Hour})
	require.NoError(r.t, err)
	r.spool = &watchedSpool{Spool: sp}
	r.d = New(r.spool, zap.NewNop())
	r.d.now, r.d.sleep, r.d.linger, r.d.maxInFlight = r.clock.now, r.clock.sleep, -1, cmp.Or(r.maxInFlight, maxInFlight)
	r.d.Configure(r.cfg)
}

// close stops the worker and closes the spool, as a process that ends does.
func (r *rig) close() {
	if r.d == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r.d.Stop(ctx)
	require.NoError(r.t, r.spool.Close())
	r.d = nil
}

func (r *rig) event(sub, code, id string, value int) string {
	return fmt.Sprintf(`{"transaction_id": "%s","external_subscription_id":%q,"code":%q,"timestamp":"%d.%03d","properties":{"value":"%d"}}`,
		id, sub, code, r.clock.now().Unix(), r.clock.now().UnixMilli()%1000, value)
}

// settle writes a record of these events.
func (r *rig) settle(events ...string) spool.ID {
	r.n++
	var id spool.ID
	binary.BigEndian.PutUint64(id[8:], r.n)
	require.NoError(r.t, r.spool.Begin(id, []byte(`{"v":1}`)))
	require.NoError(r.t, r.spool.Settle(id, []byte(`{"v":1,"events":[`+strings.Join(events, ",")+`]}`), true))
	return id
}

// records writes n records of one good event each.
func (r *rig) records(n int) {
	for range n {
		r.settle(r.event("sub", "tokens", "id-"+strconv.FormatUint(r.n, 10), int(r.n)%97+1))
		r.want["sub"] += int(r.n-1)%97 + 1
	}
}

// until waits for the records of the spool to come to a state.
func (r *rig) until(what string, cond func() bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	defer cancel()
	for {
		changed := r.spool.changed.wait()
		if cond() {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			require.Failf(r.t, "did not come to pass", "%s: %+v %+v", what, r.spool.Stats(), r.d.Status())
		}
	}
}

func (r *rig) drained() {
	r.t.Helper()
	r.until("drained", func() bool { return r.spool.Stats().Pending == 0 })
}

// billed checks that every event that should be billed is, once.
func (r *rig) billed() {
	r.t.Helper()
	assert.Empty(r.t, r.lago.BilledTwice())
	assert.Empty(r.t, r.lago.Violations())
	for sub, sum := range r.want {
		assert.Equal(r.t, strconv.Itoa(sum), r.lago.Billed(sub, "tokens", "value"), sub)
	}
}
