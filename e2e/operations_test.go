package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakeprovider"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// TestCustomersOfAnyName reconciles customers whose ids Lago's routes take only when they are escaped: its customers' route has no
// dot (getlago/lago-api: config/routes.rb), and an id is a segment of the path.
func TestCustomersOfAnyName(t *testing.T) {
	w := gateway.NewWorld(t, fakelago.Options{})
	customers := []string{"ann@example.com", "v1.2.json", "..", "a b", "a+b&c=d", "ä.ö", "100%.2E"}
	for i, customer := range customers {
		w.Lago.AddSubscription(fakelago.Subscription{ExternalID: fmt.Sprintf("sub-of-%d", i), Customer: customer})
	}
	w.Gateway = gateway.Start(t, "", w.Directives(t.TempDir(), ""))
	for i := range customers {
		key := w.NewKey(fmt.Sprintf(`{"team_id":"sub-of-%d"}`, i))
		w.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, gateway.Chat("gpt-4o", "tokens=in:60,out:7", false))
	}
	w.Settled(len(customers))
	bin, err := gateway.Build()
	require.NoError(t, err)
	out, err := exec.Command(bin, "tollgate", "billing", "reconcile", "--address", w.Admin, "--lag", "0s").CombinedOutput()
	require.NoError(t, err, string(out))
	for i := range customers {
		require.Contains(t, string(out), fmt.Sprintf("sub-of-%d", i))
	}
}

// TestPayersWithWhiteSpace names payers with white space at an end, which Lago strips from subscriptions and not from events: such a
// payer is refused where it is written, and white space within a name is part of it.
func TestPayersWithWhiteSpace(t *testing.T) {
	w := gateway.NewWorld(t, fakelago.Options{})
	w.Lago.AddSubscription(fakelago.Subscription{ExternalID: "sub of two words"})
	w.Gateway = gateway.Start(t, "", w.Directives(t.TempDir(), ""))
	for _, wrong := range []string{" sub", "sub ", "sub\\u00a0", "\\u3000sub", " "} {
		for path, body := range map[string]string{
			"/key/generate": `{"metadata":{"lago_subscription_id":"` + wrong + `"}}`,
			"/team/new":     `{"team_id":"` + wrong + `"}`,
		} {
			a := w.Must(http.StatusBadRequest, http.MethodPost, path, gateway.MasterKey, body)
			require.Contains(t, a.Body, "white space", body)
		}
		w.Must(http.StatusBadRequest, http.MethodPost, "/key/generate", gateway.MasterKey, `{"team_id":"`+wrong+`"}`)
	}
	key := w.NewKey(`{"team_id":"` + gateway.Payer + `"}`)
	w.Must(http.StatusBadRequest, http.MethodPost, "/key/update", gateway.MasterKey, `{"key":"`+key+`","metadata":{"lago_subscription_id":"sub "}}`)

	key = w.NewKey(`{"metadata":{"lago_subscription_id":"sub of two words"}}`)
	w.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, gateway.Chat("gpt-4o", "hi", false))
	w.Settled(1)
	require.Equal(t, 1, w.Lago.BilledCount("sub of two words", "llm"))
}

// TestShutOutWhileRedisIsFull shuts keys and teams out by the management API while Redis has reached its maxmemory: each works at
// once, for keys with and without an alias, and what needs room is refused.
func TestShutOutWhileRedisIsFull(t *testing.T) {
	w := gateway.NewWorld(t, fakelago.Options{})
	for _, team := range []string{"blocked", "deleted", "emptied", "own"} {
		w.Lago.AddSubscription(fakelago.Subscription{ExternalID: team})
	}
	w.Gateway = gateway.Start(t, "", w.Directives(t.TempDir(), ""))
	call := func(status int, key string) {
		t.Helper()
		w.Must(status, http.MethodPost, "/v1/chat/completions", key, gateway.Chat("gpt-4o", "hi", false))
	}
	cases := []struct{ key, path, body string }{
		{`{"team_id":"own"}`, "/key/block", `{"key":"KEY"}`},
		{`{"team_id":"own","key_alias":"named"}`, "/key/block", `{"key":"KEY"}`},
		{`{"team_id":"own"}`, "/key/delete", `{"keys":["KEY"]}`},
		{`{"team_id":"blocked"}`, "/team/update", `{"team_id":"blocked","blocked":true}`},
		{`{"team_id":"deleted"}`, "/team/delete", `{"team_ids":["deleted"]}`},
	}
	keys := make([]string, len(cases))
	for i, c := range cases {
		keys[i] = w.NewKey(c.key)
		call(http.StatusOK, keys[i])
	}
	limited := w.NewKey(`{"team_id":"emptied","models":["gpt-4o"]}`)
	call(http.StatusOK, limited)
	client := redis.NewClient(&redis.Options{Addr: w.Redis.Addr})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	require.NoError(t, client.ConfigSet(t.Context(), "maxmemory", "100kb").Err())

	for i, c := range cases {
		w.Must(http.StatusOK, http.MethodPost, c.path, gateway.MasterKey, strings.ReplaceAll(c.body, "KEY", keys[i]))
		call(http.StatusUnauthorized, keys[i])
	}
	w.Must(http.StatusOK, http.MethodPost, "/key/update", gateway.MasterKey, `{"key":"`+limited+`","models":["claude"]}`)
	call(http.StatusForbidden, limited)
	a := w.Must(http.StatusServiceUnavailable, http.MethodPost, "/key/generate", gateway.MasterKey, `{"team_id":"own"}`)
	require.Contains(t, a.Body, "maxmemory")
}

// TestReloadTakesUpChangedFiles changes the files that an unchanged Caddyfile names: a reload without --force takes each up, and one
// with a file that is wrong or gone is refused and changes nothing.
func TestReloadTakesUpChangedFiles(t *testing.T) {
	w := gateway.NewBooks(t, fakelago.Options{})
	w.Provider = fakeprovider.New(t, fakeprovider.Options{Key: gateway.ProviderKey})
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	price := func(usd string) {
		write("prices.json", `{"models":[{"provider":"openai","model":"gpt-4o-2024-08-06","prices":{"input":`+usd+`,"output":`+usd+`}}]}`)
	}
	price("1")
	directives := w.Directives(t.TempDir(), "prices "+filepath.Join(dir, "prices.json"))
	directives = strings.Replace(directives, "master_key "+gateway.MasterKey, "master_key {file."+write("master", gateway.MasterKey)+"}", 1)
	directives = strings.ReplaceAll(directives, "api_key "+gateway.ProviderKey, "api_key {file."+write("provider", gateway.ProviderKey)+"}")
	w.Gateway = gateway.Start(t, "", directives)
	key := w.NewKey(`{"team_id":"` + gateway.Payer + `"}`)
	reload := func() error {
		config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(w.Caddyfile), map[string]any{"filename": "Caddyfile"})
		if err != nil {
			return err
		}
		return caddy.Load(config, false)
	}
	chat := func(status int) gateway.Answer {
		t.Helper()
		var a gateway.Answer
		require.Eventually(t, func() bool { // a kept connection of the site before the reload may be closed just then
			var err error
			a, err = w.Do(http.MethodPost, "/v1/chat/completions", key, gateway.Chat("gpt-4o", "tokens=in:60,out:7", false))
			return err == nil
		}, 10*time.Second, 10*time.Millisecond)
		require.Equal(t, status, a.Status, a.Body)
		return a
	}
	cost := func() string { return chat(http.StatusOK).Header.Get("X-Litellm-Response-Cost") }

	require.Equal(t, "0.000067", cost())
	price("1000")
	require.NoError(t, reload())
	require.Equal(t, "0.067", cost())

	write("prices.json", "no prices")
	require.Error(t, reload())
	require.Equal(t, "0.067", cost(), "the configuration before it runs on")
	require.NoError(t, os.Remove(filepath.Join(dir, "prices.json")))
	require.Error(t, reload())
	require.Equal(t, "0.067", cost())
	price("1000")

	write("provider", "sk-another")
	require.NoError(t, reload())
	chat(http.StatusUnauthorized)
	write("provider", gateway.ProviderKey)
	write("master", "sk-another-master")
	require.NoError(t, reload())
	require.Equal(t, "0.067", cost())
	w.Must(http.StatusUnauthorized, http.MethodPost, "/key/generate", gateway.MasterKey, `{}`)
	w.Must(http.StatusOK, http.MethodPost, "/key/generate", "sk-another-master", `{"team_id":"`+gateway.Payer+`"}`)
}

// TestRefusedBeforeLagoIsDiscarded has a proxy in front of Lago refuse every event of one call for ever: status and health show it, and
// the operator discards it by its id, while a call that is only pending cannot be discarded.
func TestRefusedBeforeLagoIsDiscarded(t *testing.T) {
	w := gateway.NewWorld(t, fakelago.Options{})
	w.Lago.Always(func(c *fakelago.Call) fakelago.Fault {
		if c.Batch() && c.Has("claude") {
			return fakelago.FaultHTML(http.StatusRequestEntityTooLarge)
		}
		return nil
	})
	w.Gateway = gateway.Start(t, "", w.Directives(t.TempDir(), ""))
	key := w.NewKey(`{"team_id":"` + gateway.Payer + `"}`)
	w.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, gateway.Chat("gpt-4o", "hi", false))
	a := w.Must(http.StatusOK, http.MethodPost, "/v1/messages", key, `{"model":"claude","max_tokens":5,"messages":[{"role":"user","content":"hi"}]}`)
	id := a.Header.Get("X-Litellm-Call-Id")
	bin, err := gateway.Build()
	require.NoError(t, err)
	billing := func(args ...string) (string, error) {
		out, err := exec.Command(bin, append([]string{"tollgate", "billing", "--address", w.Admin}, args...)...).CombinedOutput()
		return string(out), err
	}
	var status string
	require.Eventually(t, func() bool {
		status, err = billing("status")
		return err == nil && strings.Contains(status, "REFUSED") && strings.Contains(status, id)
	}, 60*time.Second, 50*time.Millisecond)
	require.Contains(t, status, "413")
	_, checks := ready(t, w.Gateway, "/health", http.StatusOK)
	require.Contains(t, checks["lagodefault"], "degraded something in front of Lago refuses events")

	out, err := billing("discard", "--all", "--reason", "test")
	require.NoError(t, err, out)
	require.Contains(t, out, "0 ", "what may still pass is discarded by its id alone")
	require.Eventually(t, func() bool { // it may be tried at just this moment
		out, err = billing("discard", id, "--reason", "the proxy will never take it")
		return err == nil
	}, 30*time.Second, 50*time.Millisecond, out)
	status, err = billing("status", "--wait", "10s")
	require.NoError(t, err)
	require.NotContains(t, status, "REFUSED")
	out, err = billing("events", "--json")
	require.NoError(t, err)
	require.Contains(t, out, "the proxy will never take it")
	_, err = billing("discard", id, "--reason", "again")
	require.Error(t, err)
	w.Settled(1)
}
