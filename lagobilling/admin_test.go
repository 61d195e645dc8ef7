package lagobilling

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/lagobilling/operator"
)

// TestAdminAPI asks every path with every method, and sends bodies that are not what is wanted.
func TestAdminAPI(t *testing.T) {
	o := openOffice(t, fakelago.Options{}, "")
	admin := unixClient(filepath.Join(o.dir, "a"))
	defer admin.CloseIdleConnections()
	ask := func(method, path, body string) (int, string, http.Header) {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://127.0.0.1"+path, strings.NewReader(body))
		require.NoError(t, err)
		res, err := admin.Do(req)
		require.NoError(t, err)
		b, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		return res.StatusCode, string(b), res.Header
	}
	posts := map[string]bool{"retry": true, "estimate": true, "discard": true, "adopt": true, "replay": true, "setup": true}
	gets := map[string]bool{"retry": false, "estimate": false, "discard": false, "adopt": false}
	paths := 0
	for _, route := range new(operator.Admin).Routes() {
		paths++
		name := strings.TrimPrefix(strings.TrimPrefix(route.Pattern, "/tollgate/billing"), "/")
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
			_, noGet := gets[name]
			if method == http.MethodGet && !noGet || method == http.MethodPost && posts[name] {
				continue
			}
			status, body, header := ask(method, route.Pattern, "{}")
			require.Equal(t, http.StatusMethodNotAllowed, status, method+" "+route.Pattern)
			require.Contains(t, body, `"error":"method not allowed`)
			require.NotEmpty(t, header.Get("Allow"))
		}
	}
	require.Equal(t, 13, paths)
	for _, c := range []struct {
		method, path, body string
		status             int
		words              string
	}{
		{"GET", "/events?what=1", "", 400, "unknown parameter what"},
		{"GET", "/events?limit=0", "", 400, "not a positive number"},
		{"GET", "/events?account=none", "", 404, "no account none"},
		{"GET", "?what=1", "", 400, "unknown parameter"},
		{"GET", "/check?account=none", "", 404, "no account none"},
		{"GET", "/reconcile?lag=soon", "", 400, "not a duration"},
		{"GET", "/reconcile?since=soon", "", 400, "neither a time"},
		{"GET", "/replay", "", 400, "needs since and until"},
		{"POST", "/replay", `{"since":"1h"}`, 400, "needs since and until"},
		{"POST", "/replay", `{"since":"1h","until":"0s","what":1}`, 400, "unknown field"},
		{"POST", "/retry", `{"ids":["x"]}`, 400, "not the id"},
		{"POST", "/retry", `[]`, 400, "JSON object"},
		{"POST", "/retry", `{"account":"none"}`, 404, "no account none"},
		{"POST", "/estimate", `{}`, 400, "name the records"},
		{"POST", "/discard", `{"all":true}`, 400, "a reason is needed"},
		{"POST", "/discard", `{"all":true,"reason":"a\u0000"}`, 400, "control character"},
		{"POST", "/adopt", `{"dir":"relative"}`, 400, "absolute path"},
		{"POST", "/adopt", `{"dir":"/nowhere/at/all"}`, 400, "no such file"},
		{"POST", "/retry", `{}`, 200, `"records":0`},
	} {
		status, body, _ := ask(c.method, "/tollgate/billing"+c.path, c.body)
		require.Equal(t, c.status, status, "%s %s: %s", c.method, c.path, body)
		require.Contains(t, body, c.words)
		require.NotContains(t, body, o.lago.Key())
	}
}

// TestEveryRouteHasACommand keeps the command line, the admin API and the page in step.
func TestEveryRouteHasACommand(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "docs", "lagobilling-operate.md"))
	require.NoError(t, err)
	help, err := (&gateway{t: t}).command("--help")
	require.NoError(t, err)
	commands := make(map[string]bool)
	for _, c := range operator.Command().Commands() {
		if c.Name() == "help" || c.Name() == "completion" {
			continue
		}
		commands[c.Name()] = true
		require.Contains(t, help, "\n  "+c.Name()+" ", "the help lists it")
		require.Contains(t, string(page), "caddy tollgate billing "+c.Name(), "the page describes it")
		require.NotEmpty(t, c.Short)
		for _, f := range []string{"--json", "--spool", "--since", "--until", "--account", "--limit", "--reason", "--all", "--dry-run", "--payer", "--lag", "--wait"} {
			if c.Flags().Lookup(strings.TrimPrefix(f, "--")) != nil {
				require.Regexp(t, `caddy tollgate billing `+c.Name()+`[^\n]*`+f, string(page), "the page names its flag")
			}
		}
	}
	for line := range strings.Lines(string(page)) {
		if _, rest, ok := strings.Cut(line, "caddy tollgate billing "); ok {
			name, _, _ := strings.Cut(strings.TrimSpace(strings.Map(func(r rune) rune {
				if r == '`' || r == '.' || r == ')' || r == ',' {
					return ' '
				}
				return r
			}, rest)), " ")
			require.True(t, commands[name], "the page names %q, which is no command", name)
		}
	}
	for _, route := range new(operator.Admin).Routes() {
		name := strings.TrimPrefix(strings.TrimPrefix(route.Pattern, "/tollgate/billing"), "/")
		if name == "" {
			name = "status"
		}
		require.True(t, commands[name], route.Pattern)
		delete(commands, name)
		require.Contains(t, string(page), route.Pattern)
	}
	require.Empty(t, commands, "commands without a route")
	_, err = (&gateway{t: t}).command("nonsense")
	require.ErrorContains(t, err, "unknown command")
}
