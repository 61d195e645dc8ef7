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
	Broken   End = iota // the upstream or the client broke off, or bytes of a stated length are missing
	Returned            // nothing more will come, and no byte of a stated length is missing
	Ended               // the answer's own end, or the end of its stated length, was seen
)

// What a hang-up led to.
const (
	Drained   = "drained"   // the answer was read on after the client was gone
	Cancelled = "cancelled" // the upstream was cancelled
)

// Answer is what was seen of a call's answer.
type Answer struct {
	Status   int           // HTTP status; 0 when no answer came before the client hung up
	End      End           // how far it came
	Framed   bool          // its format marks its own end, beside that of the body
	Bodiless bool          // it has no body, whatever its header states
	Lost     bool          // a part of it was not sent to the client
	Bytes    int64         // of its body
	First    time.Time     // when the first byte of its body came; zero when none did
	Reader   *usage.Reader // has read its body; nil where that could not be read
	Encoding string        // the Content-Encoding for which it could not be read
	Hangup   string        // what the client's hang-up led to: Drained or Cancelled; empty while the client is there
}

// Failure reports whether a status is that of a failed call. No model API redirects: what does is no model's answer.
func Failure(status int) bool { return status >= 300 }

// Hidden reports whether a call may use tokens of which its answer shows nothing. reasons: the answer shows that its model
// reasons.
func Hidden(c *llm.Call, reasons bool) bool {
	if c.Request.Reasoning || reasons {
		return true
	}
	t := c.Target()
	return t != nil && usage.ReasoningModel(t.Upstream)
}

// audio returns the length of the uploaded recording in milliseconds, 0 when it is not known.
func (b *Bill) audio() int64 {
	if a := b.call.Request.Audio; a != nil {
		return a.Load()
	}
	return 0
}

// usage returns what the answer used as far as it came. Without a reader, what the request held is all there is.
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
