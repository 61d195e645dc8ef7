package operator

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// WriteFile has write fill a file that only its owner may read, and puts it in the place of name when it is whole and on disk: whatever
// fails before leaves the old file. What is no regular file, such as a pipe, is written as it is.
func WriteFile(name string, write func(io.Writer) error) error {
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		f, err := os.OpenFile(name, os.O_WRONLY, 0) // #nosec G304 -- the operator names it
		if err != nil {
			return err
		}
		return errors.Join(write(f), f.Close())
	}
	if to, err := filepath.EvalSymlinks(name); err == nil {
		name = to
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}
