package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

const (
	// drainMax is how much of a discarded answer is read to reuse its connection.
	drainMax = 64 << 10
	// drainTime is the time limit for that.
	drainTime = time.Second
)

var errTimeout = errors.New("no answer began within the backend's timeout")

// ErrUnavailable is returned if no attempt was made because the backend is unhealthy or at its maximum number of
// requests.
var ErrUnavailable = errors.New("the backend is not available")

// clientGone is the status of a call whose client hung up before the answer. It is never sent.
const clientGone = 499

// forward makes the attempt and passes its answer on, unless it returns an error.
func (x *exchange) forward() error {
	b := x.backend
	if b.health.full() || b.proxy.LoadBalancing.SelectionPolicy.Select(b.proxy.Upstreams, x.r, x.w) == nil {
		return ErrUnavailable
	}
	b.health.state.requests.Add(1)
	defer b.health.state.requests.Add(-1)
	if x.Shown != nil {
		x.Shown.last = x
	}
	x.begun = time.Now()
	defer func() { x.took = time.Since(x.begun) }()
	a, err := x.ask(x.r.Context())
	x.hints.Lock()
	x.answering = true
	x.hints.Unlock()
	x.answered = time.Now()
	switch {
	case err == nil:
		b.health.RecordMetric(a.resp.StatusCode, x.answered.Sub(x.begun))
		x.pass(a)
		return nil
	case errors.Is(err, context.Canceled):
		x.w.WriteHeader(clientGone)
		return nil
	case !x.result.Refused && !x.unsent(): // if either is set, the backend did not fail
		b.health.failed()
	}
	return err
}

// unsent reports whether the request could not be sent because the client's body was incomplete or malformed.
func (x *exchange) unsent() bool { return x.Body.Fault() != nil || x.Late != nil && x.Late() }

// ask sends the request until there is an answer to pass on, a failure or a hang-up.
func (x *exchange) ask(ctx context.Context) (*answer, error) {
	b := x.backend
	var timer *time.Timer
	if b.Timeout > 0 {
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		timer = time.AfterFunc(b.Timeout, func() { cancel(errTimeout) })
	}
	resp, err := x.send(ctx) //nolint:bodyclose // optionsRefused, judge and pass close it
	if err != nil && ctx.Err() == nil && x.stale(err) {
		b.closeIdle()           // the backend may have closed the remaining ones too
		resp, err = x.send(ctx) //nolint:bodyclose // as above
	}
	if err == nil && x.asks && optionsRefused(resp) {
		x.prepare(false)
		// Blame stream_options only if the call succeeds without it. Otherwise one client could turn off usage
		// for others.
		if resp, err = x.send(ctx); err == nil && resp.StatusCode < http.StatusBadRequest {
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
		if x.r.Context().Err() != nil && (x.Late == nil || !x.Late()) {
			return nil, err // the client hung up
		}
		return nil, failed(ctx, err)
	}
	if why != NotRefused && x.Refused(why) {
		x.result.Refused = true
		x.result.Status = resp.StatusCode
		err := &failure{reason: fmt.Sprintf("the backend refused the prompt with %d", resp.StatusCode)}
		return nil, errors.Join(err, resp.Body.Close())
	}
	return x.judge(x.r.Context(), resp)
}

// send makes a request and sends it.
func (x *exchange) send(ctx context.Context) (*http.Response, error) {
	out, shown, err := x.request(ctx)
	if err != nil {
		return nil, err
	}
	network := x.backend.proxy.Transport
	if x.backend.Instead != nil {
		network = x.backend.Instead
	}
	resp, err := network.RoundTrip(out)
	x.log(shown, resp, err)
	if err != nil {
		return nil, err
	}
	if err := decode(resp); err != nil {
		return nil, err
	}
	return resp, nil
}

// failed returns the failure of a request that got no answer.
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

// judge returns an answer to pass on, or an error if another attempt should be made.
func (x *exchange) judge(ctx context.Context, resp *http.Response) (*answer, error) {
	if resp.StatusCode < http.StatusOK { // no other protocol was requested, and a status is at least 100
		return nil, errors.Join(&failure{reason: fmt.Sprintf("the backend answered %d, which ends no call", resp.StatusCode)}, resp.Body.Close())
	}
	if slices.Contains(x.backend.RetryOn, resp.StatusCode) {
		x.result.KeyRefused = resp.StatusCode
	}
	if x.Last || !goesOn(resp.StatusCode) && x.result.KeyRefused == 0 || x.payload.Spent() {
		a := &answer{resp: resp, attempt: x.Attempt.Attempt}
		if hasBody(resp) {
			if err := a.begin(resp.Header.Get("Content-Type")); err != nil {
				return nil, unbegun(ctx, resp, err)
			}
		}
		if goesOn(a.fault) && !x.Last && !x.payload.Spent() {
			a.release()
			return nil, x.declined(resp, a.fault)
		}
		if x.Translation() != nil {
			x.permission(resp)
		}
		x.SetAnswered()
		return a, nil
	}
	return nil, x.declined(resp, resp.StatusCode)
}

// declined discards an answer with that status, so that another attempt can be made.
func (x *exchange) declined(resp *http.Response, status int) error {
	x.result.Status = status
	x.result.RetryAfter = retryAfter(resp.Header)
	// Closing the body interrupts a slow read.
	timer := time.AfterFunc(drainTime, func() { _ = resp.Body.Close() })
	_, err := io.CopyN(io.Discard, resp.Body, drainMax)
	timer.Stop()
	if closed := resp.Body.Close(); err == nil || errors.Is(err, io.EOF) {
		err = closed
	}
	reason := fmt.Sprintf("the backend answered %d", status)
	if err != nil {
		reason += ": " + err.Error()
	}
	return &failure{reason: reason}
}

// hasBody reports whether an answer must have a body, as a model's answer does.
func hasBody(resp *http.Response) bool {
	return resp.StatusCode >= http.StatusOK && resp.StatusCode < http.StatusMultipleChoices && resp.StatusCode != http.StatusNoContent
}

// unbegun returns the error for an answer whose body is missing.
func unbegun(ctx context.Context, resp *http.Response, err error) error {
	err = errors.Join(err, resp.Body.Close())
	if ctx.Err() != nil {
		return err // the client hung up
	}
	return &failure{reason: fmt.Sprintf("the backend answered %d, and then: %v", resp.StatusCode, err)}
}

// goesOn reports whether an answer with that status calls for another attempt.
func goesOn(status int) bool {
	return status == http.StatusRequestTimeout || status == http.StatusTooManyRequests || status >= 500
}

// retryAfter parses a Retry-After in seconds, the only form that model providers send.
func retryAfter(h http.Header) time.Duration {
	d, err := time.ParseDuration(h.Get("Retry-After") + "s")
	if err != nil || d < 0 {
		return 0
	}
	return d
}

// closeIdle closes idle connections to the backend.
func (b *Backend) closeIdle() {
	if t, ok := b.proxy.Transport.(*reverseproxy.HTTPTransport); ok {
		t.Transport.CloseIdleConnections()
	}
}
