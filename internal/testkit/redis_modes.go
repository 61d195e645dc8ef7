package testkit

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// redisPatience is how long servers may take to find each other.
const redisPatience = 60 * time.Second

// RedisCluster starts a cluster of three nodes that share the slots, and returns once each node knows the others.
func RedisCluster(t testing.TB) []*RedisServer {
	t.Helper()
	servers, nodes := make([]*RedisServer, 3), make([]*redis.Client, 3)
	for i := range servers {
		servers[i] = Redis(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
		nodes[i] = redis.NewClient(&redis.Options{Addr: servers[i].Addr})
		t.Cleanup(func() { require.NoError(t, nodes[i].Close()) })
	}
	ctx := context.Background()
	for i, node := range nodes {
		require.NoError(t, node.ClusterAddSlotsRange(ctx, i*5462, min(16383, i*5462+5461)).Err())
		host, port, err := net.SplitHostPort(servers[i].Addr)
		require.NoError(t, err)
		require.NoError(t, node.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err())
		require.NoError(t, nodes[0].ClusterMeet(ctx, host, port).Err())
	}
	for _, node := range nodes {
		require.Eventually(t, func() bool {
			info, err := node.ClusterInfo(ctx).Result()
			return err == nil && strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:3")
		}, redisPatience, 10*time.Millisecond)
	}
	return servers
}

// Sentinel is a master with a replica, and a sentinel that promotes the replica when the master fails.
type Sentinel struct {
	Addr            string // of the sentinel
	Name            string // the master's name in the sentinel
	Master, Replica *RedisServer
}

// RedisSentinel starts all three and returns once the replica can take over. A non-empty password applies to master and
// replica.
func RedisSentinel(t testing.TB, password string) *Sentinel {
	t.Helper()
	var protected []string
	auth := ""
	s := &Sentinel{Name: "tollgate"}
	if password != "" {
		protected = []string{"--requirepass", password, "--masterauth", password}
		auth = fmt.Sprintf("sentinel auth-pass %s %s\n", s.Name, password)
	}
	s.Master = Redis(t, protected...)
	host, port, err := net.SplitHostPort(s.Master.Addr)
	require.NoError(t, err)
	s.Replica = Redis(t, slices.Concat(protected, []string{"--replicaof", host + " " + port})...)
	s.Addr, err = FreeAddr()
	require.NoError(t, err)
	_, sentinelPort, err := net.SplitHostPort(s.Addr)
	require.NoError(t, err)
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, "port %s\nbind 127.0.0.1\nsentinel monitor %s 127.0.0.1 %s 1\n"+
		"sentinel down-after-milliseconds %[2]s 300\nsentinel failover-timeout %[2]s 3000\n%[4]s", sentinelPort, s.Name, port, auth), 0o600))
	cmd := exec.Command(cmp.Or(os.Getenv("TOLLGATE_REDIS_SERVER"), "redis-server"), conf, "--sentinel") // #nosec G204 G702 -- a test's own file
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait() // it was killed
	})
	guard := redis.NewSentinelClient(&redis.Options{Addr: s.Addr})
	defer func() { require.NoError(t, guard.Close()) }()
	require.Eventually(t, func() bool { // a sentinel only promotes a replica it knows
		m, err := guard.Master(context.Background(), s.Name).Result()
		return err == nil && m["num-slaves"] == "1"
	}, redisPatience, 20*time.Millisecond)
	copied := redis.NewClient(&redis.Options{Addr: s.Replica.Addr, Password: password})
	defer func() { require.NoError(t, copied.Close()) }()
	require.Eventually(t, func() bool {
		info, err := copied.Info(context.Background(), "replication").Result()
		return err == nil && strings.Contains(info, "master_link_status:up")
	}, redisPatience, 10*time.Millisecond)
	return s
}
