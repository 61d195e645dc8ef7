package e2e

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// recordedKeys is a file store with records of every kind that an earlier version made, some of them imported from LiteLLM.
const recordedKeys, recordedGolden = "testdata/recorded_keys.db.gz", "testdata/recorded_keys.golden"

// TestRecordedKeysAreShownAsEver compares what operators and their scripts read of a recorded store, by `caddy tollgate keys`, `caddy tollgate audit` and
// the admin API, with what they always read, byte for byte.
func TestRecordedKeysAreShownAsEver(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Open(recordedKeys)
	require.NoError(t, err)
	unpacked, err := gzip.NewReader(f)
	require.NoError(t, err)
	data, err := io.ReadAll(unpacked)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "keys.db"), data, 0o600))
	g := gateway.Run(t, fmt.Sprintf("keyauth {\n store file %s\n master_key %s\n}\nllmroute {\n unmetered\n model m {\n backend mock\n }\n}\n", dir, gateway.MasterKey))
	bin, err := gateway.Build()
	require.NoError(t, err)
	var out strings.Builder
	show := func(title, text string) {
		fmt.Fprintf(&out, "$ %s\n%s\n", title, strings.ReplaceAll(text, dir, "DIR"))
	}
	for _, args := range [][]string{
		{"keys", "list"},
		{"keys", "list", "--json"},
		{"keys", "list", "--team", "red"},
		{"keys", "list", "--alias", "nobody"},
		{"keys", "info", "first"},
		{"keys", "info", "second, \"quoted\"", "--json"},
		{"keys", "info", "sk-recorded-three"},
		{"keys", "info", "imported"},
		{"keys", "info", "sk-nobody-has-this"},
		{"keys", "export"},
		{"keys", "export", "--csv"},
		{"keys", "export", "--csv", "--table", "VerificationToken"},
		{"keys", "export", "--table", "TeamTable"},
		{"keys", "list", "--store", "elsewhere"},
		{"audit"},
		{"audit", "--kind", "team", "--json"},
		{"audit", "--since", "nonsense"},
	} {
		cmd := exec.Command(bin, append([]string{"tollgate"}, append(args, "--address", g.Admin)...)...)
		cmd.Env = append(os.Environ(), "TZ=UTC")
		var both bytes.Buffer
		cmd.Stdout, cmd.Stderr = &both, &both
		if err := cmd.Run(); err != nil {
			fmt.Fprintf(&both, "(%v)\n", err)
		}
		show("caddy tollgate "+strings.Join(args, " "), both.String())
	}
	for _, path := range []string{
		"/tollgate/keys", "/tollgate/keys/list", "/tollgate/keys/list?user_id=ann", "/tollgate/keys/export?table=BudgetTable", "/tollgate/keys/export?table=EndUserTable",
		"/tollgate/keys/export?table=nothing", "/tollgate/keys/audit?kind=key", "/tollgate/keys/audit?colour=red", "/tollgate/keys/list?store=elsewhere",
	} {
		r, err := http.Get("http://" + g.Admin + path) //nolint:noctx // of a test, against its own process
		require.NoError(t, err)
		body, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.NoError(t, r.Body.Close())
		show("GET "+path, fmt.Sprintf("%d %s\n%s", r.StatusCode, r.Header.Get("Content-Type"), body))
	}
	if *update {
		require.NoError(t, os.WriteFile(recordedGolden, []byte(out.String()), 0o600))
		return
	}
	golden, err := os.ReadFile(recordedGolden)
	require.NoError(t, err)
	require.Equal(t, string(golden), out.String())
	for key, status := range map[string]int{"sk-recorded-one": 200, "sk-recorded-two": 401, "sk-recorded-four": 200, "sk-recorded-five": 200} {
		g.Must(status, "GET", "/key/info", key, "")
	}
}
