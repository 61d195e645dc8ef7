package upstream

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/tollgate-llm/tollgate/internal/body"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/llmroute/provider"
)

// Attempt describes a request to send.
type Attempt struct {
	// Attempt receives progress.
	*llm.Attempt
	provider.Call
	// Metered is set if usage is read from the answer, so streams must include it.
	Metered bool
	// Limited is set if the answer reports the caller's rate limits instead of the provider's.
	Limited bool
	// Last is set if no attempt follows a failure. The answer is then passed on whatever its status.
	Last bool
	// Refused returns whether another attempt follows an answer that refuses the prompt. If so, the answer is
	// not passed on. Nil means never.
	Refused func(Refusal) bool
	// Shown receives the attempt's placeholders. It may be nil.
	Shown *Shown
	// Late returns whether the request's body missed its deadline. The context is cancelled for that as for a
	// hang-up, so they look alike. It may be nil.
	Late func() bool
}

// Result is the outcome of an attempt.
type Result struct {
	Err        error         // why no answer was passed on, or nil
	Timeout    bool          // no answer arrived in time
	Status     int           // status of an answer that was not passed on, or 0
	RetryAfter time.Duration // its Retry-After
	Refused    bool          // the answer refused the prompt, and Attempt.Refused asked for another attempt
	KeyRefused int           // a status in Backend.RetryOn that the provider answered with, passed on or not; otherwise 0
	Spent      bool          // the body cannot be sent again
}

// Fault describes a failed attempt that ended at that time.
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

// exchange is an attempt in progress with its answer.
type exchange struct {
	Attempt
	backend *Backend
	w       http.ResponseWriter
	r       *http.Request // the client's
	payload *body.Payload
	sending *sending // the last request sent
	asks    bool     // the payload contains a stream_options.include_usage that the client did not ask for
	result  Result

	hints     sync.Mutex // held while a 1xx response is passed on
	answering bool       // no more 1xx responses are passed on

	begun, answered time.Time
	took            time.Duration  // from begun until the answer had been passed on
	answer          *http.Response // nil until there is an answer to pass on
}

// Send makes an attempt for the request r. It passes the answer on to w, unless another attempt should be made.
func (b *Backend) Send(w http.ResponseWriter, r *http.Request, a Attempt) Result {
	x := &exchange{Attempt: a, backend: b, w: w, r: r}
	x.prepare(x.Endpoint.Streams && x.Body.Stream && !x.Body.UsageAsked && (x.Metered || x.Translation() != nil) && !b.Server.NoStreamOptions && !b.denied.has(x.Upstream))
	err := x.forward()
	if err == nil {
		return Result{KeyRefused: x.result.KeyRefused}
	}
	if x.result.Status != 0 || r.Context().Err() == nil { // a hang-up is not a failure of the backend
		x.SetFailed()
	}
	x.result.Err, x.result.Spent = err, x.payload.Spent()
	if f, ok := errors.AsType[*failure](err); ok {
		x.result.Timeout = f.timeout
	}
	return x.result
}

// prepare makes the payload. If asks is set, it contains stream_options.include_usage.
func (x *exchange) prepare(asks bool) {
	change := x.backend.Server.Change(&x.Call)
	change.Usage = asks
	if t := x.Target; t != nil && t.OutputCap > 0 {
		if member, within := llm.CapMember(&x.Endpoint.Endpoint, t); member != "" {
			change.OutputCap, change.CapMember, change.CapWithin = t.OutputCap, member, within
			change.Bounds, change.NoZero = llm.BoundMembers(&x.Endpoint.Endpoint), t.Provider == "ollama"
		}
	}
	x.asks, x.payload = asks, x.Body.Changed(change)
	x.SetUsageInjected(asks)
}

// failure is why an attempt has no answer to pass on.
type failure struct {
	reason  string
	timeout bool
}

func (f *failure) Error() string { return f.reason }
