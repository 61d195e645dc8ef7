package spool

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func testID(n int) (id ID) {
	binary.BigEndian.PutUint64(id[8:], uint64(n))
	return id
}

func mustOpen(t testing.TB, o Options) *Spool {
	t.Helper()
	s, err := Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func settle(t testing.TB, s *Spool, n int) {
	t.Helper()
	require.NoError(t, s.Begin(testID(n), []byte("opened")))
	require.NoError(t, s.Settle(testID(n), fmt.Appendf(nil, "record %d", n), true))
}

func payloads(records []Record) (out []string) {
	for _, r := range records {
		out = append(out, string(r.Payload))
	}
	return out
}

func TestRecordLivesThroughReopening(t *testing.T) {
	for _, d := range []Durability{Process, Fsync} {
		o := Options{Dir: t.TempDir(), Durability: d}
		s := mustOpen(t, o)
		settle(t, s, 1)
		settle(t, s, 2)
		require.NoError(t, s.Begin(testID(3), []byte("opened 3")))
		require.ErrorIs(t, s.Settle(testID(2), nil, true), ErrUnknown, "a second settlement writes nothing")
		_, err := Open(o)
		require.ErrorIs(t, err, ErrLocked)
		require.NoError(t, s.Close())

		s = mustOpen(t, o)
		require.Equal(t, 1, s.Report().Interrupted)
		got, err := s.Claim(context.Background(), 10)
		require.NoError(t, err)
		require.Equal(t, []string{"record 1", "record 2"}, payloads(got))
		require.NoError(t, s.Done(got[0].Seq))
		require.NoError(t, s.Reject(got[1].Seq, []byte("words")))
		interrupted, err := s.Interrupted()
		require.NoError(t, err)
		require.Equal(t, []string{"opened 3"}, payloads(interrupted))
		require.NoError(t, s.ResolveInterrupted(testID(3), []byte("estimate 3"), true))
		require.NoError(t, s.Close())

		s = mustOpen(t, o)
		st := s.Stats()
		require.Equal(t, [5]int64{0, 0, 1, 1, 1}, [5]int64{st.Open, st.Interrupted, st.Pending, st.Rejected, st.Finished})
		n, err := s.Retry()
		require.NoError(t, err)
		require.Equal(t, 1, n)
		got, err = s.Claim(context.Background(), 10)
		require.NoError(t, err)
		require.Equal(t, []string{"record 2", "estimate 3"}, payloads(got))
		s.Release(got[0].Seq)
		got, err = s.Claim(context.Background(), 10)
		require.NoError(t, err)
		require.Equal(t, []string{"record 2"}, payloads(got))
	}
}

func TestCompactCopiesForwardWhatIsUnfinished(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	o := Options{Dir: t.TempDir(), SegmentBytes: 400, Retain: time.Hour, Now: func() time.Time { return now }, manual: true}
	s := mustOpen(t, o)
	require.NoError(t, s.Begin(testID(100), []byte("long call")))
	for i := range 20 {
		settle(t, s, i)
	}
	got, err := s.Claim(context.Background(), 20)
	require.NoError(t, err)
	for _, r := range got {
		if string(r.Payload) != "record 3" && string(r.Payload) != "record 4" {
			require.NoError(t, s.Done(r.Seq))
		}
	}
	require.NoError(t, s.Reject(got[4].Seq, []byte("words")))
	s.Release(got[3].Seq)
	before := s.Stats().Segments
	now = now.Add(2 * time.Hour)
	require.NoError(t, s.Compact())
	require.Less(t, s.Stats().Segments, before)
	check := func(s *Spool) {
		var seen []string
		require.NoError(t, s.Scan(time.Time{}, time.Time{}, func(r Record) error {
			seen = append(seen, r.State.String()+" "+string(r.Payload)+" "+string(r.Note))
			return nil
		}))
		require.Subset(t, seen, []string{"pending record 3 ", "rejected record 4 words"})
	}
	check(s)
	require.NoError(t, s.Settle(testID(100), []byte("long call settled"), true))
	require.NoError(t, s.Close())
	s = mustOpen(t, o)
	check(s)
	got, err = s.Claim(context.Background(), 9)
	require.NoError(t, err)
	require.Equal(t, []string{"record 3", "long call settled"}, payloads(got))
}

func TestFlippedByteCostsOneRecord(t *testing.T) {
	const n = 50
	src := t.TempDir()
	s := mustOpen(t, Options{Dir: src})
	for i := range n {
		settle(t, s, i)
	}
	require.NoError(t, s.Close())
	name := segmentName(1)
	image, err := os.ReadFile(filepath.Join(src, name))
	require.NoError(t, err)
	for at := 0; at < len(image); at += 7 {
		dir := t.TempDir()
		broken := append([]byte(nil), image...)
		broken[at] ^= 0x41
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), broken, 0o600))
		s, err := Open(Options{Dir: dir, ReserveBytes: 4096})
		require.NoError(t, err)
		st := s.Stats()
		if at >= segmentHeader {
			require.Len(t, s.Report().Damage, 1, "byte %d", at)
		}
		require.GreaterOrEqual(t, st.Pending, int64(n-1), "byte %d", at)
		require.NoError(t, s.Close())
	}
	// A torn tail costs what was torn, and the spool takes records again.
	for cut := segmentHeader; cut < len(image); cut += 11 {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), image[:cut], 0o600))
		s, err := Open(Options{Dir: dir, ReserveBytes: 4096})
		require.NoError(t, err)
		settle(t, s, 1000)
		whole := s.Stats().Pending
		require.NoError(t, s.Close())
		s, err = Open(Options{Dir: dir, ReserveBytes: 4096})
		require.NoError(t, err)
		require.Equal(t, whole, s.Stats().Pending)
		require.NoError(t, s.Close())
	}
}

func BenchmarkSettle(b *testing.B) {
	s := mustOpen(b, Options{Dir: b.TempDir()})
	payload := make([]byte, 900)
	i := 0
	for b.Loop() {
		i++
		if err := s.Begin(testID(i), payload[:300]); err != nil {
			b.Fatal(err)
		}
		if err := s.Settle(testID(i), payload, true); err != nil {
			b.Fatal(err)
		}
	}
}
