package keyauth

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

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
	for block, want := range map[string]string{
		"limits x":                                     "wrong argument count",
		"limits {\n on_store_failure maybe\n}":         `"maybe" is not one of local, deny, at Testfile:3`,
		"limits {\n budget_status 500\n}":              `"500" is not one of 422, 429, 400, at Testfile:3`,
		"limits {\n rpm 5\n}":                          "unrecognized subdirective of limits: rpm, at Testfile:3",
		"limits {\n budget_status 422\n}\nlimits {\n}": "limits",
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
				out, _ := outputOf(c, new(llm.Target), new(limit.Outputs))
				require.GreaterOrEqual(t, out, last, "%s, n %d", api, n)
				last = out
			}
			require.Positive(t, last)
		}
	}
}
