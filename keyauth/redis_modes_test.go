package keyauth

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit"
)

// holdTwoInstances has one instance make, change and delete a key, and the other hear of it.
func holdTwoInstances(t *testing.T, open func() *redisStore) {
	t.Helper()
	a, _ := newTestDirectory(t, open(), time.Now)
	b, heard := newTestDirectory(t, open(), time.Now)
	hear := func(what string) { t.Helper(); await(t, heard.changed, time.Second, what) }
	key := generate(t, a, `{"key_alias":"ann","team_id":"blue"}`)
	hear("the new key")
	_, err := b.lookup(t.Context(), digestOf(key), testBounds)
	require.NoError(t, err)
	_, err = NewService(a).Block(t.Context(), key, true)
	require.NoError(t, err)
	hear("the block")
	st, err := b.lookup(t.Context(), digestOf(key), testBounds)
	require.NoError(t, err)
	require.True(t, st.blocked)
	require.Equal(t, []string{"added", "added", "added", "added", "refused"}, actions(t, a, ImportOptions{}, litellmDump(t)...), "the alias is taken")
	_, total, err := NewService(b).List(t.Context(), Filter{}, 0, 10)
	require.NoError(t, err)
	require.Equal(t, 1, total)
	require.NoError(t, NewService(a).Delete(t.Context(), nil, []string{"ann"}))
	require.Eventually(t, func() bool {
		_, err := b.lookup(context.Background(), digestOf(key), testBounds)
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
	holdTwoInstances(t, func() *redisStore {
		s := openRedisStore(redisOptions{addresses: []string{server.Addr, "localhost:" + port}, prefix: defaultPrefix})
		s.authenticate("", "secret")
		return s
	})
	for _, key := range admin.Keys(t.Context(), "*").Val() {
		require.Regexp(t, `^\{tollgate:\}`, key, "one hash slot")
	}
}

// TestRedisSentinel asks a real sentinel for the master.
func TestRedisSentinel(t *testing.T) {
	server := testkit.Redis(t, "--requirepass", "secret")
	_, masterPort, err := net.SplitHostPort(server.Addr)
	require.NoError(t, err)
	address, err := testkit.FreeAddr()
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil,
		"port %s\nbind 127.0.0.1\nsentinel monitor keys 127.0.0.1 %s 1\nsentinel auth-pass keys secret\n", port, masterPort), 0o600))
	sentinel := exec.Command(cmp.Or(os.Getenv("TOLLGATE_REDIS_SERVER"), "redis-server"), conf, "--sentinel") // #nosec G204 G702 -- a test's own file
	require.NoError(t, sentinel.Start())
	t.Cleanup(func() {
		require.NoError(t, sentinel.Process.Kill())
		_ = sentinel.Wait() // it was killed
	})
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", address)
		return err == nil && c.Close() == nil
	}, patience, 10*time.Millisecond)
	holdTwoInstances(t, func() *redisStore {
		s := openRedisStore(redisOptions{addresses: []string{address}, prefix: defaultPrefix, sentinel: "keys"})
		s.authenticate("", "secret")
		return s
	})
}
