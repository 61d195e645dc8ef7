package account

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDrainSlots(t *testing.T) {
	var a Account
	a.maxDrains.Store(2)
	require.True(t, a.ClaimDrain())
	require.True(t, a.ClaimDrain())
	require.False(t, a.ClaimDrain())
	a.ReleaseDrain()
	require.True(t, a.ClaimDrain())
}
