package keys

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/keystore"
	"github.com/tollgate-llm/tollgate/internal/testkit"
)

// holdTwoInstances has one instance make, change and delete a key, and the other hear of it.
func holdTwoInstances(t *testing.T, open func() *keystore.Redis) {
	t.Helper()
	a, _ := newTestDirectory(t, open(), time.Now)
	b, heard := newTestDirectory(t, open(), time.Now)
	hear := func(what string) { t.Helper(); await(t, heard.changed, time.Second, what) }
	key := generate(t, a, `{"key_alias":"ann","team_id":"blue"}`)
	hear("the new team")
	hear("the new key")
	_, err := b.Lookup(t.Context(), DigestOf(key), testBounds)
	require.NoError(t, err)
	_, err = NewService(a, nil).Block(t.Context(), named(key), true)
	require.NoError(t, err)
	hear("the block")
	st, err := b.Lookup(t.Context(), DigestOf(key), testBounds)
	require.NoError(t, err)
	require.True(t, st.Blocked)
	require.ErrorIs(t, a.store.Apply(t.Context(), keystore.Change{Kind: keystore.UserKind, ID: "u", New: []byte("{}")},
		keystore.Change{Kind: keystore.KeyKind, ID: "other", New: []byte("{}"), NewAlias: "ann"}), keystore.ErrAliasTaken, "several records in one step")
	_, total, err := NewService(b, nil).List(t.Context(), Filter{}, Order{}, Page{Size: 10})
	require.NoError(t, err)
	require.Equal(t, 1, total)
	require.NoError(t, NewService(a, nil).delete(t.Context(), nil, []string{"ann"}))
	require.Eventually(t, func() bool {
		_, err := b.Lookup(context.Background(), DigestOf(key), testBounds)
		return err != nil
	}, time.Second, time.Millisecond)
}

// TestRedisCluster runs against a real cluster of one node, which holds all slots, so that a change of several slots or a
// command that a cluster does not know would fail.
func TestRedisCluster(t *testing.T) {
	server := testkit.Redis(t, "--cluster-enabled", "yes", "--requirepass", "secret")
	admin := redis.NewClient(&redis.Options{Addr: server.Addr, Password: "secret"})
	defer func() { require.NoError(t, admin.Close()) }()
	require.NoError(t, admin.ClusterAddSlotsRange(t.Context(), 0, 16383).Err())
	require.Eventually(t, func() bool {
		info, err := admin.ClusterInfo(context.Background()).Result()
		return err == nil && len(info) > 16 && info[:16] == "cluster_state:ok"
	}, patience, 10*time.Millisecond)
	_, port, err := net.SplitHostPort(server.Addr)
	require.NoError(t, err)
	holdTwoInstances(t, func() *keystore.Redis {
		s := keystore.OpenRedis(keystore.RedisOptions{Addresses: []string{server.Addr, "localhost:" + port}, Prefix: "tollgate:"})
		s.Authenticate("", "secret")
		return s
	})
	for _, key := range admin.Keys(t.Context(), "*").Val() {
		require.Regexp(t, `^\{tollgate:\}`, key, "one hash slot")
	}
}

// TestRedisSentinel asks a real sentinel for the master.
func TestRedisSentinel(t *testing.T) {
	sentinel := testkit.RedisSentinel(t, "secret")
	holdTwoInstances(t, func() *keystore.Redis {
		s := keystore.OpenRedis(keystore.RedisOptions{Addresses: []string{sentinel.Addr}, Prefix: "tollgate:", Sentinel: sentinel.Name})
		s.Authenticate("", "secret")
		return s
	})
}

// TestRedisACL holds the documentation to its word: these rights are enough.
func TestRedisACL(t *testing.T) {
	rights := "--user gate on >secret ~tollgate:* &tollgate:changed -@all +get +mget +set +del +hget +hset +hdel " +
		"+zadd +zrem +zrangebylex +eval +evalsha +publish +subscribe +ping"
	server := testkit.Redis(t, strings.Fields(rights)...)
	s := openRedis(server)
	s.Authenticate("gate", "secret")
	d, o := newTestDirectory(t, s, time.Now)
	key := generate(t, d, `{"key_alias":"a"}`)
	await(t, o.changed, patience, "the announcement")
	_, err := d.Lookup(t.Context(), DigestOf(key), testBounds)
	require.NoError(t, err)
	_, total, err := NewService(d, nil).List(t.Context(), Filter{}, Order{}, Page{Size: 10})
	require.NoError(t, err)
	require.Equal(t, 1, total)
	require.NoError(t, NewService(d, nil).delete(t.Context(), nil, []string{"a"}))
}
