package upstream

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"net/url"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// Context keys that the transports of Caddy's reverse proxy use. Caddy exports only the types of the values.
const (
	dialKey          = caddy.CtxKey("reverse_proxy.dial_info")
	proxyProtocolVar = "reverse_proxy.proxy_protocol_info"
)

// sentContext is the context of one request of an attempt. It has its own copy of Caddy's request variables,
// because the dial of an abandoned request may still read them while those of the next request are written.
type sentContext struct {
	context.Context
	dial *reverseproxy.DialInfo
	vars map[string]any
}

// Value returns the dial address and the variables.
func (c *sentContext) Value(key any) any {
	switch key {
	case dialKey:
		return *c.dial
	case caddyhttp.VarsCtxKey:
		return c.vars
	}
	return c.Context.Value(key)
}

// request makes a request for the attempt and, if requests are logged, a copy for the log. Its path is built
// from the endpoint table, never copied from the client.
func (x *exchange) request(ctx context.Context) (out, shown *http.Request, err error) {
	b := x.backend
	vars, _ := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any)
	vars = maps.Clone(vars)
	out = x.r.WithContext(x.watch(sentContext{ctx, &b.dial, vars}))
	out.URL = b.Server.URL(&x.Call)
	out.URL.Scheme, out.URL.Host = b.Server.Base.Scheme, b.dial.Address
	if b.byClient {
		out.URL.Host = clientHost(vars, out.URL.Host)
	}
	out.RequestURI = ""
	out.Host = b.Server.Base.Host
	out.Close = false
	out.TransferEncoding, out.Trailer = nil, nil
	out.Header = x.clientHeader()
	if b.ops != nil {
		out.Header = out.Header.Clone() // header operations change values in place
		for _, ops := range b.ops {
			ops.ApplyToRequest(out)
		}
	}
	if b.logger.Core().Enabled(zap.DebugLevel) {
		shown = out.Clone(ctx)
	}
	out.ContentLength = x.payload.Len() // it is covered by the signature
	if err := b.complete(out, x.payload); err != nil {
		return nil, nil, err
	}
	out.Body, out.GetBody = x.payload.Reader(), nil
	if x.payload.Whole() {
		out.GetBody = func() (io.ReadCloser, error) { return x.payload.Reader(), nil }
	}
	return out, shown, nil
}

// clientHost stores the client's address for the PROXY protocol, and returns a host name unique to that client,
// so that no connection is shared between clients.
func clientHost(vars map[string]any, host string) string {
	text, _ := vars[caddyhttp.ClientIPVarKey].(string)
	client, err := netip.ParseAddrPort(text)
	if err != nil {
		if addr, err := netip.ParseAddr(text); err == nil {
			client = netip.AddrPortFrom(addr, 0)
		}
	}
	vars[proxyProtocolVar] = reverseproxy.ProxyProtocolInfo{AddrPort: client}
	return url.QueryEscape(client.String() + "->" + host)
}
