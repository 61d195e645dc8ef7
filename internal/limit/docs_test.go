package limit

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/testkit"
)

func page(t *testing.T, name string) string {
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
	require.NoError(t, err)
	return strings.Join(strings.Fields(string(raw)), " ")
}

// TestEveryRedisKeyIsDocumented makes a key of every sort and looks up each, with its type and fields, in docs/redis.md.
func TestEveryRedisKeyIsDocumented(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: testkit.Redis(t).Addr})
	defer func() { require.NoError(t, client.Close()) }()
	s := newRedis(client, "tollgate:", nil)
	defer func() { require.NoError(t, s.Close()) }()
	scope := Scope{Member, MemberID("a|b", "c")}
	r := &Reservation{ID: "1", Cost: usd(t, "0.5"), InputTokens: 1, OutputTokens: 1, Limits: []Limit{
		{Scope: scope, Metric: Cost, Window: budgetWindow, Money: usd(t, "1")},
		{Scope: scope, Metric: Requests, Model: "gpt/x", Max: 9},
		{Scope: scope, Metric: Tokens, Max: 9},
		{Scope: scope, Metric: Parallel, Max: 9},
	}}
	_, err := s.Reserve(t.Context(), r)
	require.NoError(t, err)
	_, err = s.Renew(t.Context(), "here", nil)
	require.NoError(t, err)
	_, err = s.Apply(t.Context(), &Batch{Spool: "s", To: 1, Adds: []Add{{Total: "spend:gateway:", Field: "cost", Amount: price.FromLimbs(1, 1)}}})
	require.NoError(t, err)
	doc := page(t, "redis.md")
	patterns := map[string]string{
		"limit:cost": "`limit:cost\\|WINDOW\\|MODEL\\|SCOPE` | hash", "limit:requests": "`limit:METRIC\\|\\|MODEL\\|SCOPE` | hash",
		"limit:tokens": "`limit:METRIC\\|\\|MODEL\\|SCOPE` | hash", "limit:parallel": "`limit:parallel\\|\\|MODEL\\|SCOPE` | string",
		"total:spend": "`total:spend:SCOPE` | hash",
	}
	keys, err := client.Keys(t.Context(), "*").Result()
	require.NoError(t, err)
	require.Len(t, keys, 9)
	for _, key := range keys {
		name, ok := strings.CutPrefix(key, "tollgate:")
		require.True(t, ok, key)
		kind := map[string]string{"zset": "sorted set", "hash": "hash", "string": "string"}[client.Type(context.Background(), key).Val()]
		want := fmt.Sprintf("`%s` | %s", name, kind)
		for prefix, row := range patterns {
			if strings.HasPrefix(name, prefix) {
				want = row
			}
		}
		require.Contains(t, doc, "| "+want+" |")
		if strings.HasPrefix(name, "limit:") {
			require.Regexp(t, `^limit:(cost\|\d+-\d*|requests\||tokens\||parallel\|)\|(gpt%2Fx)?\|member:a%257Cb%2Fc$`, name)
		}
		if strings.HasPrefix(name, "limit:cost") {
			require.Equal(t, map[string]string{"c": "500000", "d": "0"}, client.HGetAll(t.Context(), key).Val())
		}
		if strings.HasPrefix(name, "total:") {
			require.Equal(t, map[string]string{"hcost": "1", "lcost": "1"}, client.HGetAll(t.Context(), key).Val())
		}
	}
}

// TestNumbersInTheDocuments compares the numbers in the documents with the code.
func TestNumbersInTheDocuments(t *testing.T) {
	limits, redis := page(t, "limits.md"), page(t, "redis.md")
	for _, text := range []string{
		fmt.Sprintf("a lease of %.0f seconds that the instance renews every %.0f", Lease.Seconds(), renewEvery.Seconds()),
		fmt.Sprintf("until %d seconds after that second began", rateSeconds),
		fmt.Sprintf("kept for %d days after the end", keepWindow/(24*time.Hour)),
		fmt.Sprintf("decides up to %d calls", sendAtOnce),
		fmt.Sprintf("%d of 1,000", oneOf-1), fmt.Sprintf("once there are %d of them", enoughOutputs),
	} {
		require.Contains(t, limits, text)
	}
	for _, m := range []Metric{Cost, Requests, Tokens, InputTokens, OutputTokens, Parallel} {
		require.Contains(t, limits, "`"+string(m)+"`")
	}
	for _, k := range []Kind{Key, Team, Member, User, Customer, Budget, Session, Gateway, Backend, Provider} {
		require.Contains(t, limits, "`"+string(k)+"`")
		require.Contains(t, redis, "`"+string(k)+"`")
	}
	require.Contains(t, redis, fmt.Sprintf("less than 1,500 bytes while a call is under way, and less than %d when it is idle", idleBytes))
	require.Equal(t, 1500, keyBytes)
	files, err := filepath.Glob("*.lua")
	require.NoError(t, err)
	for _, file := range files {
		if name := strings.TrimSuffix(file, ".lua"); name != "common" {
			require.Regexp(t, regexp.MustCompile(`\| `+"`"+name+"` \\|"), redis)
		}
	}
}
