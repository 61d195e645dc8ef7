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

// CallIDHeader is the response header that carries the call's id. It is set on refusals too.
const CallIDHeader = "X-Litellm-Call-Id"

// Call is one request on its way through the gateway. keyauth, lagobilling and llmroute each fill in their part, in that
// order; llmroute then calls Admit and Open. Only the request's goroutine writes the fields. Other goroutines may read the
// attempts, the target and ClientGone.
type Call struct {
	ID    string // UUIDv7, generated here; see CallIDHeader
	Start time.Time

	// Keyed is set by keyauth once the call is authenticated. Identity is the caller; nil without keyauth.
	Keyed    bool
	Identity *Identity
	// Metered is set by lagobilling: the answer passes through a meter.
	Metered bool
	// Open resolves the payer and writes the opened record. It is called once, after Admit and before the first byte is sent
	// upstream. Nothing may be forwarded if it fails. Nil if there is nothing to open.
	Open func(ctx context.Context, c *Call) *Error

	// Priced reports whether the call could be billed at a target. Targets where it could not are skipped as long as others
	// remain. Nil accepts every target.
	Priced func(c *Call, t *Target) bool

	// ListPrices returns a model's prices at a target, for lists of models: USD per unit without markup, by price name. With
	// nil the built-in prices apply.
	ListPrices func(t *Target) map[string]string

	// Inquire is set if the request is not a call but asks the site's handlers what they offer operators. Each handler
	// passes itself to Inquire, whatever the request carries, and lets the request continue.
	Inquire func(handler any)

	// Quote returns the amount that the call would be billed for these quantities at a target. Set by lagobilling.
	Quote func(c *Call, t *Target, counts *usage.Counts) (price.Amount, error)

	// llmroute sets Endpoint, Request and Candidates before Admit.
	Endpoint *Endpoint
	Request  Request
	// Candidates appends the targets that the call may reach, the planned one first, without duplicates.
	Candidates func(to []*Target) []*Target

	// LeaveOut removes a target from the call's plan for a reason specific to that target. If it was the planned one, the
	// next takes its place. Returns false if the plan is then empty. llmroute sets it before Admit.
	LeaveOut func(t *Target, why *Error) bool

	// Payer is resolved by lagobilling during admission; empty without a payer.
	Payer string
	// Admission is keyauth's reservation for the call; nil if no limit applies.
	Admission *Admission
	// Opened is set by Open: the call has a record and will be settled.
	Opened bool

	onAdmit   []func(ctx context.Context, c *Call) *Error
	onReserve []func(ctx context.Context, c *Call) *Error
	onNext    []func(ctx context.Context, c *Call, t *Target) *Error
	onSettle  []func(*Settlement)
	room      steps

	planned    atomic.Pointer[Target]
	attempt    atomic.Pointer[Attempt]
	first      Attempt // stored here so that most calls allocate no attempt
	clientGone atomic.Bool
}

// steps has room for the number of steps that most calls need.
type steps struct {
	admit   [2]func(ctx context.Context, c *Call) *Error
	reserve [1]func(ctx context.Context, c *Call) *Error
	next    [1]func(ctx context.Context, c *Call, t *Target) *Error
	settle  [2]func(*Settlement)
}

// Request holds what was read from the request's body and headers.
type Request struct {
	Asked        string // the model name as the client wrote it
	Stream       bool
	IncludeUsage bool   // the client itself asked for stream_options.include_usage
	User         string // the end user named in the request, by LiteLLM's 2026 order of sources; unverified, any content
	Session      string // the conversation named in the request; empty, or valid by CheckName
	N            int64  // choices asked for; 0 when not stated
	MaxOutput    int64  // max_tokens, max_completion_tokens or max_output_tokens; 0 when not stated
	Tier         string // service_tier or speed asked for
	CacheTTL     string // requested lifetime of tokens written to a prompt cache, such as 1h; empty if not stated
	// TextUnits estimates the input in thousandths of a token, by the character rule of package usage.
	TextUnits int64
	// Data is the body, or the part of it read so far. It must not be changed.
	Data []byte
	// InputCharacters is the length of the text to be spoken, in characters; 0 without one.
	InputCharacters int64
	// Audio is the length of an uploaded recording in milliseconds. It stays 0 until the recording's end was read. Nil
	// without an upload.
	Audio *atomic.Int64
	// SoundUnknown: no upload is a recording whose length can be determined.
	SoundUnknown bool
	// AnswerFormat is response_format if it is a string.
	AnswerFormat string
	// Reasoning reports that the body asks the model to reason.
	Reasoning bool
	// Others are the other models that the body makes the provider run.
	Others []OtherModel
}

// OtherModel is a model that a member of the body makes the provider run in addition to, or instead of, the requested one.
type OtherModel struct {
	Member string // the member of the body, such as `fallbacks` or `tools`
	Name   string // empty when the provider chooses the model
}

// OnAdmit adds a step that decides whether the call may be made, or resolves what such a decision needs.
func (c *Call) OnAdmit(step func(ctx context.Context, c *Call) *Error) {
	c.onAdmit = append(c.onAdmit, step)
}

// OnReserve adds a step that reserves something for the call. It runs after all steps of OnAdmit. A later step or Open may
// still refuse, so the handler that added the step releases the reservation on return unless the call was opened.
func (c *Call) OnReserve(step func(ctx context.Context, c *Call) *Error) {
	c.onReserve = append(c.onReserve, step)
}

// Admit runs the steps of OnAdmit, then those of OnReserve, each in the order added. It returns the first refusal.
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

// OnNext adds a step that checks whether a target has room for the call. It runs before every attempt except the first.
func (c *Call) OnNext(step func(ctx context.Context, c *Call, t *Target) *Error) {
	c.onNext = append(c.onNext, step)
}

// Next runs the steps of OnNext and returns the first refusal.
func (c *Call) Next(ctx context.Context, t *Target) *Error {
	for _, step := range c.onNext {
		if refused := step(ctx, c, t); refused != nil {
			return refused
		}
	}
	return nil
}

// SetClientGone records that the client hung up, so no further attempt is worth making.
func (c *Call) SetClientGone() { c.clientGone.Store(true) }

// ClientGone reports whether the client hung up.
func (c *Call) ClientGone() bool { return c.clientGone.Load() }

type ctxKey struct{}

// FromContext returns the call in ctx, or nil.
func FromContext(ctx context.Context) *Call {
	c, _ := ctx.Value(ctxKey{}).(*Call)
	return c
}

// Ensure returns the call in ctx and a context that holds it. It creates both if there is none.
func Ensure(ctx context.Context) (context.Context, *Call) {
	if c := FromContext(ctx); c != nil {
		return ctx, c
	}
	c := &Call{ID: NewID(), Start: time.Now()}
	c.onAdmit, c.onReserve, c.onNext, c.onSettle = c.room.admit[:0], c.room.reserve[:0], c.room.next[:0], c.room.settle[:0]
	return context.WithValue(ctx, ctxKey{}, c), c
}
