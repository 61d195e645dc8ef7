package spool

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// forget has Claim read every record from disk, as those that an earlier process has settled.
func forget(s *Spool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recent = recent{}
}

// TestClaimIsWhatStandsOnDisk claims records that are kept in memory, more than are kept, and some that were amended or
// set aside meanwhile: each is as reading finds it.
func TestClaimIsWhatStandsOnDisk(t *testing.T) {
	for _, d := range []Durability{Process, Fsync} {
		now := time.UnixMilli(1_800_000_000_000)
		o := Options{Dir: modelDir, FS: newSimFS(), Durability: d, SegmentBytes: 20_000, ReserveBytes: -1, manual: true}
		o.Now = func() time.Time { now = now.Add(time.Millisecond); return now }
		s := mustOpen(t, o)
		next, kept, taken := 0, 0, map[ID]Record{}
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
			for st := s.Stats(); st.Pending > st.Claimed; st = s.Stats() {
				had := s.recent.n
				got, err := s.Claim(t.Context(), limit)
				require.NoError(t, err)
				kept += had - s.recent.n
				for _, r := range got {
					require.Equal(t, disk[r.ID], r)
					require.NotContains(t, taken, r.ID, "claimed twice")
					taken[r.ID] = r
				}
			}
		}
		for range 5 {
			round(60, 25)
		}
		require.Greater(t, kept, 200, "they are read back")
		round(400, 100)
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
