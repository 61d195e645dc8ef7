package llm

import (
	"time"

	"github.com/tollgate-llm/tollgate/internal/usage"
)

// Settlement is the outcome of a call, as recorded in its usage record.
type Settlement struct {
	Endpoint  *Endpoint     // the endpoint called
	Stream    bool          // the client requested a stream
	Target    *Target       // the latest attempt's; never nil
	Attempts  int           // number of attempts
	Outcome   string        // one of those listed in docs/records.md
	Status    int           // HTTP status of the answer; 0 if the client hung up before there was one
	Counts    *usage.Counts // quantities by disjoint kind
	Cost      string        // billed USD as a plain decimal; empty if there is no cost
	Response  string        // the model that answered, by its own name; empty if not reported
	AnswerID  string        // the provider's id of the answer; empty if it has none
	Unpriced  string        // why there is no cost; empty if there is one, or if nothing is due
	Duration  time.Duration // from the call's start to its settlement
	FirstByte time.Duration // from the call's start to the first byte of the answer's body; negative if there was none
}

// OnSettle adds a function to run once the call's record is durable. fn runs on the request's goroutine before the end of
// the answer is sent. The process can end between the record and fn, so fn is only for what may be lost with the process,
// such as metrics and traces.
func (c *Call) OnSettle(fn func(*Settlement)) { c.onSettle = append(c.onSettle, fn) }

// Settled runs the functions added by OnSettle.
func (c *Call) Settled(s *Settlement) {
	for _, fn := range c.onSettle {
		fn(s)
	}
}
