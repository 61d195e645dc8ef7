package lagobilling

import (
	"strconv"
	"sync"

	"github.com/tollgate-llm/tollgate/internal/settle"
)

const (
	costHeader = "X-Litellm-Response-Cost"

	// maxWhole is the longest unstreamed JSON answer that is held back until it is complete, so that its header can state the
	// cost.
	maxWhole = 32 << 10
	// maxUnframed is the longest answer of unstated length that is held back for a client of HTTP/1.0.
	maxUnframed = 8 << 20
)

var wholeBodies = sync.Pool{New: func() any { b := make([]byte, 0, maxWhole); return &b }}

// writeWhole holds p back until the answer is complete, then sends header and body. An answer that comes in one piece, as
// most do, is not copied.
func (m *meter) writeWhole(p []byte) (int, error) {
	if m.waits(p) {
		if m.lost {
			return len(p), nil
		}
		if m.whole == nil {
			m.whole = wholeBodies.Get().(*[]byte)
		}
		*m.whole = append(*m.whole, p...)
		return len(p), nil
	}
	if _, err := m.release(); err != nil {
		return 0, err
	}
	return m.forward(p)
}

// unframed reports whether the answer's end would look like a broken connection to the client. Such an answer is held back
// until it can be sent with its length.
func (m *meter) unframed() bool { return m.http10 && m.left < 0 && !m.head }

// waits reports whether the answer is still incomplete with p. An answer of unstated length is no longer held back once it
// is too long or begins with anything but an object: white space is a keep-alive, and a list is a stream.
func (m *meter) waits(p []byte) bool {
	if m.unframed() {
		if m.whole != nil && len(*m.whole)+len(p) > maxUnframed || len(p) > maxUnframed {
			m.lost, m.whole = true, nil // it is drained for its usage
		}
		return true
	}
	if m.left >= 0 || m.Settled() {
		return m.left > 0
	}
	if m.whole == nil || len(*m.whole) == 0 {
		return len(p) == 0 || p[0] == '{' && len(p) <= maxWhole
	}
	return len(*m.whole)+len(p) <= maxWhole
}

// release sends what was held back, with the call's cost if known.
func (m *meter) release() (int, error) {
	if !m.keep {
		return 0, nil
	}
	m.keep = false
	if m.answering != nil {
		return m.releaseTranslated()
	}
	if m.unframed() {
		if m.how != settle.Returned || m.lost {
			m.lost = true // the part that came would look complete
			return 0, nil
		}
		n := 0
		if m.whole != nil {
			n = len(*m.whole)
		}
		m.Header()["Content-Length"] = []string{strconv.Itoa(n)}
	}
	if cost := m.Record().Cost; cost != "" && m.Settled() {
		m.Header()[costHeader] = []string{cost}
	}
	m.sendHeader()
	if m.whole == nil {
		return 0, nil
	}
	n, err := m.forward(*m.whole)
	if *m.whole = (*m.whole)[:0]; cap(*m.whole) <= 2*maxWhole {
		wholeBodies.Put(m.whole)
	}
	m.whole = nil
	return n, err
}
