package upstream

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/translate"
)

// answer is a backend's answer to pass on.
type answer struct {
	resp    *http.Response
	attempt *llm.Attempt

	piece *[]byte // the buffer that holds first
	first []byte  // read by begin and not yet returned by next
	err   error   // the error that begin got after it
	scan  *eventScan
	fault int // the status of the exception at the start of a binary event stream; 0 if there is none
}

// firstPiece is how much of an answer is read before any of it is passed on. net/http's buffer is no larger.
const firstPiece = 4 << 10

var pieces = sync.Pool{New: func() any { b := make([]byte, firstPiece); return &b }}

var (
	errEmpty   = errors.New("the answer is empty")
	errNoEvent = errors.New("the stream ended without an event")
)

// begin reads the first bytes of an answer that must have a body. Nothing has been passed on until then, so
// another attempt can follow.
func (a *answer) begin(contentType string) error {
	if strings.HasPrefix(contentType, "text/event-stream") {
		a.scan = new(eventScan)
	}
	a.piece = pieces.Get().(*[]byte)
	n, err := 0, error(nil)
	for n == 0 && err == nil {
		n, err = a.resp.Body.Read(*a.piece)
	}
	if n > 0 && strings.HasPrefix(contentType, "application/vnd.amazon.eventstream") {
		for err == nil && n < translate.FrameNeeded((*a.piece)[:n]) && n < len(*a.piece) { // an exception is short
			var more int
			more, err = a.resp.Body.Read((*a.piece)[n:])
			n += more
		}
		a.fault = translate.FrameException((*a.piece)[:n])
	}
	a.first, a.err = (*a.piece)[:n], err
	switch {
	case n == 0 && errors.Is(err, io.EOF):
		err = errEmpty
	case n == 0:
	case a.scan != nil && !a.scan.found(a.first) && errors.Is(err, io.EOF):
		err = errNoEvent
	default:
		return nil
	}
	a.release()
	return err
}

// release returns the buffer.
func (a *answer) release() {
	pieces.Put(a.piece)
	a.first, a.piece = nil, nil
}

// next returns the next bytes: first those that begin read, then those from the connection.
func (a *answer) next(buf []byte) ([]byte, error) {
	if p := a.first; len(p) > 0 {
		a.first = nil
		return p, a.err
	}
	n, err := a.resp.Body.Read(buf)
	if a.scan != nil && !a.scan.found(buf[:n]) && errors.Is(err, io.EOF) {
		a.attempt.SetFailed()
		err = errNoEvent
	}
	return buf[:n], err
}

// eventScan detects the first event of a text/event-stream. Comments, which only keep the connection alive, do
// not count.
type eventScan struct {
	event  bool
	inLine bool // within a line that does not belong to an event
}

// found scans the next bytes of the stream and reports whether an event has begun.
func (s *eventScan) found(p []byte) bool {
	for i := 0; i < len(p) && !s.event; i++ {
		switch c := p[i]; {
		case c == '\n' || c == '\r':
			s.inLine = false
		case s.inLine:
		case c == ':' || c == 'r' || c == 'i': // a comment, `retry` or `id`
			s.inLine = true
		case c == 0xef || c == 0xbb || c == 0xbf || c == ' ': // a byte order mark
		default:
			s.event = true
		}
	}
	return s.event
}
