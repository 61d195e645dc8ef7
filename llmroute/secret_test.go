package llmroute

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// TestKeysAreInNoLog runs Caddy itself with everything logged, headers of requests included, and looks for the keys.
func TestKeysAreInNoLog(t *testing.T) {
	good := newUpstream(t, respond(200, answered))
	bad := newUpstream(t, respond(500, `{}`))
	dir := t.TempDir()
	logs, socket := filepath.Join(dir, "log"), filepath.Join(dir, "socket")
	t.Setenv("TOLLGATE_PROVIDER_KEY", "sk-provider-secret")
	t.Setenv("AWS_ACCESS_KEY_ID", "AKID")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "provider-secret-of-aws")
	t.Setenv("AWS_SESSION_TOKEN", "provider-secret-session")
	accountOf(t, newUpstream(t, respond(200, `{"access_token":"ya29.provider-secret","token_type":"Bearer","expires_in":3600}`)).URL)
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(fmt.Sprintf(`{
		admin off
		persist_config off
		auto_https off
		log {
			output file %s
			level DEBUG
		}
		servers {
			log_credentials
		}
	}
	http:// {
		bind unix/%s
		log
		llmroute {
			anonymous
			unmetered
			model m {
				backend openai %s {
					api_key {env.TOLLGATE_PROVIDER_KEY}
					verbose_logs
				}
				backend openai %s {
					order 2
					api_key {env.TOLLGATE_PROVIDER_KEY}
					verbose_logs
				}
			}
			model claude {
				backend anthropic %[4]s {
					api_key {env.TOLLGATE_PROVIDER_KEY}
				}
			}
			model rock {
				backend bedrock %[4]s {
					region us-east-1
					verbose_logs
				}
			}
			model gem {
				backend vertex %[4]s {
					project p
					verbose_logs
				}
			}
		}
	}`, logs, socket, bad.URL, good.URL)), map[string]any{"filename": "Caddyfile"})
	require.NoError(t, err)
	require.NoError(t, caddy.Load(config, true))
	t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
	client := dialing(socket)
	for path, model := range map[string]string{
		"/v1/chat/completions": "m", "/v1/messages": "claude", "/model/rock/converse": "rock", "/v1beta/models/gem:generateContent": "gem",
	} {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://gateway"+path, strings.NewReader(`{"model":"`+model+`"}`))
		req.RequestURI = ""
		req.Header.Set("X-Stainless-Lang", "shown-in-logs")
		resp, err := client.RoundTrip(req)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, 200, resp.StatusCode)
	}
	require.Equal(t, "Bearer sk-provider-secret", bad.only(t).header.Get("Authorization"))
	sent := ""
	for _, r := range good.requests() {
		sent += fmt.Sprint(r.header)
	}
	for _, credential := range []string{
		"Authorization:[Bearer sk-provider-secret]", "X-Api-Key:[sk-provider-secret]", "Bearer ya29.provider-secret", "X-Amz-Security-Token:[provider-secret-session]",
		"Signature=",
	} {
		require.Contains(t, sent, credential)
	}
	text, err := os.ReadFile(logs)
	require.NoError(t, err)
	require.Regexp(t, `"upstream roundtrip".*"X-Stainless-Lang":\["shown-in-logs"\]`, string(text), "the reverse proxy logs its requests")
	require.Contains(t, string(text), "attempt failed")
	require.NotContains(t, string(text), "provider-secret")
	require.NotContains(t, string(text), "Signature=")
}
