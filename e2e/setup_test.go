package e2e

import (
	"encoding/json"
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// TestSetupPage validates the Caddyfile of the page with a whole set-up.
func TestSetupPage(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	for name, value := range map[string]string{
		"OPENAI_API_KEY": "sk-openai", "ANTHROPIC_API_KEY": "sk-ant", "REDIS_PASSWORD": "secret", "MASTER_KEY": "sk-the-master",
		"LAGO_API_BASE": "https://api.getlago.com/api/v1", "LAGO_API_KEY": "key",
	} {
		t.Setenv(name, value)
	}
	text, err := os.ReadFile("../docs/setup.md")
	require.NoError(t, err)
	block := regexp.MustCompile("(?s)```caddyfile\n(.*?)```").FindSubmatch(text)
	require.NotNil(t, block)
	adapted, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(block[1], map[string]any{"filename": "Caddyfile"})
	require.NoError(t, err)
	require.Empty(t, warnings, "the page's Caddyfile is formatted")
	var config caddy.Config
	require.NoError(t, json.Unmarshal(adapted, &config))
	require.NoError(t, caddy.Validate(&config))
}
