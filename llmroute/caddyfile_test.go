package llmroute

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"

	"github.com/tollgate-llm/tollgate/internal/testkit/adapttest"
)

func TestAdapt(t *testing.T) { adapttest.Run(t, filepath.Join("testdata", "adapt")) }

// TestProvisionErrors shows what only a start can find, placeholders most of all.
func TestProvisionErrors(t *testing.T) {
	t.Setenv("TOLLGATE_EMPTY", "")
	t.Setenv("TOLLGATE_WEIGHT", "0")
	t.Setenv("TOLLGATE_URL", "https://user:hunter2@example.com")
	t.Setenv("TOLLGATE_KEY", "sk two words")
	for want, text := range map[string]string{
		"model m, backend openai: api_key: evaluated placeholder {env.TOLLGATE_EMPTY} is empty": `model m { backend openai { api_key {env.TOLLGATE_EMPTY} } }`,
		"model m, backend openai: api_key: ":                                                    `model m { backend openai { api_key {env.TOLLGATE_UNSET} } }`,
		"model m, backend openai-2: api_key is missing":                                         `model m { backend openai { api_key x } backend openai }`,
		`model m, backend openai: weight: "0" is not a whole number from 1 to 1000000`:          `model m { backend openai { api_key x } }`,
		"model m, backend openai: the base URL may hold no credentials":                         `model m { backend openai {env.TOLLGATE_URL} }`,
		"api_key holds a space or a control character":                                          `model m { backend openai { api_key {env.TOLLGATE_KEY} } }`,
		"needs a price below its threshold too":                                                 `model m { backend openai http://localhost/v1 { price output>1000 5 } }`,
		"alias a: there is no model b":                                                          `model m { backend mock } alias a b`,
		"model m: there is no fallback model other":                                             `model m { backend mock fallback other }`,
		"model m: its fallback n is the model itself":                                           `model m n { backend mock fallback n }`,
		"max_body: evaluated placeholder {env.TOLLGATE_EMPTY} is empty":                         `max_body {env.TOLLGATE_EMPTY}`,
		"the base URL begins with http://, but the transport has TLS":                           `model m { backend openai http://localhost/v1 { transport http { tls } } }`,
		"transport fastcgi cannot carry calls to a model":                                       `model m { backend openai http://localhost/v1 { transport fastcgi } }`,
	} {
		text = strings.NewReplacer("{ ", "{\n", " }", "\n}", " backend", "\nbackend", " fallback", "\nfallback", " alias", "\nalias").Replace(text)
		if strings.Contains(want, "weight: ") {
			text = strings.Replace(text, "api_key x", "api_key x\nweight {env.TOLLGATE_WEIGHT}", 1)
		}
		_, err := provision(t, "llmroute {\n"+text+"\n}")
		require.ErrorContains(t, err, want, text)
		require.NotContains(t, err.Error(), "hunter2")
		require.NotContains(t, err.Error(), "two words")
	}
}

// TestJSONIsCheckedToo shows that what a Caddyfile may not hold cannot be had by way of JSON.
func TestJSONIsCheckedToo(t *testing.T) {
	for _, settings := range []string{
		`{"upstreams":[{"dial":"localhost:1"}]}`, `{"dynamic_upstreams":{"source":"a"}}`, `{"rewrite":{"method":"GET"}}`, `{"request_buffers":1}`,
		`{"response_buffers":1}`, `{"handle_response":[{}]}`, `{"load_balancing":{"retries":1}}`, `{"load_balancing":{"try_duration":1}}`,
		`{"load_balancing":{"retry_match":[{"method":["POST"]}]}}`, `{"health_checks":{"active":{"upstream":"localhost:1"}}}`, `{"trusted_proxies":["10.0.0.0/8"]}`,
		`{"handler":"file_server"}`, `{"no_such_field":1}`, `{"transport":{"protocol":"llmroute"}}`,
	} {
		ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
		require.NoError(t, err)
		_, err = ctx.LoadModuleByID("http.handlers.llmroute", []byte(`{"models":[{"names":["m"],"backends":[{"provider":"openai","base_url":"http://localhost:1","reverse_proxy":`+settings+`}]}]}`))
		require.Error(t, err, settings)
	}
	_, err := provision(t, "llmroute {\nmodel m {\nbackend openai http://localhost:1/v1 {\nhealth_uri /health\nhealth_interval 1h\nflush_interval -1\nlb_policy first\n}\n}\n}")
	require.NoError(t, err, "what does no harm may be set")
}

// TestFilePlaceholder shows that a key may come from a file, whose last line break is not part of it.
func TestFilePlaceholder(t *testing.T) {
	name := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(name, []byte("sk-from-file\n"), 0o600))
	h, err := provision(t, "llmroute {\nmodel m {\nbackend openai {\napi_key {file."+name+"}\n}\n}\n}")
	require.NoError(t, err)
	require.Equal(t, []string{"Bearer sk-from-file"}, h.Models[0].Backends[0].sender.Auth)
}
