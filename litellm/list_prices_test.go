package litellm_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestListPricesAtOtherAddresses has prices that LiteLLM takes from its map whatever the api_base: they are written out with a warning that
// has the line. Where the file has its own, or the address its own list, nothing is added.
func TestListPricesAtOtherAddresses(t *testing.T) {
	const written = "the list price is written out"
	for name, c := range map[string]struct{ params, want, warning string }{
		"a server of one's own": {`model: openai/gpt-4o-mini, api_base: "http://localhost:1/v1"`, `"input":"0.15"`, written},
		"by custom provider":    {`model: gpt-4o-mini, custom_llm_provider: openai, api_base: "http://localhost:1/v1"`, `"output":"0.6"`, written},
		"a dated name":          {`model: openai/gpt-4o-2024-08-06, api_base: "http://localhost:1/v1"`, `"input":"2.5"`, written},
		"the provider's own":    {`model: openai/gpt-4o-mini`, ``, ``},
		"with its own prices":   {`model: openai/gpt-4o-mini, api_base: "http://localhost:1/v1", input_cost_per_token: 0.000007`, `"prices":{"input":"7"}`, ``},
		"no model of the list":  {`model: openai/no-such-model, api_base: "http://localhost:1/v1"`, ``, ``},
		"a pattern":             {`model: openai/*, api_base: "http://localhost:1/v1"`, ``, "here they have no price at this api_base"},
		"prices in model_info within": {
			`model: openai/x, api_base: "http://localhost:1/v1", model_info: {input_cost_per_token: "3e-7", output_cost_per_token: 0.0000011}`,
			`"prices":{"input":"0.3","output":"1.1"}`, ``,
		},
	} {
		alias := "m"
		if strings.Contains(c.params, "*") {
			alias = `"*"`
		}
		out, warnings, err := adapt("model_list:\n- model_name: " + alias + "\n  litellm_params: {api_key: x, " + c.params + "}\ngeneral_settings: {master_key: sk-1}\n")
		require.NoError(t, err, name)
		require.Contains(t, out, c.want, name)
		if c.want == "" {
			require.NotContains(t, out, `"prices"`, name)
		}
		found := false
		for _, w := range warnings {
			if c.warning != "" && strings.Contains(w.Message, c.warning) {
				found = true
				require.Equal(t, 3, w.Line, name)
			}
			require.False(t, c.warning == "" && strings.Contains(w.Message, "price map"), name)
		}
		require.Equal(t, c.warning != "", found, "%s: %v", name, warnings)
	}
}
