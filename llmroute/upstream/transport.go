package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func init() {
	caddy.RegisterModule(new(Transport))
}

// Transport is what llmroute puts around the transport of each backend's reverse proxy; it is of no use elsewhere. It adds
// the provider's key to a copy of the request, so that no log line of the reverse proxy can hold it, and turns an answer
// that calls for another attempt into an error, so that nothing of it reaches the client. Requests that are not attempts
// of llmroute, such as those of health checks, pass as they are and without the key.
type Transport struct {
	// Inner is the transport that sends the request. Default: http.
	Inner json.RawMessage `json:"inner,omitempty" caddy:"namespace=http.reverse_proxy.transport inline_key=protocol"`

	next     http.RoundTripper
	oneWrite bool // a request's header and body may go in one write, unless there is a proxy
}

// CaddyModule returns the Caddy module information.
func (*Transport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.transport." + transportName,
		New: func() caddy.Module { return new(Transport) },
	}
}

const transportName = "llmroute"

// Provision loads the inner transport.
func (t *Transport) Provision(ctx caddy.Context) error {
	if len(t.Inner) == 0 {
		t.Inner = json.RawMessage(`{"protocol":"http"}`)
	}
	var by struct {
		NetworkProxy    json.RawMessage `json:"network_proxy"`
		ForwardProxyURL string          `json:"forward_proxy_url"`
	}
	if err := json.Unmarshal(t.Inner, &by); err != nil {
		return err
	}
	mod, err := ctx.LoadModule(t, "Inner")
	if err != nil {
		return fmt.Errorf("loading transport: %w", err)
	}
	next, ok := mod.(http.RoundTripper)
	if !ok {
		return fmt.Errorf("transport %T sends no requests", mod)
	}
	t.next = next
	t.wire()
	t.oneWrite = t.oneWrite && by.NetworkProxy == nil && by.ForwardProxyURL == ""
	return nil
}

const (
	// drainMax bounds what is read of an answer that is not passed on, so that its connection can serve again.
	drainMax = 64 << 10
	// drainTime bounds how long that may take.
	drainTime = time.Second
)

var errTimeout = errors.New("no answer began within the backend's timeout")

// RoundTrip sends an attempt's request.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	x, ok := r.Context().Value(exchangeKey{}).(*exchange)
	if !ok {
		return t.next.RoundTrip(r)
	}
	b := x.backend
	ctx := r.Context()
	var timer *time.Timer
	if b.Timeout > 0 {
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		timer = time.AfterFunc(b.Timeout, func() { cancel(errTimeout) })
	}
	next := t.next
	if b.Instead != nil {
		next = b.Instead
	}
	resp, err := x.send(next, r.WithContext(x.watch(ctx)))
	if err != nil && ctx.Err() == nil && x.stale(err) {
		t.closeIdle() // those that are left may have been closed by the backend too
		resp, err = x.send(next, r.WithContext(x.watch(withExchange(ctx, x))))
	}
	if err == nil && x.asks && optionsRefused(resp) {
		x.prepare(false)
		// It was the option only if the call passes without it: no client may take the usage of others away.
		if resp, err = x.send(next, r.WithContext(x.watch(withExchange(ctx, x)))); err == nil && resp.StatusCode < http.StatusBadRequest {
			b.denied.add(x.Upstream)
		}
	}
	why := NotRefused
	if err == nil && x.Refused != nil && !x.payload.Spent() {
		why = refusalOf(resp)
	}
	if timer != nil && !timer.Stop() && err == nil {
		err = errors.Join(errTimeout, resp.Body.Close())
	}
	if err != nil {
		if r.Context().Err() != nil && (x.Late == nil || !x.Late()) {
			return nil, err // the client hung up
		}
		return nil, failed(ctx, err)
	}
	if why != NotRefused && x.Refused(why) {
		x.result.Refused = true
		x.result.Status, resp.StatusCode = resp.StatusCode, statusKept
		return resp, nil
	}
	if resp, err = x.judge(r.Context(), resp); err == nil && !b.headerShown {
		// The reverse proxy encodes what it has of the request for a log that is off. It needs none of this any more.
		r.Header, r.TLS = nil, nil
	}
	return resp, err
}

// statusKept marks an answer that refused the prompt and is not passed on. The reverse proxy drops it without counting a
// failure of the backend, which did its part. No answer comes with it: a status has three digits.
const statusKept = 1000

// keepBack are the settings by which a reverse proxy drops answers of that status.
var keepBack = []caddyhttp.ResponseHandler{{Match: &caddyhttp.ResponseMatcher{StatusCode: []int{statusKept}}}}

// send completes the request and sends it.
func (x *exchange) send(next http.RoundTripper, out *http.Request) (*http.Response, error) {
	out.Header = x.upstreamHeader(out.Header)
	if err := x.backend.complete(out, x.payload); err != nil {
		return nil, err
	}
	carry(out, x.payload, x.backend.oneWrite && shortHeader(out))
	resp, err := next.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	if err := decode(resp); err != nil {
		return nil, err
	}
	return resp, nil
}

// failed is the failure of a request that got no answer.
func failed(ctx context.Context, err error) *failure {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return &failure{reason: err.Error(), timeout: errors.Is(err, errTimeout) || timedOut(err)}
}

// timedOut reports whether a timeout of the transport, such as response_header_timeout, ended a request.
func timedOut(err error) bool {
	var net interface{ Timeout() bool }
	return errors.As(err, &net) && net.Timeout()
}

// judge passes an answer on, or keeps it back because another attempt is to be made.
func (x *exchange) judge(ctx context.Context, resp *http.Response) (*http.Response, error) {
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return nil, errors.Join(&failure{reason: "the backend switched protocols unasked"}, resp.Body.Close())
	}
	if slices.Contains(x.backend.RetryOn, resp.StatusCode) {
		x.result.KeyRefused = resp.StatusCode
	}
	if x.Last || !goesOn(resp.StatusCode) && x.result.KeyRefused == 0 || x.payload.Spent() {
		a := &answer{ReadCloser: resp.Body, attempt: x.Attempt.Attempt, client: &x.client, unbounded: resp.ContentLength < 0}
		if hasBody(resp) {
			if err := a.begin(resp.Header.Get("Content-Type")); err != nil {
				return nil, unbegun(ctx, resp, err)
			}
		}
		x.SetAnswered()
		resp.Body = a
		for _, name := range removed {
			delete(resp.Header, name)
		}
		for name := range resp.Header {
			if strings.HasPrefix(name, gatewayHeaders) || strings.HasPrefix(name, "X-Tollgate-") || x.Limited && isRate(name) {
				delete(resp.Header, name)
			}
		}
		return resp, nil
	}
	x.result.Status = resp.StatusCode
	x.result.RetryAfter = retryAfter(resp.Header)
	// Closing the body makes a read that takes too long return.
	timer := time.AfterFunc(drainTime, func() { _ = resp.Body.Close() })
	_, err := io.CopyN(io.Discard, resp.Body, drainMax)
	timer.Stop()
	if closed := resp.Body.Close(); err == nil || errors.Is(err, io.EOF) {
		err = closed
	}
	reason := fmt.Sprintf("the backend answered %d", resp.StatusCode)
	if err != nil {
		reason += ": " + err.Error()
	}
	return nil, &failure{reason: reason}
}

// hasBody reports whether an answer is one of a model, which is never empty.
func hasBody(resp *http.Response) bool {
	return resp.StatusCode >= http.StatusOK && resp.StatusCode < http.StatusMultipleChoices && resp.StatusCode != http.StatusNoContent
}

// unbegun is the error of an answer of which only the header came.
func unbegun(ctx context.Context, resp *http.Response, err error) error {
	err = errors.Join(err, resp.Body.Close())
	if ctx.Err() != nil {
		return err // the client hung up
	}
	return &failure{reason: fmt.Sprintf("the backend answered %d, and then: %v", resp.StatusCode, err)}
}

// removed are headers of answers that are not for the client: the provider's cookies, the names of the operator's account,
// and answers about cross-origin calls, which the gateway gives itself.
var removed = [...]string{
	"Set-Cookie", "Openai-Organization", "Openai-Project", "Anthropic-Organization-Id", "Access-Control-Allow-Origin",
	"Access-Control-Allow-Credentials", "Access-Control-Allow-Headers", "Access-Control-Allow-Methods", "Access-Control-Expose-Headers",
}

// gatewayHeaders begin the names of the headers in which a gateway reports its costs and ids. Those of a gateway behind this
// one are about the operator's account there.
const gatewayHeaders = "X-Litellm-"

// isRate reports whether a header is about a provider's rate limits: those of the operator's account, not of the caller's key.
func isRate(name string) bool {
	return strings.HasPrefix(name, "X-Ratelimit-") || strings.HasPrefix(name, "Anthropic-Ratelimit-")
}

// goesOn reports whether an answer calls for another attempt.
func goesOn(status int) bool {
	return status == http.StatusRequestTimeout || status == http.StatusTooManyRequests || status >= 500
}

// retryAfter reads a Retry-After in seconds, the only form that model providers send.
func retryAfter(h http.Header) time.Duration {
	d, err := time.ParseDuration(h.Get("Retry-After") + "s")
	if err != nil || d < 0 {
		return 0
	}
	return d
}

// closeIdle closes the connections to the backend that no call uses.
func (t *Transport) closeIdle() {
	if inner, ok := t.next.(*reverseproxy.HTTPTransport); ok {
		inner.Transport.CloseIdleConnections()
	}
}

// ProxyProtocolEnabled passes the question on.
func (t *Transport) ProxyProtocolEnabled() bool {
	p, ok := t.next.(reverseproxy.ProxyProtocolTransport)
	return ok && p.ProxyProtocolEnabled()
}

// OverrideHealthCheckScheme passes the request on.
func (t *Transport) OverrideHealthCheckScheme(base *url.URL, port string) {
	if o, ok := t.next.(reverseproxy.HealthCheckSchemeOverriderTransport); ok {
		o.OverrideHealthCheckScheme(base, port)
	}
}

// RequiresContentLength passes the question on.
func (t *Transport) RequiresContentLength() bool {
	c, ok := t.next.(reverseproxy.ContentLengthRequiredTransport)
	return ok && c.RequiresContentLength()
}

// DefaultBufferSizes passes the question on.
func (t *Transport) DefaultBufferSizes() (request, response int64) {
	if b, ok := t.next.(reverseproxy.BufferedTransport); ok {
		return b.DefaultBufferSizes()
	}
	return 0, 0
}

// Interface guards.
var (
	_ caddy.Provisioner                                = (*Transport)(nil)
	_ http.RoundTripper                                = (*Transport)(nil)
	_ reverseproxy.ProxyProtocolTransport              = (*Transport)(nil)
	_ reverseproxy.HealthCheckSchemeOverriderTransport = (*Transport)(nil)
	_ reverseproxy.ContentLengthRequiredTransport      = (*Transport)(nil)
	_ reverseproxy.BufferedTransport                   = (*Transport)(nil)
)
