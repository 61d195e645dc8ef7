package main

import (
	"archive/zip"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// wheel is a downloaded Python package.
type wheel struct {
	*zip.ReadCloser
	name, version string
	fetched       string // date
	dir           string // for files of the generation, removed after it
}

// maxFile bounds the size of one file of a package.
const maxFile = 64 << 20

// download gets the package, without its dependencies, in that version or, when it is empty, in the newest.
func download(ctx context.Context, tmp, name, version string) (*wheel, error) {
	spec := name
	if version != "" {
		spec += "==" + version
	}
	cmd := exec.CommandContext(ctx, "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", tmp, spec) //nolint:gosec // run by a developer
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("pip download %s: %w", spec, err)
	}
	files, err := filepath.Glob(filepath.Join(tmp, "*.whl"))
	if err != nil || len(files) != 1 {
		return nil, fmt.Errorf("pip download %s left %d wheels (%w)", spec, len(files), err)
	}
	r, err := zip.OpenReader(files[0])
	if err != nil {
		return nil, err
	}
	// A wheel is named after the package, its version, and what it runs on, with dashes between.
	parts := strings.Split(filepath.Base(files[0]), "-")
	return &wheel{r, name, parts[1], time.Now().UTC().Format(time.DateOnly), tmp}, nil
}

// find returns the content of the one file whose name matches the pattern.
func (w *wheel) find(pattern string) ([]byte, error) {
	for _, f := range w.File {
		if ok, err := path.Match(pattern, f.Name); !ok || err != nil {
			continue
		}
		r, err := f.Open()
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(io.LimitReader(r, maxFile))
		if closed := r.Close(); err == nil {
			err = closed
		}
		return data, err
	}
	return nil, fmt.Errorf("%s %s has no %s", w.name, w.version, pattern)
}
