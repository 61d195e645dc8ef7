// Package adapttest runs Caddyfile golden tests: the JSON a Caddyfile adapts to, or the error it gives.
package adapttest

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/standard" // other directives that goldens may use
	_ "github.com/caddyserver/caddy/v2/modules/logging"            // needed by the log directive
)

var update = flag.Bool("update", false, "write what the Caddyfiles adapt to now into the goldens that expect JSON")

const separator = "\n----------\n"

// Run adapts every *.caddyfiletest file of dir and compares the result with the file's expectation. A file is a
// Caddyfile, a line of ten hyphens, and then either the expected JSON or a part of the expected error. Errors name the
// file "Caddyfile", so an expectation can include the line: `Caddyfile:3`. An empty directory fails. With -update, tests
// rewrite expected JSON but never expected errors.
func Run(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.caddyfiletest"))
	require.NoError(t, err)
	require.NotEmpty(t, files, "no goldens in %s", dir)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) { one(t, file) })
	}
}

func one(t *testing.T, file string) {
	t.Helper()
	data, err := os.ReadFile(file) // #nosec G304 -- a golden of the package under test
	require.NoError(t, err)
	source, expected, found := strings.Cut(string(data), separator)
	require.True(t, found, "%s has no line of ten hyphens", file)
	expected = strings.TrimSpace(expected)
	require.NotEmpty(t, expected, "%s expects nothing", file)

	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(source+"\n"), map[string]any{"filename": "Caddyfile"})
	if !strings.HasPrefix(expected, "{") {
		require.ErrorContains(t, err, expected)
		return
	}
	require.NoError(t, err)
	if *update {
		var out bytes.Buffer
		require.NoError(t, json.Indent(&out, adapted, "", "\t"))
		require.NoError(t, os.WriteFile(file, []byte(source+separator+out.String()+"\n"), 0o600)) // #nosec G703 -- the same file
		return
	}
	require.JSONEq(t, expected, string(adapted))
}
