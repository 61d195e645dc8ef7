package llmroute

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/tollgate-llm/tollgate/internal/body"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/llmroute/provider"
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
	return nil
}

const (
	// drainMax bounds what is read of an answer that is not passed on, so that its connection can serve again.
	drainMax = 64 << 10
	// drainTime bounds how long that may take.
	drainTime = time.Second
)

// attempt is what the RoundTrip of an attempt needs to know, and what it tells. One serves all attempts of a call, as they
// follow each other.
type attempt struct {
	*llm.Attempt
	provider.Call
	backend *Backend
	client  *client
	header  http.Header // the client's
	payload *body.Payload
	asks    bool     // the payload carries a stream_options.include_usage that the client did not ask for
	tries   []try    // this attempt and those that may follow it
	detours *detours // nil where the model has none

	status     int           // the status of an answer that was not passed on; 0 when there was none
	retryAfter time.Duration // what that answer asked to wait
	instead    []try         // the attempts to make after an answer that refused the prompt
}

// last says that no attempt follows a failure.
func (a *attempt) last() bool { return len(a.tries) == 1 }

// prepare makes the payload. asks says whether stream_options.include_usage is put in.
func (a *attempt) prepare(asks bool) {
	change := a.backend.server.Change(&a.Call)
	change.Usage = asks
	a.asks, a.payload = asks, a.Body.Changed(change)
	a.SetUsageInjected(asks)
}

type attemptKey struct{}

// attemptContext is the context of one request of an attempt. It has its own copy of Caddy's request variables: the dial of a
// request that was given up may still read them while the reverse proxy writes those of the next one.
type attemptContext struct {
	context.Context
	attempt *attempt
	vars    map[string]any
}

func withAttempt(ctx context.Context, a *attempt) context.Context {
	vars, _ := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any)
	return &attemptContext{ctx, a, maps.Clone(vars)}
}

// Value returns the attempt and its variables.
func (c *attemptContext) Value(key any) any {
	switch key {
	case attemptKey{}:
		return c.attempt
	case caddyhttp.VarsCtxKey:
		return c.vars
	}
	return c.Context.Value(key)
}

// failure is the outcome of an attempt that nothing was passed on of. It hides a cancelled context, of which the reverse
// proxy would conclude that the client hung up.
type failure struct {
	reason  string
	timeout bool
}

func (f *failure) Error() string { return f.reason }

// failureOf finds the failure within an error of the reverse proxy.
func failureOf(err error) *failure {
	f, _ := errors.AsType[*failure](err)
	return f
}

var errTimeout = errors.New("no answer began within the backend's timeout")

// RoundTrip sends an attempt's request.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	a, ok := r.Context().Value(attemptKey{}).(*attempt)
	if !ok {
		return t.next.RoundTrip(r)
	}
	b := a.backend
	ctx := r.Context()
	var timer *time.Timer
	if b.timeout > 0 {
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		timer = time.AfterFunc(b.timeout, func() { cancel(errTimeout) })
	}
	next := t.next
	if b.mock != nil {
		next = b.mock
	}
	resp, err := a.send(next, r.WithContext(a.watch(ctx)))
	if err == nil && a.asks && optionsRefused(resp) {
		a.prepare(false)
		// It was the option only if the call passes without it: no client may take the usage of others away.
		if resp, err = a.send(next, r.WithContext(a.watch(withAttempt(ctx, a)))); err == nil && resp.StatusCode < http.StatusBadRequest {
			b.denied.add(a.Upstream)
		}
	}
	why := noObjection
	if err == nil && a.detours != nil && !a.payload.Spent() {
		why = objectionOf(resp)
	}
	if timer != nil && !timer.Stop() && err == nil {
		err = errors.Join(errTimeout, resp.Body.Close())
	}
	if err != nil {
		if r.Context().Err() != nil {
			return nil, err // the client hung up
		}
		return nil, failed(ctx, err)
	}
	if why != noObjection {
		if a.instead = a.detours.next(why, a.tries); len(a.instead) > 0 {
			a.status, resp.StatusCode = resp.StatusCode, statusKept
			return resp, nil
		}
	}
	if resp, err = a.judge(resp); err == nil && !b.headerShown {
		// The reverse proxy encodes what it has of the request for lines that nobody may read. It needs none of this any more.
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
func (a *attempt) send(next http.RoundTripper, out *http.Request) (*http.Response, error) {
	out.Header = a.upstreamHeader(out.Header)
	if err := a.backend.complete(out, a.payload); err != nil {
		return nil, err
	}
	carry(out, a.payload, a.backend.oneWrite && shortHeader(out))
	return next.RoundTrip(out)
}

// failed tells why a request got no answer.
func failed(ctx context.Context, err error) *failure {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	var net interface{ Timeout() bool }
	return &failure{reason: err.Error(), timeout: errors.Is(err, errTimeout) || errors.As(err, &net) && net.Timeout()}
}

// judge passes an answer on, or keeps it back because another attempt is to be made.
func (a *attempt) judge(resp *http.Response) (*http.Response, error) {
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return nil, errors.Join(&failure{reason: "the backend switched protocols unasked"}, resp.Body.Close())
	}
	if a.last() || !goesOn(resp.StatusCode) || a.payload.Spent() {
		a.SetAnswered()
		resp.Body = &answer{ReadCloser: resp.Body, attempt: a.Attempt, client: a.client, unbounded: resp.ContentLength < 0}
		for _, name := range kept {
			delete(resp.Header, name)
		}
		for name := range resp.Header {
			if strings.HasPrefix(name, gatewayHeaders) {
				delete(resp.Header, name)
			}
		}
		return resp, nil
	}
	a.status = resp.StatusCode
	a.retryAfter = retryAfter(resp.Header)
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

// kept are headers of answers that are not for the client: the provider's cookies, the names of the operator's own account,
// and answers about cross-origin calls, which the gateway gives itself.
var kept = [...]string{
	"Set-Cookie", "Openai-Organization", "Openai-Project", "Anthropic-Organization-Id", "Access-Control-Allow-Origin",
	"Access-Control-Allow-Credentials", "Access-Control-Allow-Headers", "Access-Control-Allow-Methods", "Access-Control-Expose-Headers",
}

// gatewayHeaders begin the names of the headers in which a gateway tells costs and ids of its own. Those of a gateway that
// stands behind this one are about the operator's account there.
const gatewayHeaders = "X-Litellm-"

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

var identity = []string{"identity"}

// complete makes the request what the provider is to get: to its host, with its key.
func (b *Backend) complete(r *http.Request, payload *body.Payload) error {
	r.Header["Accept-Encoding"] = identity // usage cannot be read out of a compressed answer
	if !b.ownHost {
		r.Host = b.server.Base.Host
	}
	if b.auth != nil {
		r.Header[b.server.KeyHeader] = b.auth
	}
	if b.server.Signer == nil {
		return nil
	}
	return b.server.Signer.Sign(r, payload)
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
