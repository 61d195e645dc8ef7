package spool

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// adoptionWorld is two spools on one disk: the one of a dead instance, with records in every state, and a living one.
type adoptionWorld struct {
	fs         *simFS
	o, dead    Options
	here, take map[ID]string // records of the living spool, and those it is to take over
}

func newAdoptionWorld(t testing.TB, d Durability) *adoptionWorld {
	w := &adoptionWorld{fs: newSimFS()}
	now := time.UnixMilli(1_800_000_000_000)
	w.o = Options{Dir: "/living", FS: w.fs, Durability: d, SegmentBytes: 400, ReserveBytes: 64, manual: true, Now: func() time.Time { return now }}
	w.dead = w.o
	w.dead.Dir = "/dead"
	s, err := Open(w.dead)
	require.NoError(t, err)
	for i := range 6 {
		settle(t, s, i)
	}
	require.NoError(t, s.Begin(testID(6), []byte("opened")))
	got, err := s.Claim(context.Background(), 3)
	require.NoError(t, err)
	require.NoError(t, s.Done(got[0].Seq))
	require.NoError(t, s.Reject(got[1].Seq, []byte("words")))
	_, err = s.Amend(got[2].Seq, []byte("amended"))
	require.NoError(t, err)
	w.take = stateMap(scan(t, s))
	delete(w.take, got[0].ID)
	require.NoError(t, s.Close())

	s, err = Open(w.o)
	require.NoError(t, err)
	settle(t, s, 100)
	require.NoError(t, s.Begin(testID(101), []byte("opened")))
	w.here = stateMap(scan(t, s))
	require.NoError(t, s.Close())
	return w
}

// on returns the options of both spools on another disk.
func (w *adoptionWorld) on(disk *simFS) (o, dead Options) {
	o, dead = w.o, w.dead
	o.FS, dead.FS = disk, disk
	return o, dead
}

// all is what the living spool holds after the adoption.
func (w *adoptionWorld) all() map[ID]string {
	all := map[ID]string{}
	for _, m := range []map[ID]string{w.here, w.take} {
		for id, state := range m {
			all[id] = state
		}
	}
	return all
}

// finish holds a disk to the promise: the records are in one of the spools, all of them, and when the adoption is called
// again they are in the living one, once.
func (w *adoptionWorld) finish(t testing.TB, disk *simFS, what string) {
	o, dead := w.on(disk)
	s, err := Open(o)
	require.NoError(t, err, what)
	found := stateMap(scan(t, s))
	taken := len(found) > len(w.here)
	if taken {
		require.Equal(t, w.all(), found, what)
	} else {
		require.Equal(t, w.here, found, what)
	}
	if other, err := Open(dead); err == nil {
		require.False(t, taken, "%s: both spools serve the same records", what)
		delivered := stateMap(scan(t, other))
		for id, state := range w.take {
			require.Equal(t, state, delivered[id], what)
		}
		require.NoError(t, other.Close())
	} else {
		require.ErrorIs(t, err, ErrAdopted, what)
	}
	if _, err := s.Adopt(dead.Dir); err != nil {
		require.ErrorIs(t, err, ErrAdopted, what)
	}
	w.complete(t, s, o, dead, what)
}

// complete sees to it that the adoption has ended, for good.
func (w *adoptionWorld) complete(t testing.TB, s *Spool, o, dead Options, what string) {
	require.Equal(t, w.all(), stateMap(scan(t, s)), what)
	_, err := Open(dead)
	require.ErrorIs(t, err, ErrAdopted, what)
	_, err = s.Adopt(dead.Dir)
	require.ErrorIs(t, err, ErrAdopted, what)
	require.NoError(t, s.Close())
	s, err = Open(o)
	require.NoError(t, err, what)
	require.Equal(t, w.all(), stateMap(scan(t, s)), "%s: opened again", what)
	require.NoError(t, s.Close())
}

// TestCrashAtEveryStepOfAdoption crashes an adoption, and the one that goes on with it, before each change of the disk
// and in the middle of each write.
func TestCrashAtEveryStepOfAdoption(t *testing.T) {
	for _, d := range []Durability{Process, Fsync} {
		w := newAdoptionWorld(t, d)
		points := 0
		for seed := range 3 * seeds(t, 1) {
			r := rand.New(rand.NewPCG(seed, 3))
			disk := w.fs.killed()
			crash := func(op string) {
				points++
				what := fmt.Sprintf("durability %d, seed %d, %s", d, seed, op)
				next := disk.killed()
				again(t, w, next.killed(), r, what+", then the second adoption")
				w.finish(t, next, what)
				for range 4 * int(d) {
					w.finish(t, disk.lostPower(r), what+", power lost")
				}
			}
			o, dead := w.on(disk)
			s, err := Open(o)
			require.NoError(t, err)
			disk.before, disk.torn = crash, crash
			n, err := s.Adopt(dead.Dir)
			disk.before, disk.torn = nil, nil
			require.NoError(t, err)
			require.Len(t, w.take, n)
			w.complete(t, s, o, dead, "without a crash")
		}
		t.Logf("%d crash points", points)
	}
}

// again repeats an adoption after a crash, and crashes it at a given step too.
func again(t testing.TB, w *adoptionWorld, disk *simFS, r *rand.Rand, what string) {
	o, dead := w.on(disk)
	s, err := Open(o)
	require.NoError(t, err, what)
	left := r.IntN(12)
	crash := func(op string) {
		if left--; left == 0 {
			w.finish(t, disk.killed(), what+" at "+op)
			if o.Durability == Fsync {
				w.finish(t, disk.lostPower(r), what+" at "+op+", power lost")
			}
		}
	}
	disk.before, disk.torn = crash, crash
	_, err = s.Adopt(dead.Dir)
	disk.before, disk.torn = nil, nil
	if err != nil {
		require.ErrorIs(t, err, ErrAdopted, what)
	}
	require.NoError(t, s.Close())
}

// TestFaultAtEveryStepOfAdoption makes each step of an adoption fail once. The adoption returns the error and can be repeated.
func TestFaultAtEveryStepOfAdoption(t *testing.T) {
	for _, d := range []Durability{Process, Fsync} {
		w := newAdoptionWorld(t, d)
		for fail := 1; ; fail++ {
			what := fmt.Sprintf("durability %d, change %d", d, fail)
			disk := w.fs.killed()
			o, dead := w.on(disk)
			s, err := Open(o)
			require.NoError(t, err)
			left, failed := fail, false
			disk.fault = func(op, name string) error {
				if op == "read" {
					return nil
				}
				if left--; left == 0 {
					failed, what = true, what+": "+op+" "+name
					return errDisk
				}
				return nil
			}
			_, err = s.Adopt(dead.Dir)
			disk.fault = nil
			if !failed {
				require.NoError(t, err)
				require.NoError(t, s.Close())
				require.Greater(t, fail, 10)
				break
			}
			settle(t, s, 300)
			found := stateMap(scan(t, s))
			require.Contains(t, found, testID(300))
			delete(found, testID(300))
			w.here[testID(300)] = "pending record 300"
			require.NoError(t, s.Close(), what)
			w.finish(t, disk, what)
			delete(w.here, testID(300))
		}
	}
}

// TestAdoptedRecordsLiveOn takes records over, finishes some, and prunes the segments of their copies.
func TestAdoptedRecordsLiveOn(t *testing.T) {
	w := newAdoptionWorld(t, Fsync)
	s := mustOpen(t, w.o)
	_, err := s.Adopt(w.dead.Dir)
	require.NoError(t, err)
	require.ErrorIs(t, s.Settle(testID(0), nil, true), ErrUnknown)
	require.NoError(t, s.Settle(testID(6), []byte("estimated"), true))
	got, err := s.Claim(context.Background(), 2)
	require.NoError(t, err)
	require.NoError(t, s.Done(got[0].Seq, got[1].Seq))
	want := w.all()
	for _, r := range got {
		want[r.ID] = "done " + string(r.Payload)
	}
	want[testID(6)] = "pending estimated"
	require.Equal(t, want, stateMap(scan(t, s)))
	require.NoError(t, s.Close())

	later := w.o.Now().Add(1000 * time.Hour)
	w.o.Now = func() time.Time { return later }
	s = mustOpen(t, w.o)
	require.Equal(t, want, stateMap(scan(t, s)))
	for range 20 {
		require.NoError(t, s.Compact())
	}
	for _, r := range got {
		delete(want, r.ID)
	}
	require.Subset(t, stateMap(scan(t, s)), want)
	_, err = s.Retry()
	require.NoError(t, err)
	require.NoError(t, s.Close())
	s = mustOpen(t, w.o)
	want[testID(1)] = "pending record 1"
	require.Subset(t, stateMap(scan(t, s)), want)
}

// TestAdoptionNeedsAQuietSpool refuses one that is in use, and one that another has begun to take over, even when a bit
// of what says so is flipped.
func TestAdoptionNeedsAQuietSpool(t *testing.T) {
	w := newAdoptionWorld(t, Process)
	s := mustOpen(t, w.o)
	held, err := w.fs.Lock("/dead/LOCK")
	require.NoError(t, err)
	_, err = s.Adopt("/dead")
	require.ErrorIs(t, err, ErrLocked)
	require.NoError(t, held.Close())
	_, err = s.Adopt("/living")
	require.ErrorIs(t, err, ErrLocked, "itself")

	// The adoption counts, and a crash keeps it from being ended.
	w.fs.before = func(op string) {
		if op == "create "+adoptedName {
			half := w.fs.killed()
			w.fs.before = nil
			content := half.content("/dead/" + adoptingName)
			for at := range content {
				disk := half.killed()
				disk.content("/dead/" + adoptingName)[at] ^= 0x10
				other := w.o
				other.FS, other.Dir = disk, "/third"
				third, err := Open(other)
				require.NoError(t, err)
				_, err = third.Adopt("/dead")
				require.ErrorIs(t, err, ErrAdopted, "byte %d", at)
				require.ErrorContains(t, err, "/living")
				require.NoError(t, third.Close())
				w.finish(t, disk, fmt.Sprintf("byte %d of %s", at, adoptingName))
			}
		}
	}
	_, err = s.Adopt("/dead")
	require.NoError(t, err)
	require.Nil(t, w.fs.before, "the adoption was never half done")
}

// TestAdoptionTellsDamage takes over what can be read, and reports what cannot.
func TestAdoptionTellsDamage(t *testing.T) {
	w := newAdoptionWorld(t, Process)
	disk := w.fs
	b := disk.content("/dead/" + segmentName(1))
	b[len(b)-1] ^= 1
	var told []error
	w.o.OnFault = func(err error) { told = append(told, err) }
	s := mustOpen(t, w.o)
	n, err := s.Adopt("/dead")
	require.NoError(t, err)
	require.Len(t, told, 1)
	require.ErrorContains(t, told[0], segmentName(1))
	require.GreaterOrEqual(t, n, len(w.take)-1)
}

// TestCloseWaitsForAdoption closes a spool just before an adoption takes effect: no other process may have the spool then.
func TestCloseWaitsForAdoption(t *testing.T) {
	w := newAdoptionWorld(t, Process)
	s, err := Open(w.o)
	require.NoError(t, err)
	closed := make(chan error, 1)
	w.fs.before = func(op string) {
		if !strings.HasPrefix(op, "create "+adoptedPrefix) {
			return
		}
		go func() { closed <- s.Close() }()
		require.Eventually(t, func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.closed
		}, 10*time.Second, time.Millisecond)
		_, err := Open(w.o)
		require.ErrorIs(t, err, ErrLocked)
		require.Empty(t, closed)
	}
	n, err := s.Adopt("/dead")
	require.NoError(t, err)
	require.Len(t, w.take, n)
	require.NoError(t, <-closed)
	w.fs.before = nil
	_, err = s.Adopt("/dead")
	require.ErrorIs(t, err, ErrClosed)
	require.Equal(t, w.all(), stateMap(scan(t, mustOpen(t, w.o))))
}
