// Package upstream makes one attempt at one backend, over the transports of Caddy's reverse proxy.
package upstream

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/tollgate-llm/tollgate/internal/body"
	"github.com/tollgate-llm/tollgate/llmroute/provider"
)

// Backend sends attempts to a provider's API.
type Backend struct {
	// Server is the provider's API server.
	Server *provider.Server
	// Auth is the value of the header with the key. Nil without a key.
	Auth []string
	// Timeout is the time limit for the first byte of the answer. 0 means no limit.
	Timeout time.Duration
	// RetryOn are those of the statuses 401, 402 and 403 that count as failures, because the provider refuses
	// the backend's key.
	RetryOn []int
	// Traced forwards the request's trace headers upstream.
	Traced bool
	// Instead replaces the network transport. Nil means the network.
	Instead http.RoundTripper

	proxy    *reverseproxy.Handler // has the settings, transport and health checks, and serves no requests
	dial     reverseproxy.DialInfo
	ops      []*headers.HeaderOps // for requests
	health   *Health
	logger   *zap.Logger
	denied   deniedOptions
	ownHost  bool // the configuration sets the Host header
	byClient bool // connections are per client, for the PROXY protocol
}

// Provision takes the transport and health checks from a reverse proxy that was provisioned with the result of
// Config.
func (b *Backend) Provision(ctx caddy.Context, proxy *reverseproxy.Handler) error {
	health, ok := proxy.CB.(*Health)
	if !ok || len(proxy.Upstreams) != 1 {
		return errors.New("the reverse proxy is not of this backend")
	}
	addr, err := caddy.ParseNetworkAddress(proxy.Upstreams[0].Dial)
	if err != nil {
		return fmt.Errorf("address %s: %w", proxy.Upstreams[0].Dial, err)
	}
	b.proxy, b.health = proxy, health
	b.dial = reverseproxy.DialInfo{
		Upstream: proxy.Upstreams[0], Network: addr.Network, Address: addr.JoinHostPort(0),
		Host: addr.Host, Port: strconv.FormatUint(uint64(addr.StartPort), 10),
	}
	b.logger = ctx.Logger(proxy)
	switch t := proxy.Transport.(type) {
	case *reverseproxy.HTTPTransport: // only changes Host, which complete sets
	case reverseproxy.RequestHeaderOpsTransport:
		if ops := t.RequestHeaderOps(); ops != nil {
			b.ops = append(b.ops, ops)
			err = ops.Provision(ctx)
		}
	}
	if t, ok := proxy.Transport.(reverseproxy.ProxyProtocolTransport); ok {
		b.byClient = t.ProxyProtocolEnabled()
	}
	if proxy.Headers != nil && proxy.Headers.Request != nil {
		b.ops = append(b.ops, proxy.Headers.Request)
	}
	b.ownHost = b.SetsHeader("Host")
	return err
}

// Available reports whether the backend is healthy and below its maximum number of requests.
func (b *Backend) Available() bool {
	return b.Instead != nil || b.dial.Upstream.Available() && !b.health.full()
}

var identity = []string{"identity"}

// complete sets the provider's host and key on the request.
func (b *Backend) complete(r *http.Request, payload *body.Payload) error {
	r.Header["Accept-Encoding"] = identity // so that usage can be read from the answer
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
