package operator

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestWriteFileIsWholeOrNotThere fails in the midst of writing: the file of before stays, and nothing lies beside it.
func TestWriteFileIsWholeOrNotThere(t *testing.T) {
	dir := t.TempDir()
	name, link := filepath.Join(dir, "keys.json"), filepath.Join(dir, "link")
	broken := errors.New("the gateway is gone")
	half := func(w io.Writer) error {
		_, err := io.WriteString(w, "half")
		return errors.Join(err, broken)
	}
	whole := func(text string) func(io.Writer) error {
		return func(w io.Writer) error { _, err := io.WriteString(w, text); return err }
	}
	require.ErrorIs(t, WriteFile(name, half), broken)
	require.NoFileExists(t, name)
	require.NoError(t, WriteFile(name, whole("one")))
	require.NoError(t, os.Symlink(name, link))
	require.ErrorIs(t, WriteFile(link, half), broken)
	content := func() string {
		text, err := os.ReadFile(name) // #nosec G304 -- of this test
		require.NoError(t, err)
		return string(text)
	}
	require.Equal(t, "one", content())
	require.NoError(t, WriteFile(link, whole("two")))
	require.Equal(t, "two", content(), "the link is followed")
	info, err := os.Stat(name)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2)
	require.NoError(t, WriteFile(os.DevNull, whole("three")))
}
