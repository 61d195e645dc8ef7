package account

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/tollgate-llm/tollgate/internal/books"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/spool"
)

// TestRecordsAreCountedWhereTheConfigurationSays settles records while nothing counts them, then while a store does: no record
// waits for a reader, and the store gets those that were there too, each once.
func TestRecordsAreCountedWhereTheConfigurationSays(t *testing.T) {
	a, err := Open(Settings{Name: "a", Dir: t.TempDir(), Retain: time.Hour, SpoolMax: 1 << 30}, nil, Options{
		Logger: zap.NewNop(), Exiting: func() bool { return false },
	})
	require.NoError(t, err)
	settle := func(n byte) {
		id := spool.ID{n}
		r := record.Record{ID: "call", Settled: time.Now(), KeyID: "k", Cost: "0.5"}
		require.NoError(t, a.Spool().Begin(id, []byte(`{"v":1}`)))
		require.NoError(t, a.Settle(id, r.Append(nil, nil), false))
	}
	passed := func() bool { return a.Spool().Cursor(books.ConsumerName) == a.Spool().Last() }
	a.Keep("", nil, nil)
	settle(1)
	require.Eventually(t, passed, 10*time.Second, time.Millisecond, "nothing waits where nothing is counted")

	store, err := limit.OpenFile(t.TempDir())
	require.NoError(t, err)
	limiter := limit.New(store, limit.Options{})
	released := 0
	release := func() { released++ }
	<-a.Keep("limits", limiter, release)
	a.Keep("limits", limiter, release)
	require.Equal(t, 1, released, "one reference is held")
	settle(2)
	require.Eventually(t, passed, 10*time.Second, time.Millisecond)
	totals, err := limiter.Totals(t.Context(), books.Spend(limit.Scope{Kind: limit.Key, ID: "k"}))
	require.NoError(t, err)
	require.Equal(t, "1", totals[0][books.Cost].String())
	require.NoError(t, a.Close())
	require.Equal(t, 2, released)
	require.NoError(t, store.Close())
}
