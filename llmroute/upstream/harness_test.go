package upstream

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/tollgate-llm/tollgate/internal/body"
	"github.com/tollgate-llm/tollgate/internal/endpoint"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/llmroute/provider"
)

const chat = `{"model":"m","messages":[{"role":"user","content":"hi"}]}`

// backendAt returns a backend of OpenAI's API at a URL. settings are those of the reverse proxy, as JSON.
func backendAt(t testing.TB, base, settings string) *Backend {
	t.Helper()
	at, err := url.Parse(base)
	require.NoError(t, err)
	server, err := provider.Presets["openai"].Serve(at, new(provider.Options))
	require.NoError(t, err)
	var holder struct {
		Proxy json.RawMessage `caddy:"namespace=http.handlers inline_key=handler"`
	}
	holder.Proxy, err = Config(json.RawMessage(settings), at)
	require.NoError(t, err)
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	require.NoError(t, err)
	own, cancel := caddy.NewContext(ctx)
	t.Cleanup(cancel)
	mod, err := own.LoadModule(&holder, "Proxy")
	require.NoError(t, err)
	b := &Backend{Server: server}
	require.NoError(t, b.Provision(own, mod.(*reverseproxy.Handler)))
	return b
}

// request is a client's request, as Caddy's server prepares it for handlers that write to w.
func request(t testing.TB, w http.ResponseWriter) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/chat/completions", nil)
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, &caddyhttp.Server{})
	caddyhttp.SetVar(r.Context(), caddyhttp.ClientIPVarKey, "192.0.2.1")
	caddyhttp.SetVar(r.Context(), caddyhttp.TrustedProxyVarKey, false)
	return r
}

// attemptWith returns an attempt to send a body.
func attemptWith(t testing.TB, text string) Attempt {
	t.Helper()
	b, err := body.Parse([]byte(text))
	require.NoError(t, err)
	ep, _ := endpoint.Lookup(&url.URL{Path: "/v1/chat/completions"})
	return Attempt{
		Attempt: new(llm.Call).Begin(nil), Call: provider.Call{Endpoint: ep, Body: b, Upstream: "m"}, Metered: true, Last: true,
	}
}

// answering starts a provider that answers with chunks, each sent at once.
func answering(t testing.TB, status int, chunks ...string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		for _, chunk := range chunks {
			_, _ = io.WriteString(w, chunk)
			_ = http.NewResponseController(w).Flush()
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// inner returns the transport that a backend's connections belong to.
func inner(b *Backend) *http.Transport {
	return b.proxy.Transport.(*reverseproxy.HTTPTransport).Transport
}
