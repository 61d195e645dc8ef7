package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tollgate-llm/tollgate/internal/body"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/llmroute/provider"
)

// Attempt is what to send.
type Attempt struct {
	// Attempt is reported to.
	*llm.Attempt
	provider.Call
	// Metered is set where the answer's usage is read, so that a stream is asked for it.
	Metered bool
	// Limited is set where the answer tells of the caller's own rate limits, and so not of the provider's.
	Limited bool
	// Last is set where no other attempt follows a failure: the answer is passed on whatever its status.
	Last bool
	// Refused returns whether another attempt follows an answer that refuses the prompt, which is then not passed on. Nil where
	// none does.
	Refused func(Refusal) bool
	// Late returns whether the request's body did not arrive in time, for which its context is cancelled as for a hang-up. May be nil.
	Late func() bool
}

// Result is the outcome of an attempt.
type Result struct {
	Err        error         // why no answer was passed on; nil where one was
	Timeout    bool          // no answer came in time
	Status     int           // the status of an answer that was not passed on; 0 where none came
	RetryAfter time.Duration // what that answer asked to wait
	Refused    bool          // it refused the prompt, and Attempt.Refused wants another attempt
	KeyRefused int           // the status of Backend.RetryOn that was answered, passed on or not; 0 when none was
	Spent      bool          // the body cannot be sent again
}

// Fault describes the failure of an attempt that was over at that time.
func (r *Result) Fault(over time.Time) llm.Fault {
	f := llm.Fault{Over: over, Why: llm.FaultConnect, Status: r.Status}
	switch {
	case r.Refused:
		f.Why = llm.FaultRefused
	case r.Status != 0:
		f.Why = llm.FaultStatus
	case r.Timeout:
		f.Why = llm.FaultTimeout
	}
	return f
}

// exchange is an attempt on its way, and its answer.
type exchange struct {
	Attempt
	backend *Backend
	client  client
	header  http.Header // the client's
	payload *body.Payload
	sending *sending // the request that was sent last
	asks    bool     // the payload carries a stream_options.include_usage that the client did not ask for
	result  Result
}

var nothing = caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })

// Send makes an attempt for the request r and passes its answer on to w, unless another attempt may do better.
func (b *Backend) Send(w http.ResponseWriter, r *http.Request, a Attempt) Result {
	x := &exchange{Attempt: a, backend: b, client: client{ResponseWriter: w}, header: r.Header}
	x.prepare(x.Endpoint.Streams && x.Body.Stream && !x.Body.UsageAsked && x.Metered && !b.Server.NoStreamOptions && !b.denied.has(x.Upstream))
	err := b.proxy.ServeHTTP(&x.client, x.proxyRequest(r), nothing)
	if x.result.Refused {
		err = fmt.Errorf("the backend refused the prompt with %d", x.result.Status)
	}
	if err == nil {
		return Result{KeyRefused: x.result.KeyRefused}
	}
	if x.result.Status != 0 || r.Context().Err() == nil { // an attempt that was cut short by a hang-up did not fail
		x.SetFailed()
	}
	x.result.Err, x.result.Spent = err, x.payload.Spent()
	if f := failureOf(err); f != nil {
		x.result.Timeout = f.timeout
	}
	return x.result
}

// prepare makes the payload. With asks, it has stream_options.include_usage.
func (x *exchange) prepare(asks bool) {
	change := x.backend.Server.Change(&x.Call)
	change.Usage = asks
	if t := x.Target; t != nil && t.OutputCap > 0 {
		if member, within := llm.CapMember(&x.Endpoint.Endpoint, t); member != "" {
			change.OutputCap, change.CapMember, change.CapWithin = t.OutputCap, member, within
			change.Bounds = llm.BoundMembers(&x.Endpoint.Endpoint)
		}
	}
	x.asks, x.payload = asks, x.Body.Changed(change)
	x.SetUsageInjected(asks)
}

type exchangeKey struct{}

// exchangeContext is the context of one request of an attempt. It has its own copy of Caddy's request variables: the dial of a
// request that was given up may still read them while the reverse proxy writes those of the next one.
type exchangeContext struct {
	context.Context
	exchange *exchange
	vars     map[string]any
}

func withExchange(ctx context.Context, x *exchange) context.Context {
	vars, _ := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any)
	return &exchangeContext{ctx, x, maps.Clone(vars)}
}

// Value returns the exchange and its variables.
func (c *exchangeContext) Value(key any) any {
	switch key {
	case exchangeKey{}:
		return c.exchange
	case caddyhttp.VarsCtxKey:
		return c.vars
	}
	return c.Context.Value(key)
}

// failure is why an attempt has no answer to pass on. It hides a cancelled context, from which the reverse proxy would
// conclude that the client hung up.
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

// proxyRequest makes the request that the reverse proxy gets for one attempt. Its path is built from the table, never copied.
// RoundTrip adds the body, and the headers where the reverse proxy has no use for them.
func (x *exchange) proxyRequest(r *http.Request) *http.Request {
	b := x.backend
	out := r.WithContext(withExchange(r.Context(), x))
	out.URL = b.Server.URL(&x.Call)
	out.RequestURI = ""
	out.Host = b.Server.Base.Host
	out.Header = bare // the reverse proxy changes a copy
	if b.headerShown {
		out.Header = shown(r.Header, x.Endpoint.API, b.Traced)
	}
	out.TransferEncoding, out.Trailer = nil, nil
	out.ContentLength, out.Body, out.GetBody = 0, nil, nil
	return out
}

// carry makes the payload a request's body. oneWrite is that of Payload.Reader.
func carry(r *http.Request, payload *body.Payload, oneWrite bool) {
	r.ContentLength = payload.Len()
	r.Body = payload.Reader(oneWrite)
	r.GetBody = nil
	if payload.Whole() {
		r.GetBody = func() (io.ReadCloser, error) { return payload.Reader(oneWrite), nil }
	}
}
