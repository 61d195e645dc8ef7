package e2e

import (
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

// planSite returns the directives of a gateway whose models have fallbacks and backends with limits.
func planSite(t testing.TB, store string, provider *fakeprovider.Server) string {
	t.Helper()
	backend := func(url, more string) string {
		return fmt.Sprintf("backend openai %s/v1 {\napi_key %s\nmodel gpt-4o\n%s\n}\n", url, gateway.ProviderKey, more)
	}
	const priced, dear = "price input 1\nprice output 1\n", "price input 100\nprice output 100\n"
	one, dead := "limits {\nrpm_limit 1\n}\n", "http://"+gateway.FreeAddr(t)
	models := map[string]string{
		"big":         backend(provider.URL, priced) + "fallback small",
		"small":       backend(provider.URL, priced),
		"gratis":      backend(provider.URL, priced) + "fallback unpriced",
		"unpriced":    strings.Replace(backend(provider.URL, ""), "model gpt-4o\n", "model nobody-knows\n", 1),
		"cheap":       backend(provider.URL, priced) + "fallback dear",
		"dear":        backend(provider.URL, dear),
		"twins":       backend(provider.URL, priced+one) + backend(provider.URL, priced+one),
		"relieved":    backend(provider.URL, priced+one) + "fallback small",
		"mended":      backend(dead, priced+"order 1") + backend(provider.URL, priced+one+"order 2") + backend(provider.URL, priced+"order 3"),
		"one-at-once": backend(provider.URL, priced+"limits {\nmax_parallel_requests 1\n}"),
	}
	var routes strings.Builder
	for name, block := range models {
		fmt.Fprintf(&routes, "model %s {\n%s\n}\n", name, block)
	}
	return fmt.Sprintf("keyauth {\nstore %s\nmaster_key %s\n}\nlagobilling {\nspool %s\ncharge_by key_alias\nmissing_payer default house\n}\nllmroute {\n%s\n}",
		store, gateway.MasterKey, t.TempDir(), routes.String())
}

// TestAFullModelIsLeftOutOfThePlan fills fallback models and backends: calls go where there is room, and are refused where there is
// none, or where the model that was asked for has none.
func TestAFullModelIsLeftOutOfThePlan(t *testing.T) {
	provider := fakeprovider.New(t, fakeprovider.Options{Key: gateway.ProviderKey})
	onBothStores(t, func(t *testing.T, store string) {
		g := gateway.Start(t, "", planSite(t, store, provider))
		chat := func(want int, key, body string) gateway.Answer {
			t.Helper()
			return g.Must(want, http.MethodPost, "/v1/chat/completions", key, body)
		}
		t.Run("fallback", func(t *testing.T) {
			key := g.NewKey(`{"model_max_budget":{"small":{"max_budget":0.00001}}}`)
			a := chat(200, key, capped("big", 10, 100))
			require.Equal(t, "small/openai: budget_exceeded", a.Header.Get("X-Tollgate-Left-Out"))
			require.Equal(t, "big", a.Header.Get("X-Litellm-Model-Group"))
			chat(422, key, capped("small", 10, 100))
		})
		t.Run("fallback without a price", func(t *testing.T) {
			key := g.NewKey(`{"max_budget":1}`)
			a := chat(200, key, capped("gratis", 10, 100))
			require.Equal(t, "unpriced/openai: unpriced_model", a.Header.Get("X-Tollgate-Left-Out"))
			chat(400, key, capped("unpriced", 10, 100))
		})
		t.Run("fallback that costs more than is left", func(t *testing.T) {
			key := g.NewKey(`{"max_budget":0.001}`)
			a := chat(200, key, capped("cheap", 10, 100))
			require.Equal(t, "dear/openai: budget_exceeded", a.Header.Get("X-Tollgate-Left-Out"))
			require.Equal(t, "0.00011", awaitSpend(g, key).String())
			chat(422, key, capped("dear", 10, 100))
		})
		t.Run("model that was asked for", func(t *testing.T) {
			key := g.NewKey(`{"model_max_budget":{"big":{"max_budget":0.00001}}}`)
			require.Equal(t, "big", refusedAs(t, chat(422, key, capped("big", 10, 100))).Error.Model)
		})
		t.Run("backends", func(t *testing.T) {
			key, names := g.NewKey(`{}`), map[string]int{}
			for range 2 {
				names[chat(200, key, capped("twins", 10, 100)).Header.Get("X-Tollgate-Backend")]++
			}
			require.Equal(t, map[string]int{"openai": 1, "openai-2": 1}, names)
			a := chat(429, key, capped("twins", 10, 100))
			require.NotEmpty(t, a.Header.Get("Retry-After"))
			require.Equal(t, "backend", gjson.Get(a.Body, "error.scope").String())
			require.NotContains(t, a.Body, "openai", "which backends there are is not for clients")
			require.Empty(t, a.Header.Get("X-Ratelimit-Limit-Requests"), "the limits of backends are not the client's")
		})
		t.Run("backend with a fallback", func(t *testing.T) {
			key := g.NewKey(`{}`)
			require.Equal(t, "relieved", chat(200, key, capped("relieved", 10, 100)).Header.Get("X-Litellm-Model-Group"))
			a := chat(200, key, capped("relieved", 10, 100))
			require.Equal(t, "small", a.Header.Get("X-Litellm-Model-Group"))
			require.Equal(t, "relieved/openai: rate_limit_error", a.Header.Get("X-Tollgate-Left-Out"))
		})
		t.Run("after a failure", func(t *testing.T) {
			key := g.NewKey(`{"max_budget":1}`)
			require.Equal(t, "openai-2", chat(200, key, capped("mended", 10, 100)).Header.Get("X-Tollgate-Backend"))
			a := chat(200, key, capped("mended", 10, 100))
			require.Equal(t, "openai-3", a.Header.Get("X-Tollgate-Backend"), "the second has had its call")
			require.Equal(t, "0.00022", awaitSpend(g, key).String())
		})
		t.Run("calls at once", func(t *testing.T) {
			key := g.NewKey(`{}`)
			gate := provider.Gate(0, func(fakeprovider.Call) bool { return true })
			done := make(chan gateway.Answer, 1)
			go func() {
				a, err := g.Do(http.MethodPost, "/v1/chat/completions", key, capped("one-at-once", 10, 10))
				if err != nil {
					t.Error(err)
				}
				done <- a
			}()
			require.NoError(t, gate.Await(gateway.Timeout(t, 10*time.Second), 1))
			chat(429, key, capped("one-at-once", 10, 10))
			gate.Open()
			require.Equal(t, 200, (<-done).Status)
			chat(200, key, capped("one-at-once", 10, 10))
		})
	})
}

// TestAProvidersBudget spends the budget of a provider: calls go to another one, and what each has spent is exact.
func TestAProvidersBudget(t *testing.T) {
	provider := fakeprovider.New(t, fakeprovider.Options{Key: gateway.ProviderKey})
	onBothStores(t, func(t *testing.T, store string) {
		backend := func(name, more string) string {
			return fmt.Sprintf("backend %s %s/v1 {\napi_key %s\nprice input 1\nprice output 1\n%s\n}\n", name, provider.URL, gateway.ProviderKey, more)
		}
		g := gateway.Start(t, "", fmt.Sprintf(`keyauth {
	store %s
	master_key %s
}
lagobilling {
	spool %s
	charge_by key_alias
	missing_payer default house
}
llmroute {
	provider_limits openai {
		max_budget 0.0006
		budget_duration 1d
	}
	model gpt-4o {
		%s
		%s
	}
	model alone {
		%s
	}
}`, store, gateway.MasterKey, t.TempDir(), backend("openai", "order 1"), backend("mistral", "order 2"), backend("openai", "model gpt-4o")))
		key := g.NewKey(`{"max_budget":1}`)
		names := map[string]int{}
		for range 5 {
			a := g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, capped("gpt-4o", 10, 190))
			names[a.Header.Get("X-Tollgate-Backend")]++
			awaitSpend(g, key)
		}
		require.Equal(t, map[string]int{"openai": 2, "mistral": 3}, names, "0.0004 of 0.0006 are spent, and no call more fits")
		a := g.Must(http.StatusTooManyRequests, http.MethodPost, "/v1/chat/completions", key, capped("alone", 10, 190))
		require.Equal(t, "provider", gjson.Get(a.Body, "error.scope").String())
		require.Equal(t, "0.001", awaitSpend(g, key).String())
		g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, capped("alone", 10, 50))
	})
}
