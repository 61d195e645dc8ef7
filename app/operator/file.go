package operator

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// WriteFile atomically replaces the named file, readable only by its owner, with what write produces. On
// error the old file is unchanged. Irregular files, such as pipes, are written directly.
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
