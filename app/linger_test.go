package app

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// worker is a resource that has work until it is told otherwise.
type worker struct{ busy, closed atomic.Bool }

func (w *worker) Busy() bool { return w.busy.Load() }

func (w *worker) Close() error {
	w.closed.Store(true)
	return nil
}

func TestWorkOutlivesAReload(t *testing.T) {
	for name, finishes := range map[string]bool{"until it is done": true, "until the last configuration stops": false} {
		t.Run(name, func(t *testing.T) {
			w := new(worker)
			w.busy.Store(true)
			none := func(*worker) {}
			first, second := newApp(), newApp()
			Use(first, t.Name(), func() (*worker, error) { return w, nil }, none)
			require.NoError(t, first.Start())
			require.NoError(t, second.Start())
			require.NoError(t, first.Cleanup())
			require.False(t, w.closed.Load())
			_, release, ok := Hold[*worker](t.Name())
			require.True(t, ok, "it is still seen")
			release()
			if finishes {
				w.busy.Store(false)
				require.Eventually(t, w.closed.Load, 10*time.Second, time.Millisecond)
			}
			require.NoError(t, second.Cleanup())
			require.True(t, w.closed.Load())
		})
	}
}

// TestStopWaitsForNoWork stops the only configuration: what is left is for the next start.
func TestStopWaitsForNoWork(t *testing.T) {
	w := new(worker)
	w.busy.Store(true)
	a := newApp()
	Use(a, t.Name(), func() (*worker, error) { return w, nil }, func(*worker) {})
	require.NoError(t, a.Start())
	require.NoError(t, a.Cleanup())
	require.True(t, w.closed.Load())
}
