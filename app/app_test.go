package app

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// thing counts how often it was opened and closed.
type thing struct {
	mu             *sync.Mutex
	opened, closed *int
	setting        string
}

func (t *thing) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	*t.closed++
	return nil
}

type house struct {
	mu             sync.Mutex
	opened, closed int
}

func (h *house) open() (*thing, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.opened++
	return &thing{mu: &h.mu, opened: &h.opened, closed: &h.closed}, nil
}

func newApp() *App { return (&App{}).CaddyModule().New().(*App) }

func TestResourceOutlivesReload(t *testing.T) {
	var h house
	first, second := newApp(), newApp()
	r1 := Use(first, t.Name(), h.open, nil)
	require.NoError(t, first.Start())
	res, release, err := r1.Acquire(context.Background())
	require.NoError(t, err)

	Use(second, t.Name(), h.open, nil)
	require.NoError(t, second.Start())
	require.NoError(t, first.Cleanup())
	require.Equal(t, 1, h.opened, "a reload must not open the resource again")
	require.NoError(t, second.Cleanup())
	require.Zero(t, h.closed, "a call in flight still holds the resource")

	again, release2, err := r1.Acquire(context.Background())
	require.NoError(t, err)
	require.Same(t, res, again)
	release2()
	release()
	r1.lease.entry.awaitClosed(t.Context())
	require.Equal(t, 1, h.closed)

	// A request of the old configuration that comes after everything was closed finds it opened again.
	_, release3, err := r1.Acquire(context.Background())
	require.NoError(t, err)
	require.Equal(t, 2, h.opened)
	release3()
	r1.lease.entry.awaitClosed(t.Context())
	require.Equal(t, 2, h.closed)
}

// slow takes its time to close, as an account does whose Lago does not answer.
type slow struct{ closing, closed chan struct{} }

func (s *slow) Close() error {
	close(s.closing)
	<-s.closed
	return nil
}

// TestCallsDoNotWaitForTheClose has a call be the last to use a resource: its client may still wait for the end of its answer.
func TestCallsDoNotWaitForTheClose(t *testing.T) {
	s := &slow{make(chan struct{}), make(chan struct{})}
	a := newApp()
	r := Use(a, t.Name(), func() (*slow, error) { return s, nil }, nil)
	require.NoError(t, a.Start())
	_, release, err := r.Acquire(t.Context())
	require.NoError(t, err)
	require.NoError(t, a.Cleanup())
	released := make(chan struct{})
	go func() {
		release()
		close(released)
	}()
	<-s.closing
	select {
	case <-released:
	case <-time.After(10 * time.Second):
		t.Error("the call waits")
	}
	close(s.closed)
	r.lease.entry.awaitClosed(t.Context())
}

func TestFailedStartClosesWhatItOpened(t *testing.T) {
	var h house
	a := newApp()
	good := Use(a, t.Name()+" good", h.open, nil)
	Use(a, t.Name()+" bad", func() (*thing, error) { return nil, errors.New("disk is gone") }, nil)
	require.ErrorContains(t, a.Start(), "disk is gone")
	require.NoError(t, a.Cleanup())
	require.Equal(t, 1, h.opened)
	require.Equal(t, 1, h.closed)
	_, _, err := good.Acquire(context.Background())
	require.ErrorIs(t, err, ErrNotStarted)
}

func TestAcquireWaitsForStart(t *testing.T) {
	var h house
	a := newApp()
	r := Use(a, t.Name(), h.open, nil)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, _, err := r.Acquire(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.Zero(t, h.opened, "provisioning opens nothing")

	got := make(chan error, 1)
	go func() {
		_, release, err := r.Acquire(context.Background())
		if err == nil {
			release()
		}
		got <- err
	}()
	require.NoError(t, a.Start())
	require.NoError(t, <-got)
	require.NoError(t, a.Cleanup())
	require.Equal(t, 1, h.closed)
}

func TestSettingsOfTheLatestConfiguration(t *testing.T) {
	var h house
	set := func(s string) func(*thing) { return func(th *thing) { th.setting = s } }
	a, b, c := newApp(), newApp(), newApp()
	r := Use(a, t.Name(), h.open, set("a"))
	Use(b, t.Name(), h.open, set("b"))
	Use(c, t.Name(), h.open, set("c"))
	require.NoError(t, a.Start())
	res, release, err := r.Acquire(context.Background())
	require.NoError(t, err)
	require.NoError(t, b.Start())
	require.NoError(t, a.Cleanup())
	require.Equal(t, "b", res.setting, "the old configuration's end must not touch the new one's settings")
	require.NoError(t, c.Start())
	require.Equal(t, "c", res.setting)
	require.NoError(t, c.Cleanup())
	require.Equal(t, "b", res.setting, "a configuration that is taken back gives way to the one before it")
	release()
	require.NoError(t, b.Cleanup())
	require.Equal(t, 1, h.closed)
}

// TestReopenedByItsOwnConfiguration shares a resource between two configurations. A call of the second that comes after all
// is closed must find it as the second one opens and configures it, not as the first did, whose password may be outdated.
func TestReopenedByItsOwnConfiguration(t *testing.T) {
	var h house
	by := func(name string) func() (*thing, error) {
		return func() (*thing, error) {
			th, err := h.open()
			th.setting = "opened by " + name
			return th, err
		}
	}
	a, b := newApp(), newApp()
	Use(a, t.Name(), by("a"), nil)
	require.NoError(t, a.Start())
	r := Use(b, t.Name(), by("b"), func(th *thing) { th.setting += ", configured by b" })
	require.NoError(t, b.Start())
	require.NoError(t, a.Cleanup())
	require.NoError(t, b.Cleanup())
	require.Equal(t, 1, h.closed)
	res, release, err := r.Acquire(context.Background())
	require.NoError(t, err)
	require.Equal(t, "opened by b, configured by b", res.setting)
	release()
	r.lease.entry.awaitClosed(t.Context())
	require.Equal(t, 2, h.closed)
}

// TestCallsOfAConfigurationThatNeverStarts must come to an end: when the configuration is given up, or after a while.
func TestCallsOfAConfigurationThatNeverStarts(t *testing.T) {
	var h house
	a := newApp()
	r := Use(a, t.Name(), h.open, nil)
	got := make(chan error, 1)
	go func() {
		_, _, err := r.Acquire(context.Background())
		got <- err
	}()
	require.NoError(t, a.Cleanup())
	require.ErrorIs(t, <-got, ErrNotStarted)
	b := newApp()
	b.wait = time.Millisecond
	_, _, err := Use(b, t.Name(), h.open, nil).Acquire(context.Background())
	require.ErrorIs(t, err, ErrNotStarted)
	require.Zero(t, h.opened)
}

// TestManyCallsAcrossReloads has calls come and go while configurations do: none sees a closed resource, and in the end
// nothing is open.
func TestManyCallsAcrossReloads(t *testing.T) {
	var h house
	open := func() (*thing, error) { return h.open() }
	current := newApp()
	ref := Use(current, t.Name(), open, nil)
	require.NoError(t, current.Start())
	var latest atomic.Pointer[Ref[*thing]]
	latest.Store(ref)
	ctx, stop := context.WithCancel(context.Background())
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() {
			for ctx.Err() == nil {
				res, release, err := latest.Load().Acquire(context.Background())
				if err != nil || res == nil {
					t.Error("a call without its resource: ", err)
					return
				}
				release()
			}
		})
	}
	for range 200 {
		next := newApp()
		r := Use(next, t.Name(), open, nil)
		require.NoError(t, next.Start())
		latest.Store(r)
		require.NoError(t, current.Cleanup())
		current = next
	}
	require.Equal(t, 1, h.opened, "never closed in between")
	stop()
	calls.Wait()
	require.NoError(t, current.Cleanup())
	require.Equal(t, h.opened, h.closed)
	_, _, ok := Hold[*thing](t.Name())
	require.False(t, ok)
}

// TestEachReleasesWhatPanics has a panic in the admin API, which Caddy recovers from: the resource can still be closed.
func TestEachReleasesWhatPanics(t *testing.T) {
	var h house
	a := newApp()
	Use(a, t.Name(), h.open, nil)
	require.NoError(t, a.Start())
	require.Panics(t, func() {
		Each(func(key string, _ *thing) {
			if key == t.Name() {
				panic("a fault")
			}
		})
	})
	require.NoError(t, a.Cleanup())
	require.Equal(t, 1, h.closed)
}
