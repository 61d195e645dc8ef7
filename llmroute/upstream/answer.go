package upstream

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

// client is where a reverse proxy writes its answer to.
type client struct {
	http.ResponseWriter
	mu  sync.Mutex // the reverse proxy flushes the header by a timer, beside the body
	err error      // what passing a piece on failed for
}

// Write writes a piece that the reverse proxy passes on, unless one before it could not be written.
func (c *client) Write(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	return c.ResponseWriter.Write(p)
}

// Unwrap returns the writer behind it, for http.ResponseController.
func (c *client) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// FlushError sends what was written so far.
func (c *client) FlushError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return http.NewResponseController(c.ResponseWriter).Flush()
}

// pass writes a piece of an answer and sends it. As in the reverse proxy, what a flush fails for is met by the next write.
func (c *client) pass(p []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.Write(p); err != nil {
		c.err = err
		return err
	}
	_ = http.NewResponseController(c.ResponseWriter).Flush()
	return nil
}

// answer is the body of an answer that is passed on. It reports to the attempt when it has been read to its end, which comes with the
// last bytes where the upstream's connection has both.
//
// The reverse proxy sends each piece of an answer of unstated length at once, as it is read. Such an answer passes all pieces
// but the last on by itself, within the first Read, and so without what the reverse proxy does for each in between.
type answer struct {
	io.ReadCloser
	attempt   *llm.Attempt
	client    *client
	unbounded bool // the answer's length is not stated

	piece *[]byte // holds first
	first []byte  // what begin read and Read has not returned yet
	err   error   // what begin met after it
	scan  *eventScan
}

// firstPiece is how much of an answer is read before it is passed on. net/http's buffer has no more.
const firstPiece = 4 << 10

var firstPieces = sync.Pool{New: func() any { b := make([]byte, firstPiece); return &b }}

var (
	errEmpty   = errors.New("the answer is empty")
	errNoEvent = errors.New("the stream ended without an event")
)

// begin reads the first piece of an answer that has to have one. Until then nothing of it has been passed on, so that another
// attempt can follow.
func (b *answer) begin(contentType string) error {
	if strings.HasPrefix(contentType, "text/event-stream") {
		b.scan = new(eventScan)
	}
	b.piece = firstPieces.Get().(*[]byte)
	n, err := 0, error(nil)
	for n == 0 && err == nil {
		n, err = b.ReadCloser.Read(*b.piece)
	}
	b.first, b.err = (*b.piece)[:n], err
	switch {
	case n == 0 && errors.Is(err, io.EOF):
		err = errEmpty
	case n == 0:
	case b.scan != nil && !b.scan.found(b.first) && errors.Is(err, io.EOF):
		err = errNoEvent
	default:
		return nil
	}
	b.release()
	return err
}

// release returns the buffer of the first piece.
func (b *answer) release() {
	firstPieces.Put(b.piece)
	b.first, b.piece = nil, nil
}

// next reads what comes next: of the first piece, and then of the connection.
func (b *answer) next(p []byte) (n int, err error) {
	if b.piece != nil {
		n = copy(p, b.first)
		if b.first = b.first[n:]; len(b.first) > 0 {
			return n, nil
		}
		b.release()
		return n, b.err
	}
	if b.err != nil {
		return 0, b.err
	}
	n, err = b.ReadCloser.Read(p)
	if b.scan != nil && !b.scan.found(p[:n]) && errors.Is(err, io.EOF) {
		b.attempt.SetFailed()
		err = errNoEvent
	}
	return n, err
}

// eventScan finds out whether a text/event-stream holds an event. Comments, which keep a connection alive, are none.
type eventScan struct {
	event  bool
	inLine bool // within a line that is none of an event
}

// found takes the next bytes of the stream and reports whether an event has begun.
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

func (b *answer) Read(p []byte) (int, error) {
	for {
		if len(p) == 0 {
			return 0, nil
		}
		n, err := b.next(p)
		if errors.Is(err, io.EOF) {
			b.attempt.SetAnswerRead()
		}
		if err != nil || !b.unbounded {
			return n, err
		}
		if n == 0 {
			continue
		}
		if b.client.pass(p[:n]) != nil {
			return n, nil // the reverse proxy meets the error where it writes this piece: it is none of reading
		}
	}
}
