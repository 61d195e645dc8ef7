package upstream

import (
	"bytes"
	"io"
	"net/http"
)

// maxPeek is how much of an answer is read to find its error.
const maxPeek = 64 << 10

// peeked is a body whose beginning was read and is returned again.
type peeked struct {
	io.Reader
	io.Closer
	text []byte
}

// peek returns the beginning of an answer's body, or nothing if it cannot be read. The body stays readable from
// its beginning.
func peek(resp *http.Response) []byte {
	if p, ok := resp.Body.(*peeked); ok {
		return p.text
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxPeek))
	p := &peeked{Reader: io.MultiReader(bytes.NewReader(text), resp.Body), Closer: resp.Body, text: text}
	if err != nil {
		p.Reader, p.text = io.MultiReader(bytes.NewReader(text), failing{err}), nil
	}
	resp.Body = p
	return p.text
}

// failing is a reader that returns an earlier error.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
