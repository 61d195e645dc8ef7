package spool

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const childDir, childTask = "TOLLGATE_SPOOL_CHILD_DIR", "TOLLGATE_SPOOL_CHILD_TASK"

// TestMain runs a task in place of the tests when this program was started as a child.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		os.Exit(child(dir, os.Getenv(childTask)))
	}
	os.Exit(m.Run())
}

// child opens a spool and, depending on its task, writes records until it is killed. It prints which were acknowledged.
func child(dir, task string) int {
	s, err := Open(Options{Dir: dir, SegmentBytes: 20_000})
	if err != nil {
		fmt.Println(err)
		if errors.Is(err, ErrLocked) {
			return 3
		}
		return 1
	}
	first, err := strconv.Atoi(task)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for n := first; ; n++ {
		if err := errors.Join(s.Begin(testID(n), []byte("opened")), s.Settle(testID(n), fmt.Appendf(nil, "record %d", n), true)); err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Println(n)
	}
}

func startChild(t *testing.T, dir, task string) (*exec.Cmd, *bufio.Scanner) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir, childTask+"="+task)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	return cmd, bufio.NewScanner(out)
}

// TestSecondProcessIsRefused opens a spool that this process holds in another, and one that another holds in this.
func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, Options{Dir: dir, ReserveBytes: -1})
	settle(t, s, 0)
	cmd, out := startChild(t, dir, "1")
	require.True(t, out.Scan())
	require.Equal(t, fmt.Sprintf("spool %s: %v (process %d)", dir, ErrLocked, os.Getpid()), out.Text())
	require.Error(t, cmd.Wait())
	require.Equal(t, 3, cmd.ProcessState.ExitCode())
	settle(t, s, 1)
	require.NoError(t, s.Close())

	cmd, out = startChild(t, dir, "2")
	require.True(t, out.Scan())
	require.Equal(t, "2", out.Text())
	_, err := Open(Options{Dir: dir})
	require.ErrorIs(t, err, ErrLocked)
	require.ErrorContains(t, err, fmt.Sprintf("process %d", cmd.Process.Pid))
	// Offline reading needs no lock.
	require.Subset(t, stateMap(scan(t, mustOpen(t, Options{Dir: dir, ReadOnly: true}))), map[ID]string{testID(0): "pending record 0", testID(1): "pending record 1", testID(2): "pending record 2"})
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	mustOpen(t, Options{Dir: dir, ReserveBytes: -1})
}

// TestKilledProcess repeatedly kills a process that writes records: all acknowledged records are there, once.
func TestKilledProcess(t *testing.T) {
	dir := t.TempDir()
	next := 1
	for round := range 12 {
		cmd, out := startChild(t, dir, strconv.Itoa(next))
		last := 0
		for range 1 + 37*round%200 {
			require.True(t, out.Scan())
			n, err := strconv.Atoi(out.Text())
			require.NoError(t, err, out.Text())
			last = n
		}
		require.NoError(t, cmd.Process.Kill())
		for out.Scan() { // what it printed before it died
			if n, err := strconv.Atoi(out.Text()); err == nil && n == last+1 {
				last = n
			}
		}
		require.Error(t, cmd.Wait())
		found := scan(t, mustOpen(t, Options{Dir: dir, ReadOnly: true}))
		for n := 1; n <= last; n++ {
			if want := fmt.Sprintf("pending record %d", n); n >= next {
				require.Equal(t, want, stateOf(found[testID(n)]))
			}
		}
		for id, r := range found {
			n := int(binary.BigEndian.Uint64(id[8:]))
			require.LessOrEqual(t, n, last+1, "round %d: %v", round, r)
		}
		next = last + 2
	}
}

// listing is a file system whose first listing of names is not atomic: segments come and go meanwhile.
type listing struct {
	*simFS
	meanwhile func()
	names     func(before, after []string) []string
}

func (l *listing) ReadDir(dir string) ([]string, error) {
	names, err := l.simFS.ReadDir(dir)
	if do := l.meanwhile; do != nil && err == nil {
		l.meanwhile = nil
		do()
		var after []string
		after, err = l.simFS.ReadDir(dir)
		names = l.names(names, after)
	}
	return names, err
}

// TestReadingWhileSegmentsGo lists the segments while the writer copies records out of the oldest ones and removes them.
func TestReadingWhileSegmentsGo(t *testing.T) {
	for what, names := range map[string]func(before, after []string) []string{
		"those before": func(before, _ []string) []string { return before },
		"those that were there all the time": func(before, after []string) []string {
			return slices.DeleteFunc(before, func(name string) bool { return !slices.Contains(after, name) })
		},
	} {
		fs, now := newSimFS(), time.UnixMilli(1_800_000_000_000)
		o := Options{Dir: modelDir, FS: fs, SegmentBytes: 400, Retain: time.Hour, ReserveBytes: -1, manual: true, Now: func() time.Time { return now }}
		s := mustOpen(t, o)
		for i := range 12 {
			settle(t, s, i)
		}
		got, err := s.Claim(t.Context(), 11)
		require.NoError(t, err)
		for _, r := range got[1:] {
			require.NoError(t, s.Done(r.Seq))
		}
		l := &listing{simFS: fs, names: names}
		l.meanwhile = func() {
			now = now.Add(2 * time.Hour)
			segments := s.Stats().Segments
			require.NoError(t, s.Compact())
			require.Less(t, s.Stats().Segments, segments)
		}
		o.FS, o.ReadOnly = l, true
		reader, err := Open(o)
		require.NoError(t, err, what)
		require.Subset(t, stateMap(scan(t, reader)), map[ID]string{testID(0): "pending record 0", testID(11): "pending record 11"}, what)
		require.NoError(t, reader.Close())
	}
}

// TestReadingWhileAnotherWrites opens a spool for reading at every change that its writer makes, and reads on with what it
// has while the writer removes the segments.
func TestReadingWhileAnotherWrites(t *testing.T) {
	m := newModel(t, 5, Process)
	reads := 0
	var old *Spool
	var oldStates map[ID]string
	read := func(op string) {
		o := m.o
		o.ReadOnly = true
		o.FS = m.fs
		before := m.fs.changes
		s, err := Open(o)
		require.NoError(t, err, op)
		m.check(scan(t, s), op, false)
		require.Equal(t, before, m.fs.changes, "offline reading changes nothing")
		if reads++; reads%40 == 1 {
			if old != nil {
				require.Equal(t, oldStates, stateMap(scan(t, old)), "the picture that was read before segments went")
				require.NoError(t, old.Close())
			}
			old, oldStates = s, stateMap(scan(t, s))
			return
		}
		require.NoError(t, s.Close())
		require.ErrorIs(t, s.Begin(ID{}, nil), ErrClosed)
	}
	m.fs.before, m.fs.torn = read, read
	m.open()
	for range 300 {
		m.step()
	}
	m.end()
	require.NoError(t, old.Close())
	require.Greater(t, reads, 300)

	o := m.o
	o.ReadOnly = true
	s := mustOpen(t, o)
	require.ErrorIs(t, s.Begin(testID(1), nil), ErrReadOnly)
	require.ErrorIs(t, s.Done(1), ErrReadOnly)
	_, err := s.Adopt("/elsewhere")
	require.ErrorIs(t, err, ErrReadOnly)
	o.Dir = filepath.Join(t.TempDir(), "none")
	_, err = Open(o)
	require.ErrorIs(t, err, os.ErrNotExist)
}
