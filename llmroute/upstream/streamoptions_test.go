package upstream

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestDeniedOptions holds that what is remembered of refused stream_options is bounded, and forgotten in time.
func TestDeniedOptions(t *testing.T) {
	var d deniedOptions
	require.False(t, d.has("m"))
	for i := range 3 * maxDenied {
		d.add(fmt.Sprint(i))
	}
	require.LessOrEqual(t, len(d.until), maxDenied)
	d.until["old"] = time.Now().Add(-time.Second)
	require.False(t, d.has("old"))
}
