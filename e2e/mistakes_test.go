package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/tollgate-llm/tollgate"
)

// validate does what `caddy validate` does, and returns what it logs from warnings on.
func validate(t *testing.T, text string) (log string, err error) {
	t.Helper()
	return validateWith(t, "", text)
}

// validateWith is validate with more global options.
func validateWith(t *testing.T, options, text string) (log string, err error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "log")
	text = "{\n\tadmin off\n\tauto_https off\n" + options + "\tlog {\n\t\toutput file " + file + "\n\t\tlevel WARN\n\t}\n}\n" + text
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return "", err
	}
	var c caddy.Config
	require.NoError(t, caddy.StrictUnmarshalJSON(config, &c))
	err = caddy.Validate(&c)
	logged, readErr := os.ReadFile(file) // #nosec G304 -- of this test
	if readErr != nil {
		require.ErrorIs(t, readErr, os.ErrNotExist)
	}
	return string(logged), err
}

// TestValidateWarnsOfRoutesThatRefuseAll has llmroute in places where no keyauth and no lagobilling come before it, and in places where they
// do, on any level of blocks.
func TestValidateWarnsOfRoutesThatRefuseAll(t *testing.T) {
	const mock = "llmroute {\nmodel m {\nbackend mock\n}\n}\n"
	const open = "llmroute {\nanonymous\nunmetered\nmodel m {\nbackend mock\n}\n}\n"
	bill := "lagobilling {\nspool " + t.TempDir() + "\n}\n"
	const noKeys, noMeter = "llmroute has no keyauth before it", "llmroute has no lagobilling before it"
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"all three":                  {":80 {\n" + mock + bill + "keyauth\n}", nil},
		"on two sites":               {":80 {\nkeyauth\n" + bill + mock + "}\n:81 {\n" + mock + "keyauth\n" + bill + "}", nil},
		"above a block":              {":80 {\nkeyauth\n" + bill + "handle /v1/* {\n" + mock + "}\n}", nil},
		"in a block that goes on":    {":80 {\nroute {\nroute {\nkeyauth\n" + bill + "}\n" + mock + "}\n}", nil},
		"in a named route":           {"&(keys) {\nkeyauth\n}\n:80 {\nroute {\ninvoke keys\n" + bill + mock + "}\n}", nil},
		"waived":                     {":80 {\n" + open + "}", nil},
		"with a host":                {"http://a.test {\nkeyauth\n" + bill + mock + "}", nil},
		"alone":                      {":80 {\n" + mock + "}", []string{noKeys, noMeter}},
		"without a meter":            {":80 {\nkeyauth\n" + mock + "}", []string{noMeter}},
		"without keys":               {":80 {\n" + bill + mock + "}", []string{noKeys}},
		"on another site":            {":80 {\nkeyauth\n" + bill + mock + "}\n:81 {\n" + mock + "}", []string{noKeys, noMeter}},
		"on a site of the same port": {"http://a.test {\nkeyauth\n" + bill + mock + "}\nhttp://b.test {\n" + bill + mock + "}", []string{noKeys}},
		"after it in a route":        {":80 {\nroute {\n" + mock + "keyauth\n" + bill + "}\n}", []string{noKeys, noMeter}},
		"in the other block":         {":80 {\nhandle /a/* {\nkeyauth\n" + bill + mock + "}\nhandle {\n" + mock + "}\n}", []string{noKeys, noMeter}},
	} {
		log, err := validate(t, c.text)
		require.NoError(t, err, name)
		require.Equal(t, len(c.want), strings.Count(log, " before it, so it refuses every call"), "%s: %s", name, log)
		for _, want := range c.want {
			require.Contains(t, log, want, name)
		}
	}
}

// TestValidateRefusesTwoOnOneRoute has two keyauth or lagobilling that one call would pass, and two that none does.
func TestValidateRefusesTwoOnOneRoute(t *testing.T) {
	bill := "lagobilling {\nspool " + t.TempDir() + "\n}\n"
	for name, c := range map[string]struct{ text, want string }{
		"two meters on a site":        {":4321 {\n" + bill + bill + "}", ":4321): a call would pass lagobilling twice on one route"},
		"two keyauth on a site":       {":80 {\nkeyauth\nkeyauth\n}", "a call would pass keyauth twice on one route"},
		"one of them with a matcher":  {":80 {\nkeyauth\nroute /x {\nkeyauth\n}\n}", "keyauth twice"},
		"one of them in a block":      {":80 {\n" + bill + "handle /v1/* {\n" + bill + "}\n}", "lagobilling twice"},
		"both in a block":             {":80 {\nhandle {\nroute {\n" + bill + bill + "}\n}\n}", "lagobilling twice"},
		"a named route invoked twice": {"&(keys) {\nkeyauth\n}\n:80 {\nroute {\ninvoke keys\ninvoke keys\n}\n}", "keyauth twice"},
		"in two blocks":               {":80 {\nhandle /a/* {\nkeyauth\n" + bill + "}\nhandle {\nkeyauth\n" + bill + "}\n}", ""},
		"by matchers":                 {":80 {\nkeyauth /a/*\nkeyauth /b/*\n}", ""},
		"on two sites of a port":      {"http://a.test {\nkeyauth\n}\nhttp://b.test {\nkeyauth\n}", ""},
	} {
		_, err := validate(t, c.text)
		if c.want == "" {
			require.NoError(t, err, name)
			continue
		}
		require.ErrorContains(t, err, c.want, name)
	}
}

// TestValidateWarnsOfBaseURLWithoutPath names the backends of whose base URLs a path may be missing.
func TestValidateWarnsOfBaseURLWithoutPath(t *testing.T) {
	for backend, warned := range map[string]bool{
		"openai https://api.openai.com": true, "vllm http://localhost:8000/": true, "ollama http://localhost:11434": true, "groq http://localhost:1": true,
		"openai http://localhost:1/v1": false, "anthropic http://localhost:1": false, "perplexity http://localhost:1": false, "azure http://localhost:1": false,
		"ollama": false,
	} {
		log, err := validate(t, ":80 {\nllmroute {\nanonymous\nunmetered\nmodel m {\nbackend "+backend+"\n}\n}\n}")
		require.NoError(t, err, backend)
		require.Equal(t, warned, strings.Contains(log, "has no path"), "%s: %s", backend, log)
	}
}

// TestWarnsOfLogsThatShowKeys has access logs with and without the filter of Caddyfile.example, on sites that ask for keys and on others.
func TestWarnsOfLogsThatShowKeys(t *testing.T) {
	example, err := os.ReadFile(filepath.Join("..", "Caddyfile.example"))
	require.NoError(t, err)
	_, filter, ok := strings.Cut(string(example), "format filter {")
	require.True(t, ok)
	filter, _, ok = strings.Cut(filter, "\n\t}\n}")
	require.True(t, ok)
	filter = "format filter {" + filter + "\n"
	keyed := "keyauth\nlagobilling {\nspool " + t.TempDir() + "\n}\nllmroute {\nmodel m {\nbackend mock\n}\n}\n"
	file := "output file " + filepath.Join(t.TempDir(), "access.log") + "\n"
	const most = `"X-Api-Key","Api-Key","X-Goog-Api-Key","X-Litellm-Api-Key"`
	for name, c := range map[string]struct{ options, text, shows string }{
		"no access log":                {"", ":80 {\n" + keyed + "}", ""},
		"an access log":                {"", ":80 {\nlog\n" + keyed + "}", most},
		"a log of its own":             {"", ":80 {\nlog {\n" + file + "format json\n}\n" + keyed + "}", most},
		"for a terminal":               {"", ":80 {\nlog {\n" + file + "format console\n}\n" + keyed + "}", most},
		"with an own field":            {"", ":80 {\nlog {\n" + file + "format append {\nx y\n}\n}\n" + keyed + "}", most},
		"the example's filter":         {"", ":80 {\nlog {\n" + file + filter + "}\n" + keyed + "}", ""},
		"within another filter":        {"", ":80 {\nlog {\n" + file + "format filter {\nwrap filter {" + strings.TrimPrefix(filter, "format filter {") + "request>remote_ip delete\n}\n}\n" + keyed + "}", ""},
		"one header left out":          {"", ":80 {\nlog {\n" + file + strings.Replace(filter, "request>headers>X-Goog-Api-Key delete", "", 1) + "}\n" + keyed + "}", `"shows":["X-Goog-Api-Key"]`},
		"one that matches no header":   {"", ":80 {\nlog {\n" + file + strings.Replace(filter, "headers>X-Api-Key", "headers>x-api-key", 1) + "}\n" + keyed + "}", `"shows":["X-Api-Key"]`},
		"the URL left out":             {"", ":80 {\nlog {\n" + file + strings.Replace(filter, "delete key", "delete other", 1) + "}\n" + keyed + "}", `"shows":["?key="]`},
		"no headers at all":            {"", ":80 {\nlog {\n" + file + "format filter {\nrequest>headers delete\nrequest>uri delete\n}\n}\n" + keyed + "}", ""},
		"thrown away":                  {"", ":80 {\nlog {\noutput discard\n}\n" + keyed + "}", ""},
		"in a block":                   {"", ":80 {\nlog\nhandle /v1/* {\n" + keyed + "}\n}", most},
		"of a host":                    {"", "http://a.test {\nlog\n" + keyed + "}", most},
		"of another site":              {"", "http://a.test {\nlog\nrespond ok\n}\nhttp://b.test {\n" + keyed + "}", ""},
		"of a site without keys":       {"", ":80 {\nlog\nrespond ok\n}", ""},
		"credentials on":               {"servers {\nlog_credentials\n}\n", ":80 {\nlog\n" + keyed + "}", `"Authorization"`},
		"credentials on, and filtered": {"servers {\nlog_credentials\n}\n", ":80 {\nlog {\n" + file + filter + "}\n" + keyed + "}", ""},
		"credentials off are blanked":  {"", ":80 {\nlog {\n" + file + strings.Replace(filter, "request>headers>Authorization delete", "", 1) + "}\n" + keyed + "}", ""},
	} {
		log, err := validateWith(t, c.options, c.text)
		require.NoError(t, err, name)
		want := 0
		if c.shows != "" {
			want = 1
		}
		require.Equal(t, want, strings.Count(log, "the access log of a site shows clients' keys"), "%s: %s", name, log)
		require.Contains(t, log, c.shows, name)
	}
}
