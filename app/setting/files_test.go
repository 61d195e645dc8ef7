package setting

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// TestFiles has the state of each file that a directive names, which a change of any of them changes.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	secret, list := filepath.Join(dir, "secret"), filepath.Join(dir, "prices.json")
	require.NoError(t, os.WriteFile(secret, []byte("one"), 0o600))
	require.NoError(t, os.WriteFile(list, []byte("{}"), 0o600))
	t.Setenv("PRICES_DIR", dir)
	state := func() map[string]string {
		d := caddyfile.NewTestDispenser("keyauth {\n master_key {file." + secret + "}\n prefix {file./no/such/file}\n}")
		files := Files(d, "{env.PRICES_DIR}/prices.json", "")
		require.True(t, d.Next(), "the dispenser is at its beginning")
		return files
	}
	first := state()
	require.Len(t, first, 2)
	require.NotContains(t, first[secret], "one")
	require.Equal(t, first, state())
	for path, name := range map[string]string{secret: secret, list: "{env.PRICES_DIR}/prices.json"} {
		before := state()
		require.NoError(t, os.WriteFile(path, []byte("another"), 0o600))
		require.NoError(t, os.Chtimes(path, time.Time{}, time.Now().Add(time.Hour)))
		after := state()
		require.NotEqual(t, before[name], after[name])
	}
	require.Nil(t, Files(caddyfile.NewTestDispenser("keyauth"), ""))
}
