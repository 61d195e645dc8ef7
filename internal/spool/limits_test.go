package spool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestFullSpool fills a spool to MaxBytes: new calls are refused, those in flight settle, and service returns by itself
// when what is finished has been retained long enough.
func TestFullSpool(t *testing.T) {
	for _, segment := range []int64{2_000, 1 << 20} {
		now := time.UnixMilli(1_800_000_000_000)
		o := Options{Dir: modelDir, FS: newSimFS(), MaxBytes: 20_000, SegmentBytes: segment, Retain: time.Hour, ReserveBytes: -1, manual: true}
		o.Now = func() time.Time { return now }
		s := mustOpen(t, o)
		inFlight := 0
		var err error
		for ; err == nil; inFlight++ {
			require.Less(t, inFlight, 500)
			if err = s.Begin(testID(inFlight), make([]byte, 100)); err == nil && inFlight%2 == 0 {
				require.NoError(t, s.Settle(testID(inFlight), make([]byte, 1000), true))
			}
		}
		inFlight--
		require.ErrorIs(t, err, ErrFull)
		require.True(t, s.Stats().Full)
		for i := 1; i < inFlight; i += 2 {
			require.NoError(t, s.Settle(testID(i), make([]byte, 1000), true))
		}
		require.LessOrEqual(t, s.Stats().Bytes, int64(20_000), "the calls in flight were counted in")
		for ; s.Begin(testID(inFlight), nil) == nil; inFlight++ {
			require.NoError(t, s.Settle(testID(inFlight), make([]byte, 1000), true))
		}
		require.ErrorIs(t, s.Begin(testID(1000), nil), ErrFull)

		got, err := s.Claim(t.Context(), inFlight)
		require.NoError(t, err)
		for _, r := range got {
			require.NoError(t, s.Done(r.Seq))
		}
		now = now.Add(59 * time.Minute)
		require.NoError(t, s.Compact())
		require.ErrorIs(t, s.Begin(testID(1000), nil), ErrFull, "finished records are retained")
		require.Len(t, scan(t, s), inFlight)
		last := s.nextSeq
		now = now.Add(2 * time.Minute)
		require.NoError(t, s.Compact())
		require.NoError(t, s.Begin(testID(1000), nil))
		require.False(t, s.Stats().Full)
		require.Len(t, scan(t, s), 1)
		require.NoError(t, s.Close())
		s = mustOpen(t, o)
		found := scan(t, s)
		require.Len(t, found, 1)
		require.GreaterOrEqual(t, found[testID(1000)].Seq, last)
	}
}

// TestNumbersOutliveTheirSegments prunes everything: the next process goes on with the numbers all the same.
func TestNumbersOutliveTheirSegments(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	o := Options{Dir: modelDir, FS: newSimFS(), Retain: time.Hour, ReserveBytes: 600, manual: true, Now: func() time.Time { return now }}
	s := mustOpen(t, o)
	require.NoError(t, s.Begin(testID(1), nil))
	require.NoError(t, s.Settle(testID(1), nil, false))
	next := s.nextSeq
	now = now.Add(2 * time.Hour)
	sim, _ := o.FS.(*simFS)
	sim.limit = sim.used() // pruning begins a segment, which takes the room of the reserve
	require.NoError(t, s.Compact())
	require.Zero(t, s.Stats().Finished)
	require.NoError(t, s.Close())
	sim.limit = 0
	s = mustOpen(t, o)
	settle(t, s, 2)
	require.GreaterOrEqual(t, scan(t, s)[testID(2)].Seq, next)
}

// TestCompactCopiesForward keeps what is unfinished through pruning, each under its number and with its note.
func TestCompactCopiesForward(t *testing.T) {
	for _, d := range []Durability{Process, Fsync} {
		now := time.UnixMilli(1_800_000_000_000)
		o := Options{Dir: modelDir, FS: newSimFS(), Durability: d, SegmentBytes: 400, Retain: time.Hour, ReserveBytes: -1, manual: true}
		o.Now = func() time.Time { return now }
		s := mustOpen(t, o)
		require.NoError(t, s.Begin(testID(100), []byte("a long call")))
		for i := range 20 {
			settle(t, s, i)
		}
		got, err := s.Claim(t.Context(), 20)
		require.NoError(t, err)
		for i, r := range got {
			switch i {
			case 3:
				s.Release(r.Seq)
			case 4:
				require.NoError(t, s.Reject(r.Seq, []byte("words")))
			default:
				require.NoError(t, s.Done(r.Seq))
			}
		}
		before := s.Stats()
		require.NoError(t, s.Compact())
		require.Equal(t, before.Segments, s.Stats().Segments, "it is too early")
		now = now.Add(2 * time.Hour)
		require.NoError(t, s.Compact())
		require.Less(t, s.Stats().Bytes, before.Bytes/3)
		want := map[ID]string{testID(100): "open a long call", testID(3): "pending record 3", testID(4): "rejected record 4 because words"}
		check := func() {
			found := scan(t, s)
			require.Subset(t, stateMap(found), want)
			require.Equal(t, got[3].Seq, found[testID(3)].Seq)
			require.Equal(t, got[3].Time.UnixMilli(), found[testID(3)].Time.UnixMilli(), "the time it was settled")
		}
		check()
		require.NoError(t, s.Close())
		s = mustOpen(t, o)
		check()
		require.NoError(t, s.Settle(testID(100), []byte("settled"), true))
		want[testID(100)] = "pending settled"
		check()
	}
}

// TestReserveYieldsToCallsInFlight fills the disk with the reserve that is just being made again: a call that settles
// meanwhile gets the room.
func TestReserveYieldsToCallsInFlight(t *testing.T) {
	sim, now := newSimFS(), time.UnixMilli(1_800_000_000_000)
	o := Options{Dir: modelDir, FS: sim, ReserveBytes: 256 << 10, manual: true, Now: func() time.Time { return now }}
	s := mustOpen(t, o)
	for i := range 2 {
		require.NoError(t, s.Begin(testID(i), []byte("opened")))
	}
	sim.limit = sim.used()
	require.NoError(t, s.Settle(testID(0), []byte("settled"), true))
	require.ErrorIs(t, s.Begin(testID(3), nil), ErrUnavailable, "while there is no reserve")

	sim.limit = sim.used() + 64<<10 // room for a quarter of it
	now = now.Add(probeEvery)
	settled := make(chan error, 1)
	var once sync.Once
	sim.before = func(op string) {
		if op == "write reserve" && sim.used() == sim.limit {
			once.Do(func() {
				go func() { settled <- s.Settle(testID(1), []byte("settled"), true) }()
				require.Eventually(t, func() bool {
					s.mu.Lock()
					defer s.mu.Unlock()
					return s.yield
				}, 10*time.Second, time.Millisecond)
			})
		}
	}
	require.ErrorIs(t, s.Begin(testID(3), nil), ErrUnavailable)
	require.NoError(t, <-settled)
	require.Equal(t, map[ID]string{testID(0): "pending settled", testID(1): "pending settled"}, stateMap(scan(t, s)))
}

// TestBackgroundWorkLeavesTheReserve has no room for copies: pruning waits, and the reserve is kept.
func TestBackgroundWorkLeavesTheReserve(t *testing.T) {
	sim, now := newSimFS(), time.UnixMilli(1_800_000_000_000)
	o := Options{Dir: modelDir, FS: sim, SegmentBytes: 400, Retain: time.Hour, ReserveBytes: 4096, manual: true, Now: func() time.Time { return now }}
	s := mustOpen(t, o)
	require.NoError(t, s.Begin(testID(100), []byte("a long call")))
	for i := range 8 {
		require.NoError(t, s.Begin(testID(i), nil))
		require.NoError(t, s.Settle(testID(i), nil, false))
	}
	now = now.Add(2 * time.Hour)
	sim.limit = sim.used()
	require.ErrorIs(t, s.Compact(), ErrUnavailable)
	require.True(t, s.reserve)
	require.NoError(t, s.Settle(testID(100), []byte("settled"), true))
	require.NoError(t, s.Compact())
	require.Equal(t, map[ID]string{testID(100): "pending settled"}, stateMap(scan(t, s)))
}

// TestSegmentThatCannotBeOpened checks that records of all other segments are delivered.
func TestSegmentThatCannotBeOpened(t *testing.T) {
	sim := newSimFS()
	s := mustOpen(t, Options{Dir: modelDir, FS: sim, SegmentBytes: 300, ReserveBytes: -1, manual: true})
	for i := range 9 {
		settle(t, s, i)
	}
	forget(s)
	name := modelDir + "/" + segmentName(1)
	sim.mu.Lock()
	gone := sim.names[name]
	delete(sim.names, name)
	sim.mu.Unlock()
	got, err := s.Claim(t.Context(), 9)
	require.NoError(t, err)
	require.NotEmpty(t, got)
	_, err = s.Claim(t.Context(), 9)
	require.ErrorIs(t, err, fs.ErrNotExist)
	sim.mu.Lock()
	sim.names[name] = gone
	sim.mu.Unlock()
	rest, err := s.Claim(t.Context(), 9)
	require.NoError(t, err)
	require.Len(t, append(got, rest...), 9)
}

// TestUnreadableRecordIsRejected claims a record that the disk has damaged since: it is set aside with a note, and the
// others are delivered.
func TestUnreadableRecordIsRejected(t *testing.T) {
	sim := newSimFS()
	var told []error
	s := mustOpen(t, Options{Dir: modelDir, FS: sim, ReserveBytes: -1, manual: true, OnFault: func(err error) { told = append(told, err) }})
	settle(t, s, 1)
	damaged := int(s.segments[0].size) - 1
	settle(t, s, 2)
	forget(s)
	sim.content(modelDir + "/" + segmentName(1))[damaged] ^= 1
	got, err := s.Claim(t.Context(), 9)
	require.NoError(t, err)
	require.Equal(t, []string{"record 2"}, payloads(got))
	require.Len(t, told, 1)
	require.ErrorIs(t, told[0], errDamaged)
	require.EqualValues(t, 1, s.Stats().Rejected)
	require.EqualValues(t, 1, s.Stats().Claimed)
}

// TestRetryAndDoneAtOnce finishes a record between the look of a retry and its frame: what Lago has is not sent again.
func TestRetryAndDoneAtOnce(t *testing.T) {
	s := mustOpen(t, Options{Dir: modelDir, FS: newSimFS(), ReserveBytes: -1, manual: true})
	settle(t, s, 1)
	got, err := s.Claim(t.Context(), 1)
	require.NoError(t, err)
	require.NoError(t, s.Reject(got[0].Seq, []byte("words")))
	stale := s.rejected()
	require.NoError(t, s.Done(got[0].Seq))
	n, err := s.again(stale, StateRejected)
	require.NoError(t, err)
	require.Zero(t, n)
	require.Equal(t, map[ID]string{testID(1): "done record 1"}, stateMap(scan(t, s)))
}

// TestTooLarge refuses what no frame may hold, and takes the largest that one may.
func TestTooLarge(t *testing.T) {
	s := mustOpen(t, Options{Dir: modelDir, FS: newSimFS(), SegmentBytes: 4096, ReserveBytes: -1, manual: true})
	require.ErrorIs(t, s.Begin(testID(1), make([]byte, maxPayload+1)), ErrTooLarge)
	require.NoError(t, s.Begin(testID(1), make([]byte, maxPayload)))
	require.ErrorIs(t, s.Settle(testID(1), make([]byte, maxPayload+1), true), ErrTooLarge)
	require.NoError(t, s.Settle(testID(1), make([]byte, maxPayload), true))
	got, err := s.Claim(t.Context(), 1)
	require.NoError(t, err)
	require.ErrorIs(t, s.Reject(got[0].Seq, make([]byte, maxNote+1)), ErrTooLarge)
	require.NoError(t, s.Reject(got[0].Seq, []byte(strings.Repeat("w", maxNote))))
	_, err = s.Amend(got[0].Seq, make([]byte, maxPayload+1))
	require.ErrorIs(t, err, ErrTooLarge)
	_, err = s.Amend(got[0].Seq, make([]byte, maxPayload))
	require.NoError(t, err)
	require.NoError(t, s.Close())
	s = mustOpen(t, Options{Dir: modelDir, FS: s.o.FS, ReserveBytes: -1, manual: true})
	require.Len(t, scan(t, s)[testID(1)].Note, maxNote)
	require.Empty(t, s.Report().Damage)
}

// TestEverythingAtOnce has many goroutines do all that a spool can do, and counts afterwards.
func TestEverythingAtOnce(t *testing.T) {
	for _, d := range []Durability{Process, Fsync} {
		const callers, calls = 8, 60
		o := Options{Dir: modelDir, FS: newSimFS(), Durability: d, SegmentBytes: 5_000, Retain: time.Nanosecond, ReserveBytes: 64}
		s := mustOpen(t, o)
		ctx, stop := context.WithCancel(t.Context())
		var work, background sync.WaitGroup
		for caller := range callers {
			work.Go(func() {
				for i := range calls {
					n := caller*calls + i
					if err := errors.Join(s.Begin(testID(n), []byte("opened")), s.Settle(testID(n), fmt.Appendf(nil, "record %d", n), n%7 > 0)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		var mu sync.Mutex
		delivered := map[ID]int{}
		for range 2 {
			background.Go(func() {
				for {
					got, err := s.Claim(ctx, 5)
					if err != nil {
						return
					}
					for i, r := range got {
						switch {
						case i == 1:
							err = s.Reject(r.Seq, []byte("words"))
						case i == 2:
							s.Release(r.Seq)
						case i == 3:
							_, err = s.Amend(r.Seq, r.Payload)
							fallthrough
						default:
							err = errors.Join(err, s.Done(r.Seq))
							mu.Lock()
							delivered[r.ID]++
							mu.Unlock()
						}
						if err != nil {
							t.Error(err)
						}
					}
					if _, err := s.Retry(); err != nil {
						t.Error(err)
					}
				}
			})
		}
		background.Go(func() {
			for ctx.Err() == nil {
				if err := s.Compact(); err != nil {
					t.Error(err)
				}
				s.Stats()
				if err := s.Scan(time.Time{}, time.Time{}, func(Record) error { return nil }); err != nil {
					t.Error(err)
				}
			}
		})
		work.Wait()
		require.Eventually(t, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(delivered) == callers*calls-(callers*calls+6)/7
		}, 60*time.Second, 5*time.Millisecond)
		stop()
		background.Wait()
		for id, n := range delivered {
			require.Equal(t, 1, n, "%x", id)
		}
		require.NoError(t, s.Close())
		s = mustOpen(t, o)
		st := s.Stats()
		require.Zero(t, st.Open+st.Interrupted+st.Pending+st.Rejected)
		require.Empty(t, s.Report().Damage)
	}
}
