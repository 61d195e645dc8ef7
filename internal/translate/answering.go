package translate

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"sync"
)

const (
	// maxWhole bounds an answer that is translated whole, in bytes.
	maxWhole = 64 << 20
	// maxWholeError bounds what is kept of an error, in bytes.
	maxWholeError = 1 << 20
	// smallAnswer is the most of an answer that is held without taking room, in bytes.
	smallAnswer = 64 << 10

	// keptOut is the most that is kept of the bytes of a piece, for the next answer.
	keptOut = 64 << 10

	eventsType = "text/event-stream"
)

var outs = sync.Pool{New: func() any { b := make([]byte, 0, 2<<10); return &b }}

const errWholeLong = bound("the upstream's answer is too long to be translated")

// bound is an error of an upstream whose answer exceeds what is held of it.
type bound string

// Error returns the bound.
func (b bound) Error() string { return string(b) }

// ErrAnswered is returned for bytes of an upstream whose caller has been told of an error: no more of them are to be read.
var ErrAnswered = errors.New("the caller has been told of an error")

// TooLong reports whether an answer cannot be translated as it is too long: what is still to come of it has no end in sight.
func TooLong(err error) bool {
	_, ok := errors.AsType[bound](err)
	return ok
}

// roomError is an error of Options.Room.
type roomError struct{ error }

// Unwrap returns it.
func (e roomError) Unwrap() error { return e.error }

// Answering is an answer of the upstream on its way to the caller.
type Answering struct {
	t      *Translation
	status int
	stream Stream // nil for an answer that is translated whole
	whole  []byte
	room   int   // how much of an answer there is room for
	fault  error // why whole is not all
	out    []byte
	pooled *[]byte // where out came from; nil for an answer that is translated whole
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
	if a.stream != nil {
		a.pooled = outs.Get().(*[]byte)
		a.out = *a.pooled
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
// caller gets nothing more; what tells it so is among the bytes, or those of End where the answer is translated whole.
func (a *Answering) Write(piece []byte) (out []byte, err error) {
	if a.stream != nil {
		a.out, err = a.stream.Write(a.out[:0], piece)
		return a.out, err
	}
	if a.fault != nil || a.over {
		return nil, a.fault
	}
	if a.fault = a.hold(len(a.whole) + len(piece)); a.fault == nil {
		a.whole = append(a.whole, piece...)
	} else if a.status < http.StatusMultipleChoices {
		a.whole = nil
	}
	return nil, a.fault
}

// hold makes room for an answer of so many bytes, and for its translation beside it.
func (a *Answering) hold(size int) error {
	most := maxWhole
	if a.status >= http.StatusMultipleChoices {
		most = maxWholeError
	}
	switch {
	case size > most:
		return errWholeLong
	case size <= max(a.room, smallAnswer) || a.t.Room == nil:
		return nil
	}
	room := min(max(size, a.room+a.room/4), most)
	if err := a.t.Room(int64(2 * room)); err != nil {
		return roomError{err}
	}
	a.room = room
	return nil
}

// Close gives back the room that the answer took, and the bytes that Write and End returned.
func (a *Answering) Close() {
	if a.pooled != nil {
		if cap(a.out) <= keptOut {
			*a.pooled = a.out[:0]
			outs.Put(a.pooled)
		}
		a.pooled, a.out = nil, nil
	}
	if a.room > 0 {
		a.room, a.whole = 0, nil
		_ = a.t.Room(0) // giving back does not fail
	}
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
	case a.fault != nil:
		err = a.fault
	default:
		if out, err = a.t.Answer(bytes.TrimSpace(whole)); err == nil {
			return a.status, out, nil
		}
	}
	f := errBrokenOff
	if _, full := errors.AsType[roomError](err); full {
		f = failure{status: http.StatusServiceUnavailable, message: "too many large answers are under way: try again shortly (max_bodies)"}
	} else if cause == nil {
		f = failure{status: http.StatusBadGateway, message: "the backend's answer cannot be translated: " + err.Error()}
	}
	return f.status, appendFailure(nil, a.t.Pair.Caller, f), err
}
