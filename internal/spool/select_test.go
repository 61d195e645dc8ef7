package spool

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSelectReadsOneState(t *testing.T) {
	s := mustOpen(t, Options{Dir: t.TempDir()})
	for n := range 5 {
		settle(t, s, n)
	}
	require.NoError(t, s.Begin(testID(9), []byte("opened 9")))
	got, err := s.Claim(context.Background(), 3)
	require.NoError(t, err)
	require.NoError(t, s.Done(got[0].Seq))
	require.NoError(t, s.Reject(got[1].Seq, []byte("words")))
	for state, want := range map[State][]string{
		StateOpen: {"opened 9"}, StateDone: {"record 0"}, StateRejected: {"record 1"}, StatePending: {"record 2", "record 3", "record 4"},
	} {
		var found []Record
		require.NoError(t, s.Select([]State{state}, time.Time{}, time.Time{}, func(r Record) error {
			found = append(found, r)
			return nil
		}))
		require.Equal(t, want, payloads(found), state.String())
	}
	n := 0
	require.NoError(t, s.Select([]State{StateDone, StatePending}, time.Time{}, time.Time{}, func(Record) error { n++; return nil }))
	require.Equal(t, 4, n)
}
