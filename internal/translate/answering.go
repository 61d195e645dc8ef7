package translate

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
)

const (
	// maxWhole bounds an answer that is translated whole, in bytes.
	maxWhole = 64 << 20
	// maxWholeError bounds what is kept of an error, in bytes.
	maxWholeError = 1 << 20

	eventsType = "text/event-stream"
)

var errWholeLong = errors.New("the upstream's answer is too long to be translated")

// Answering is an answer of the upstream on its way to the caller.
type Answering struct {
	t      *Translation
	status int
	stream Stream // nil for an answer that is translated whole
	whole  []byte
	long   bool // whole is not all
	out    []byte
	over   bool
	frames bool
}

// Begin begins an answer with its status and its Content-Type.
func (t *Translation) Begin(status int, contentType string) *Answering {
	a := &Answering{t: t, status: status}
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	switch {
	case status >= http.StatusMultipleChoices:
	case media == eventsType:
		a.stream = t.Stream()
	case media == framesType && t.Pair.Upstream == Messages:
		a.stream, a.frames = newFrames(t.pair.stream(t)), true
	}
	return a
}

// Describe has the header of a stream say what the caller gets, where that is not what the upstream sends. It is called when the
// upstream's own header has been read.
func (a *Answering) Describe(h http.Header) {
	if a.frames {
		h["Content-Type"] = []string{eventsType}
	}
}

// Whole reports whether the caller gets nothing, and no header, before the answer has ended.
func (a *Answering) Whole() bool { return a.stream == nil }

// Write takes the next bytes and returns what the caller gets for them, which is valid until the next call. An error is why the
// caller gets nothing more; what tells it so is among the bytes.
func (a *Answering) Write(piece []byte) (out []byte, err error) {
	if a.stream != nil {
		a.out, err = a.stream.Write(a.out[:0], piece)
		return a.out, err
	}
	most := maxWhole
	if a.status >= http.StatusMultipleChoices {
		most = maxWholeError
	}
	if a.long = a.long || len(a.whole)+len(piece) > most; !a.long && !a.over {
		a.whole = append(a.whole, piece...)
	}
	return nil, nil
}

// Ended reports whether the caller has the end of a stream with the bytes that Write returned, and not for an error of Write's.
func (a *Answering) Ended() bool { return a.stream != nil && a.stream.Ended() }

// End ends the answer and returns the status and the last bytes that the caller gets. cause is nil where the upstream's bytes came to
// their end. An error is why they are no answer of a model in the caller's API; what tells the caller so is among the bytes. Only the
// first call returns anything.
func (a *Answering) End(cause error) (status int, out []byte, err error) {
	if a.over {
		return a.status, nil, nil
	}
	a.over = true
	if a.stream != nil {
		a.out, err = a.stream.Close(a.out[:0], cause)
		return a.status, a.out, err
	}
	whole := a.whole
	a.whole = nil
	switch {
	case a.status >= http.StatusMultipleChoices:
		status, out = a.t.Error(a.status, whole)
		return status, out, nil
	case cause != nil:
		err = cause
	case a.long:
		err = errWholeLong
	default:
		if out, err = a.t.Answer(bytes.TrimSpace(whole)); err == nil {
			return a.status, out, nil
		}
	}
	f := errBrokenOff
	if cause == nil {
		f = failure{status: http.StatusBadGateway, message: "the backend's answer cannot be translated: " + err.Error()}
	}
	return f.status, appendFailure(nil, a.t.Pair.Caller, f), err
}
