package spool

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// forget has Claim and Read read every record from disk, as those that an earlier process has settled.
func forget(s *Spool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recent = recent{}
}

// keeps reports whether a record was not read from disk.
func keeps(s *Spool, r Record) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.recent.n {
		if k := s.recent.at(i); k.seq == r.Seq && len(r.Payload) > 0 {
			return &k.payload[0] == &r.Payload[0]
		}
	}
	return false
}

// TestRecentIsWhatStandsOnDisk claims and reads records that are kept in memory, more than are kept, and some that were amended or
// set aside meanwhile: each is as reading finds it.
func TestRecentIsWhatStandsOnDisk(t *testing.T) {
	for _, d := range []Durability{Process, Fsync} {
		now := time.UnixMilli(1_800_000_000_000)
		o := Options{Dir: modelDir, FS: newSimFS(), Durability: d, SegmentBytes: 20_000, ReserveBytes: -1, manual: true}
		o.Now = func() time.Time { now = now.Add(time.Millisecond); return now }
		s := mustOpen(t, o)
		next, kept, read, taken := 0, 0, 0, map[ID]Record{}
		round := func(n, limit int) {
			buf := make([]byte, 0, 2000)
			for range n {
				buf = append(buf[:0], bytes.Repeat([]byte{byte(next)}, next%2000)...)
				require.NoError(t, s.Begin(testID(next), nil))
				require.NoError(t, s.Settle(testID(next), buf, next%7 > 0))
				clear(buf) // the caller uses its buffer again
				next++
			}
			for _, r := range scan(t, s) {
				switch {
				case r.State != StatePending:
				case r.Seq%11 == 0:
					_, err := s.Amend(r.Seq, []byte("amended"))
					require.NoError(t, err)
				case r.Seq%13 == 0:
					require.NoError(t, s.Reject(r.Seq, []byte("words")))
				}
			}
			require.LessOrEqual(t, s.recent.bytes, recentBytes)
			disk := scan(t, s)
			all, err := s.Read(t.Context(), 0, 10_000)
			require.NoError(t, err)
			require.Len(t, all.Records, len(disk))
			for _, r := range all.Records {
				require.Equal(t, r.Seq, r.Origin.Seq)
				want := disk[r.ID]
				want.Note, want.Origin = nil, r.Origin
				require.Equal(t, want, r)
				if keeps(s, r) {
					read++
				}
			}
			for st := s.Stats(); st.Pending > st.Claimed; st = s.Stats() {
				got, err := s.Claim(t.Context(), limit)
				require.NoError(t, err)
				for _, r := range got {
					if keeps(s, r) {
						kept++
					}
					require.Equal(t, disk[r.ID], r)
					require.NotContains(t, taken, r.ID, "claimed twice")
					taken[r.ID] = r
				}
			}
		}
		for range 5 {
			round(60, 25)
		}
		require.Greater(t, kept, 150, "they are read back")
		require.Greater(t, read, 400, "they are read back")
		round(1200, 100)
		for range 3 {
			round(10, 7)
		}
		for _, r := range taken {
			require.Equal(t, scan(t, s)[r.ID].Payload, r.Payload)
			s.Release(r.Seq)
			break
		}
		got, err := s.Claim(t.Context(), 1)
		require.NoError(t, err)
		require.Equal(t, taken[got[0].ID], got[0], "a record that was given back comes again")
	}
}
