package llm

import (
	"time"

	"github.com/tollgate-llm/tollgate/internal/usage"
)

// Settlement is what a call came to, as its usage record has it.
type Settlement struct {
	Endpoint  *Endpoint     // that was called
	Stream    bool          // the client asked for a stream
	Target    *Target       // of the latest attempt; never nil
	Attempts  int           // how many there were
	Outcome   string        // as docs/records.md lists them
	Status    int           // of the answer; 0 when none came before the client hung up
	Counts    *usage.Counts // quantities by disjoint kind
	Cost      string        // USD as billed, a plain decimal; empty where there is none
	Response  string        // the model that answered, as it names itself; empty where it does not
	AnswerID  string        // the provider's id of the answer; empty where it has none
	Unpriced  string        // why there is no cost; empty where there is one, or where there is nothing to pay
	Duration  time.Duration // from the call's start to its settlement
	FirstByte time.Duration // from the call's start to the first byte of the answer's body; negative where none came
}

// OnSettle adds what is done once the call's record is durable. It is for what may be lost with the process, such as metrics
// and traces: the process can end between the two. fn runs before the end of the answer is sent, on the request's goroutine.
func (c *Call) OnSettle(fn func(*Settlement)) { c.onSettle = append(c.onSettle, fn) }

// Settled runs what OnSettle added.
func (c *Call) Settled(s *Settlement) {
	for _, fn := range c.onSettle {
		fn(s)
	}
}
