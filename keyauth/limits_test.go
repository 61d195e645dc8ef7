package keyauth

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/tollgate-llm/tollgate/app/setting"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// TestLimitsInTheCaddyfile reads the block, and refuses what it does not know with the line.
func TestLimitsInTheCaddyfile(t *testing.T) {
	read := func(block string) (*Handler, error) {
		h := new(Handler)
		return h, h.UnmarshalCaddyfile(caddyfile.NewTestDispenser("keyauth {\n" + block + "\n}"))
	}
	h, err := read("limits {\n on_store_failure deny\n budget_status 429\n}")
	require.NoError(t, err)
	require.Equal(t, &LimitsConfig{OnStoreFailure: "deny", BudgetStatus: "429"}, h.Limits)
	h, err = read("limits {\n max_budget 10.5\n budget_duration 1mo\n budget_limit 1 1d\n rpm_limit {env.RPM}\n token_rate_limit_type input\n session {\n max_budget 2\n}\n}")
	require.NoError(t, err)
	require.Equal(t, &LimitsConfig{
		Limits: setting.Limits{
			MaxBudget: "10.5", BudgetDuration: "1mo", RPMLimit: "{env.RPM}", BudgetLimits: []setting.BudgetLimit{{MaxBudget: "1", BudgetDuration: "1d"}},
		},
		Session: &setting.Limits{MaxBudget: "2"}, TokenRateLimitType: "input",
	}, h.Limits)
	require.ErrorContains(t, h.resolveOwn(h.Limits), "rpm_limit", "nothing sets it")
	t.Setenv("RPM", "60")
	require.NoError(t, h.resolveOwn(h.Limits))
	require.Len(t, h.gateway, 3)
	require.EqualValues(t, 60, h.gateway[2].Max)
	require.Equal(t, limit.InputTokens, h.tokens)
	require.ErrorContains(t, h.resolveOwn(&LimitsConfig{Limits: setting.Limits{BudgetDuration: "1d"}}), "there is no max_budget")
	require.ErrorContains(t, h.resolveOwn(&LimitsConfig{
		Limits: setting.Limits{MaxBudget: "1", BudgetDuration: "24h", BudgetLimits: []setting.BudgetLimit{{MaxBudget: "2", BudgetDuration: "daily"}}},
	}), "two budgets with the same budget_duration")
	for block, want := range map[string]string{
		"limits x":                                       "wrong argument count",
		"limits {\n on_store_failure maybe\n}":           `"maybe" is not one of local, deny, at Testfile:3`,
		"limits {\n budget_status 500\n}":                `"500" is not one of 422, 429, 400, at Testfile:3`,
		"limits {\n rpm 5\n}":                            "unrecognized subdirective of limits: rpm, at Testfile:3",
		"limits {\n rpm_limit 1.5\n}":                    `rpm_limit: "1.5" is not a whole number from 0 to 2^53 - 1, at Testfile:3`,
		"limits {\n max_budget -1\n}":                    `max_budget: "-1" is not an amount in US dollars`,
		"limits {\n budget_limit 1\n}":                   "wrong argument count",
		"limits {\n budget_limit 1 fortnight\n}":         `budget_duration: "fortnight" is not`,
		"limits {\n max_budget 1\n max_budget 2\n}":      "max_budget is given twice",
		"limits {\n token_rate_limit_type both\n}":       `"both" is not one of total, input, output, at Testfile:3`,
		"limits {\n session {\n budget_limit 1 1d\n}\n}": "a session has no budget_limit",
		"limits {\n session {\n tpm 1\n}\n}":             "unrecognized subdirective of session: tpm",
		"limits {\n budget_status 422\n}\nlimits {\n}":   "limits",
	} {
		_, err := read(block)
		require.ErrorContains(t, err, want, block)
	}
}

// TestOutputOfManyAnswers holds that no number of answers makes the estimate of their tokens small.
func TestOutputOfManyAnswers(t *testing.T) {
	for _, api := range []usage.API{usage.OpenAIChat, usage.OpenAIImages} {
		for _, bound := range []int64{0, 100, math.MaxInt64} {
			last := int64(0)
			for _, n := range []int64{0, 1, 2, 128, 1 << 40, 1 << 52, math.MaxInt64/4096 + 1, math.MaxInt64} {
				c := &llm.Call{Endpoint: &llm.Endpoint{Reader: api}, Request: llm.Request{N: n, MaxOutput: bound}}
				out, _, _ := outputOf(c, new(llm.Target), new(limit.Outputs), false)
				require.GreaterOrEqual(t, out, last, "%s, n %d", api, n)
				last = out
			}
			require.Positive(t, last)
		}
	}
}
