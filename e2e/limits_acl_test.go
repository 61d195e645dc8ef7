package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakeprovider"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// TestRightsInRedis holds docs/redis.md to its word: a user with these rights, and no other, is enough for keys, limits, books and a
// rebuild: no node of Redis refuses anything.
func TestRightsInRedis(t *testing.T) {
	page, err := os.ReadFile("../docs/redis.md")
	require.NoError(t, err)
	rights := regexp.MustCompile(`(?m)^ACL SETUSER gateway on >PASSWORD (.*)$`).FindAllStringSubmatch(string(page), -1)
	require.Len(t, rights, 2, "alone, and in a cluster")
	t.Run("alone", func(t *testing.T) { rightsSuffice(t, rights[0][1], testkit.Redis(t)) })
	t.Run("cluster", func(t *testing.T) { rightsSuffice(t, rights[1][1], testkit.RedisCluster(t)...) })
}

func rightsSuffice(t *testing.T, rights string, servers ...*testkit.RedisServer) {
	store := "redis"
	args := []any{"ACL", "SETUSER", "gateway", "on", ">secret"}
	for right := range strings.FieldsSeq(rights) {
		args = append(args, right)
	}
	var nodes []*redis.Client
	for _, server := range servers {
		store += " " + server.Addr
		admin := redis.NewClient(&redis.Options{Addr: server.Addr, PoolSize: 1}) // it stays connected
		defer admin.Close()                                                      //nolint:errcheck // of this test
		require.NoError(t, admin.Do(t.Context(), args...).Err())
		require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "default", "off").Err())
		nodes = append(nodes, admin)
	}
	provider := fakeprovider.New(t, fakeprovider.Options{Key: gateway.ProviderKey})
	g := gateway.Run(t, limitedSite(t, store+" {\n username gateway\n password secret\n}", "limits {\n rpm_limit 1000\n}", provider))
	key := g.NewKey(`{"max_budget":1,"budget_duration":"1d","rpm_limit":9,"tpm_limit":90000,"max_parallel_requests":5,"team_id":"blue"}`)
	g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, capped("gpt-4o", 10, 100))
	require.Equal(t, "0.00011", awaitSpend(g, key).String())
	g.Must(http.StatusUnprocessableEntity, http.MethodPost, "/v1/chat/completions", key, capped("gpt-4o", 10, 2_000_000))
	g.Must(http.StatusOK, http.MethodGet, "/key/list", gateway.MasterKey, "")
	g.Must(http.StatusOK, http.MethodGet, "/global/spend", gateway.MasterKey, "")
	require.Equal(t, "0.00011", rebuilt(g).Stores[0].After)
	require.Equal(t, json.Number("0.00011"), keyInfo(g, key)["total_spend"])
	g.Must(http.StatusOK, http.MethodPost, "/key/delete", gateway.MasterKey, `{"keys":["`+key+`"]}`)
	for _, node := range nodes {
		log, err := node.Do(t.Context(), "ACL", "LOG").Slice()
		require.NoError(t, err)
		require.Empty(t, log, "Redis has refused something")
	}
}
