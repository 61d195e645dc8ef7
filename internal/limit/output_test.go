package limit

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOutputsAreEstimated(t *testing.T) {
	var o Outputs
	for v := int64(0); v < 1<<30; v += 1 + v/50 {
		b := bucketOf(v)
		require.LessOrEqual(t, v, topOf(b))
		require.LessOrEqual(t, topOf(b), v+v/8+8)
		if b > 0 {
			require.Less(t, topOf(b-1), v+1)
		}
	}
	_, _, ok := o.Estimate("m", 1, 0, 0)
	require.False(t, ok)
	tokens, bounded, ok := o.Estimate("m", 2, 0, 4096)
	require.Equal(t, [3]any{int64(8192), false, true}, [3]any{tokens, bounded, ok}, "the model's limit, as long as nothing else is known")
	for range fewOutputs {
		require.False(t, o.Known("few"))
		o.Observe("few", 1000)
	}
	require.True(t, o.Known("few"))
	tokens, _, _ = o.Estimate("few", 1, 0, 128_000)
	require.InDelta(t, 2000, tokens, 300, "twice the largest of a few")
	tokens, _, _ = o.Estimate("few", 1, 0, 1500)
	require.Equal(t, int64(1500), tokens, "and no more than the model can")
	for i := range int64(2000) {
		o.Observe("m", i%500)
	}
	o.Observe("m", 100_000)
	tokens, bounded, _ = o.Estimate("m", 1, 0, 128_000)
	require.False(t, bounded)
	require.InDelta(t, 500, tokens, 70, "one of two thousand does not count")
	tokens, bounded, _ = o.Estimate("m", 3, 1000, 128_000)
	require.Equal(t, [2]any{int64(3000), true}, [2]any{tokens, bounded}, "what the request bounds is reserved in full")
	tokens, _, _ = o.Estimate("m", math.MaxInt64, math.MaxInt64, 0)
	require.Equal(t, int64(MaxNumber), tokens)
	for range fadeAt {
		o.Observe("m", 5000)
	}
	tokens, _, _ = o.Estimate("m", 1, 0, 128_000)
	require.InDelta(t, 5000, tokens, 700, "new outputs replace old ones")
}
