package litellm

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var quoted = regexp.MustCompile("`([^`]+)`")

// tables returns the fate of each name in the tables of docs/from-litellm.md, by the heading over the table.
func tables(t *testing.T) map[string]map[string]fate {
	t.Helper()
	page, err := os.ReadFile("../docs/from-litellm.md")
	require.NoError(t, err)
	all := make(map[string]map[string]fate)
	heading := ""
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "#") {
			heading = strings.TrimSpace(strings.TrimLeft(line, "#"))
			continue
		}
		cells := strings.Split(line, "|")
		if len(cells) < 4 || !strings.Contains(cells[1], "`") {
			continue
		}
		if all[heading] == nil {
			all[heading] = make(map[string]fate)
		}
		for _, m := range quoted.FindAllStringSubmatch(cells[1], -1) {
			require.NotContains(t, all[heading], m[1], "twice under %s", heading)
			all[heading][m[1]] = fate(strings.TrimSpace(cells[2]))
		}
	}
	return all
}

// TestDocs holds the tables and the adapter together: each field that one knows stands in the other, with the same fate.
func TestDocs(t *testing.T) {
	all := tables(t)
	for heading, known := range map[string]rules{
		"File": topRules, "model_list": entryRules, "litellm_params": paramRules, "model_info": infoRules, "litellm_settings": litellmRules,
		"cache_params": cacheRules, "router_settings": routerRules, "general_settings": generalRules,
	} {
		fates := make(map[string]fate)
		for name, r := range known {
			fates[name] = r.fate
			require.Equal(t, r.fate == carried, r.why == "", name)
		}
		require.Equal(t, fates, all[heading], heading)
	}
}

// TestDocsNameVariables compares the page with the variables that the adapter asks for.
func TestDocsNameVariables(t *testing.T) {
	asked := make(map[string]fate)
	c := newConverter("config.yaml")
	c.lookupEnv = func(name string) (string, bool) {
		asked[name] = carried
		return "", false
	}
	_, err := c.convert([]byte(`
model_list:
- {model_name: a, litellm_params: {model: openai/a}, model_info: {supported_environments: [production]}}
litellm_settings: {callbacks: [lago], cache: true, cache_params: {type: redis}}
`))
	require.NoError(t, err)
	for _, name := range append(providers["openai"].keys, providers["openai"].bases...) {
		require.Contains(t, asked, name)
		delete(asked, name) // those of providers are named beside the table
	}
	asked["DATABASE_URL"] = warned
	// Without REDIS_HOST there is no Redis.
	for _, name := range []string{"REDIS_PORT", "REDIS_USERNAME", "REDIS_PASSWORD", "REDIS_DB"} {
		asked[name] = carried
	}
	require.Equal(t, asked, tables(t)["Environment"])
}

// TestDocsNameProviders looks for each provider's prefix in the page.
func TestDocsNameProviders(t *testing.T) {
	page, err := os.ReadFile("../docs/from-litellm.md")
	require.NoError(t, err)
	_, list, found := strings.Cut(string(page), "**Providers**")
	require.True(t, found)
	list, _, _ = strings.Cut(list, "Calls between")
	var named []string
	for _, m := range quoted.FindAllStringSubmatch(list, -1) {
		if _, ok := providers[m[1]]; ok {
			named = append(named, m[1])
		}
	}
	require.Len(t, named, len(providers))
}
