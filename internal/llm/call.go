// Package llm holds what the three handlers know about one request: they meet in the Call, which each finds in the
// request's context, and never import each other.
package llm

import (
	"context"
	"sync/atomic"
	"time"
)

// CallIDHeader is the response header that holds a call's id, also where the call was refused.
const CallIDHeader = "X-Litellm-Call-Id"

// Call is one request on its way through the gateway. keyauth, lagobilling and llmroute each fill their part of it, in
// that order; llmroute then calls Admit and Open. Fields are written by the request's goroutine only; Target and
// ClientGone may be read by others.
type Call struct {
	ID    string // UUIDv7, minted here; see CallIDHeader
	Start time.Time

	// Keyed is set by keyauth: the call passed an authentication. Identity is who called; nil without keyauth.
	Keyed    bool
	Identity *Identity
	// Admit decides, in one atomic step, whether the identity may make this call. Nil means nothing to check.
	Admit func(ctx context.Context, c *Call) *Error

	// Metered is set by lagobilling: the answer passes a meter.
	Metered bool
	// Open decides who pays and writes the opened record. It is called once, after Admit and before the first byte goes
	// upstream. An error means that nothing may be forwarded. Nil means nothing to open.
	Open func(ctx context.Context, c *Call) *Error

	// Priced says whether the call could be billed at a target. Targets where it could not are left out while there are
	// others. Nil means that all of them will do.
	Priced func(c *Call, t *Target) bool

	// Endpoint and Request are set by llmroute before Admit.
	Endpoint *Endpoint
	Request  Request

	target     atomic.Pointer[Target]
	clientGone atomic.Bool
	injected   atomic.Bool
	attempts   atomic.Int32
	failed     atomic.Int32 // the latest attempt that failed
	sent       atomic.Int32 // the latest attempt whose request was written upstream, whole
	read       atomic.Bool
}

// Request is what was read of the request's body and headers, once.
type Request struct {
	Asked        string // the model name as the client wrote it
	Stream       bool
	IncludeUsage bool   // the client itself asked for stream_options.include_usage
	User         string // the end user that the request names, by LiteLLM's 2026 order; unverified
	N            int64  // choices asked for; 0 when not stated
	MaxOutput    int64  // max_tokens, max_completion_tokens or max_output_tokens; 0 when not stated
	Tier         string // service_tier or speed asked for
	// TextUnits estimates the input in thousandths of a token, by the characters rule of package usage.
	TextUnits int64
	// InputCharacters is the length of the text to be spoken, in characters; 0 where nothing is.
	InputCharacters int64
	// Others are the models beside the one asked for that the body makes the provider run.
	Others []OtherModel
}

// OtherModel is a model that a member of the body makes the provider run beside, or instead of, the model asked for.
type OtherModel struct {
	Member string // the member of the body, such as `fallbacks` or `tools`
	Name   string // empty when the provider chooses the model
}

// Target is where an attempt goes. It is immutable once set on a call.
type Target struct {
	Model    string // the configured model's name (never the client's text): safe as a metric label
	Backend  string // the backend's name within the model, unique: safe as a metric label
	Provider string // the provider preset: openai, anthropic, mock, ...
	BaseURL  string // the backend's base URL, without credentials
	Upstream string // the model name sent upstream
	Flavour  API    // the API the backend speaks
	// Drain is the preset's hang-up policy: true where the provider bills on after a client hung up, so that reading to
	// the end costs nothing more and gives the exact usage.
	Drain bool
	// Prices are those written in the Caddyfile for this backend: kind or price name to USD per million tokens, as text.
	Prices map[string]string
}

// SetTarget says which attempt is under way.
func (c *Call) SetTarget(t *Target) {
	c.attempts.Add(1)
	c.target.Store(t)
}

// Attempts returns how many attempts were made.
func (c *Call) Attempts() int { return int(c.attempts.Load()) }

// SetFailed says that the attempt under way failed and that nothing of its answer goes to the client.
func (c *Call) SetFailed() { c.failed.Store(c.attempts.Load()) }

// Failed reports whether the latest attempt failed.
func (c *Call) Failed() bool { n := c.failed.Load(); return n > 0 && n == c.attempts.Load() }

// SetSent says that the request of the n-th attempt was written upstream, whole. The news of an earlier attempt may come late.
func (c *Call) SetSent(n int) {
	attempt := int32(n) //nolint:gosec // attempts are few
	for {
		last := c.sent.Load()
		if last >= attempt || c.sent.CompareAndSwap(last, attempt) {
			return
		}
	}
}

// SetUnsent says that the n-th attempt begins anew: what was written of its request went to a connection that was closed.
func (c *Call) SetUnsent(n int) { c.sent.CompareAndSwap(int32(n), 0) } //nolint:gosec // attempts are few

// Sent reports whether the request of the latest attempt was written upstream, whole.
func (c *Call) Sent() bool { n := c.sent.Load(); return n > 0 && n == c.attempts.Load() }

// Target returns the attempt under way, or the last one; nil before the first.
func (c *Call) Target() *Target { return c.target.Load() }

// SetClientGone says that the client hung up: no further attempt is worth making.
func (c *Call) SetClientGone() { c.clientGone.Store(true) }

// ClientGone reports whether the client hung up.
func (c *Call) ClientGone() bool { return c.clientGone.Load() }

// SetUsageInjected says whether the attempt under way carries a stream_options.include_usage that the client did not ask
// for, so that the meter keeps the extra chunk from the client.
func (c *Call) SetUsageInjected(on bool) { c.injected.Store(on) }

// UsageInjected reports what SetUsageInjected said last.
func (c *Call) UsageInjected() bool { return c.injected.Load() }

// SetAnswerRead says that the upstream's answer was read to its end: what was read of it last is about to be written, and
// nothing will follow.
func (c *Call) SetAnswerRead() { c.read.Store(true) }

// AnswerRead reports whether the upstream's answer was read to its end.
func (c *Call) AnswerRead() bool { return c.read.Load() }

type ctxKey struct{}

// FromContext returns the call of a request, or nil.
func FromContext(ctx context.Context) *Call {
	c, _ := ctx.Value(ctxKey{}).(*Call)
	return c
}

// Ensure returns the call of a request's context and a context that holds it, making both when there is none.
func Ensure(ctx context.Context) (context.Context, *Call) {
	if c := FromContext(ctx); c != nil {
		return ctx, c
	}
	now := time.Now()
	c := &Call{ID: idOf(now), Start: now}
	return context.WithValue(ctx, ctxKey{}, c), c
}
