package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// OS is the file system of the operating system.
func OS() FS { return osFS{} }

type osFS struct{}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (o osFS) MkdirAll(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	var missing []string
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(at); !errors.Is(err, fs.ErrNotExist) || at == filepath.Dir(at) {
			break
		}
		missing = append(missing, at)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, at := range missing {
		if err := o.SyncDir(filepath.Dir(at)); err != nil {
			return err
		}
	}
	return nil
}

func (osFS) ReadDir(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (osFS) Create(name string) (File, error) {
	f, err := os.OpenFile(filepath.Clean(name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) Open(name string, readOnly bool) (File, error) {
	flag := os.O_RDWR
	if readOnly {
		flag = os.O_RDONLY
	}
	f, err := os.OpenFile(filepath.Clean(name), flag, 0)
	if !readOnly && errors.Is(err, syscall.EROFS) {
		f, err = os.Open(filepath.Clean(name))
	}
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) Remove(name string) error { return os.Remove(name) }

func (osFS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(filepath.Clean(name), os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, syscall.EROFS) {
		f, err = os.Open(filepath.Clean(name))
	}
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		holder := make([]byte, 20)
		n, rerr := f.ReadAt(holder, 0)
		if rerr != nil && !errors.Is(rerr, io.EOF) {
			n = 0 // the holder's process id is optional in the message
		}
		if errors.Is(err, ErrLocked) && n > 0 {
			err = fmt.Errorf("%w (process %s)", err, strings.TrimSpace(string(holder[:n])))
		}
		return nil, errors.Join(err, f.Close())
	}
	// A full disk must not prevent a spool from opening, so a failure to write the number is ignored.
	if f.Truncate(0) == nil {
		_, _ = fmt.Fprint(f, os.Getpid())
	}
	return f, nil
}

var errReplaced = errors.New("the lock of the spool is another file than the one that was opened: its directory was replaced")

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
