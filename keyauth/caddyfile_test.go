package keyauth

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/tollgate-llm/tollgate/internal/testkit"
	"github.com/tollgate-llm/tollgate/internal/testkit/adapttest"
)

func TestAdapt(t *testing.T) { adapttest.Run(t, "testdata/adapt") }

func TestUnmarshalCaddyfile(t *testing.T) {
	var h Handler
	require.NoError(t, h.UnmarshalCaddyfile(caddyfile.NewTestDispenser(`keyauth {
		store redis a:1 b:2 {
			username ann
			password secret
			prefix p:
			tls
			sentinel main
		}
		master_key sk-1
		cache_ttl 1s
		stale_ttl 2s
	}`)))
	require.Equal(t, Handler{
		Store: &StoreConfig{Redis: &RedisConfig{
			Addresses: []string{"a:1", "b:2"}, Username: "ann", Password: "secret", Prefix: "p:", TLS: true, Sentinel: "main",
		}},
		MasterKey: "sk-1", CacheTTL: "1s", StaleTTL: "2s",
	}, h)
}

func readAll(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(b)
}

// config adapts a site on a Unix socket, so that no test needs a port.
func config(t *testing.T, site string) []byte {
	t.Helper()
	out, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(site), map[string]any{"filename": "Caddyfile"})
	require.NoError(t, err)
	return out
}

func TestProvisionRefuses(t *testing.T) {
	t.Setenv("KEYAUTH_TEST_EMPTY", "")
	t.Setenv("KEYAUTH_TEST_VALUE", "not a value")
	t.Setenv("KEYAUTH_TEST_HOST", "<your redis host>:6379")
	for body, want := range map[string]string{
		`master_key {env.KEYAUTH_TEST_UNSET}`:                                   "master_key: ",
		`master_key {env.KEYAUTH_TEST_EMPTY}`:                                   "master_key: ",
		`master_key {file./nowhere/at/all}`:                                     "master_key: ",
		`master_key {nonsense}`:                                                 "master_key: ",
		`master_key " x"`:                                                       "master_key: at most 512 bytes",
		`cache_ttl {env.KEYAUTH_TEST_VALUE}`:                                    `cache_ttl: "not a value" is not a duration`,
		`store file {env.KEYAUTH_TEST_UNSET}`:                                   "store file: ",
		`store redis {env.KEYAUTH_TEST_UNSET}`:                                  "store redis address: ",
		`store redis {env.KEYAUTH_TEST_VALUE}`:                                  "an address is host:port",
		`store redis {env.KEYAUTH_TEST_HOST}`:                                   "an address is host:port",
		"store redis h:1 {\n db {env.KEYAUTH_TEST_VALUE}\n}":                    `db: "not a value" is not a whole number from 0`,
		"store redis h:1 {\n password {env.KEYAUTH_TEST_UNSET}\n}":              "store redis password: ",
		"store redis h:1 {\n username u\n}":                                     "username without password",
		"store redis h:1 g:1 h:1":                                               "given twice",
		"store redis h:1 h:2 {\n db 1\n}":                                       "only db 0",
		"store redis h:1 {\n password {env.KEYAUTH_TEST_EMPTY}\n username u\n}": "store redis password: ",
	} {
		var cfg caddy.Config
		require.NoError(t, json.Unmarshal(config(t, "{\n admin off\n}\nhttp://x {\n keyauth {\n"+body+"\n}\n}"), &cfg))
		require.ErrorContains(t, caddy.Validate(&cfg), want, body)
	}
}

func TestValidateNeedsNoRedisAndMakesNoFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	for _, store := range []string{"redis 127.0.0.1:1", "file " + dir} {
		var cfg caddy.Config
		require.NoError(t, json.Unmarshal(config(t, "{\n admin off\n}\nhttp://x {\n keyauth {\nstore "+store+"\n}\n}"), &cfg))
		require.NoError(t, caddy.Validate(&cfg))
	}
	require.NoDirExists(t, dir)
}

// TestRealCaddy starts Caddy while Redis is down, and then looks for keys in everything that was logged at DEBUG.
func TestRealCaddy(t *testing.T) {
	redis := testkit.Redis(t)
	redis.Stop()
	dir, err := os.MkdirTemp("", "keyauth") // a socket's path must be short
	require.NoError(t, err)
	defer func() { require.NoError(t, os.RemoveAll(dir)) }()
	socket, logFile := filepath.Join(dir, "s"), filepath.Join(dir, "log")
	t.Setenv("KEYAUTH_TEST_MASTER", testMaster)
	site := fmt.Sprintf(`{
	admin off
	persist_config off
	log {
		output file %[2]s
		level DEBUG
		format filter {
			request>headers>X-Api-Key delete
			request>headers>Api-Key delete
			request>headers>X-Goog-Api-Key delete
			request>uri query {
				delete key
			}
		}
	}
}
http:// {
	bind unix/%[1]s
	log
	keyauth {
		store redis %[3]s
		master_key {env.KEYAUTH_TEST_MASTER}
	}
	respond "{http.auth.user.id} {http.tollgate.team_id} {header.X-Api-Key}{header.Authorization}{query}"
}`, socket, logFile, redis.Addr)
	require.NoError(t, caddy.Load(config(t, site), true))
	defer func() { require.NoError(t, caddy.Stop()) }()
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	defer client.CloseIdleConnections()
	send := func(method, path, header, key, body string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://x"+path, strings.NewReader(body))
		require.NoError(t, err)
		r.Header.Set(header, key)
		resp, err := client.Do(r)
		require.NoError(t, err)
		defer func() { require.NoError(t, resp.Body.Close()) }()
		return resp.StatusCode, readAll(t, resp)
	}
	const unknown = "sk-unknown-to-everybody"
	status, _ := send("POST", "/v1/chat/completions", "X-Api-Key", unknown, "")
	require.Equal(t, 503, status, "Redis is down, Caddy runs")
	redis.Start()
	var answer string
	require.Eventually(t, func() bool { // the probe of the store once a second
		status, answer = send("POST", "/key/generate", "Api-Key", testMaster, `{"key_alias":"ann","team_id":"blue"}`)
		return status == 200
	}, patience, 100*time.Millisecond, "the key API comes back with Redis")
	var made struct{ Key string }
	require.NoError(t, json.Unmarshal([]byte(answer), &made))
	require.Eventually(t, func() bool {
		status, _ = send("POST", "/v1/chat/completions", "X-Api-Key", unknown, "")
		return status == 401
	}, patience, 100*time.Millisecond, "the circuit closes")
	for _, header := range []string{"Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key"} {
		value := made.Key
		if header == "Authorization" {
			value = "Bearer " + value
		}
		status, answer = send("POST", "/v1/chat/completions?key="+made.Key, header, value, "")
		require.Equal(t, 200, status)
		require.Equal(t, "ann blue ", answer, "no credential reaches what comes after")
	}
	status, _ = send("GET", "/key/info?key="+made.Key, "Api-Key", testMaster, "")
	require.Equal(t, 200, status)
	require.NoError(t, caddy.Stop())    // writes out what is logged
	logged, err := os.ReadFile(logFile) // #nosec G304 -- the test's own
	require.NoError(t, err)
	require.Contains(t, string(logged), `"user_id":"ann"`)
	require.Contains(t, string(logged), "the key store is up again")
	for what, secret := range map[string]string{"key": made.Key, "master key": testMaster, "unknown key": unknown} {
		require.NotContains(t, string(logged), secret, what)
	}
}
