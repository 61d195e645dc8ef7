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

// Target is where an attempt goes. It is immutable once it is on a call.
type Target struct {
	Model    string // the configured model's name (never the client's text): safe as a metric label
	Backend  string // the backend's name within the model, unique: safe as a metric label
	Provider string // the provider preset: openai, anthropic, mock, ...
	BaseURL  string // the backend's base URL, without credentials
	Region   string // the cloud's region or location that the backend is configured for; empty elsewhere
	Upstream string // the model name sent upstream
	API      API    // the format of the backend's API
	// Endpoint is the one that the backend is called at, where calls are translated; nil where it is the call's own.
	Endpoint *Endpoint
	// Drain is the preset's hang-up policy: true where the provider bills on after a client hung up, so that reading to
	// the end costs nothing more and gives the exact usage.
	Drain bool
	// OutputCap is the most tokens that an answer may have where the request has no bound; 0: none.
	OutputCap int64
	// Limits are those of the backend and of its provider.
	Limits []limit.Limit
	// Prices are those written in the Caddyfile for this backend: kind or price name to USD per million tokens, as text.
	Prices map[string]string
}

// Same reports whether both are the same place with the same model.
func (t *Target) Same(o *Target) bool {
	return t == o || t.Model == o.Model && t.Backend == o.Backend && t.Upstream == o.Upstream
}

// Official reports whether the target is OpenAI's own API, or Azure's, and not one like it.
func (t *Target) Official() bool {
	return t.Provider == "azure" || t.Provider == "openai" && strings.Contains(t.BaseURL, "://api.openai.com")
}

// Google reports whether the target is an API of Google's own: by its preset, its host, or the path of Gemini's OpenAI-compatible API,
// which a proxy before it keeps.
func (t *Target) Google() bool {
	if t.Provider == "gemini" || t.Provider == "vertex" {
		return true
	}
	u, err := url.Parse(t.BaseURL)
	return err == nil && (strings.HasSuffix(u.Hostname(), ".googleapis.com") || strings.HasSuffix(u.Path, "/v1beta/openai"))
}

// Providers returns the names under which the price data and package modelinfo have who serves the target's API; none where that is
// not known. An OpenAI-compatible server at another address is taken to serve OpenAI's models, unless it serves all names.
func (t *Target) Providers() []string {
	names := price.ProviderNames(t.Provider, t.BaseURL)
	if names == nil && t.Provider == "openai" && !strings.HasPrefix(t.Model, "*") {
		return []string{"openai"}
	}
	return names
}

// Attempt is one try to have a backend answer a call. What is reported to it, from any goroutine and however late, concerns
// no other attempt. A nil Attempt has reported nothing.
type Attempt struct {
	Target *Target
	Number int       // from 1
	Before *Attempt  // nil for the first
	Begun  time.Time // zero for the first, which begins with the call
	Fault  Fault     // of an attempt that is over, written by the request's goroutine

	translation                      *translate.Translation
	writing                          atomic.Pointer[Writing]
	failed, answered, injected, read atomic.Bool
}

// Fault is why the client got no answer of an attempt. Its zero value is that of an attempt without a fault.
type Fault struct {
	Over   time.Time // when the attempt was
	Why    string    // one of the texts below
	Status int       // of the answer that was not passed on; 0 where none came
}

// Why attempts fail.
const (
	FaultStatus  = "status"     // the answer's status is a failure
	FaultTimeout = "timeout"    // no answer came in time
	FaultRefused = "refused"    // the prompt was refused
	FaultConnect = "connection" // there was no answer
)

// Writing is a request on its way onto one connection.
type Writing struct{ done atomic.Bool }

// Write begins to write the attempt's request, for the first time or again: an earlier Writing counts no longer.
func (a *Attempt) Write() *Writing {
	w := new(Writing)
	a.writing.Store(w)
	return w
}

// Done reports that the request was written, whole.
func (w *Writing) Done() { w.done.Store(true) }

// Sent reports whether the attempt's request was written upstream, whole.
func (a *Attempt) Sent() bool {
	if a == nil {
		return false
	}
	w := a.writing.Load()
	return w != nil && w.done.Load()
}

// Translate sets the translation of the call into the target's API and of its answer back. It is the request's goroutine's.
func (a *Attempt) Translate(t *translate.Translation) { a.translation = t }

// Translation returns what Translate set; nil where there is none.
func (a *Attempt) Translation() *translate.Translation {
	if a == nil {
		return nil
	}
	return a.translation
}

// SetFailed reports that nothing of the attempt's answer goes to the client, and that its provider is not owed for it.
func (a *Attempt) SetFailed() { a.failed.Store(true) }

// Failed returns what SetFailed reported.
func (a *Attempt) Failed() bool { return a != nil && a.failed.Load() }

// SetAnswered reports that the backend's answer is about to be passed on to the client.
func (a *Attempt) SetAnswered() { a.answered.Store(true) }

// Answered returns what SetAnswered reported. Without it, what the client gets is the gateway's own.
func (a *Attempt) Answered() bool { return a != nil && a.answered.Load() }

// SetUsageInjected reports whether the request carries a stream_options.include_usage that the client did not ask for, so
// that the meter keeps the extra chunk from the client.
func (a *Attempt) SetUsageInjected(on bool) { a.injected.Store(on) }

// UsageInjected returns what SetUsageInjected reported last.
func (a *Attempt) UsageInjected() bool { return a != nil && a.injected.Load() }

// SetAnswerRead reports that the answer was read to its end: what was read of it last is about to be written, and nothing
// will follow.
func (a *Attempt) SetAnswerRead() { a.read.Store(true) }

// AnswerRead returns what SetAnswerRead reported.
func (a *Attempt) AnswerRead() bool { return a != nil && a.read.Load() }

// Plan sets the target that the first attempt is to go to, before the call is admitted and opened.
func (c *Call) Plan(t *Target) { c.planned.Store(t) }

// Begin begins the next attempt.
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

// At returns the endpoint that the call goes to at a target.
func (c *Call) At(t *Target) *Endpoint {
	if t != nil && t.Endpoint != nil {
		return t.Endpoint
	}
	return c.Endpoint
}

// Attempt returns the latest attempt; nil before the first.
func (c *Call) Attempt() *Attempt { return c.attempt.Load() }

// Attempts returns how many attempts were made.
func (c *Call) Attempts() int {
	if a := c.attempt.Load(); a != nil {
		return a.Number
	}
	return 0
}

// Target returns that of the latest attempt, or before the first the planned one; nil before there is any.
func (c *Call) Target() *Target {
	if a := c.attempt.Load(); a != nil {
		return a.Target
	}
	return c.planned.Load()
}
