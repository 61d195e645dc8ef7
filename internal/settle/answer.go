package settle

import (
	"strings"
	"time"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/tariff"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// End is how far an answer came.
type End uint8

// The ends of answers.
const (
	Broken   End = iota // cut short by the upstream or the client, or shorter than its stated length
	Returned            // nothing more will come, and no stated length is missed
	Ended               // the end that its format or its stated length defines was seen
)

// What a hang-up led to.
const (
	Drained   = "drained"   // the answer was read to its end after the hang-up
	Cancelled = "cancelled" // the upstream was cancelled
)

// Answer describes a call's answer as far as it came.
type Answer struct {
	Status   int           // HTTP status; 0 when no answer came before the client hung up
	End      End           // how far it came
	Framed   bool          // its format marks its end, apart from that of the body
	Bodiless bool          // it has no body, whatever its header states
	Lost     bool          // part of it was not sent to the client
	Bytes    int64         // bytes of its body
	First    time.Time     // when the first byte of its body came; zero when none did
	Reader   *usage.Reader // the reader of its body; nil if the body was unreadable
	Encoding string        // the Content-Encoding that made it unreadable
	Hangup   string        // what a hang-up led to: Drained or Cancelled; empty without one
}

// Failure reports whether a status means a failed call. Model APIs never redirect, so a redirect is a failure.
func Failure(status int) bool { return status >= 300 }

// Hidden reports whether a call may use tokens that its answer does not show. reasons: the answer shows that its model
// reasons.
func Hidden(c *llm.Call, reasons bool) bool {
	if c.Request.Reasoning || reasons {
		return true
	}
	t := c.Target()
	return t != nil && usage.ReasoningModel(t.Upstream)
}

// audio returns the length of the uploaded recording in milliseconds, 0 if unknown.
func (b *Bill) audio() int64 {
	if a := b.call.Request.Audio; a != nil {
		return a.Load()
	}
	return 0
}

// usage returns the usage of the answer so far. Without a reader, it is the input estimated from the request.
func (b *Bill) usage(a *Answer) usage.Result {
	request := &b.call.Request
	if a.Reader != nil {
		return a.Reader.Result(usage.Estimate{
			InputUnits: request.TextUnits, InputCharacters: request.InputCharacters, InputMilliseconds: b.audio(),
		})
	}
	var res usage.Result
	if Failure(a.Status) || b.Endpoint().Billing != llm.Billable || !b.sent(a) || (a.Status == 0 && a.Hangup == "") {
		return res
	}
	tariff.EstimateInput(&res, request.TextUnits)
	if n := b.audio(); n > 0 && b.Endpoint().Reader == usage.OpenAITranscription {
		res.Counts.Set(usage.Milliseconds, n)
	}
	if n := request.InputCharacters; n > 0 {
		res.Counts.Set(usage.InputCharacters, n)
	}
	switch {
	case a.Encoding != "":
		res.How = "the answer is compressed (" + strings.ToLower(a.Encoding[:min(len(a.Encoding), 16)]) + "): input counted from the request, output unread"
	case a.Status == 0:
		res.How = "no answer had come when the client hung up: input counted from the request"
	default:
		res.How = "the answer was not read: input counted from the request"
	}
	return res
}
