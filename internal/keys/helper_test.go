package keys

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/tollgate-llm/tollgate/internal/keystore"
	"github.com/tollgate-llm/tollgate/internal/testkit"
)

// patience is how long a test waits for an event that must come.
const patience = 10 * time.Second

var nopLogger = zap.NewNop()

var testBounds = Bounds{Cache: 10 * time.Second, Stale: 10 * time.Minute}

// observed is a store that counts what is read and tells what its watcher heard, after the watcher heard it.
type observed struct {
	keystore.Store
	gets    atomic.Int64
	changed chan string
	missed  chan struct{}
	lost    chan error
	gate    func(kind keystore.Kind, id string) // called after each read, before its answer is given
}

func observe(s keystore.Store) *observed {
	return &observed{
		Store: s, changed: make(chan string, 100), missed: make(chan struct{}, 100), lost: make(chan error, 100),
	}
}

func (o *observed) Get(ctx context.Context, kind keystore.Kind, id string) ([]byte, error) {
	o.gets.Add(1)
	data, err := o.Store.Get(ctx, kind, id)
	if o.gate != nil {
		o.gate(kind, id)
	}
	return data, err
}

func (o *observed) Watch(ctx context.Context, w keystore.Watcher) { o.Store.Watch(ctx, &ear{w, o}) }

type ear struct {
	keystore.Watcher
	o *observed
}

func (e *ear) Changed(kind keystore.Kind, id, version string) {
	e.Watcher.Changed(kind, id, version)
	send(e.o.changed, id)
}

func (e *ear) Missed()        { e.Watcher.Missed(); send(e.o.missed, struct{}{}) }
func (e *ear) Lost(err error) { e.Watcher.Lost(err); send(e.o.lost, err) }

// send drops what nobody waits for when the buffer is full: an outage repeats itself.
func send[T any](ch chan T, v T) {
	select {
	case ch <- v:
	default:
	}
}

func await[T any](t *testing.T, ch <-chan T, within time.Duration, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(within):
		require.FailNow(t, "waited in vain for "+what)
		panic("unreachable")
	}
}

func openRedis(s *testkit.RedisServer) *keystore.Redis {
	return keystore.OpenRedis(keystore.RedisOptions{Addresses: []string{s.Addr}, Prefix: "tollgate:"})
}

// newTestDirectory opens a directory that hears of changes already.
func newTestDirectory(t *testing.T, s keystore.Store, now func() time.Time) (*Cache, *observed) {
	t.Helper()
	o := observe(s)
	d := NewCache(o, testLogger(t), now)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	await(t, o.missed, patience, "the watch of the store")
	return d, o
}

func fileDirectory(t *testing.T, now func() time.Time) (*Cache, *observed) {
	t.Helper()
	s, err := keystore.OpenFile(t.TempDir())
	require.NoError(t, err)
	return newTestDirectory(t, s, now)
}

func testLogger(t *testing.T) *zap.Logger {
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{MessageKey: "msg"}),
		zapcore.AddSync(logWriter{t}), zapcore.DebugLevel))
}

type logWriter struct{ t *testing.T }

func (w logWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", b)
	return len(b), nil
}

// fields builds a request to the key API out of JSON.
func fields(t *testing.T, text string) Fields {
	t.Helper()
	f, refusal := ParseFields([]byte(text))
	require.Nil(t, refusal)
	return f
}

// named is a request that names a key.
func named(key string) Fields {
	f, _ := ParseFields(nil) // an empty body is a valid one
	f.Set("key", key)
	return f
}

func generate(t *testing.T, d *Cache, text string) string {
	t.Helper()
	_, plain, err := NewService(d, nil).Generate(t.Context(), fields(t, text))
	require.NoError(t, err)
	return plain
}

// size returns how many keys are held.
func (c *entries) size() (known, unknown int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.RLock()
		known += len(s.known)
		unknown += len(s.unknown)
		s.mu.RUnlock()
	}
	return known, unknown
}

// redisClient reaches what a store keeps behind its back.
func redisClient(t *testing.T, s *testkit.RedisServer) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: s.Addr})
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}
