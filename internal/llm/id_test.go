package llm

import (
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

func TestNewID(t *testing.T) {
	const workers, each = 8, 5000
	var minted [workers][each]string
	before := time.Now().UnixMilli()
	var wg sync.WaitGroup
	for w := range minted {
		wg.Go(func() {
			for i := range minted[w] {
				minted[w][i] = NewID()
			}
		})
	}
	wg.Wait()
	after := time.Now().UnixMilli()
	seen := make(map[string]bool, workers*each)
	var ones, zeros uuid.UUID
	for _, ids := range minted {
		for _, text := range ids {
			require.False(t, seen[text], "minted twice")
			seen[text] = true
			id, err := uuid.Parse(text)
			require.NoError(t, err)
			require.Equal(t, id.String(), text)
			require.Equal(t, uuid.Version(7), id.Version())
			require.Equal(t, uuid.RFC4122, id.Variant())
			sec, nsec := id.Time().UnixTime()
			ms := sec*1000 + nsec/1e6
			require.GreaterOrEqual(t, ms, before, text)
			require.LessOrEqual(t, ms, after+1000, "a burst of ids may run a little ahead")
			for i := range id {
				ones[i] |= id[i]
				zeros[i] |= ^id[i]
			}
		}
	}
	require.Equal(t, "7fff-bfff-ffffffffffff", ones.String()[14:], "every bit behind the time but those of version and variant is random")
	require.Equal(t, "8fff-7fff-ffffffffffff", zeros.String()[14:])
}

func BenchmarkNewID(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		NewID()
	}
}
