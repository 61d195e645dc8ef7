package limit

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPeriods(t *testing.T) {
	start := time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"30s": start.Add(30 * time.Second), "30m": start.Add(30 * time.Minute), "30h": start.Add(30 * time.Hour),
		"30d": start.AddDate(0, 0, 30), "2w": start.AddDate(0, 0, 14), "1mo": start.AddDate(0, 1, 0),
		"36500d": start.AddDate(0, 0, 36500),
	} {
		got, ok := AddPeriod(start, text)
		require.True(t, ok, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "30", "d", "-1d", "1.5d", "1y", "1 d", "99999999999d", "36601d"} {
		_, ok := AddPeriod(start, text)
		require.False(t, ok, text)
	}
}
