package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakeprovider"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// limitedSite returns the directives of a gateway with limits: one model whose tokens cost a millionth of a dollar each.
func limitedSite(t testing.TB, store, limits string, provider *fakeprovider.Server, billing ...string) string {
	t.Helper()
	return fmt.Sprintf(`keyauth {
	store %s
	master_key %s
	%s
}
lagobilling {
	spool %s
	charge_by key_alias
	missing_payer default house
	%s
}
llmroute {
	model gpt-4o {
		backend openai %s/v1 {
			api_key %s
			price input 1
			price output 1
		}
	}
	model free {
		backend openai %s/v1 {
			api_key %s
			model gpt-4o-nobody-knows
		}
	}
	model capped {
		output_cap 120
		backend openai %s/v1 {
			api_key %s
			price input 1
			price output 1
		}
	}
	model claude {
		backend anthropic %s {
			api_key %s
			price input 1
			price output 1
		}
	}
}
`, store, gateway.MasterKey, limits, t.TempDir(), strings.Join(billing, "\n"), provider.URL, gateway.ProviderKey, provider.URL, gateway.ProviderKey, provider.URL, gateway.ProviderKey,
		provider.URL, gateway.ProviderKey)
}

// capped is a chat call whose answer may have that many tokens, and has them.
func capped(model string, in, out int) string {
	return fmt.Sprintf(`{"model":%q,"max_tokens":%d,"messages":[{"role":"user","content":"tokens=in:%d,out:%d"}]}`, model, out, in, out)
}

type refusedBody struct {
	Error struct {
		Type, Message, Scope, ID, Model string
		Limit, Spent, Reserved, Used    json.Number
		Needed                          json.Number
		LimitType                       string `json:"limit_type"`
		ResetsAt                        string `json:"resets_at"`
	}
}

func refusedAs(t testing.TB, a gateway.Answer) refusedBody {
	t.Helper()
	var b refusedBody
	require.NoError(t, json.Unmarshal([]byte(a.Body), &b), a.Body)
	return b
}

// keyInfo returns the row of a key.
func keyInfo(g *gateway.Gateway, key string) map[string]any {
	g.T.Helper()
	a := g.Must(http.StatusOK, http.MethodGet, "/key/info?key="+key, gateway.MasterKey, "")
	d := json.NewDecoder(strings.NewReader(a.Body))
	d.UseNumber()
	var m struct{ Info map[string]any }
	require.NoError(g.T, d.Decode(&m))
	return m.Info
}

// TestLimitsRefuseCalls meets each kind of limit, and reads what callers are told.
func TestLimitsRefuseCalls(t *testing.T) {
	provider := fakeprovider.New(t, fakeprovider.Options{Key: gateway.ProviderKey})
	g := gateway.Start(t, "", limitedSite(t, "file "+t.TempDir(), "", provider))
	chat := func(key, body string) gateway.Answer {
		a, err := g.Do(http.MethodPost, "/v1/chat/completions", key, body)
		require.NoError(t, err)
		return a
	}
	t.Run("budget", func(t *testing.T) {
		key := g.NewKey(`{"max_budget":0.00025,"budget_duration":"1h","key_alias":"spender"}`)
		a := chat(key, capped("gpt-4o", 10, 100))
		require.Equal(t, 200, a.Status, a.Body)
		require.Equal(t, "0.00025", a.Header.Get("X-Litellm-Key-Max-Budget"))
		require.Equal(t, "0", a.Header.Get("X-Litellm-Key-Spend"))
		require.Equal(t, 422, chat(key, capped("gpt-4o", 10, 1000)).Status, "an oversized call")
		require.Eventually(t, func() bool { return keyInfo(g, key)["spend"] == json.Number("0.00011") }, 10*time.Second, 10*time.Millisecond)
		a = chat(key, capped("gpt-4o", 10, 100))
		require.Equal(t, 422, a.Status, a.Body)
		require.Equal(t, "false", a.Header.Get("X-Should-Retry"))
		b := refusedAs(t, a)
		require.Equal(t, "budget_exceeded", b.Error.Type)
		require.Equal(t, "key", b.Error.Scope)
		require.Equal(t, "sk-..."+key[len(key)-4:], b.Error.ID)
		require.Equal(t, json.Number("0.00025"), b.Error.Limit)
		require.Equal(t, json.Number("0.00011"), b.Error.Spent)
		require.Equal(t, json.Number("0"), b.Error.Reserved)
		resets, err := time.Parse(time.RFC3339, b.Error.ResetsAt)
		require.NoError(t, err)
		require.WithinDuration(t, time.Now().Add(time.Hour), resets, 10*time.Minute)
		require.NotContains(t, a.Body, keyHash(key), "a hash is not for clients")
		require.Equal(t, 200, chat(key, capped("gpt-4o", 10, 5)).Status, "what is left can be used")
	})
	t.Run("requests", func(t *testing.T) {
		key := g.NewKey(`{"rpm_limit":2,"tpm_limit":100000}`)
		a := chat(key, capped("gpt-4o", 10, 10))
		require.Equal(t, 200, a.Status, a.Body)
		require.Equal(t, []string{"2"}, a.Header.Values("X-Ratelimit-Limit-Requests"))
		require.Equal(t, []string{"1"}, a.Header.Values("X-Ratelimit-Remaining-Requests"))
		require.Equal(t, "100000", a.Header.Get("X-Ratelimit-Limit-Tokens"))
		require.Equal(t, 200, chat(key, capped("gpt-4o", 10, 10)).Status)
		a = chat(key, capped("gpt-4o", 10, 10))
		require.Equal(t, 429, a.Status, a.Body)
		wait, err := time.ParseDuration(a.Header.Get("Retry-After") + "s")
		require.NoError(t, err)
		require.Greater(t, wait, time.Duration(0))
		require.LessOrEqual(t, wait, 61*time.Second)
		b := refusedAs(t, a)
		require.Equal(t, "requests", b.Error.LimitType)
		require.Equal(t, json.Number("2"), b.Error.Used)
		require.Empty(t, a.Header.Get("X-Should-Retry"))
	})
	t.Run("tokens", func(t *testing.T) {
		key := g.NewKey(`{"tpm_limit":500}`)
		a := chat(key, capped("gpt-4o", 10, 1000))
		require.Equal(t, 429, a.Status, a.Body)
		require.Equal(t, "false", a.Header.Get("X-Should-Retry"), "the call can never fit")
		require.Empty(t, a.Header.Get("Retry-After"))
		require.Equal(t, 200, chat(key, capped("gpt-4o", 10, 100)).Status)
	})
	t.Run("team and model", func(t *testing.T) {
		g.Must(200, http.MethodPost, "/team/new", gateway.MasterKey, `{"team_id":"blue","model_max_budget":{"gpt-4o":{"max_budget":0.0003,"budget_duration":"1d"}}}`)
		key := g.NewKey(`{"team_id":"blue"}`)
		require.Equal(t, 200, chat(key, capped("gpt-4o", 10, 100)).Status)
		a := chat(key, capped("gpt-4o", 10, 1000))
		require.Equal(t, 422, a.Status, a.Body)
		b := refusedAs(t, a)
		require.Equal(t, []string{"team", "blue", "gpt-4o"}, []string{b.Error.Scope, b.Error.ID, b.Error.Model})
	})
	t.Run("output cap", func(t *testing.T) {
		key := g.NewKey(`{"max_budget":0.0003}`)
		plain := gateway.Chat("capped", "tokens=in:10,out:120", false)
		require.Equal(t, 422, chat(key, gateway.Chat("gpt-4o", "tokens=in:10,out:120", false)).Status, "its output is not bounded")
		require.Equal(t, 200, chat(key, plain).Status)
		calls := provider.Calls()
		require.EqualValues(t, 120, gjson.GetBytes(calls[len(calls)-1].Body, "max_tokens").Int())
	})
	t.Run("no price", func(t *testing.T) {
		require.Equal(t, 400, chat(g.NewKey(`{"max_budget":10}`), capped("free", 10, 100)).Status)
		require.Equal(t, 200, chat(g.NewKey(`{"rpm_limit":10}`), capped("free", 10, 100)).Status, "requests need no price")
	})
	t.Run("anthropic", func(t *testing.T) {
		key := g.NewKey(`{"rpm_limit":1}`)
		a, err := g.Do(http.MethodPost, "/v1/messages", key, capped("claude", 10, 10), "Anthropic-Version", "2023-06-01")
		require.NoError(t, err)
		require.Equal(t, 200, a.Status, a.Body)
		require.Equal(t, []string{"1"}, a.Header.Values("Anthropic-Ratelimit-Requests-Limit"))
		require.Equal(t, []string{"0"}, a.Header.Values("Anthropic-Ratelimit-Requests-Remaining"))
		_, err = time.Parse(time.RFC3339, a.Header.Get("Anthropic-Ratelimit-Requests-Reset"))
		require.NoError(t, err)
		a, err = g.Do(http.MethodPost, "/v1/messages", key, capped("claude", 10, 10), "Anthropic-Version", "2023-06-01")
		require.NoError(t, err)
		require.Equal(t, 429, a.Status, a.Body)
		require.Contains(t, a.Body, `"rate_limit_error"`)
	})
}

// TestASmallBudgetWithoutABound uses a small budget by calls that do not bound their answers, of a model with large ones, from the first on. Once
// the model's answers are known they are taken for what they are, after a new start too.
func TestASmallBudgetWithoutABound(t *testing.T) {
	provider := fakeprovider.New(t, fakeprovider.Options{Key: gateway.ProviderKey})
	g := gateway.Run(t, limitedSite(t, "file "+t.TempDir(), "", provider))
	call := `{"model":"gpt-4o","messages":[{"role":"user","content":"tokens=in:10,out:100"}]}`
	most := `{"max_budget":0.01}` // less than gpt-4o's largest answer costs here, 0.016384
	key := g.NewKey(most)
	g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, call)
	require.Equal(t, "0.00011", awaitSpend(g, key).String())
	poor := g.NewKey(`{"max_budget":0.004}`)
	b := refusedAs(t, g.Must(http.StatusUnprocessableEntity, http.MethodPost, "/v1/chat/completions", poor, call))
	require.Contains(t, b.Error.Message, "(nothing bounds the answer's length, which is taken for up to 4096 tokens: send max_tokens)")
	for range 20 {
		g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", gateway.MasterKey, call)
	}
	awaitTotal(g, "0.00231")
	bin, err := gateway.Build()
	require.NoError(t, err)
	g.Kill()
	g.Launch(bin, "caddyfile")
	g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", poor, call)
	require.Equal(t, "0.00011", awaitSpend(g, poor).String())
}

// awaitTotal waits until the gateway has spent that much.
func awaitTotal(g *gateway.Gateway, want string) {
	g.T.Helper()
	require.Eventually(g.T, func() bool { return globalSpend(g).Get("total_spend").Raw == want }, 20*time.Second, 10*time.Millisecond)
}
