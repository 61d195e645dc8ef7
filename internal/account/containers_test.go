package account

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestContainersCountOnce shows containers in several answers: each counts once in 20 minutes, and the memory is bounded.
func TestContainersCountOnce(t *testing.T) {
	var a Account
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration, ids ...uint64) int { return a.NewContainers(ids, now.Add(d)) }
	require.Equal(t, 2, at(0, 1, 2))
	require.Equal(t, 1, at(time.Minute, 1, 2, 3))
	require.Equal(t, 0, at(20*time.Minute-1, 1, 2))
	require.Equal(t, 2, at(20*time.Minute, 1, 2, 3), "its first 20 minutes are over; those of 3 are not")
	require.Equal(t, 0, at(21*time.Minute-1, 1, 3))
	for id := range uint64(2 * maxContainers) {
		at(22*time.Minute, 100+id)
	}
	require.Len(t, a.containers.until, maxContainers)
	require.Equal(t, 1, at(23*time.Minute, 1<<40), "there is no room to remember it")
	require.Equal(t, 1, at(23*time.Minute, 1<<40))
	require.Equal(t, 1, at(42*time.Minute, 1<<40), "there is room again")
	require.Equal(t, 0, at(42*time.Minute, 1<<40))
}
