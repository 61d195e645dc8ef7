package spool

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// smallSpool makes a spool with records in every state and frames of every kind but adopted, and closes it. It returns
// the frames' extents by segment, and the ids that each frame is about.
func smallSpool(t *testing.T, d Durability) (*simFS, Options, []extent) {
	fs, now := newSimFS(), time.UnixMilli(1_800_000_000_000)
	o := Options{Dir: modelDir, FS: fs, Durability: d, SegmentBytes: 600, ReserveBytes: 64, manual: true, Now: func() time.Time { return now }}
	s := mustOpen(t, o)
	for i := range 6 {
		settle(t, s, i)
	}
	require.NoError(t, s.Begin(testID(6), []byte("opened")))
	require.NoError(t, s.Begin(testID(7), []byte("opened")))
	require.NoError(t, s.Settle(testID(7), []byte("for the ledger"), false))
	got, err := s.Claim(context.Background(), 4)
	require.NoError(t, err)
	require.NoError(t, s.Done(got[0].Seq, got[1].Seq))
	require.NoError(t, s.Reject(got[2].Seq, []byte("words")))
	require.NoError(t, s.Reject(got[3].Seq, []byte("other words")))
	_, err = s.Retry(got[3].Seq)
	require.NoError(t, err)
	_, err = s.Amend(got[2].Seq, []byte("amended"))
	require.NoError(t, err)
	require.NoError(t, s.Close())
	return fs, o, extents(t, fs)
}

// extent is the position of a frame or of a segment's header.
type extent struct {
	file     string
	from, to int64
	about    map[ID]bool
}

// extents reads the frames of an undamaged spool.
func extents(t *testing.T, fs *simFS) (list []extent) {
	bySeq := map[uint64]ID{}
	names, err := fs.ReadDir(modelDir)
	require.NoError(t, err)
	for number := uint64(1); number < 100; number++ {
		name := segmentName(number)
		b := fs.content(modelDir + "/" + name)
		if b == nil {
			continue
		}
		list = append(list, extent{file: name, to: segmentHeader})
		for at := segmentHeader; at < len(b); {
			f, ok := parseFrame(b[at:], number, int64(at))
			require.True(t, ok)
			e := extent{file: name, from: int64(at), to: int64(at + frameHeader + len(f.payload)), about: map[ID]bool{f.id: true}}
			switch f.kind {
			case kindDone:
				eachFinished(f.payload, func(_ uint64, id ID) { e.about[id] = true })
			case kindRejected:
				eachSeq(f.payload[:8], func(seq uint64) { e.about[bySeq[seq]] = true })
			case kindRetry:
				eachSeq(f.payload, func(seq uint64) { e.about[bySeq[seq]] = true })
			default:
				bySeq[f.seq] = f.id
			}
			list = append(list, e)
			at = int(e.to)
		}
	}
	require.Greater(t, len(names), 3, "a spool of several segments")
	return list
}

// damaged opens a disk, and sees to it that nothing but the frame at e has suffered: its bytes, and those that were
// changed, stand in a named file, and records that it is not about are as they were.
func damaged(t *testing.T, fs *simFS, o Options, e extent, want map[ID]string, what string) {
	o.FS = fs
	image := bytes.Clone(fs.content(modelDir + "/" + e.file))
	s, err := Open(o)
	require.NoError(t, err, what)
	found := stateMap(scan(t, s))
	for id, state := range want {
		if !e.about[id] {
			require.Equal(t, state, found[id], "%s: another record", what)
		}
	}
	for id, state := range found {
		require.Contains(t, want, id, "%s: %s", what, state)
	}
	damage := s.Report().Damage
	require.Len(t, damage, 1, what)
	aside := fmt.Sprintf("%s.damaged-%d", strings.TrimSuffix(e.file, ".seg"), e.from)
	require.Equal(t, Damage{Segment: e.file, Offset: e.from, Bytes: e.to - e.from, File: aside}, damage[0], what)
	require.True(t, bytes.Equal(image[e.from:e.to], fs.content(modelDir+"/"+aside)), "%s: the bytes set aside", what)
	require.NoError(t, s.Close())

	s, err = Open(o)
	require.NoError(t, err, what)
	require.Equal(t, found, stateMap(scan(t, s)), "%s: opened again", what)
	damage[0].Known = true
	require.Equal(t, damage, s.Report().Damage, what)
	settle(t, s, 1000)
	require.NoError(t, s.Close())
}

// TestFlippedBits flips bits in every byte of a spool's segments, one at a time.
func TestFlippedBits(t *testing.T) {
	fs, o, frames := smallSpool(t, Process)
	s := mustOpen(t, Options{Dir: modelDir, FS: fs.killed(), ReadOnly: true})
	want := stateMap(scan(t, s))
	flips := 0
	for _, e := range frames {
		for at := e.from; at < e.to; at += int64(rounds(1, 11)) {
			for _, mask := range []byte{0x01, 0x80} {
				disk := fs.killed()
				disk.content(modelDir + "/" + e.file)[at] ^= mask
				damaged(t, disk, o, e, want, fmt.Sprintf("byte %d of %s ^ %#x", at, e.file, mask))
				flips++
			}
		}
	}
	t.Logf("%d flips in %d frames and headers", flips, len(frames))
}

// TestLostSectors zeroes what a frame takes on disk, whole or in part, as a lost sector does.
func TestLostSectors(t *testing.T) {
	fs, o, frames := smallSpool(t, Fsync)
	want := stateMap(scan(t, mustOpen(t, Options{Dir: modelDir, FS: fs.killed(), ReadOnly: true})))
	for _, e := range frames {
		for _, cut := range [][2]int64{{e.from, e.to}, {e.from, e.from + 8}, {e.to - 8, e.to}} {
			disk := fs.killed()
			clear(disk.content(modelDir + "/" + e.file)[cut[0]:cut[1]])
			damaged(t, disk, o, e, want, fmt.Sprintf("bytes %d to %d of %s are zero", cut[0], cut[1], e.file))
		}
	}
}

// TestScatteredDamage flips bits in many places at once.
func TestScatteredDamage(t *testing.T) {
	fs, o, frames := smallSpool(t, Process)
	want := stateMap(scan(t, mustOpen(t, Options{Dir: modelDir, FS: fs.killed(), ReadOnly: true})))
	for seed := range uint64(rounds(2000, 200)) {
		r := rand.New(rand.NewPCG(seed, 2))
		disk, about := fs.killed(), map[ID]bool{}
		for range 2 + r.IntN(6) {
			e := frames[r.IntN(len(frames))]
			disk.content(modelDir + "/" + e.file)[e.from+r.Int64N(e.to-e.from)] ^= byte(1 + r.IntN(255))
			maps.Copy(about, e.about)
		}
		o.FS = disk
		s, err := Open(o)
		require.NoError(t, err)
		found := stateMap(scan(t, s))
		for id, state := range want {
			if !about[id] {
				require.Equal(t, state, found[id], "seed %d", seed)
			}
		}
		require.NoError(t, s.Close())
	}
}

// TestTornTail cuts the last segment at every byte.
func TestTornTail(t *testing.T) {
	fs, o, frames := smallSpool(t, Process)
	want := stateMap(scan(t, mustOpen(t, Options{Dir: modelDir, FS: fs.killed(), ReadOnly: true})))
	last := frames[len(frames)-1].file
	name := modelDir + "/" + last
	for size := 0; size < len(fs.content(name)); size += rounds(1, 7) {
		disk := fs.killed()
		f, err := disk.Open(name, false)
		require.NoError(t, err)
		require.NoError(t, f.Truncate(int64(size)))
		o.FS = disk
		s, err := Open(o)
		require.NoError(t, err)
		found := stateMap(scan(t, s))
		touched := map[ID]bool{}
		for _, e := range frames {
			if e.file == last && e.to > int64(size) {
				for id := range e.about {
					touched[id] = true
				}
			}
		}
		for id, state := range want {
			if !touched[id] {
				require.Equal(t, state, found[id], "cut at %d", size)
			}
		}
		settle(t, s, 1000)
		found = stateMap(scan(t, s))
		require.NoError(t, s.Close())
		s, err = Open(o)
		require.NoError(t, err)
		require.Equal(t, found, stateMap(scan(t, s)), "cut at %d", size)
		require.NoError(t, s.Close())
	}
}

// TestUnreadableSector makes one segment unreadable: opening goes on, and the records of the others are there.
func TestUnreadableSector(t *testing.T) {
	fs, o, frames := smallSpool(t, Process)
	want := stateMap(scan(t, mustOpen(t, Options{Dir: modelDir, FS: fs.killed(), ReadOnly: true})))
	about := map[ID]bool{}
	for _, e := range frames {
		if e.file == segmentName(1) {
			for id := range e.about {
				about[id] = true
			}
		}
	}
	fs.fault = func(op, name string) error {
		if op == "read" && name == modelDir+"/"+segmentName(1) {
			return errDisk
		}
		return nil
	}
	o.FS = fs
	s, err := Open(o)
	require.NoError(t, err)
	require.NotEmpty(t, s.Report().Damage)
	found := stateMap(scan(t, s))
	others := 0
	for id, state := range want {
		if !about[id] {
			others++
			require.Equal(t, state, found[id])
		}
	}
	require.Positive(t, others)
	before := s.nextSeq
	require.NoError(t, s.Close())
	fs.fault = nil
	s = mustOpen(t, o)
	require.Equal(t, want, stateMap(scan(t, s)), "the disk reads again, and nothing was given up")
	require.GreaterOrEqual(t, s.nextSeq, before)
}

// TestNumbersOfDamagedRecordsAreNotReused damages the last record: the next one gets a new number, and both are there when the disk
// can be read again.
func TestNumbersOfDamagedRecordsAreNotReused(t *testing.T) {
	fs := newSimFS()
	o := Options{Dir: modelDir, FS: fs, ReserveBytes: -1, manual: true}
	s := mustOpen(t, o)
	settle(t, s, 1)
	require.NoError(t, s.Close())
	b := fs.content(modelDir + "/" + segmentName(1))
	b[len(b)-1] ^= 1
	s = mustOpen(t, o)
	settle(t, s, 2)
	require.NoError(t, s.Close())
	b[len(b)-1] ^= 1
	s = mustOpen(t, o)
	require.Equal(t, map[ID]string{testID(1): "pending record 1", testID(2): "pending record 2"}, stateMap(scan(t, s)))
	require.Empty(t, s.Report().Damage)
}

// FuzzOpen opens segments with any content: bytes as they are, and frames whose checksums are right and whose payloads
// are not. Opening succeeds, finds the same again, and the spool takes records.
func FuzzOpen(f *testing.F) {
	f.Add(false, []byte("TGSPOOL1"))
	fs := newSimFS()
	s := mustOpen(f, Options{Dir: modelDir, FS: fs, ReserveBytes: -1, manual: true})
	settle(f, s, 1)
	f.Add(false, bytes.Clone(fs.content(modelDir+"/"+segmentName(1))))
	f.Add(true, []byte("\x00\x10\x01\x01\x10\x01\x06\x20\x00\x03\x18\x00\x07\x28\x01"))
	f.Fuzz(func(t *testing.T, frames bool, data []byte) {
		image := data
		if frames {
			h := segmentInfo{number: 1, first: 1}
			image = h.encode()
			for seq := uint64(1); len(data) >= 3; seq++ {
				n := min(int(data[1]), len(data)-3)
				fr := frame{kind: kind(data[0]%8) + 1, seq: seq, id: testID(int(data[2] % 4)), payload: data[3 : 3+n]}
				image = appendFrame(image, &fr, 1, int64(len(image)))
				data = data[3+n:]
			}
		}
		fs := newSimFS()
		require.NoError(t, fs.MkdirAll(modelDir))
		file, err := fs.Create(modelDir + "/" + segmentName(1))
		require.NoError(t, err)
		_, err = file.WriteAt(image, 0)
		require.NoError(t, err)
		o := Options{Dir: modelDir, FS: fs, ReserveBytes: -1, manual: true}
		s, err := Open(o)
		require.NoError(t, err)
		before := s.Stats()
		require.NoError(t, s.Close())
		s, err = Open(o)
		require.NoError(t, err)
		require.Equal(t, before.Pending, s.Stats().Pending)
		settle(t, s, 1000)
		require.Equal(t, before.Pending+1, s.Stats().Pending)
		require.NoError(t, s.Close())
	})
}
