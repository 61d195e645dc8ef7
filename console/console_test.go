package console_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// start runs a gateway with the console and one mock model.
func start(t *testing.T, console string) *gateway.Gateway {
	t.Helper()
	return gateway.Start(t, "", console+gateway.DemoSite(t.TempDir(), t.TempDir(), ""))
}

// browser is a client with cookies that follows redirects and records each URL.
type browser struct {
	t testing.TB
	g *gateway.Gateway
	*http.Client
	seen []string // URLs and pages
}

func open(t testing.TB, g *gateway.Gateway) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &browser{t: t, g: g, Client: &http.Client{Jar: jar}}
}

func (b *browser) read(res *http.Response, err error) (int, string) {
	b.t.Helper()
	require.NoError(b.t, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(b.t, err)
	require.NoError(b.t, res.Body.Close())
	b.seen = append(b.seen, res.Request.URL.String(), string(body))
	return res.StatusCode, string(body)
}

func (b *browser) get(path string) (int, string) {
	b.t.Helper()
	return b.read(b.Get(b.g.URL(path)))
}

func (b *browser) page(path string) string {
	b.t.Helper()
	status, body := b.get(path)
	require.Equal(b.t, http.StatusOK, status, body)
	return body
}

func (b *browser) post(path string, f url.Values) (int, string) {
	b.t.Helper()
	return b.read(b.PostForm(b.g.URL(path), f))
}

func (b *browser) signIn(key string) (int, string) {
	b.t.Helper()
	return b.post("/console/", url.Values{"do": {"sign-in"}, "key": {key}})
}

var tokenField = regexp.MustCompile(`name="form" value="([^"]+)"`)

// token returns the form token of a page.
func (b *browser) token(page string) string {
	b.t.Helper()
	m := tokenField.FindStringSubmatch(page)
	require.NotNil(b.t, m, page)
	return m[1]
}

// change requests a change and confirms it.
func (b *browser) change(do string, fields ...string) (int, string) {
	b.t.Helper()
	f := url.Values{"do": {do}, "form": {b.token(b.page("/console/"))}}
	for i := 0; i+1 < len(fields); i += 2 {
		f.Set(fields[i], fields[i+1])
	}
	status, asked := b.post("/console/", f)
	require.Equal(b.t, http.StatusOK, status, asked)
	require.Contains(b.t, asked, "Nothing is changed yet")
	f.Set("sure", "yes")
	return b.post("/console/", f)
}

func TestSignIn(t *testing.T) {
	g := start(t, "console")
	b := open(t, g)
	status, form := b.get("/console")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, form, `name="key"`)
	require.NotContains(t, form, "<nav")
	for _, path := range []string{"/console/calls", "/console/decide", "/console/now"} {
		_, body := b.get(path)
		require.Contains(t, body, `name="key"`, "nothing is shown before")
	}

	status, body := b.signIn("sk-of-no-one-at-all")
	require.Equal(t, http.StatusUnauthorized, status)
	require.Contains(t, body, "unknown")
	require.NotContains(t, body, "sk-of-no-one")

	status, body = b.signIn(gateway.MasterKey)
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, "<nav")
	require.Contains(t, body, "Calls in flight")

	res, err := b.Get(g.URL("/console/"))
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	policy := res.Header.Get("Content-Security-Policy")
	require.Contains(t, policy, "default-src 'none'")
	require.NotContains(t, policy, "unsafe")
	require.Equal(t, "no-store", res.Header.Get("Cache-Control"))

	_, body = b.post("/console/", url.Values{"do": {"sign-out"}, "form": {b.token(body)}})
	require.NotContains(t, body, "<nav")
	_, body = b.get("/console/")
	require.NotContains(t, body, "<nav")
}

// TestCookie checks the session cookie: no script may read it, and it is sent only to the console and not from other sites.
func TestCookie(t *testing.T) {
	g := start(t, "console")
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.PostForm(g.URL("/console/"), url.Values{"do": {"sign-in"}, "key": {gateway.MasterKey}})
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusSeeOther, res.StatusCode)
	require.Len(t, res.Cookies(), 1)
	c := res.Cookies()[0]
	require.True(t, c.HttpOnly)
	require.Equal(t, http.SameSiteStrictMode, c.SameSite)
	require.Equal(t, "/console/", c.Path)
	require.False(t, c.Secure, "the site has no TLS")
	require.NotContains(t, c.Value, "master")
}

func TestConsoleIsOffUnlessItIsOn(t *testing.T) {
	for _, directive := range []string{"", "console off"} {
		g := start(t, directive)
		a, err := g.Do(http.MethodGet, "/console/", "", "")
		require.NoError(t, err)
		require.Equal(t, http.StatusUnauthorized, a.Status, "the path belongs to keyauth, like any other")
		require.NotContains(t, a.Body, "<html")
		gateway.Stop(t)
	}
}

func TestSignInIsLimited(t *testing.T) {
	g := start(t, "console")
	b := open(t, g)
	limited := false
	for i := range 30 {
		status, body := b.signIn(fmt.Sprintf("sk-guess-number-%d", i))
		if limited = status == http.StatusTooManyRequests; limited {
			require.Contains(t, body, "Too many")
			break
		}
		require.Equal(t, http.StatusUnauthorized, status)
	}
	require.True(t, limited)
	status, _ := b.signIn(gateway.MasterKey)
	require.Equal(t, http.StatusTooManyRequests, status, "a right guess looks like a wrong one")
}

// TestFormsOfOthers submits a change without the session's token, and one that another site made a browser submit.
func TestFormsOfOthers(t *testing.T) {
	g := start(t, "console")
	b := open(t, g)
	_, page := b.signIn(gateway.MasterKey)
	for _, token := range []string{"", "x", b.token(page)[1:]} {
		status, body := b.post("/console/", url.Values{"do": {"sign-out"}, "form": {token}})
		require.Equal(t, http.StatusForbidden, status)
		require.Contains(t, body, "does not belong to your session")
	}
	for _, header := range [][2]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"}} {
		req, err := http.NewRequest(http.MethodPost, g.URL("/console/"), strings.NewReader(url.Values{"do": {"sign-out"}, "form": {b.token(page)}}.Encode()))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set(header[0], header[1])
		status, body := b.read(b.Do(req))
		require.Equal(t, http.StatusForbidden, status, header)
		require.Contains(t, body, "another site")
	}
	require.Contains(t, b.page("/console/"), "<nav", "the session is as it was")
}

// TestABlockEndsTheSession blocks a key whose holder is signed in.
func TestABlockEndsTheSession(t *testing.T) {
	g := start(t, "console")
	key := g.NewKey(`{"team_id":"blue"}`)
	b := open(t, g)
	_, body := b.signIn(key)
	require.Contains(t, body, "<nav")
	g.Must(http.StatusOK, http.MethodPost, "/key/block", gateway.MasterKey, fmt.Sprintf(`{"key":%q}`, key))
	require.NotContains(t, b.page("/console/calls"), "<nav")
	g.Must(http.StatusOK, http.MethodPost, "/key/unblock", gateway.MasterKey, fmt.Sprintf(`{"key":%q}`, key))
	require.NotContains(t, b.page("/console/calls"), "<nav", "it does not come back")
}

func TestNoKeyInAnAddress(t *testing.T) {
	g := start(t, "console")
	b := open(t, g)
	status, body := b.get("/console/?key=" + gateway.MasterKey)
	require.Equal(t, http.StatusBadRequest, status)
	require.NotContains(t, body, gateway.MasterKey)
	require.NotContains(t, b.page("/console/"), "<nav")
}

// TestReloadKeepsSessions reloads the configuration.
func TestReloadKeepsSessions(t *testing.T) {
	g := start(t, "console")
	b := open(t, g)
	b.signIn(gateway.MasterKey)
	g.Load()
	g.AwaitAnswer()
	b.CloseIdleConnections() // connections to the servers before the reload
	require.Contains(t, b.page("/console/"), "<nav")
}
