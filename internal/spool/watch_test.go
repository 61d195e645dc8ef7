package spool

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestDirectoryThatGoesAway removes, replaces and brings back the directory of an open spool: no call begins or ends there while
// it is not the one that was opened, and the loss is reported once.
func TestDirectoryThatGoesAway(t *testing.T) {
	parent := t.TempDir()
	dir, away := filepath.Join(parent, "spool"), filepath.Join(parent, "away")
	faults := make(chan error, 100)
	s, err := Open(Options{Dir: dir, OnFault: func(err error) { faults <- err }})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	under := ID{1}
	require.NoError(t, s.Begin(under, []byte("{}")))
	for name, change := range map[string]func(){
		"removed": func() {},
		"replaced": func() {
			require.NoError(t, os.Mkdir(dir, 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "LOCK"), nil, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.Rename(dir, away))
			change()
			require.ErrorIs(t, <-faults, ErrUnavailable)
			require.ErrorIs(t, s.Begin(ID{2}, []byte("{}")), ErrUnavailable)
			require.ErrorIs(t, s.Settle(under, []byte("{}"), false), ErrUnavailable)
			require.True(t, s.Stats().Lost)
			require.NoError(t, os.RemoveAll(dir))
			require.NoError(t, os.Rename(away, dir))
			require.Eventually(t, func() bool { return !s.Stats().Lost }, 10*time.Second, time.Millisecond)
			require.Empty(t, faults, "once")
		})
	}
	require.NoError(t, s.Settle(under, []byte("{}"), false))
}
