package llmroute

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/tollgate-llm/tollgate/internal/body"
	"github.com/tollgate-llm/tollgate/internal/endpoint"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// provision loads the handler that a Caddyfile's llmroute directive describes, as Caddy does.
func provision(t testing.TB, text string) (*Handler, error) {
	t.Helper()
	h := new(Handler)
	if err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err != nil {
		return nil, err
	}
	config, err := json.Marshal(h)
	require.NoError(t, err)
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	require.NoError(t, err)
	own, cancel := caddy.NewContext(ctx)
	t.Cleanup(cancel)
	mod, err := own.LoadModuleByID("http.handlers.llmroute", config)
	if err != nil {
		return nil, err
	}
	h = mod.(*Handler)
	h.pause = time.Microsecond
	return h, nil
}

// gateway is a server around the handler, with what keyauth and lagobilling do reduced to filling in the call.
type gateway struct {
	*httptest.Server
	handler *Handler

	// prepare fills in the call before the handler sees it.
	prepare func(*llm.Call)
	mu      sync.Mutex
	calls   []*llm.Call
}

func start(t testing.TB, text string) *gateway {
	t.Helper()
	h, err := provision(t, text)
	require.NoError(t, err)
	g := &gateway{handler: h, prepare: func(c *llm.Call) { c.Keyed, c.Metered = true, true }}
	g.Server = httptest.NewServer(http.HandlerFunc(g.serve))
	t.Cleanup(g.Close)
	return g
}

func (g *gateway) serve(w http.ResponseWriter, r *http.Request) {
	ctx, call := llm.Ensure(r.Context())
	g.prepare(call)
	g.mu.Lock()
	g.calls = append(g.calls, call)
	g.mu.Unlock()
	if err := g.handler.ServeHTTP(w, prepared(w, r.WithContext(ctx)), nothing); err != nil {
		panic(http.ErrAbortHandler)
	}
}

var nothing = caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })

// prepared does what Caddy's server does for a request.
func prepared(w http.ResponseWriter, r *http.Request) *http.Request {
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, &caddyhttp.Server{})
	caddyhttp.SetVar(r.Context(), caddyhttp.ClientIPVarKey, "192.0.2.1")
	caddyhttp.SetVar(r.Context(), caddyhttp.TrustedProxyVarKey, false)
	return r
}

// last returns the latest call.
func (g *gateway) last() *llm.Call {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.calls[len(g.calls)-1]
}

// do sends a request with headers that are given as name, value, ... and returns the answer with its body.
func (g *gateway) do(t testing.TB, method, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, g.URL+path, strings.NewReader(body))
	require.NoError(t, err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp, string(text)
}

func (g *gateway) post(t testing.TB, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	return g.do(t, http.MethodPost, path, body, headers...)
}

// received is a request that an upstream got.
type received struct {
	method, uri, host, body string
	header                  http.Header
}

// fakeProvider is a provider that keeps what it gets and answers as it is told.
type fakeProvider struct {
	*httptest.Server
	mu     sync.Mutex
	got    []received
	answer http.HandlerFunc
}

const answered = `{"id":"x","choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`

// respond answers with a status and a body.
func respond(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func newUpstream(t testing.TB, answer http.HandlerFunc) *fakeProvider {
	t.Helper()
	u := &fakeProvider{answer: answer}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		u.mu.Lock()
		u.got = append(u.got, received{r.Method, r.RequestURI, r.Host, string(body), r.Header.Clone()})
		u.mu.Unlock()
		u.answer(w, r)
	}))
	t.Cleanup(u.Close)
	return u
}

// requests returns what the upstream got.
func (u *fakeProvider) requests() []received {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.got
}

func (u *fakeProvider) only(t testing.TB) received {
	t.Helper()
	got := u.requests()
	require.Len(t, got, 1)
	return got[0]
}

// dialing returns a transport whose connections all go to a socket.
func dialing(socket string) *http.Transport {
	return &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
}

// bodyOf scans a body.
func bodyOf(t testing.TB, text string) *body.Body {
	t.Helper()
	b, err := body.Parse([]byte(text))
	require.NoError(t, err)
	return b
}

// endpointAt returns the endpoint of a path.
func endpointAt(t testing.TB, path string) *endpoint.Endpoint {
	t.Helper()
	ep, _ := endpoint.Lookup(&url.URL{Path: path})
	require.NotNil(t, ep, path)
	return ep
}
