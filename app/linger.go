package app

import (
	"context"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Worker is a Resource that may have work to finish when a reload removes it from the configuration, such
// as a spool with records to deliver. It stays open, with its last settings, until Busy returns false, a
// configuration uses it again, or the last configuration stops.
type Worker interface {
	Resource
	Busy() bool
}

// lookEvery is how often Busy is polled.
const lookEvery = 100 * time.Millisecond

// running counts the apps that have started and not been cleaned up. If it is above one, a Cleanup is
// part of a reload.
var running atomic.Int32

// lingering is a Worker that is in no configuration any more.
type lingering struct{ stop, done chan struct{} }

// outlive drops a configuration's reference to the entry. If only unfinished work still needs the
// resource, a goroutine keeps the reference until that work is done.
func (e *entry) outlive(log *zap.Logger) error {
	e.mu.Lock()
	w, ok := e.res.(Worker)
	if !ok || len(e.settings) > 0 || e.lingers != nil || !w.Busy() {
		e.mu.Unlock()
		return e.release()
	}
	l := &lingering{make(chan struct{}), make(chan struct{})}
	e.lingers = l
	e.mu.Unlock()
	log.Warn("it is no longer in the configuration, but has work to finish: it stays open until then", zap.String("resource", e.key))
	go func() {
		defer close(l.done)
		l.await(w)
		err := e.release()
		e.mu.Lock()
		if e.lingers == l {
			e.lingers = nil
		}
		e.mu.Unlock()
		log.Info("it is no longer in the configuration and was closed", zap.String("resource", e.key), zap.Error(err))
	}()
	return nil
}

func (l *lingering) await(w Worker) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for w.Busy() {
		select {
		case <-tick.C:
		case <-l.stop:
			return
		}
	}
}

// endLingering closes the lingering workers when no configuration is left. Unfinished work is on disk.
func endLingering(ctx context.Context) {
	pool.Lock()
	defer pool.Unlock()
	for _, e := range pool.entries {
		e.mu.Lock()
		l := e.lingers
		e.lingers = nil
		e.mu.Unlock()
		if l == nil {
			continue
		}
		close(l.stop)
		select {
		case <-l.done:
		case <-ctx.Done():
		}
	}
}
