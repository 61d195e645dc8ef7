package upstream

import (
	"errors"
	"io"
	"net/http"
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
}

func (b *answer) Read(p []byte) (int, error) {
	for {
		n, err := b.ReadCloser.Read(p)
		if errors.Is(err, io.EOF) {
			b.attempt.SetAnswerRead()
		}
		if err != nil || !b.unbounded || len(p) == 0 {
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
