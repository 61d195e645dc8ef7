package spool

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"time"
)

// watchEvery is how often the spool checks that its lock is still the file of that name: what is written to a directory that was
// removed, replaced or unmounted is lost.
const watchEvery = 500 * time.Millisecond

// present is a file system that can check whether a held lock is still the file of that name.
type present interface {
	Present(name string, lock io.Closer) error
}

// watch checks the lock until ctx ends. It reports a loss once, and withdraws it if the directory returns.
func (s *Spool) watch(ctx context.Context, fs present) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := fs.Present(filepath.Join(s.o.Dir, "LOCK"), s.lock)
		if err != nil {
			err = fmt.Errorf("%w: its directory was removed or replaced: %w", ErrUnavailable, err)
		}
		s.mu.Lock()
		news := (err == nil) != (s.lost == nil) && !s.closed
		s.lost = err
		s.mu.Unlock()
		if news && err != nil {
			s.o.OnFault(err)
		}
	}
}
