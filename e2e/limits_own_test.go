package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/testkit"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakeprovider"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// onBothStores runs a test with limits in a file and in Redis.
func onBothStores(t *testing.T, test func(t *testing.T, store string)) {
	t.Run("file", func(t *testing.T) { test(t, "file "+t.TempDir()) })
	t.Run("redis", func(t *testing.T) { test(t, "redis "+testkit.Redis(t).Addr) })
}

// globalSpend returns what is shown of the whole gateway.
func globalSpend(g *gateway.Gateway) gjson.Result {
	g.T.Helper()
	return gjson.Parse(g.Must(http.StatusOK, http.MethodGet, "/global/spend", gateway.MasterKey, "").Body)
}

// TestTheGatewaysOwnLimits has the configuration limit all calls together, whatever their keys, and shows what is left.
func TestTheGatewaysOwnLimits(t *testing.T) {
	provider := fakeprovider.New(t, fakeprovider.Options{Key: gateway.ProviderKey})
	onBothStores(t, func(t *testing.T, store string) {
		g := gateway.Start(t, "", limitedSite(t, store, `limits {
			max_budget 0.0005
			budget_duration 1mo
			budget_limit 0.0004 1d
			rpm_limit 1000
			tpm_limit 1000000
			max_parallel_requests 1
		}`, provider))
		one, other := g.NewKey(`{}`), g.NewKey(`{"team_id":null}`)
		a := g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", one, capped("gpt-4o", 10, 100))
		require.Equal(t, "1000", a.Header.Get("X-Ratelimit-Limit-Requests"))
		require.Eventually(t, func() bool { return globalSpend(g).Get("reserved").Raw == "0" }, 10*time.Second, 10*time.Millisecond)
		g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", gateway.MasterKey, capped("gpt-4o", 10, 100))
		require.Eventually(t, func() bool { return globalSpend(g).Get("total_spend").Raw == "0.00022" }, 10*time.Second, 10*time.Millisecond)
		b := refusedAs(t, g.Must(http.StatusUnprocessableEntity, http.MethodPost, "/v1/chat/completions", other, capped("gpt-4o", 10, 150)))
		require.Equal(t, "gateway", b.Error.Scope)
		require.Empty(t, b.Error.ID)
		require.Equal(t, []json.Number{"0.0004", "0.00022"}, []json.Number{b.Error.Limit, b.Error.Spent}, "the day's, which has less left")
		tomorrow := time.Now().UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)
		require.Equal(t, tomorrow.Format(time.RFC3339), b.Error.ResetsAt)
		row := globalSpend(g)
		require.Equal(t, "0.0005", row.Get("max_budget").Raw)
		require.Equal(t, "0.00022", row.Get("budget_spend").Raw)
		require.Equal(t, "0.00028", row.Get("left").Raw)
		now := time.Now().UTC()
		month := time.Date(now.Year(), now.Month()+1, 1, 0, 0, 0, 0, time.UTC)
		require.Equal(t, month.Format(time.RFC3339), row.Get("budget_reset_at").String())
		require.Equal(t, []string{"cost", "cost", "requests", "tokens", "parallel"}, texts(row.Get("limits.#.metric")))
		require.False(t, gjson.Parse(g.Must(http.StatusOK, http.MethodGet, "/global/spend", one, "").Body).Get("limits").Exists(), "not for other keys")

		gate := provider.Gate(0, func(fakeprovider.Call) bool { return true })
		done := make(chan gateway.Answer, 1)
		go func() {
			a, err := g.Do(http.MethodPost, "/v1/chat/completions", one, capped("gpt-4o", 10, 10))
			if err != nil {
				t.Error(err)
			}
			done <- a
		}()
		require.NoError(t, gate.Await(gateway.Timeout(t, 10*time.Second), 1))
		b = refusedAs(t, g.Must(http.StatusTooManyRequests, http.MethodPost, "/v1/chat/completions", other, capped("gpt-4o", 10, 10)))
		require.Equal(t, []string{"gateway", "max_parallel_requests"}, []string{b.Error.Scope, b.Error.LimitType})
		gate.Open()
		require.Equal(t, http.StatusOK, (<-done).Status)
	})
}

func texts(r gjson.Result) (list []string) {
	for _, v := range r.Array() {
		list = append(list, v.String())
	}
	return list
}

// TestLimitsOfASession has each conversation of a key limited by itself. Another key's of the same name has nothing to do with it.
func TestLimitsOfASession(t *testing.T) {
	provider := fakeprovider.New(t, fakeprovider.Options{Key: gateway.ProviderKey})
	onBothStores(t, func(t *testing.T, store string) {
		g := gateway.Start(t, "", limitedSite(t, store, `limits {
			session {
				max_budget 0.0006
				rpm_limit 3
			}
		}`, provider))
		key, other := g.NewKey(`{}`), g.NewKey(`{}`)
		call := capped("gpt-4o", 10, 100)
		status := func(want int, key, session, body string) refusedBody {
			t.Helper()
			var header []string
			if session != "" {
				header = []string{"X-Litellm-Session-Id", session}
			}
			a := g.Must(want, http.MethodPost, "/v1/chat/completions", key, body, header...)
			if want == http.StatusOK {
				return refusedBody{}
			}
			return refusedAs(t, a)
		}
		status(http.StatusOK, key, "a|b", call)
		b := status(http.StatusUnprocessableEntity, key, "a|b", capped("gpt-4o", 10, 1000))
		require.Equal(t, []string{"session", "a|b"}, []string{b.Error.Scope, b.Error.ID})
		require.Empty(t, b.Error.ResetsAt, "it lasts as long as the session")
		var spent json.Number
		require.Eventually(t, func() bool {
			b = status(http.StatusUnprocessableEntity, key, "a|b", capped("gpt-4o", 10, 1000))
			spent = b.Error.Spent
			return spent == "0.00011"
		}, 10*time.Second, 10*time.Millisecond)
		status(http.StatusOK, key, "a|b", capped("gpt-4o", 10, 20))
		status(http.StatusOK, key, "a|b", capped("gpt-4o", 10, 20))
		b = status(http.StatusTooManyRequests, key, "a|b", capped("gpt-4o", 10, 1))
		require.Equal(t, "requests", b.Error.LimitType)
		b = status(http.StatusTooManyRequests, key, "", strings.Replace(capped("gpt-4o", 10, 1), "{", `{"metadata":{"session_id":"a|b"},`, 1))
		require.Equal(t, "a|b", b.Error.ID, "named in the body")
		status(http.StatusOK, key, "other", call)
		status(http.StatusOK, other, "a|b", call)
		for range 5 {
			status(http.StatusOK, key, "", call)
		}
	})
}

// TestWhatALimitOfTokensCounts sets limits of tokens that count input, output or both, by the configuration and by the record.
func TestWhatALimitOfTokensCounts(t *testing.T) {
	provider := fakeprovider.New(t, fakeprovider.Options{Key: gateway.ProviderKey})
	onBothStores(t, func(t *testing.T, store string) {
		g := gateway.Start(t, "", limitedSite(t, store, "limits {\n token_rate_limit_type output\n}", provider))
		for _, c := range []struct{ fields, metric, header string }{
			{`{"tpm_limit":250}`, "output_tokens", "Output-Tokens"},
			{`{"tpm_limit":250,"token_rate_limit_type":"output"}`, "output_tokens", "Output-Tokens"},
			{`{"tpm_limit":250,"token_rate_limit_type":"input"}`, "input_tokens", "Input-Tokens"},
			{`{"tpm_limit":250,"token_rate_limit_type":"total"}`, "tokens", "Tokens"},
			{`{"model_tpm_limit":{"gpt-4o":250},"token_rate_limit_type":"input"}`, "input_tokens", "Input-Tokens"},
		} {
			key := g.NewKey(c.fields)
			limit := func() gjson.Result {
				row := gjson.Parse(g.Must(http.StatusOK, http.MethodGet, "/key/info?key="+key, gateway.MasterKey, "").Body)
				require.Len(t, row.Get("info.limits").Array(), 1)
				return row.Get("info.limits.0")
			}
			require.Equal(t, c.metric, limit().Get("metric").String(), c.fields)
			a := g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, capped("gpt-4o", 30, 100))
			require.Equal(t, "250", a.Header.Get("X-Ratelimit-Limit-"+c.header), c.fields)
			want := map[string]int64{"tokens": 130, "input_tokens": 30, "output_tokens": 100}[c.metric]
			require.Eventually(t, func() bool { return limit().Get("used").Int() == want }, 10*time.Second, 10*time.Millisecond, c.fields)
			status := http.StatusTooManyRequests // 300 of output do not fit
			if c.metric == "input_tokens" {
				status = http.StatusOK
			}
			g.Must(status, http.MethodPost, "/v1/chat/completions", key, capped("gpt-4o", 30, 300))
		}
		a := g.Must(http.StatusBadRequest, http.MethodPost, "/key/generate", gateway.MasterKey, `{"token_rate_limit_type":"both"}`)
		require.Contains(t, a.Body, "token_rate_limit_type: must be one of total, input, output")
	})
}
