package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// watchEvery is how often the spool checks that its lock is still the file of that name: what is written to a directory that was
// removed, replaced or unmounted is lost.
const watchEvery = 500 * time.Millisecond

var errReplaced = errors.New("the lock of the spool is another file than the one that was opened: its directory was replaced")

// present is a file system that can check whether a held lock is still the file of that name.
type present interface {
	Present(name string, lock io.Closer) error
}

// Present returns why the lock is no longer the file of that name.
func (osFS) Present(name string, lock io.Closer) error {
	f, ok := lock.(*os.File)
	if !ok {
		return nil
	}
	held, err := f.Stat()
	if err != nil {
		return err
	}
	there, err := os.Stat(filepath.Clean(name))
	switch {
	case err != nil:
		return err
	case !os.SameFile(held, there):
		return errReplaced
	}
	return nil
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
