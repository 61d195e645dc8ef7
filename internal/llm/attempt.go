package llm

import (
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/translate"
)

// Target is the destination of an attempt. It is immutable once set on a call.
type Target struct {
	Model    string // the configured model's name, never the client's text: safe as a metric label
	Backend  string // the backend's name, unique within the model: safe as a metric label
	Provider string // the provider preset: openai, anthropic, mock, ...
	BaseURL  string // the backend's base URL, without credentials
	Region   string // the cloud region or location configured for the backend; empty elsewhere
	Upstream string // the model name sent upstream
	API      API    // the backend's API
	// Endpoint is the backend's endpoint for translated calls; nil if it is the call's own.
	Endpoint *Endpoint
	// Drain is the preset's hang-up policy: true if the provider keeps billing after a client hung up, so that reading to
	// the end costs nothing extra and yields the exact usage.
	Drain bool
	// OutputCap bounds the answer's tokens if the request does not; 0: no bound.
	OutputCap int64
	// Limits are those of the backend and its provider.
	Limits []limit.Limit
	// Prices are the backend's prices in the Caddyfile: kind or price name to USD per million tokens, as text.
	Prices map[string]string
}

// Same reports whether both targets are the same place with the same model.
func (t *Target) Same(o *Target) bool {
	return t == o || t.Model == o.Model && t.Backend == o.Backend && t.Upstream == o.Upstream
}

// Official reports whether the target is OpenAI's own API or Azure's, rather than a compatible one.
func (t *Target) Official() bool {
	return t.Provider == "azure" || t.Provider == "openai" && strings.Contains(t.BaseURL, "://api.openai.com")
}

// Google reports whether the target is one of Google's own APIs: by preset, by host, or by the path of Gemini's
// OpenAI-compatible API, which a proxy in front of it preserves.
func (t *Target) Google() bool {
	if t.Provider == "gemini" || t.Provider == "vertex" {
		return true
	}
	u, err := url.Parse(t.BaseURL)
	return err == nil && (strings.HasSuffix(u.Hostname(), ".googleapis.com") || strings.HasSuffix(u.Path, "/v1beta/openai"))
}

// Providers returns the names by which the price data and package modelinfo know the provider of the target's API; none if
// it is unknown. An OpenAI-compatible server at another address is assumed to serve OpenAI's models, unless it serves all
// names.
func (t *Target) Providers() []string {
	names := price.ProviderNames(t.Provider, t.BaseURL)
	if names == nil && t.Provider == "openai" && !strings.HasPrefix(t.Model, "*") {
		return []string{"openai"}
	}
	return names
}

// Attempt is one try at getting an answer from a backend. Reports to it affect no other attempt, whichever goroutine they
// come from and however late. A nil Attempt reads as one that nothing was reported to.
type Attempt struct {
	Target *Target
	Number int       // from 1
	Before *Attempt  // nil for the first
	Begun  time.Time // zero for the first, which begins with the call
	Fault  Fault     // set once the attempt is over; written by the request's goroutine

	translation                      *translate.Translation
	writing                          atomic.Pointer[Writing]
	failed, answered, injected, read atomic.Bool
}

// Fault is why the client got no answer from an attempt. The zero value means no fault.
type Fault struct {
	Over   time.Time // when the attempt ended
	Why    string    // one of the texts below
	Status int       // of the answer that was not passed on; 0 without one
}

// Causes of a Fault.
const (
	FaultStatus  = "status"     // the answer's status is a failure
	FaultTimeout = "timeout"    // no answer came in time
	FaultRefused = "refused"    // the prompt was refused
	FaultConnect = "connection" // no answer was received
)

// Writing is one write of the request to a connection.
type Writing struct{ done atomic.Bool }

// Write starts a write of the attempt's request, the first or a repeated one. It invalidates the attempt's earlier Writing.
func (a *Attempt) Write() *Writing {
	w := new(Writing)
	a.writing.Store(w)
	return w
}

// Done reports that the whole request was written.
func (w *Writing) Done() { w.done.Store(true) }

// Sent reports whether the whole request was written upstream.
func (a *Attempt) Sent() bool {
	if a == nil {
		return false
	}
	w := a.writing.Load()
	return w != nil && w.done.Load()
}

// Translate sets the translation into the target's API and back. Only the request's goroutine may call it.
func (a *Attempt) Translate(t *translate.Translation) { a.translation = t }

// Translation returns the translation; nil if there is none.
func (a *Attempt) Translation() *translate.Translation {
	if a == nil {
		return nil
	}
	return a.translation
}

// SetFailed records that nothing of the answer goes to the client and that nothing is owed to the provider for it.
func (a *Attempt) SetFailed() { a.failed.Store(true) }

// Failed reports whether SetFailed was called.
func (a *Attempt) Failed() bool { return a != nil && a.failed.Load() }

// SetAnswered records that the backend's answer is about to be passed on to the client.
func (a *Attempt) SetAnswered() { a.answered.Store(true) }

// Answered reports whether SetAnswered was called. If not, what the client gets is the gateway's own.
func (a *Attempt) Answered() bool { return a != nil && a.answered.Load() }

// SetUsageInjected sets whether the gateway added stream_options.include_usage to the request. If so, the meter hides the
// extra chunk from the client.
func (a *Attempt) SetUsageInjected(on bool) { a.injected.Store(on) }

// UsageInjected returns the value last set by SetUsageInjected.
func (a *Attempt) UsageInjected() bool { return a != nil && a.injected.Load() }

// SetAnswerRead records that the answer was read to its end: the bytes read last are about to be written, and nothing
// follows.
func (a *Attempt) SetAnswerRead() { a.read.Store(true) }

// AnswerRead reports whether SetAnswerRead was called.
func (a *Attempt) AnswerRead() bool { return a != nil && a.read.Load() }

// Plan sets the target of the first attempt, before the call is admitted and opened.
func (c *Call) Plan(t *Target) { c.planned.Store(t) }

// Begin starts the next attempt.
func (c *Call) Begin(t *Target) *Attempt {
	last := c.attempt.Load()
	a := &c.first
	if last != nil {
		a = &Attempt{Number: last.Number, Before: last, Begun: time.Now()}
	}
	a.Target = t
	a.Number++
	c.attempt.Store(a)
	return a
}

// At returns the call's endpoint at a target.
func (c *Call) At(t *Target) *Endpoint {
	if t != nil && t.Endpoint != nil {
		return t.Endpoint
	}
	return c.Endpoint
}

// Attempt returns the latest attempt; nil before the first.
func (c *Call) Attempt() *Attempt { return c.attempt.Load() }

// Attempts returns the number of attempts so far.
func (c *Call) Attempts() int {
	if a := c.attempt.Load(); a != nil {
		return a.Number
	}
	return 0
}

// Target returns the target of the latest attempt; before the first, the planned one, or nil.
func (c *Call) Target() *Target {
	if a := c.attempt.Load(); a != nil {
		return a.Target
	}
	return c.planned.Load()
}
