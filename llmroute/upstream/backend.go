// Package upstream makes one attempt at one backend, over Caddy's reverse proxy.
package upstream

import (
	"net/http"
	"net/url"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/tollgate-llm/tollgate/internal/body"
	"github.com/tollgate-llm/tollgate/llmroute/provider"
)

// Backend sends attempts to a provider's API.
type Backend struct {
	// Server is the API.
	Server *provider.Server
	// Auth is the value of the key's header; nil without a key.
	Auth []string
	// Timeout is how long the first byte of the answer may take; 0 for any time.
	Timeout time.Duration
	// RetryOn are the statuses of 401, 402 and 403 that are failures: the provider refuses the backend's key.
	RetryOn []int
	// Traced sends the headers of the request's trace upstream.
	Traced bool
	// Instead answers in place of the network; nil where there is a network to ask.
	Instead http.RoundTripper

	proxy       *reverseproxy.Handler
	denied      deniedOptions
	ownHost     bool // the configuration sets the Host header itself
	headerShown bool // the reverse proxy edits or logs the headers of requests
	oneWrite    bool // a request's header and body go in one write
}

// Provision makes the backend use a reverse proxy that was provisioned from what Config returned.
func (b *Backend) Provision(ctx caddy.Context, proxy *reverseproxy.Handler) {
	b.proxy = proxy
	proxy.HandleResponse = keepBack
	b.oneWrite = wired(proxy, b.Server.Base)
	b.ownHost = b.SetsHeader("Host")
	b.headerShown = proxy.Headers != nil && proxy.Headers.Request != nil || ctx.Logger(proxy).Core().Enabled(zap.DebugLevel)
}

// Available reports whether the reverse proxy takes calls, by its health checks and its bound of requests.
func (b *Backend) Available() bool {
	return b.Instead != nil || slices.ContainsFunc(b.proxy.Upstreams, (*reverseproxy.Upstream).Available)
}

var identity = []string{"identity"}

// complete makes the request what the provider is to get: to its host, with its key.
func (b *Backend) complete(r *http.Request, payload *body.Payload) error {
	r.Header["Accept-Encoding"] = identity // usage cannot be read out of a compressed answer
	if !b.ownHost {
		r.Host = b.Server.Base.Host
	}
	if b.Auth != nil {
		r.Header[b.Server.KeyHeader] = b.Auth
	}
	if b.Server.Signer == nil {
		return nil
	}
	return b.Server.Signer.Sign(r, payload)
}

// wired reports whether a request's header and body may go to a backend in one write: to a proxy there may be TLS.
func wired(proxy *reverseproxy.Handler, base *url.URL) bool {
	t, ours := proxy.Transport.(*Transport)
	if !ours || !t.oneWrite {
		return false
	}
	by, err := http.ProxyFromEnvironment(&http.Request{URL: base})
	return by == nil && err == nil // an error is met again, by each call
}
