package spool

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestDiskFullAtEveryByte fills the disk after every number of bytes. What was refused never appears, what was
// acknowledged stays, calls in flight settle from the reserve, and service returns by itself with the room.
func TestDiskFullAtEveryByte(t *testing.T) {
	for _, d := range []Durability{Process, Fsync} {
		t.Run([...]string{"process", "fsync"}[d], func(t *testing.T) {
			t.Parallel()
			refused, reserved := 0, 0
			for limit := int64(1); ; limit += int64(rounds(1, 23)) {
				fs, now := newSimFS(), time.UnixMilli(1_800_000_000_000)
				fs.limit = limit
				o := Options{Dir: modelDir, FS: fs, Durability: d, SegmentBytes: 500, ReserveBytes: 900, manual: true}
				o.Now = func() time.Time { return now }
				s, err := Open(o)
				require.NoError(t, err, "a full disk keeps a spool from opening")
				want := map[ID]string{}
				var inFlight []ID
				for i := range 8 {
					if err := s.Begin(testID(i), []byte("opened")); err == nil {
						want[testID(i)] = "open opened"
						inFlight = append(inFlight, testID(i))
					} else {
						require.ErrorIs(t, err, ErrUnavailable)
						refused++
					}
					if len(inFlight) == 4 || i == 7 {
						for _, id := range inFlight {
							require.NoError(t, s.Settle(id, []byte("a settled record"), true), "a call in flight with %d bytes", limit)
							want[id] = "pending a settled record"
						}
						inFlight = nil
					}
				}
				if !s.reserve && len(want) > 0 {
					reserved++
				}
				require.Equal(t, want, stateMap(scan(t, s)), "with %d bytes", limit)
				for _, disk := range crashed(fs, d) {
					o := o
					disk.limit, o.FS = limit, disk
					other, err := Open(o)
					require.NoError(t, err)
					require.Equal(t, want, stateMap(scan(t, other)), "after a crash, with %d bytes", limit)
					require.NoError(t, other.Close())
				}
				full := len(want) < 8 || !s.reserve
				fs.limit, now = 0, now.Add(probeEvery)
				require.NoError(t, s.Begin(testID(99), []byte("opened")), "there is room again")
				want[testID(99)] = "open opened"
				require.Equal(t, want, stateMap(scan(t, s)))
				require.Empty(t, s.Stats().LastError)
				require.NoError(t, s.Close())
				if !full {
					break
				}
			}
			require.Positive(t, refused)
			require.Positive(t, reserved, "the reserve was never needed")
		})
	}
}

// TestAcknowledgementsOnFullDisk gives every step of a record's life every amount of room that is too small for all of
// them. A step that is refused changes nothing, one that succeeds stays.
func TestAcknowledgementsOnFullDisk(t *testing.T) {
	for _, d := range []Durability{Process, Fsync} {
		image, o, _ := smallSpool(t, d)
		now := o.Now().Add(o.Retain + 1000*time.Hour)
		o.Now = func() time.Time { return now }
		refused := 0
		for room := int64(1); ; room += 3 {
			disk := image.killed()
			o.FS = disk
			s, err := Open(o)
			require.NoError(t, err)
			want := stateMap(scan(t, s))
			disk.limit = disk.used() + room
			failed := 0
			step := func(id ID, state string, err error) {
				if err != nil {
					require.ErrorIs(t, err, ErrUnavailable)
					failed++
				} else {
					want[id] = state
				}
				require.Equal(t, want, stateMap(scan(t, s)), "with room for %d bytes", room)
			}
			seq := map[ID]uint64{}
			for id, r := range scan(t, s) {
				seq[id] = r.Seq
			}
			step(testID(4), "done record 4", s.Done(seq[testID(4)]))
			step(testID(5), "rejected record 5 because words", s.Reject(seq[testID(5)], []byte("words")))
			_, err = s.Retry(seq[testID(2)])
			step(testID(2), "pending amended", err)
			step(testID(6), "pending settled", s.Settle(testID(6), []byte("settled"), true))
			_, err = s.Amend(seq[testID(3)], []byte("amended too"))
			step(testID(3), "pending amended too", err)
			_, err = s.Replay(time.Time{}, time.Time{}, func(r Record) bool { return r.ID == testID(0) })
			step(testID(0), "pending record 0", err)
			for _, other := range crashed(disk, d) {
				o := o
				o.FS = other
				again, err := Open(o)
				require.NoError(t, err)
				require.Equal(t, want, stateMap(scan(t, again)), "with room for %d bytes, after a crash", room)
				require.NoError(t, again.Close())
			}
			if err := s.Compact(); err != nil {
				require.ErrorIs(t, err, syscall.ENOSPC)
			}
			for id, state := range stateMap(scan(t, s)) {
				require.Equal(t, want[id], state)
				delete(want, id)
			}
			for _, state := range want {
				require.Contains(t, state, "done ", "what is unfinished stays")
			}
			require.NoError(t, s.Close())
			refused += failed
			if failed == 0 {
				break
			}
		}
		require.Greater(t, refused, 50)
	}
}

// crashed returns disks that a crash now may leave.
func crashed(fs *simFS, d Durability) []*simFS {
	disks := []*simFS{fs.killed()}
	for seed := range 2 * uint64(d) {
		disks = append(disks, fs.lostPower(rand.New(rand.NewPCG(seed, 1))))
	}
	return disks
}

func stateMap(found map[ID]Record) map[ID]string {
	out := map[ID]string{}
	for id, r := range found {
		out[id] = stateOf(r)
	}
	return out
}

// TestCrashOnFullDisk runs workloads on a disk that fills and empties, and crashes at every change.
func TestCrashOnFullDisk(t *testing.T) {
	for _, d := range []Durability{Process, Fsync} {
		for seed := range seeds(t, 3) {
			t.Run(fmt.Sprintf("%v/%d", [...]string{"process", "fsync"}[d], seed), func(t *testing.T) {
				t.Parallel()
				m := newModel(t, seed, d)
				m.faulty = true
				crashAtEveryChange(m)
				m.open()
				failed := 0
				for i := range 120 {
					switch i % 12 {
					case 4:
						m.fs.limit = max(1, m.fs.used()+int64(m.r.IntN(900)))
					case 9:
						m.fs.limit = 0
						m.now = m.now.Add(probeEvery)
					}
					m.step()
					if m.s.Stats().LastError != "" {
						failed++
					}
				}
				require.Positive(t, failed, "the disk was never full")
				m.end()
			})
		}
	}
}

// TestCrashOnFaultyDisk runs workloads on a disk where creations, writes and syncs fail now and then, some writes after
// they were done, and crashes at every change. After a failed sync what was dirty is gone, and a later success says
// nothing about it.
func TestCrashOnFaultyDisk(t *testing.T) {
	for _, d := range []Durability{Process, Fsync} {
		for seed := range seeds(t, 3) {
			t.Run(fmt.Sprintf("%v/%d", [...]string{"process", "fsync"}[d], seed), func(t *testing.T) {
				t.Parallel()
				m := newModel(t, seed, d)
				m.faulty, m.insist, m.haunted = true, true, true
				crashAtEveryChange(m)
				faults := 0
				m.open()
				for i := range 90 {
					m.fs.fault = func(op, name string) error {
						switch {
						case name == modelDir+"/reserve" || m.r.IntN(6) > 0:
							return nil
						case op == "write":
							faults++
							return []error{errDisk, errLanded}[m.r.IntN(2)]
						case op == "create", op == "sync", op == "syncdir":
							faults++
							return errDisk
						}
						return nil
					}
					if i%10 < 4 {
						m.fs.fault = nil
					}
					m.now = m.now.Add(probeEvery)
					m.step()
				}
				require.Positive(t, faults)
				m.end()
			})
		}
	}
}

// TestReadOnlyDisk turns the disk read-only under an open spool, and under one that opens.
func TestReadOnlyDisk(t *testing.T) {
	for _, d := range []Durability{Process, Fsync} {
		for _, cause := range []error{syscall.EROFS, syscall.EIO} {
			fs, now := newSimFS(), time.UnixMilli(1_800_000_000_000)
			o := Options{Dir: modelDir, FS: fs, Durability: d, ReserveBytes: 900, manual: true, Now: func() time.Time { return now }}
			s := mustOpen(t, o)
			settle(t, s, 1)
			require.NoError(t, s.Begin(testID(2), []byte("opened")))
			broken := func(op, _ string) error {
				if op == "read" {
					return nil
				}
				return cause
			}
			fs.fault = broken
			err := s.Begin(testID(3), []byte("opened"))
			require.ErrorIs(t, err, ErrUnavailable)
			require.ErrorIs(t, err, cause)
			require.ErrorIs(t, s.Settle(testID(2), []byte("settled"), true), ErrUnavailable)
			require.ErrorIs(t, s.Begin(testID(4), []byte("opened")), ErrUnavailable, "not tried again at once")
			want := map[ID]string{testID(1): "pending record 1", testID(2): "open opened"}
			require.Equal(t, want, stateMap(scan(t, s)))

			fs.fault = nil
			require.NoError(t, s.Settle(testID(2), []byte("settled"), true), "the call is open still")
			require.NoError(t, s.Begin(testID(3), []byte("opened")), "service is back")
			require.NoError(t, s.Close())

			fs.fault = broken
			s = mustOpen(t, o)
			want = map[ID]string{testID(1): "pending record 1", testID(2): "pending settled", testID(3): "open opened"}
			require.Equal(t, want, stateMap(scan(t, s)))
			require.ErrorIs(t, s.Begin(testID(4), []byte("opened")), ErrUnavailable)
			require.NotEmpty(t, s.Stats().LastError)
			fs.fault, now = nil, now.Add(probeEvery)
			require.NoError(t, s.Begin(testID(4), []byte("opened")))
			require.Empty(t, s.Stats().LastError)
		}
	}
}

// TestReadyIsWhetherCallsBegin asks, without any calls, whether a call could begin: not on a full disk, which is tried again once a
// second, and again as soon as there is room.
func TestReadyIsWhetherCallsBegin(t *testing.T) {
	for _, reserve := range []int64{-1, 900} {
		fs, now := newSimFS(), time.UnixMilli(1_800_000_000_000)
		s, err := Open(Options{Dir: modelDir, FS: fs, SegmentBytes: 500, ReserveBytes: reserve, manual: true, Now: func() time.Time { return now }})
		require.NoError(t, err)
		require.NoError(t, s.Ready())
		fs.limit = 1
		var begun error
		for i := 0; begun == nil; i++ {
			begun = s.Begin(testID(i), []byte("opened"))
		}
		require.ErrorIs(t, begun, ErrUnavailable)
		for range 3 {
			require.ErrorIs(t, s.Ready(), ErrUnavailable)
			now = now.Add(probeEvery)
		}
		fs.limit = 0
		require.NoError(t, s.Ready())
		require.NoError(t, s.Begin(testID(99), []byte("opened")))
		require.NoError(t, s.Close())
		require.ErrorIs(t, s.Ready(), ErrClosed)
	}
}
