package litellm_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/tollgate-llm/tollgate/keyauth"
	_ "github.com/tollgate-llm/tollgate/lagobilling"
	"github.com/tollgate-llm/tollgate/litellm"
	_ "github.com/tollgate-llm/tollgate/llmroute"
)

var update = flag.Bool("update", false, "write what the files adapt to now into the goldens that expect JSON")

// TestMain leaves nothing of the environment to the adapter but what a test sets.
func TestMain(m *testing.M) {
	flag.Parse()
	kept := make(map[string]string)
	for _, name := range []string{"HOME", "PATH", "TMPDIR"} {
		kept[name] = os.Getenv(name)
	}
	os.Clearenv()
	for name, value := range kept {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

const separator = "----------\n"

// TestGolden adapts every file of testdata. A file has LiteLLM's YAML, which begins with the environment in comments; a
// line of ten hyphens; then either the JSON that it adapts to (an object), or the handlers of the site in it (an array), or
// parts of the error, one a line; and after another line of ten hyphens the warnings, one a line.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.litellmtest")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".litellmtest"), func(t *testing.T) { golden(t, file) })
	}
}

func golden(t *testing.T, file string) {
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	source, expected, found := strings.Cut(string(data), separator)
	require.True(t, found, "%s has no line of ten hyphens", file)
	expected, warned, _ := strings.Cut(expected, separator)
	for line := range strings.Lines(source) {
		assignment, ok := strings.CutPrefix(strings.TrimSpace(line), "# ")
		if !ok {
			break
		}
		name, value, _ := strings.Cut(assignment, "=")
		t.Setenv(name, value)
	}
	result, warnings, err := litellm.Adapter{}.Adapt([]byte(source), map[string]any{"filename": "config.yaml"})
	got := describe(warnings)
	if expected = strings.TrimSpace(expected); !strings.HasPrefix(expected, "{") && !strings.HasPrefix(expected, "[") {
		for _, part := range strings.Split(expected, "\n") {
			require.ErrorContains(t, err, part)
		}
		return
	}
	require.NoError(t, err)
	validate(t, result)
	if strings.HasPrefix(expected, "[") {
		result = handlers(t, result)
	}
	if *update {
		var out bytes.Buffer
		require.NoError(t, json.Indent(&out, result, "", "\t"))
		require.NoError(t, os.WriteFile(file, []byte(source+separator+out.String()+"\n"+separator+got), 0o600))
		return
	}
	require.JSONEq(t, expected, string(result))
	require.Equal(t, warned, got)
}

var placeholder = regexp.MustCompile(`\{env\.([^}]+)\}`)

// validate provisions what was adapted, as `caddy validate` does, with something in each variable that it refers to.
func validate(t *testing.T, config []byte) {
	t.Helper()
	for _, m := range placeholder.FindAllSubmatch(config, -1) {
		name := string(m[1])
		if os.Getenv(name) != "" {
			continue
		}
		if strings.HasSuffix(name, "_BASE") {
			t.Setenv(name, "http://localhost:1")
		} else {
			t.Setenv(name, "something")
		}
	}
	var c caddy.Config
	require.NoError(t, json.Unmarshal(config, &c))
	require.NoError(t, caddy.Validate(&c))
}

func describe(warnings []caddyconfig.Warning) string {
	var b strings.Builder
	for _, w := range warnings {
		fmt.Fprintf(&b, "%s:%d %s: %s\n", w.File, w.Line, w.Directive, w.Message)
	}
	return b.String()
}

// handlers returns those of the site's route, without the answers to health checks before them.
func handlers(t *testing.T, config []byte) []byte {
	t.Helper()
	type route struct {
		Match  json.RawMessage   `json:"match"`
		Handle []json.RawMessage `json:"handle"`
	}
	var c struct {
		Apps struct {
			HTTP struct {
				Servers map[string]struct{ Routes []route }
			}
		}
	}
	require.NoError(t, json.Unmarshal(config, &c))
	routes := c.Apps.HTTP.Servers["srv0"].Routes
	require.Len(t, routes, 1)
	require.Len(t, routes[0].Handle, 1)
	var inner struct{ Routes []route }
	require.NoError(t, json.Unmarshal(routes[0].Handle[0], &inner))
	last := inner.Routes[len(inner.Routes)-1]
	require.Empty(t, last.Match)
	text, err := json.Marshal(last.Handle)
	require.NoError(t, err)
	return text
}
