package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakeprovider"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// The quick start of LiteLLM's billing with Lago, word for word.
const (
	liteConfig = `model_list:
  - model_name: fake-openai-endpoint
    litellm_params:
      model: openai/fake
      api_key: fake-key
      api_base: https://exampleopenaiendpoint-production.up.railway.app/
litellm_settings:
  callbacks: ["lago"]
general_settings:
  master_key: sk-1234
`
	liteGenerate = `curl 'http://0.0.0.0:4000/key/generate' --header 'Authorization: Bearer sk-1234' --header 'Content-Type: application/json' --data-raw '{"team_id": "my-unique-id"}'`
	liteChat     = `curl --location 'http://0.0.0.0:4000/chat/completions' --header 'Content-Type: application/json' --header 'Authorization: Bearer sk-...' --data '{"model": "fake-openai-endpoint", "messages": [{"role": "user", "content": "what llm are you"}]}'`
	liteEndUser  = `curl --location 'http://0.0.0.0:4000/chat/completions' --header 'Content-Type: application/json' --data '{"model": "gpt-3.5-turbo", "messages": [{"role": "user", "content": "what llm are you"}], "user": "my_customer_id"}'`
	// The second body as LiteLLM's page prints it: with a trailing comma.
	liteComma = `curl --location 'http://0.0.0.0:4000/chat/completions' \
--header 'Content-Type: application/json' \
--data '{
  "model": "gpt-3.5-turbo",
  "messages": [{"role": "user", "content": "what llm are you"}],
  "user": "my_customer_id",
}'`
	liteHost = "https://exampleopenaiendpoint-production.up.railway.app"
)

const liteWait = 30 * time.Second

// liteWorld is the built binary on a file of LiteLLM's, between a fake provider and a fake Lago.
type liteWorld struct {
	*gateway.Gateway
	provider *fakeprovider.Server
	lago     *fakelago.Server
}

// lite runs the binary with the file, in which the provider's host stands for LiteLLM's, and with LiteLLM's variables.
func lite(t *testing.T, config string, env ...string) *liteWorld {
	t.Helper()
	w := &liteWorld{
		Gateway:  &gateway.Gateway{T: t, Addr: gateway.FreeAddr(t), Admin: gateway.FreeAddr(t)},
		provider: fakeprovider.New(t, fakeprovider.Options{Key: "fake-key"}),
		lago:     fakelago.New(t, fakelago.Options{}),
	}
	w.lago.AddMetric(fakelago.Metric{Code: "llm", Field: "total_tokens"})
	for _, id := range []string{"my-unique-id", "my_customer_id"} {
		w.lago.AddSubscription(fakelago.Subscription{ExternalID: id})
	}
	w.Caddyfile = strings.ReplaceAll(config, liteHost, shortPaths(t, w.provider))
	_, port, _ := strings.Cut(w.Addr, ":")
	bin, err := gateway.Build()
	require.NoError(t, err)
	w.Launch(bin, "litellm", append([]string{
		"PORT=" + port, "HOST=", "CADDY_ADMIN=" + w.Admin,
		"LAGO_API_BASE=" + w.lago.URL, "LAGO_API_KEY=" + w.lago.Key(), "LAGO_API_EVENT_CODE=llm",
	}, env...)...)
	t.Cleanup(func() {
		require.Empty(t, w.provider.Violations())
		require.Empty(t, w.lago.Violations())
	})
	return w
}

// shortPaths serves the provider's API without /v1 in front, as the endpoint of LiteLLM's quick start does.
func shortPaths(t *testing.T, p *fakeprovider.Server) string {
	target, err := url.Parse(p.URL + "/v1")
	require.NoError(t, err)
	server := httptest.NewServer(httputil.NewSingleHostReverseProxy(target)) //nolint:staticcheck // Rewrite would say the same in more words
	t.Cleanup(server.Close)
	return server.URL
}

// curl runs a command as it is printed, but for the gateway's host and the key, and returns the answer with its status.
func (w *liteWorld) curl(command, key string) (status, body string) {
	w.T.Helper()
	command = strings.NewReplacer("0.0.0.0:4000", w.Addr, "sk-...", key).Replace(command)
	cmd := exec.Command("sh", "-c", command+` --silent --show-error --write-out '\n%{http_code}'`)
	cmd.Env = append(os.Environ(), "no_proxy=*")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(w.T, err, stderr.String())
	i := bytes.LastIndexByte(out, '\n')
	return string(out[i+1:]), string(out[:i])
}

// billed waits for one event of that subscription and returns it.
func (w *liteWorld) billed(subscription string) fakelago.Event {
	w.T.Helper()
	require.NoError(w.T, w.lago.Await(gateway.Timeout(w.T, liteWait), func() bool { return w.lago.EventCount() > 0 }), "an event at Lago")
	events := w.lago.Events()
	require.Len(w.T, events, 1)
	require.Equal(w.T, subscription, events[0].Subscription)
	require.Equal(w.T, "llm", events[0].Code)
	calls := w.provider.Calls()
	require.Len(w.T, calls, 1)
	require.Equal(w.T, "fake", calls[0].Model)
	total := calls[0].Reported.Input + calls[0].Reported.Output
	require.Equal(w.T, strconv.FormatInt(total, 10), events[0].Property("total_tokens"))
	return events[0]
}

// TestLiteLLMQuickStart runs the first quick start: a key of a team, a call with it, one event for that team.
func TestLiteLLMQuickStart(t *testing.T) {
	w := lite(t, liteConfig, "LAGO_API_CHARGE_BY=team_id")
	status, body := w.curl(liteGenerate, "")
	require.Equal(t, "200", status, body)
	var made struct {
		Key    string `json:"key"`
		TeamID string `json:"team_id"`
	}
	require.NoError(t, json.Unmarshal([]byte(body), &made))
	require.Regexp(t, regexp.MustCompile(`^sk-[A-Za-z0-9_-]{22}$`), made.Key)
	require.Equal(t, "my-unique-id", made.TeamID)

	status, body = w.curl(liteChat, made.Key)
	require.Equal(t, "200", status, body)
	require.Contains(t, body, `"choices"`)
	w.billed("my-unique-id")

	// LiteLLM's page prints this body with a trailing comma.
	status, body = w.curl(strings.Replace(liteChat, `}]}'`, `}],}'`, 1), made.Key)
	require.Equal(t, "400", status, body)
	require.Contains(t, body, "trailing comma before } at line 1, column 96")

	status, body = w.curl(liteChat, "sk-of-nobody-at-all-0000")
	require.Equal(t, "401", status, body)
	require.Len(t, w.provider.Calls(), 1)
}

// openConfig is the quick start without a master key, for the model that its second call names.
var openConfig = strings.NewReplacer("general_settings:\n  master_key: sk-1234\n", "", "model_name: fake-openai-endpoint", "model_name: gpt-3.5-turbo").Replace(liteConfig)

// TestLiteLLMOpen runs the second quick start: no master key, a call without credentials, billed to whom it names.
func TestLiteLLMOpen(t *testing.T) {
	w := lite(t, openConfig, "LAGO_API_CHARGE_BY=end_user_id")
	status, body := w.curl(liteComma, "")
	require.Equal(t, "400", status, body)
	require.Contains(t, body, "trailing comma before } at line 4, column 27")
	require.Empty(t, w.provider.Calls())

	status, body = w.curl(liteEndUser, "")
	require.Equal(t, "200", status, body)
	w.billed("my_customer_id")

	status, body = w.curl(strings.Replace(liteEndUser, `, "user": "my_customer_id"`, "", 1), "")
	require.Equal(t, "403", status, body)
	require.Len(t, w.provider.Calls(), 1, "a call that nobody pays for is not forwarded")
}

// TestLiteLLMLoad hands a changed file to the running gateway: POST /load, text/litellm.
func TestLiteLLMLoad(t *testing.T) {
	w := lite(t, liteConfig, "LAGO_API_CHARGE_BY=team_id")
	_, generated := w.curl(liteGenerate, "")
	var made struct {
		Key string `json:"key"`
	}
	require.NoError(t, json.Unmarshal([]byte(generated), &made))
	changed := strings.Replace(w.Caddyfile, "model_name: fake-openai-endpoint", "model_name: renamed", 1)
	changed = strings.Replace(changed, "general_settings:", "  modify_params: true\ngeneral_settings:", 1)
	resp, err := http.Post("http://"+w.Admin+"/load", "text/litellm", strings.NewReader(changed))
	require.NoError(t, err)
	var loaded struct {
		Warnings []caddyconfig.Warning `json:"warnings"`
		Error    string                `json:"error"`
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&loaded))
	require.NoError(t, resp.Body.Close())
	require.Empty(t, loaded.Error)
	require.Len(t, loaded.Warnings, 1)
	require.Equal(t, "litellm_settings.modify_params", loaded.Warnings[0].Directive)
	require.Equal(t, 9, loaded.Warnings[0].Line)

	w.AwaitAnswer()
	w.Must(http.StatusNotFound, http.MethodPost, "/v1/chat/completions", made.Key, gateway.Chat("fake-openai-endpoint", "hi", false))
	a := w.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", made.Key, gateway.Chat("renamed", "hi", false))
	require.NotEmpty(t, a.Header.Get("X-Litellm-Call-Id"))
	w.billed("my-unique-id")
	w.Must(http.StatusOK, http.MethodGet, "/health/liveliness", "", "")
}

// TestLiteLLMKeyHeader takes the key from the header that the file names, and from no other.
func TestLiteLLMKeyHeader(t *testing.T) {
	w := lite(t, liteConfig+"  litellm_key_header_name: X-Litellm-Key\n  user_header_mappings: [{header_name: X-Customer, litellm_user_role: customer}]\n",
		"LAGO_API_CHARGE_BY=end_user_id")
	call := func(headers ...string) (string, string) {
		command := strings.Replace(liteChat, " --header 'Authorization: Bearer sk-...'", "", 1)
		for _, h := range headers {
			command += " --header '" + h + "'"
		}
		return w.curl(command, "")
	}
	for _, headers := range [][]string{
		{"Authorization: Bearer sk-1234"},
		{"x-api-key: sk-1234"},
		{"X-Litellm-Key: Bearer sk-of-nobody-at-all", "Authorization: Bearer sk-1234"},
	} {
		status, body := call(append(headers, "X-Customer: my_customer_id")...)
		require.Equal(t, "401", status, body)
	}
	require.Empty(t, w.provider.Calls())
	status, body := call("X-Litellm-Key: sk-1234", "Authorization: Bearer of-the-client", "X-Customer: my_customer_id")
	require.Equal(t, "200", status, body)
	require.NotContains(t, w.provider.Calls()[0].Header, "X-Litellm-Key")
	w.billed("my_customer_id")
	status, body = call("x-litellm-key: bearer sk-1234", "X-Customer: my_customer_id")
	require.Equal(t, "200", status, body)
}

// TestLiteLLMAdapt shows what becomes of a file, and says loudly that a gateway without a master key is open.
func TestLiteLLMAdapt(t *testing.T) {
	bin, err := gateway.Build()
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte(openConfig), 0o600))
	cmd := exec.Command(bin, "adapt", "--config", file, "--adapter", "litellm")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	require.NoError(t, err, said.String())
	require.Contains(t, string(out), `"listen":["127.0.0.1:4000"]`)
	require.Contains(t, said.String(), "THERE IS NO MASTER KEY: whoever reaches 127.0.0.1 may call every model")
	require.Contains(t, said.String(), "the callback lago needs LAGO_API_BASE, LAGO_API_KEY, LAGO_API_EVENT_CODE in the environment")
}

// TestLiteLLMRefuses starts the binary where it must not start, and looks at what it says.
func TestLiteLLMRefuses(t *testing.T) {
	bin, err := gateway.Build()
	require.NoError(t, err)
	lago := []string{"LAGO_API_BASE=http://127.0.0.1:1", "LAGO_API_KEY=secret-of-lago", "LAGO_API_EVENT_CODE=llm"}
	for name, c := range map[string]struct {
		config string
		env    []string
		want   string
	}{
		"charge by":         {liteConfig, append(lago, "LAGO_API_CHARGE_BY=customer"), `LAGO_API_CHARGE_BY: \"customer\" says nobody who could pay: it must be one of end_user_id, user_id, team_id`},
		"charge by nothing": {liteConfig, append(lago, "LAGO_API_CHARGE_BY="), `LAGO_API_CHARGE_BY: \"\" says nobody who could pay`},
		"no keys":           {openConfig, append(lago, "LAGO_API_CHARGE_BY=team_id"), "without a master key there are no keys"},
		"missing":           {liteConfig, lago[:1], "the callback lago needs LAGO_API_KEY, LAGO_API_EVENT_CODE in the environment"},
		"no base":           {liteConfig, lago[1:], "LAGO_API_BASE"},
		"bad base":          {liteConfig, append(lago[1:3:3], "LAGO_API_BASE=localhost:3000"), "Lago base URL must start with http"},
		"budget":            {liteConfig + "  x: 1\nrouter_settings:\n  provider_budget_config: {openai: {budget_limit: much}}\n", lago, "config.yaml:13: router_settings.provider_budget_config.openai.budget_limit: "},
		"unknown key":       {strings.Replace(liteConfig, "fake-key", "os.environ/NOWHERE_SET", 1), lago, "NOWHERE_SET"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "config.yaml")
			require.NoError(t, os.WriteFile(file, []byte(c.config), 0o600))
			_, port, _ := strings.Cut(gateway.FreeAddr(t), ":")
			cmd := exec.CommandContext(gateway.Timeout(t, liteWait), bin, "run", "--config", file, "--adapter", "litellm")
			cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "CADDY_ADMIN=" + gateway.FreeAddr(t), "PORT=" + port}, c.env...)
			out, err := cmd.CombinedOutput()
			require.IsType(t, &exec.ExitError{}, err, "%s", out)
			require.Contains(t, string(out), c.want)
			require.NotContains(t, string(out), "secret-of-lago")
		})
	}
}
