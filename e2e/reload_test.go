package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// TestChangedFilesChangeTheConfiguration adapts one Caddyfile before and after a file that it names has changed: `caddy reload` skips
// a configuration that is the same.
func TestChangedFilesChangeTheConfiguration(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	master, prices, secret := write("master", "sk-1"), write("prices.json", "{}"), write("secret", "s")
	config := []byte(`:80 {
	keyauth {
		master_key {file.` + master + `}
	}
	lagobilling {
		prices ` + prices + `
	}
	llmroute {
		model m {
			backend openai {
				api_key {file.` + secret + `}
			}
		}
	}
}`)
	adapt := func() string {
		out, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(config, map[string]any{"filename": "Caddyfile"})
		require.NoError(t, err)
		return string(out)
	}
	before := adapt()
	require.Equal(t, before, adapt())
	require.NotContains(t, before, "sk-1")
	for name, content := range map[string]string{"master": "sk-22", "prices.json": `{"models": []}`, "secret": "ss"} {
		write(name, content)
		after := adapt()
		require.NotEqual(t, before, after, name)
		before = after
	}
}
