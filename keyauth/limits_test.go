package keyauth

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
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
