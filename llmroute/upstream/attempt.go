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
	// Metered is set if the answer's usage is read, so streams are asked for it.
	Metered bool
	// Limited is set if the answer reports the caller's own rate limits instead of the provider's.
	Limited bool
	// Last is set if no attempt follows a failure: the answer is passed on whatever its status.
	Last bool
	// Refused returns whether another attempt follows an answer that refuses the prompt, which is then not passed on. Nil where
	// none does.
	Refused func(Refusal) bool
	// Shown gets the attempt's placeholders. May be nil.
	Shown *Shown
	// Late returns whether the request's body did not arrive in time, for which its context is cancelled as for a hang-up. May be nil.
	Late func() bool
}

// Result is the outcome of an attempt.
type Result struct {
	Err        error         // why no answer was passed on; nil if one was
	Timeout    bool          // no answer came in time
	Status     int           // the status of an answer that was not passed on; 0 without one
	RetryAfter time.Duration // its Retry-After
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

// exchange is an attempt in progress, and its answer.
type exchange struct {
	Attempt
	backend *Backend
	w       http.ResponseWriter
	r       *http.Request // the client's
	payload *body.Payload
	sending *sending // the request that was sent last
	asks    bool     // the payload carries a stream_options.include_usage that the client did not ask for
	result  Result

	hints     sync.Mutex // held while one is passed on
	answering bool       // no more are

	begun, answered time.Time
	took            time.Duration  // from begun until the answer was passed on
	answer          *http.Response // nil until there is one to pass on
}

// Send makes an attempt for the request r and passes its answer on to w, unless another attempt may do better.
func (b *Backend) Send(w http.ResponseWriter, r *http.Request, a Attempt) Result {
	x := &exchange{Attempt: a, backend: b, w: w, r: r}
	x.prepare(x.Endpoint.Streams && x.Body.Stream && !x.Body.UsageAsked && (x.Metered || x.Translation() != nil) && !b.Server.NoStreamOptions && !b.denied.has(x.Upstream))
	err := x.forward()
	if err == nil {
		return Result{KeyRefused: x.result.KeyRefused}
	}
	if x.result.Status != 0 || r.Context().Err() == nil { // an attempt that was cut short by a hang-up did not fail
		x.SetFailed()
	}
	x.result.Err, x.result.Spent = err, x.payload.Spent()
	if f, ok := errors.AsType[*failure](err); ok {
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
			change.Bounds, change.NoZero = llm.BoundMembers(&x.Endpoint.Endpoint), t.Provider == "ollama"
		}
	}
	x.asks, x.payload = asks, x.Body.Changed(change)
	x.SetUsageInjected(asks)
}

// failure is the reason why an attempt has no answer to pass on.
type failure struct {
	reason  string
	timeout bool
}

func (f *failure) Error() string { return f.reason }
