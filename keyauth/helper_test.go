package keyauth

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/keystore"
	"github.com/tollgate-llm/tollgate/internal/testkit"
)

// patience is how long a test waits for an event that must come.
const patience = 10 * time.Second

var nopLogger = zap.NewNop()

var testBounds = keys.Bounds{Cache: 10 * time.Second, Stale: 10 * time.Minute}

func openRedis(s *testkit.RedisServer) *keystore.Redis {
	return keystore.OpenRedis(keystore.RedisOptions{Addresses: []string{s.Addr}, Prefix: defaultPrefix})
}

func newTestCache(t *testing.T, s keystore.Store, now func() time.Time) *keys.Cache {
	t.Helper()
	c := keys.NewCache(s, zaptest.NewLogger(t), now)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}
