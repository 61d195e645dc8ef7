package spool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// seeds is how many random workloads a test runs. TOLLGATE_SPOOL_SEEDS makes them more.
func seeds(t testing.TB, n uint64) uint64 {
	if v := os.Getenv("TOLLGATE_SPOOL_SEEDS"); v != "" {
		more, err := strconv.ParseUint(v, 10, 32)
		require.NoError(t, err)
		return more
	}
	return uint64(rounds(int(n), 1))
}

// rounds is how often a test repeats what it does at random or at every place; with -short it is content with fewer.
func rounds(all, short int) int {
	if testing.Short() {
		return short
	}
	return all
}

// TestCrashAtEveryChange crashes a spool before every change that a workload makes to the disk, and in the middle of
// every write: by the end of the process, and, where syncs are promised to help, by the loss of power.
func TestCrashAtEveryChange(t *testing.T) {
	for _, d := range []Durability{Process, Fsync} {
		for seed := range seeds(t, 4) {
			t.Run(fmt.Sprintf("%v/%d", [...]string{"process", "fsync"}[d], seed), func(t *testing.T) {
				t.Parallel()
				m := newModel(t, seed, d)
				crashAtEveryChange(m)
				m.open()
				for range rounds(90+210*(1-int(d)), 60) { // a crash of the process leaves one disk, so there is time for more
					m.step()
				}
				m.end()
			})
		}
	}
}

// crashAtEveryChange makes the model's disk crash before each change and in the middle of each write.
func crashAtEveryChange(m *model) {
	points := 0
	crash := func(op string) {
		points++
		deep := points%5 == 0
		m.verify(m.fs.killed(), op, false, deep)
		for range 2 * int(m.o.Durability) {
			m.verify(m.fs.lostPower(m.r), op, true, deep)
		}
		if m.o.Durability == Process { // records may be lost, but the rest is there once
			o := m.o
			o.FS = m.fs.lostPower(m.r)
			s, err := Open(o)
			require.NoError(m.t, err, op)
			scan(m.t, s)
			require.NoError(m.t, s.Close())
		}
	}
	m.fs.before, m.fs.torn = crash, crash
	m.t.Cleanup(func() { m.t.Logf("%d crash points, %d disks checked, %d calls", points, m.checks, len(m.calls)) })
}

// end closes the spool on a disk that is well.
func (m *model) end() {
	m.fs.before, m.fs.torn, m.fs.fault, m.fs.limit = nil, nil, nil, 0
	require.NoError(m.t, m.s.Close())
	m.open()
	m.check(scan(m.t, m.s), "the end", false)
	require.NoError(m.t, m.s.Close())
}

// progress is how far calls have come: 1 opened, 2 settled, 3 done.
type progress struct {
	mu             sync.Mutex
	started, acked map[ID]int
}

func (p *progress) step(t *testing.T, id ID, n int, do func() error) {
	p.mu.Lock()
	p.started[id] = n
	p.mu.Unlock()
	err := do()
	for try := 0; errors.Is(err, ErrUnavailable) && try < 20; try++ {
		err = do()
	}
	if err != nil {
		t.Error(err)
		return
	}
	p.mu.Lock()
	p.acked[id] = n
	p.mu.Unlock()
}

func (p *progress) copy(m map[ID]int) map[ID]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(m)
}

// TestCrashWhileManySettle crashes at every change while many calls share syncs, some of which fail, and records are
// delivered and pruned.
func TestCrashWhileManySettle(t *testing.T) {
	for _, d := range []Durability{Process, Fsync} {
		fs, r := newSimFS(), rand.New(rand.NewPCG(9, 9))
		o := Options{Dir: modelDir, FS: fs, Durability: d, SegmentBytes: 1500, Retain: time.Nanosecond, ReserveBytes: -1, manual: true}
		var clock atomic.Int64 // a disk that failed may be tried again at once
		o.Now = func() time.Time {
			return time.UnixMilli(1_800_000_000_000).Add(time.Duration(clock.Add(1)) * probeEvery)
		}
		s := mustOpen(t, o)
		p := &progress{started: map[ID]int{}, acked: map[ID]int{}}
		var one sync.Mutex // crash at a time
		points := 0
		crash := func(op string) {
			one.Lock()
			defer one.Unlock()
			points++
			// What was acknowledged before the crash must be there; what was begun by its end may be.
			acked, disk := p.copy(p.acked), fs.killed()
			if d == Fsync && points%4 > 0 {
				disk = fs.lostPower(r)
			}
			started := p.copy(p.started)
			o := o
			o.FS = disk
			after, err := Open(o)
			if err != nil {
				t.Error(op, err)
				return
			}
			found := scan(t, after)
			for id, rec := range found {
				n := map[State]int{StateOpen: 1, StateInterrupted: 1, StatePending: 2, StateDone: 3}[rec.State]
				if n < acked[id] || n > started[id] {
					t.Errorf("after %s: call %x is %v; %d was acknowledged, and %d begun", op, id[8:], rec.State, acked[id], started[id])
				}
			}
			for id, n := range acked {
				if _, there := found[id]; !there && started[id] < 3 {
					t.Errorf("after %s: call %x is lost; %d was acknowledged", op, id[8:], n)
				}
			}
			if err := after.Close(); err != nil {
				t.Error(op, err)
			}
		}
		fs.before, fs.torn = crash, crash
		var faults atomic.Int64
		fs.fault = func(op, _ string) error {
			if d == Fsync && op == "sync" && faults.Add(1)%11 == 10 {
				return errDisk
			}
			return nil
		}
		var calls, others sync.WaitGroup
		ctx, stop := context.WithCancel(t.Context())
		for caller := range 6 {
			calls.Go(func() {
				for i := range 20 {
					id := testID(caller*20 + i)
					p.step(t, id, 1, func() error { return s.Begin(id, []byte("opened")) })
					p.step(t, id, 2, func() error { return s.Settle(id, []byte("settled"), true) })
				}
			})
		}
		others.Go(func() {
			for {
				got, err := s.Claim(ctx, 5)
				if err != nil {
					return
				}
				for _, rec := range got {
					p.step(t, rec.ID, 3, func() error { return s.Done(rec.Seq) })
				}
				if err := s.Compact(); err != nil && !errors.Is(err, errDisk) {
					t.Error(err)
				}
			}
		})
		calls.Wait()
		stop()
		others.Wait()
		fs.before, fs.torn, fs.fault = nil, nil, nil
		t.Logf("%d crash points", points)
	}
}
