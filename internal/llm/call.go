// Package llm holds what the three handlers know about one request: they meet in the Call, which each finds in the
// request's context, and never import each other.
package llm

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// CallIDHeader is the response header that holds a call's id, also where the call was refused.
const CallIDHeader = "X-Litellm-Call-Id"

// Call is one request on its way through the gateway. keyauth, lagobilling and llmroute each fill their part of it, in
// that order; llmroute then calls Admit and Open. Fields are written by the request's goroutine only. The attempts, the
// target and ClientGone may be read by others.
type Call struct {
	ID    string // UUIDv7, minted here; see CallIDHeader
	Start time.Time

	// Keyed is set by keyauth: the call passed an authentication. Identity is who called; nil without keyauth.
	Keyed    bool
	Identity *Identity
	// Metered is set by lagobilling: the answer passes a meter.
	Metered bool
	// Open decides who pays and writes the opened record. It is called once, after Admit and before the first byte goes
	// upstream. An error means that nothing may be forwarded. Nil means nothing to open.
	Open func(ctx context.Context, c *Call) *Error

	// Priced reports whether the call could be billed at a target. Targets where it could not are left out while there are
	// others. Nil means that all of them will do.
	Priced func(c *Call, t *Target) bool

	// ListPrices returns what a model costs at a target, in USD per unit and without markup, by the name of the price; for
	// lists of models. Nil means that the built-in prices hold.
	ListPrices func(t *Target) map[string]string

	// Inquire is set where the request is no call: the site's handlers are asked for what they offer to operators. A handler
	// passes itself to it, whatever the request carries, and lets the request go on.
	Inquire func(handler any)

	// Quote returns what the call would cost at a target with those quantities, as it would be billed. Set by lagobilling.
	Quote func(c *Call, t *Target, counts *usage.Counts) (price.Amount, error)

	// Endpoint, Request and Candidates are set by llmroute before Admit.
	Endpoint *Endpoint
	Request  Request
	// Candidates appends the targets that the call may come to, the planned one first, each once.
	Candidates func(to []*Target) []*Target

	// LeaveOut takes a target out of the call's plan, for a reason that concerns this target alone. Where it was the planned one,
	// the next one takes its place; false when the plan is empty. Set by llmroute before Admit.
	LeaveOut func(t *Target, why *Error) bool

	// Payer is who pays, as lagobilling resolves it while the call is admitted; empty without a payer.
	Payer string
	// Admission is what keyauth has reserved for the call; nil where no limit applies.
	Admission *Admission
	// Opened is set by Open: the call has a record, and is settled.
	Opened bool

	onAdmit   []func(ctx context.Context, c *Call) *Error
	onReserve []func(ctx context.Context, c *Call) *Error
	onNext    []func(ctx context.Context, c *Call, t *Target) *Error
	onSettle  []func(*Settlement)
	room      steps

	planned    atomic.Pointer[Target]
	attempt    atomic.Pointer[Attempt]
	first      Attempt // the first attempt, so that most calls allocate none
	clientGone atomic.Bool
}

// steps has room for the steps that most calls have.
type steps struct {
	admit   [2]func(ctx context.Context, c *Call) *Error
	reserve [1]func(ctx context.Context, c *Call) *Error
	next    [1]func(ctx context.Context, c *Call, t *Target) *Error
	settle  [2]func(*Settlement)
}

// Request is what was read of the request's body and headers, once.
type Request struct {
	Asked        string // the model name as the client wrote it
	Stream       bool
	IncludeUsage bool   // the client itself asked for stream_options.include_usage
	User         string // the end user that the request names, by LiteLLM's 2026 order; unverified, of any content
	Session      string // the conversation that the request names; empty, or fit for a name
	N            int64  // choices asked for; 0 when not stated
	MaxOutput    int64  // max_tokens, max_completion_tokens or max_output_tokens; 0 when not stated
	Tier         string // service_tier or speed asked for
	CacheTTL     string // how long tokens that are written to a prompt cache are to live there, such as 1h; empty where not stated
	// TextUnits estimates the input in thousandths of a token, by the characters rule of package usage.
	TextUnits int64
	// Data is the body, or what is at hand of it. It must not be changed.
	Data []byte
	// InputCharacters is the length of the text to be spoken, in characters; 0 where nothing is.
	InputCharacters int64
	// Audio is the length of an uploaded recording in milliseconds, 0 until its end has passed; nil where nothing is uploaded.
	Audio *atomic.Int64
	// SoundUnknown: nothing that is uploaded is sound whose length can be known.
	SoundUnknown bool
	// AnswerFormat is response_format, where it is a string.
	AnswerFormat string
	// Reasoning is set where the body asks the model to reason.
	Reasoning bool
	// Others are the models beside the one asked for that the body makes the provider run.
	Others []OtherModel
}

// OtherModel is a model that a member of the body makes the provider run beside, or instead of, the model asked for.
type OtherModel struct {
	Member string // the member of the body, such as `fallbacks` or `tools`
	Name   string // empty when the provider chooses the model
}

// OnAdmit adds a step that decides whether the call may be made, or resolves what such a decision needs.
func (c *Call) OnAdmit(step func(ctx context.Context, c *Call) *Error) {
	c.onAdmit = append(c.onAdmit, step)
}

// OnReserve adds a step that reserves something for the call, after all steps of OnAdmit. It is released when the step's own
// handler returns and the call was not opened, as a later step or Open may refuse.
func (c *Call) OnReserve(step func(ctx context.Context, c *Call) *Error) {
	c.onReserve = append(c.onReserve, step)
}

// Admit runs the steps of OnAdmit and then those of OnReserve, each in the order in which they were added, up to the first
// refusal.
func (c *Call) Admit(ctx context.Context) *Error {
	for _, steps := range [...][]func(ctx context.Context, c *Call) *Error{c.onAdmit, c.onReserve} {
		for _, step := range steps {
			if refused := step(ctx, c); refused != nil {
				return refused
			}
		}
	}
	return nil
}

// OnNext adds a step that decides whether a target has room for the call, before each attempt but the first.
func (c *Call) OnNext(step func(ctx context.Context, c *Call, t *Target) *Error) {
	c.onNext = append(c.onNext, step)
}

// Next runs the steps of OnNext, up to the first refusal.
func (c *Call) Next(ctx context.Context, t *Target) *Error {
	for _, step := range c.onNext {
		if refused := step(ctx, c, t); refused != nil {
			return refused
		}
	}
	return nil
}

// SetClientGone reports that the client hung up: no further attempt is worth making.
func (c *Call) SetClientGone() { c.clientGone.Store(true) }

// ClientGone reports whether the client hung up.
func (c *Call) ClientGone() bool { return c.clientGone.Load() }

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
	c := &Call{ID: NewID(), Start: time.Now()}
	c.onAdmit, c.onReserve, c.onNext, c.onSettle = c.room.admit[:0], c.room.reserve[:0], c.room.next[:0], c.room.settle[:0]
	return context.WithValue(ctx, ctxKey{}, c), c
}
