package keyauth

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tollgate-llm/tollgate/app"
	"github.com/tollgate-llm/tollgate/app/limits"
	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/keystore"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/testkit"
)

const testMaster = "sk-master-of-the-tests"

// gate is a handler on a started app, and what it let through last.
type gate struct {
	t     *testing.T
	h     *Handler
	cache *keys.Cache
	seen  *http.Request // as the handler after it saw it; nil when the call was refused
	call  *llm.Call
	repl  *caddy.Replacer
}

func newGate(t *testing.T, s keystore.Store, now func() time.Time) *gate {
	t.Helper()
	c := newTestCache(t, s, now)
	a := (&app.App{}).CaddyModule().New().(*app.App)
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	require.NoError(t, a.Provision(ctx))
	g := &gate{t: t, cache: c}
	sum := keys.DigestOf(testMaster)
	g.h = &Handler{logger: zaptest.NewLogger(t), bounds: testBounds, master: &sum}
	g.h.keys = app.Use(a, t.Name(), func() (*keys.Cache, error) { return c, nil }, nil)
	var err error
	dir := t.TempDir()
	g.h.limits, err = limits.Use(a, limits.Config{
		Name: t.Name(), File: true, Logger: g.h.logger,
		Open: func() (limit.Store, io.Closer, error) { s, err := limit.OpenFile(dir); return s, nil, err },
	})
	require.NoError(t, err)
	require.NoError(t, a.Start())
	keeper, _, err := g.h.limits.Acquire(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, keeper.Close()) })
	// The directory is closed by its own cleanup, not by the app's.
	return g
}

func fileGate(t *testing.T) *gate {
	t.Helper()
	return newGate(t, openFileStore(t), time.Now)
}

func (g *gate) serve(r *http.Request) *httptest.ResponseRecorder {
	g.t.Helper()
	g.seen, g.call = nil, nil
	g.repl = caddy.NewReplacer()
	w := httptest.NewRecorder()
	r = caddyhttp.PrepareRequest(r, g.repl, w, &caddyhttp.Server{})
	require.NoError(g.t, g.h.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
		g.seen, g.call = r, llm.FromContext(r.Context())
		return nil
	})))
	return w
}

// do sends a request to the key API and returns the answer's status and members.
func (g *gate) do(method, target, key, body string) (int, map[string]any) {
	g.t.Helper()
	r := httptest.NewRequestWithContext(g.t.Context(), method, target, strings.NewReader(body))
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	w := g.serve(r)
	require.Nil(g.t, g.seen, "the key API is never passed on")
	var m map[string]any
	if b := w.Body.Bytes(); len(b) > 0 && b[0] == '{' {
		require.NoError(g.t, json.Unmarshal(b, &m))
	}
	return w.Code, m
}

func (g *gate) generate(body string) string {
	g.t.Helper()
	status, m := g.do("POST", "/key/generate", testMaster, body)
	require.Equal(g.t, 200, status, "%v", m)
	return m["key"].(string)
}

// model makes a model call with a key.
func (g *gate) model(key string) *httptest.ResponseRecorder {
	g.t.Helper()
	r := httptest.NewRequestWithContext(g.t.Context(), http.MethodPost, "/v1/chat/completions", nil)
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	return g.serve(r)
}

func TestBrowsersCanReadRefusals(t *testing.T) {
	g := fileGate(t)
	for origin, allowed := range map[string]string{"https://app.example": "*", "": ""} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/chat/completions", nil)
		r.Header.Set("Authorization", "Bearer sk-nobody-has-this-one")
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		w := g.serve(r)
		require.Equal(t, 401, w.Code)
		require.Equal(t, allowed, w.Header().Get("Access-Control-Allow-Origin"))
	}
}

func TestKeyFromAnyHeaderAndNoCredentialGoesOn(t *testing.T) {
	g := fileGate(t)
	key := g.generate(`{}`)
	for name, value := range map[string]string{
		"Authorization": "bearer " + key, "X-Api-Key": key, "Api-Key": key, "X-Goog-Api-Key": key,
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/x?a=1&key=sk-other&%6Bey=sk-third&b=%202&c=3;KEY=sk-fourth&key", nil)
		r.Header.Set(name, value)
		r.Header.Set("Cookie", "session=secret")
		r.Header.Set("OpenAI-Organization", "org")
		r.Header.Set("OpenAI-Project", "project")
		r.Header.Set("X-Other", "stays")
		w := g.serve(r)
		require.NotNil(t, g.seen, "%s: %s", name, w.Body)
		require.Equal(t, http.Header{"X-Other": {"stays"}}, g.seen.Header, name)
		require.Equal(t, "a=1&b=%202", g.seen.URL.RawQuery, "the rest of the query stays byte for byte")
		require.Equal(t, "/v1/x?a=1&b=%202", g.seen.RequestURI)
		require.True(t, g.call.Keyed)
	}
}

func TestSeveralCredentials(t *testing.T) {
	g := fileGate(t)
	key := g.generate(`{}`)
	send := func(headers ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/chat/completions", nil)
		for i := 0; i < len(headers); i += 2 {
			r.Header.Add(headers[i], headers[i+1])
		}
		return g.serve(r)
	}
	require.Equal(t, 200, send("Authorization", "Bearer "+key, "X-Api-Key", key).Code, "twice the same is one")
	for _, headers := range [][]string{
		{"Authorization", "Bearer sk-ant-oat01-of-the-client", "X-Api-Key", key},
		{"Authorization", "Bearer " + key, "X-Api-Key", "sk-another-one-altogether"},
		{"X-Api-Key", key, "X-Api-Key", "AIza-of-google"},
		{"X-Goog-Api-Key", "AIza-of-google", "Api-Key", key},
		{"Authorization", "Bearer eyJhbGciOi.jwt", "X-Api-Key", "sk-ant-api03-x", "X-Goog-Api-Key", "AIza-of-google", "Api-Key", key},
		{"Authorization", "Bearer " + strings.Repeat("x", 2*keys.MaxBytes), "X-Api-Key", testMaster},
	} {
		require.Equal(t, 200, send(headers...).Code, headers)
		require.Empty(t, g.seen.Header, "none of them goes on")
	}

	other := g.generate(`{}`)
	blocked := g.generate(`{"blocked": true}`)
	for _, headers := range [][]string{
		{"Authorization", "Bearer " + key, "X-Api-Key", other},
		{"Authorization", "Bearer " + key, "Api-Key", testMaster},
		{"Authorization", "Bearer " + blocked, "X-Api-Key", key},
		{"X-Api-Key", key, "X-Api-Key", other},
		{"Authorization", "Bearer sk-foreign", "X-Api-Key", key, "X-Goog-Api-Key", other},
		{"Authorization", "Bearer a", "X-Api-Key", "b", "X-Goog-Api-Key", "c", "Api-Key", "d", "Api-Key", key},
	} {
		w := send(headers...)
		require.Nil(t, g.seen)
		require.Equal(t, 400, w.Code, headers)
		require.Contains(t, w.Body.String(), "API keys")
		require.NotContains(t, w.Body.String(), key)
	}
	w := send("Authorization", "Bearer eyJhbGciOi.jwt", "X-Api-Key", "sk-that-was-deleted")
	require.Equal(t, 401, w.Code)
	require.Contains(t, w.Body.String(), "token_not_found_in_db", "the one that looks like a key of this gateway is named")

	require.Equal(t, 200, send("Authorization", "Basic dTpw", "X-Api-Key", key).Code, "another scheme is no API key")
	require.Nil(t, g.seen.Header["Authorization"], "but it does not go on either")
}

// TestCredentialsAreAskedForOnce holds that a foreign token beside the key costs no question to the store, call by call.
func TestCredentialsAreAskedForOnce(t *testing.T) {
	s := &countingStore{Store: openFileStore(t)}
	g := newGate(t, s, testkit.NewClock().Now)
	key := g.generate(`{}`)
	before := s.gets.Load()
	for range 3 {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/messages", nil)
		r.Header.Set("X-Api-Key", key)
		r.Header.Set("Authorization", "Bearer sk-ant-oat01-of-the-client")
		require.Equal(t, 200, g.serve(r).Code)
	}
	require.Equal(t, before+2, s.gets.Load())
}

// countingStore counts the records that are asked for.
type countingStore struct {
	keystore.Store
	gets atomic.Int64
}

func (s *countingStore) Get(ctx context.Context, kind keystore.Kind, id string) ([]byte, error) {
	s.gets.Add(1)
	return s.Store.Get(ctx, kind, id)
}

func openFileStore(t *testing.T) keystore.Store {
	t.Helper()
	s, err := keystore.OpenFile(t.TempDir())
	require.NoError(t, err)
	return s
}

func TestRefusals(t *testing.T) {
	c := testkit.NewClock()
	s, err := keystore.OpenFile(t.TempDir())
	require.NoError(t, err)
	g := newGate(t, s, c.Now)
	blocked := g.generate(`{"blocked":true}`)
	expiring := g.generate(`{"duration":"1h"}`)
	ofTeam := g.generate(`{"team_id":"t"}`)
	status, _ := g.do("POST", "/team/new", testMaster, `{"team_id":"t","blocked":true}`)
	require.Equal(t, 200, status)
	require.Equal(t, 200, g.model(expiring).Code)
	c.Forward(time.Hour)

	for _, tc := range []struct {
		key, typ string
		param    any
		message  string
	}{
		{"", "auth_error", "None", "Authentication Error, no API key was sent"},
		{"not-one-of-ours", "auth_error", "None", "begin with sk-"},
		{"sk-", "auth_error", "None", "begin with sk-"},
		{"sk-" + strings.Repeat("x", 600), "auth_error", "None", "too long"},
		{"sk-unknown-key-0000abcd", "token_not_found_in_db", "key", "Invalid proxy server token passed. Received API Key = sk-...abcd."},
		{blocked, "auth_error", "None", "Authentication Error, Key is blocked."},
		{ofTeam, "auth_error", "None", "Authentication Error, Team=t is blocked."},
		{expiring, "expired_key", keys.Abbreviate(expiring), "Authentication Error - Expired Key. Key Expiry time 2026-05-06T08:08:09Z"},
	} {
		w := g.model(tc.key)
		require.Nil(t, g.seen, tc.message)
		require.Equal(t, 401, w.Code, tc.message)
		require.Equal(t, "Bearer", w.Header().Get("WWW-Authenticate"))
		var e struct {
			Error struct {
				Message, Type, Code string
				Param               any
			}
		}
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &e))
		require.Contains(t, e.Error.Message, tc.message)
		require.Equal(t, tc.typ, e.Error.Type)
		require.Equal(t, tc.param, e.Error.Param)
		require.Equal(t, "401", e.Error.Code)
		if len(tc.key) > 20 {
			require.NotContains(t, w.Body.String(), tc.key[:20])
		}
		require.NotContains(t, w.Body.String(), keys.DigestOf(tc.key).String(), "LiteLLM leaks the hash, we do not")
	}
}

func TestRefusalInTheCallersShape(t *testing.T) {
	g := fileGate(t)
	for path, want := range map[string]string{
		"/v1/messages":                      `"type":"authentication_error"`,
		"/v1beta/models/g:generateContent":  `"status":"UNAUTHENTICATED"`,
		"/model/anthropic.claude/converse":  `{"message":`,
		"/v2/chat":                          `{"message":`,
		"/openai/deployments/x/completions": `"code":"401"`,
	} {
		w := g.serve(httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, nil))
		require.Equal(t, 401, w.Code)
		require.Contains(t, w.Body.String(), want, path)
	}
}

func TestKeyInTheURLIsRefusedWithWords(t *testing.T) {
	g := fileGate(t)
	key := g.generate(`{}`)
	w := g.serve(httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1beta/models/g:generateContent?key="+key, nil))
	require.Equal(t, 401, w.Code)
	require.Nil(t, g.seen)
	require.Contains(t, w.Body.String(), "send it in a header")
}

func TestPreflightPassesWithoutAKey(t *testing.T) {
	g := fileGate(t)
	preflight := func(origin, method string) *http.Request {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodOptions, "/v1/chat/completions", nil)
		r.Header.Set("Origin", origin)
		r.Header.Set("Access-Control-Request-Method", method)
		r.Header.Set("Cookie", "session=secret")
		return r
	}
	g.serve(preflight("https://example.com", "POST"))
	require.NotNil(t, g.seen)
	require.False(t, g.call.Keyed)
	g.call.Request.Asked = "any"
	require.Nil(t, g.call.Admit(t.Context()))
	require.NotContains(t, g.seen.Header, "Cookie")
	require.Equal(t, 401, g.serve(preflight("", "POST")).Code, "any other OPTIONS needs a key")
	require.Equal(t, 401, g.serve(preflight("https://example.com", "")).Code)
}

func TestIdentityOfACall(t *testing.T) {
	g := fileGate(t)
	status, _ := g.do("POST", "/team/new", testMaster,
		`{"team_id":"t","models":["gpt-*"],"model_aliases":{"fast":"gpt-mini"},"metadata":{"lago_subscription_id":"sub-team"}}`)
	require.Equal(t, 200, status)
	key := g.generate(`{"key_alias":"ann","user_id":"u","team_id":"t","models":["gpt-4o","o3"],"aliases":{"best":"gpt-4o"},
		"metadata":{"plan":"gold","seats":3,"fixed_payer":true}}`)
	require.Equal(t, 200, g.model(key).Code)
	id := g.call.Identity
	require.Equal(t, keys.DigestOf(key).String(), id.KeyHash)
	require.Equal(t, keys.Abbreviate(key), id.KeyName)
	require.Equal(t, "ann", id.KeyAlias)
	require.Equal(t, "u", id.UserID)
	require.Equal(t, "t", id.TeamID)
	require.Equal(t, "sub-team", id.Subscription, "a team's subscription pays for its keys")
	require.Equal(t, map[string]string{"plan": "gold"}, id.Metadata)
	require.Equal(t, map[string]string{"best": "gpt-4o", "fast": "gpt-mini"}, id.Aliases)
	require.True(t, id.FixedPayer)
	require.False(t, id.Master)
	for placeholder, want := range map[string]string{
		"{http.auth.user.id}": "ann", "{http.tollgate.key_alias}": "ann", "{http.tollgate.team_id}": "t", "{http.tollgate.user_id}": "u",
	} {
		require.Equal(t, want, g.repl.ReplaceAll(placeholder, ""))
	}

	unnamed := g.generate(`{"metadata":{"lago_subscription_id":"sub-key"},"team_id":"t"}`)
	require.Equal(t, 200, g.model(unnamed).Code)
	require.Equal(t, "sub-key", g.call.Identity.Subscription, "a key's own wins")
	require.Equal(t, keys.DigestOf(unnamed).String()[:12], g.repl.ReplaceAll("{http.auth.user.id}", ""))

	require.Equal(t, 200, g.model(testMaster).Code)
	require.True(t, g.call.Identity.Master)
	require.Equal(t, "master", g.call.Identity.KeyHash)
}

func TestAdmit(t *testing.T) {
	g := fileGate(t)
	status, _ := g.do("POST", "/team/new", testMaster, `{"team_id":"t","models":["gpt-*"]}`)
	require.Equal(t, 200, status)
	key := g.generate(`{"team_id":"t","models":["gpt-4o","o3"],"aliases":{"best":"gpt-4o"}}`)
	require.Equal(t, 200, g.model(key).Code)
	judge := func(asked, configured string) *llm.Error {
		_, c := llm.Ensure(context.Background())
		c.Identity, c.Request.Asked = g.call.Identity, asked
		if configured != "" {
			c.Plan(&llm.Target{Model: configured})
		}
		c.OnAdmit(admit)
		return c.Admit(context.Background())
	}
	require.Nil(t, judge("gpt-4o", ""))
	require.Nil(t, judge("best", ""), "the key's own alias")
	require.Nil(t, judge("gpt-4-turbo", "gpt-4o"), "an alias of the configuration")
	require.Nil(t, judge("", ""), "a call that names no model")
	e := judge("gpt-5", "gpt-5")
	require.Equal(t, 403, e.Status)
	require.Equal(t, "key_model_access_denied", e.Type)
	require.Equal(t, "model", e.Param)
	require.Contains(t, e.Message, "The requested model 'gpt-5' is not available for this API key, or the model name is invalid.")
	require.Equal(t, "team_model_access_denied", judge("o3", "").Type, "the team must allow it too")

	require.Equal(t, 200, g.model(testMaster).Code)
	require.Nil(t, judge("anything", ""))
}

func TestStoreDownIsNoOpenDoor(t *testing.T) {
	server := testkit.Redis(t)
	g := newGate(t, openRedis(server), time.Now)
	key := g.generate(`{}`)
	server.Stop()
	w := g.model("sk-never-seen-before-here")
	require.Nil(t, g.seen)
	require.Equal(t, 503, w.Code)
	require.Equal(t, "1", w.Header().Get("Retry-After"))
	require.NotContains(t, w.Body.String(), server.Addr)
	require.Equal(t, 200, g.model(testMaster).Code, "the master key needs no store")
	status, _ := g.do("POST", "/key/block", testMaster, `{"key":"`+key+`"}`)
	require.Equal(t, 503, status)
}

func TestWithoutMasterKeyThereIsNoKeyAPI(t *testing.T) {
	g := fileGate(t)
	key := g.generate(`{}`)
	g.h.master = nil
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/key/generate", nil)
	r.Header.Set("Authorization", "Bearer "+key)
	g.serve(r)
	require.NotNil(t, g.seen, "the path is passed on like any other")
	require.Equal(t, 401, g.model(testMaster).Code)
}

// BenchmarkServeHTTP is the whole handler: headers, hash, cache, placeholders.
func BenchmarkServeHTTP(b *testing.B) {
	s, err := keystore.OpenFile(b.TempDir())
	require.NoError(b, err)
	a := (&app.App{}).CaddyModule().New().(*app.App)
	h := &Handler{logger: nopLogger, bounds: testBounds}
	h.keys = app.Use(a, b.Name(), func() (*keys.Cache, error) { return keys.NewCache(s, nopLogger, time.Now), nil }, nil)
	require.NoError(b, a.Start())
	defer func() { require.NoError(b, a.Cleanup()) }()
	d, release, err := h.keys.Acquire(b.Context())
	require.NoError(b, err)
	_, key, err := keys.NewService(d, nil).Generate(b.Context(), keys.Fields{})
	require.NoError(b, err)
	release()
	next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/v1/chat/completions", nil)
	b.ReportAllocs()
	for b.Loop() {
		r.Header["Authorization"] = []string{"Bearer " + key}
		ctx := context.WithValue(b.Context(), caddy.ReplacerCtxKey, caddy.NewReplacer())
		if err := h.ServeHTTP(w, r.WithContext(ctx), next); err != nil {
			b.Fatal(err)
		}
	}
}
