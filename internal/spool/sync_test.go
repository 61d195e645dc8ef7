package spool

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// gather holds the first sync of a segment back until n frames are written, so that all but the first wait for one.
type gather struct {
	once    sync.Once
	written chan struct{}
	left    atomic.Int64
	armed   atomic.Bool
}

func newGather(fs *simFS, n int) *gather {
	g := &gather{written: make(chan struct{})}
	g.left.Store(int64(n))
	fs.before = func(op string) {
		if !g.armed.Load() || !strings.HasSuffix(op, segmentSuffix) {
			return
		}
		switch {
		case strings.HasPrefix(op, "write"):
			if g.left.Add(-1) == 0 {
				close(g.written)
			}
		case strings.HasPrefix(op, "sync"):
			g.once.Do(func() { <-g.written })
		}
	}
	return g
}

// TestOneSyncServesAllThatWait settles 64 calls at once: two syncs are enough, that of the first and one for the rest.
func TestOneSyncServesAllThatWait(t *testing.T) {
	const n = 64
	fs := newSimFS()
	s := mustOpen(t, Options{Dir: modelDir, FS: fs, Durability: Fsync, ReserveBytes: -1, manual: true})
	for i := range n {
		require.NoError(t, s.Begin(testID(i), []byte("opened")))
	}
	g := newGather(fs, n)
	g.armed.Store(true)
	before := fs.syncs
	settleAll(t, s, n)
	require.Equal(t, 2, fs.syncs-before)
	require.EqualValues(t, n, s.Stats().Pending)
	require.Len(t, scan(t, mustOpen(t, Options{Dir: modelDir, FS: fs.lostPower(newModel(t, 1, Fsync).r), ReadOnly: true})), n)
}

func settleAll(t *testing.T, s *Spool, n int) {
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() { errs[i] = s.Settle(testID(i), []byte("settled"), true) })
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
}

// TestFailedSyncMovesAllThatWait fails the sync that 64 calls wait for: each is written again behind a new header, and
// none is there twice, whatever of the first try has reached the disk.
func TestFailedSyncMovesAllThatWait(t *testing.T) {
	const n = 64
	fs := newSimFS()
	o := Options{Dir: modelDir, FS: fs, Durability: Fsync, ReserveBytes: -1, manual: true}
	s := mustOpen(t, o)
	for i := range n {
		require.NoError(t, s.Begin(testID(i), []byte("opened")))
	}
	var failed atomic.Int64
	first := modelDir + "/" + segmentName(1)
	fs.fault = func(op, name string) error {
		if op == "sync" && name == first {
			failed.Add(1)
			return errDisk
		}
		return nil
	}
	g := newGather(fs, n)
	g.armed.Store(true)
	settleAll(t, s, n)
	require.EqualValues(t, 1, failed.Load(), "a later sync would say nothing about what the failed one lost")
	require.EqualValues(t, n, s.Stats().Pending)
	for seed := range uint64(20) {
		o.FS = fs.lostPower(newModel(t, seed, Fsync).r)
		other := mustOpen(t, o)
		require.Len(t, scan(t, other), n)
		require.EqualValues(t, n, other.Stats().Pending)
	}
}

// TestRefusedRecordStaysAway fails two syncs in a row, so that a settlement is refused, and then loses the power at some
// time after another record was acknowledged. Whatever the failed syncs left on disk, what was refused is not there.
func TestRefusedRecordStaysAway(t *testing.T) {
	for seed := range rounds(400, 50) {
		fs, now := newSimFS(), time.UnixMilli(1_800_000_000_000)
		fs.changes = seed * 1000 // decides what a failed sync leaves on disk
		o := Options{Dir: modelDir, FS: fs, Durability: Fsync, ReserveBytes: -1, manual: true, Now: func() time.Time { return now }}
		s := mustOpen(t, o)
		settle(t, s, 1)
		require.NoError(t, s.Begin(testID(2), []byte("opened")))
		fails := 0
		fs.fault = func(op, name string) error {
			// The header of the next segment is synced well, its first frame is not.
			if op == "sync" && fails < 2 && len(fs.names[name].data) > segmentHeader {
				fails++
				return errDisk
			}
			return nil
		}
		require.ErrorIs(t, s.Settle(testID(2), []byte("refused"), true), ErrUnavailable)
		now = now.Add(probeEvery)
		require.NoError(t, s.Begin(testID(3), []byte("opened")))
		o.FS = fs.lostPower(newModel(t, uint64(seed), Fsync).r)
		want := map[ID]string{testID(1): "pending record 1", testID(2): "open opened", testID(3): "open opened"}
		require.Equal(t, want, stateMap(scan(t, mustOpen(t, o))), "seed %d", seed)
	}
}

// TestRetryThroughFailedSyncs retries a rejected record while syncs fail: once, so that the frame is written again, and
// twice, so that the retry is refused and has changed nothing.
func TestRetryThroughFailedSyncs(t *testing.T) {
	for fails := 1; fails <= 2; fails++ {
		fs := newSimFS()
		o := Options{Dir: modelDir, FS: fs, Durability: Fsync, ReserveBytes: -1, manual: true}
		s := mustOpen(t, o)
		settle(t, s, 1)
		got, err := s.Claim(t.Context(), 1)
		require.NoError(t, err)
		require.NoError(t, s.Reject(got[0].Seq, []byte("words")))
		left := fails
		fs.fault = func(op, name string) error {
			if op == "sync" && len(fs.names[name].data) > segmentHeader && left > 0 {
				left--
				return errDisk
			}
			return nil
		}
		want := map[ID]string{testID(1): "pending record 1"}
		n, err := s.Retry()
		if fails == 2 {
			require.ErrorIs(t, err, ErrUnavailable)
			require.Equal(t, map[ID]string{testID(1): "rejected record 1 because words"}, stateMap(scan(t, s)))
			n, err = s.Retry()
		}
		require.NoError(t, err)
		require.Equal(t, 1, n)
		for seed := range uint64(20) {
			o.FS = fs.lostPower(newModel(t, seed, Fsync).r)
			require.Equal(t, want, stateMap(scan(t, mustOpen(t, o))))
		}
	}
}

// TestKilledThenPowerLost kills a process between a write and its sync. What the next process finds counts, so it must
// not go when the power is lost afterwards.
func TestKilledThenPowerLost(t *testing.T) {
	fs := newSimFS()
	o := Options{Dir: modelDir, FS: fs, Durability: Fsync, ReserveBytes: -1, manual: true}
	s := mustOpen(t, o)
	require.NoError(t, s.Begin(testID(1), []byte("opened")))
	var disk *simFS
	fs.before = func(op string) {
		if disk == nil && strings.HasPrefix(op, "sync ") {
			disk = fs.killed()
		}
	}
	require.NoError(t, s.Settle(testID(1), []byte("settled"), true))
	o.FS = disk
	s = mustOpen(t, o)
	got, err := s.Claim(t.Context(), 1)
	require.NoError(t, err)
	require.NoError(t, s.Reject(got[0].Seq, []byte("words")))
	for seed := range uint64(40) {
		o.FS = disk.lostPower(newModel(t, seed, Fsync).r)
		require.Equal(t, map[ID]string{testID(1): "rejected settled because words"}, stateMap(scan(t, mustOpen(t, o))))
	}
}

// TestSegmentEndsWhereItIsSynced needs a new segment while a sync of the one before is under way, which then fails. The
// new header must not include what was lost in the log: it is written again.
func TestSegmentEndsWhereItIsSynced(t *testing.T) {
	for seed := range rounds(60, 20) {
		fs := newSimFS()
		o := Options{Dir: modelDir, FS: fs, Durability: Fsync, SegmentBytes: 400, ReserveBytes: -1, manual: true}
		s := mustOpen(t, o)
		require.NoError(t, s.Begin(testID(1), []byte("opened")))
		require.NoError(t, s.Begin(testID(2), []byte("opened")))
		fs.changes = seed * 1000 // decides what the failed sync leaves on disk
		first := modelDir + "/" + segmentName(1)
		failed, began := false, make(chan struct{})
		second := make(chan error, 1)
		fs.fault = func(op, name string) error {
			if op == "sync" && name == first && !failed {
				failed = true
				return errDisk
			}
			return nil
		}
		var sync, create sync.Once
		fs.before = func(op string) {
			switch op {
			case "sync " + segmentName(1):
				sync.Do(func() {
					go func() { second <- s.Settle(testID(2), make([]byte, 200), true) }()
					select { // it has to wait, which cannot be observed
					case <-began:
					case <-time.After(5 * time.Millisecond):
					}
				})
			case "create " + segmentName(2):
				create.Do(func() { close(began) })
			}
		}
		require.NoError(t, s.Settle(testID(1), []byte("settled"), true))
		require.NoError(t, <-second)
		fs.before, fs.fault = nil, nil
		o.FS = fs.lostPower(newModel(t, uint64(seed), Fsync).r)
		found := scan(t, mustOpen(t, o))
		require.Len(t, found, 2)
		require.Equal(t, "pending settled", stateOf(found[testID(1)]))
	}
}

// TestDiskFullAtSync has the file system find out that it is full when it syncs, as those do that allocate late: a call
// in flight settles from the reserve.
func TestDiskFullAtSync(t *testing.T) {
	fs, now := newSimFS(), time.UnixMilli(1_800_000_000_000)
	o := Options{Dir: modelDir, FS: fs, Durability: Fsync, ReserveBytes: 600, manual: true, Now: func() time.Time { return now }}
	s := mustOpen(t, o)
	require.NoError(t, s.Begin(testID(1), []byte("opened")))
	room := fs.used()
	fs.fault = func(op, name string) error {
		if op == "sync" && strings.HasSuffix(name, segmentSuffix) && fs.used() > room+segmentHeader {
			return errDisk
		}
		return nil
	}
	settled := strings.Repeat("settled", 30)
	require.NoError(t, s.Settle(testID(1), []byte(settled), true))
	require.False(t, s.reserve)
	require.ErrorIs(t, s.Begin(testID(2), []byte("opened")), ErrUnavailable)
	fs.fault, now = nil, now.Add(probeEvery)
	require.NoError(t, s.Begin(testID(2), []byte("opened")))
	require.Equal(t, map[ID]string{testID(1): "pending " + settled, testID(2): "open opened"}, stateMap(scan(t, s)))
}

// TestCloseWhileOthersWork closes a spool while a worker waits for records and a settlement waits for its sync.
func TestCloseWhileOthersWork(t *testing.T) {
	fs := newSimFS()
	o := Options{Dir: modelDir, FS: fs, Durability: Fsync, ReserveBytes: -1, manual: true}
	s := mustOpen(t, o)
	require.NoError(t, s.Begin(testID(1), []byte("opened")))
	claimed := make(chan error)
	go func() {
		_, err := s.Claim(t.Context(), 1)
		claimed <- err
	}()
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.ready.waiting == 1
	}, 10*time.Second, time.Millisecond)
	syncing, resume := make(chan struct{}), make(chan struct{})
	var once sync.Once
	fs.before = func(op string) {
		if strings.HasPrefix(op, "sync ") {
			once.Do(func() { close(syncing); <-resume })
		}
	}
	settled, closed := make(chan error), make(chan error)
	go func() { settled <- s.Settle(testID(1), []byte("settled"), true) }()
	<-syncing
	go func() { closed <- s.Close() }()
	require.ErrorIs(t, <-claimed, ErrClosed)
	close(resume)
	require.NoError(t, <-settled, "it was under way")
	require.NoError(t, <-closed)
	require.ErrorIs(t, s.Begin(testID(2), nil), ErrClosed)
	require.Equal(t, map[ID]string{testID(1): "pending settled"}, stateMap(scan(t, mustOpen(t, o))))
}

// TestOneCallOpensOnce opens a call twice while the first opening waits for its sync. Until then it cannot be settled.
func TestOneCallOpensOnce(t *testing.T) {
	fs := newSimFS()
	s := mustOpen(t, Options{Dir: modelDir, FS: fs, Durability: Fsync, ReserveBytes: -1, manual: true})
	var second, settled error
	var once sync.Once
	fs.before = func(op string) {
		if strings.HasPrefix(op, "sync "+segmentName(1)) && fs.changes > 4 {
			once.Do(func() {
				second = s.Begin(testID(1), []byte("opened"))
				settled = s.Settle(testID(1), []byte("settled"), true)
			})
		}
	}
	require.NoError(t, s.Begin(testID(1), []byte("opened")))
	require.ErrorIs(t, second, ErrOpen)
	require.ErrorIs(t, settled, ErrUnknown)
	require.Len(t, scan(t, s), 1)
	require.ErrorIs(t, s.Begin(testID(1), []byte("opened")), ErrOpen)
	require.NoError(t, s.Settle(testID(1), []byte("settled"), true))
	require.Zero(t, s.Stats().Open)
}

// TestScanSeesACallOnce scans while a settlement that is in the log waits for its sync.
func TestScanSeesACallOnce(t *testing.T) {
	fs := newSimFS()
	s := mustOpen(t, Options{Dir: modelDir, FS: fs, Durability: Fsync, ReserveBytes: -1, manual: true})
	require.NoError(t, s.Begin(testID(1), []byte("opened")))
	var seen []string
	scanning, resume, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	var once sync.Once
	fs.before = func(op string) {
		if strings.HasPrefix(op, "sync ") {
			once.Do(func() {
				go func() {
					done <- s.Scan(time.Time{}, time.Time{}, func(r Record) error {
						if seen = append(seen, stateOf(r)); len(seen) == 1 {
							close(scanning)
							<-resume
						}
						return nil
					})
				}()
				<-scanning
			})
		}
	}
	require.NoError(t, s.Settle(testID(1), []byte("settled"), true))
	close(resume)
	require.NoError(t, <-done)
	require.Equal(t, []string{"open opened"}, seen)
}
