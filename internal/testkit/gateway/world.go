package gateway

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakeprovider"
)

// World is a gateway with a real Redis, a fake provider and a fake Lago.
type World struct {
	*Gateway
	Redis    *testkit.RedisServer
	Provider *fakeprovider.Server
	Lago     *fakelago.Server
}

// The API key that the fake provider accepts, and the subscription in Lago.
const (
	ProviderKey = "sk-of-the-provider"
	Payer       = "sub-1"
)

// Directives configures a gateway with the world's services; billing holds further lines of lagobilling.
func (w *World) Directives(spool, billing string) string {
	return w.Routed(spool, billing, fmt.Sprintf(`
		model gpt-4o {
			backend openai %[1]s/v1 {
				api_key %[2]s
				model gpt-4o-2024-08-06
			}
		}
		model claude {
			backend anthropic %[1]s {
				api_key %[2]s
				model claude-sonnet-4-5
			}
		}
		model text-embedding-3-small {
			backend openai %[1]s/v1 {
				api_key %[2]s
			}
		}`, w.Provider.URL, ProviderKey))
}

// Routed configures a gateway with the world's services; routes is the body of the llmroute block.
func (w *World) Routed(spool, billing, routes string) string {
	return fmt.Sprintf(`
	keyauth {
		store redis %s
		master_key %s
		cache_ttl 10s
	}
	lagobilling {
		api_base %s
		api_key %s
		event_code llm
		charge_by team_id
		payer_check off
		spool %s
		%s
	}
	llmroute {
		%s
	}`, w.Redis.Addr, MasterKey, w.Lago.URL, w.Lago.Key(), spool, billing, routes)
}

// NewBooks returns a world without a provider: only the key store and Lago.
func NewBooks(t *testing.T, lago fakelago.Options) *World {
	w := &World{Redis: testkit.Redis(t), Lago: fakelago.New(t, lago)}
	w.Lago.AddMetric(fakelago.Metric{Code: "llm", Field: "total_tokens"})
	w.Lago.AddSubscription(fakelago.Subscription{ExternalID: Payer})
	t.Cleanup(func() { require.Empty(t, w.Lago.Violations()) })
	return w
}

// NewWorld returns a world whose gateway is not running yet.
func NewWorld(t *testing.T, lago fakelago.Options) *World {
	w := NewBooks(t, lago)
	w.Provider = fakeprovider.New(t, fakeprovider.Options{Key: ProviderKey})
	t.Cleanup(func() { require.Empty(t, w.Provider.Violations()) })
	return w
}

// SetUp returns a world whose gateway runs in this process.
func SetUp(t *testing.T, lago fakelago.Options) *World {
	w := NewWorld(t, lago)
	w.Gateway = Start(t, "", w.Directives(t.TempDir(), ""))
	return w
}

// Settled waits until Lago has n events and checks that each was billed once.
func (w *World) Settled(n int) {
	w.T.Helper()
	require.NoError(w.T, w.Lago.Await(Timeout(w.T, 30*time.Second), func() bool { return w.Lago.EventCount() >= n }), "events at Lago")
	require.Equal(w.T, n, w.Lago.EventCount())
	require.Empty(w.T, w.Lago.BilledTwice())
}
