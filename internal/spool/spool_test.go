package spool

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"

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
		require.NoError(t, s.Settle(testID(3), []byte("estimate 3"), true))
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
