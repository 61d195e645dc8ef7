package fakeprovider

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/tollgate-llm/tollgate/internal/testkit"
)

// Fault answers a call differently from the provider.
type Fault func(x *Exchange)

// Next adds faults for the next calls that the provider would answer, one per call, in order. nil is no fault.
func (p *Server) Next(faults ...Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = append(p.queue, faults...)
}

// Always calls fn for every call for which Next has no fault. fn may return nil for no fault. A nil fn ends the faults.
func (p *Server) Always(fn func(c Call) Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.always = fn
}

// FaultStatus answers with an error in the API's format, with the given headers (name, value, ...).
func FaultStatus(status int, header ...string) Fault {
	return func(x *Exchange) {
		for i := 0; i+1 < len(header); i += 2 {
			x.w.Header().Set(header[i], header[i+1])
		}
		x.refuse(status, "The fake provider was told to answer "+strconv.Itoa(status)+".")
	}
}

// FaultPage answers with an HTML page, as a proxy in front of the provider would.
func FaultPage(status int) Fault {
	return func(x *Exchange) {
		page := []byte("<html>\r\n<head><title>" + strconv.Itoa(status) + "</title></head>\r\n<body>nginx</body>\r\n</html>\r\n")
		x.instead(status, "text/html", page)
	}
}

// FaultReset resets the connection before any byte of the answer.
func FaultReset(x *Exchange) { testkit.ResetConn(x.w) }

// FaultResetAfter resets the connection after the given number of stream events, or in the middle of a body.
func FaultResetAfter(frames int) Fault {
	return func(x *Exchange) {
		x.part(frames)
		testkit.ResetConn(x.w)
		panic(http.ErrAbortHandler)
	}
}

// FaultCutAfter ends the answer cleanly after the given number of stream events, or in the middle of a body.
func FaultCutAfter(frames int) Fault {
	return func(x *Exchange) {
		x.answer.length = 0 // a Content-Length would not match
		x.part(frames)
	}
}

// FaultSlow waits before each event of a stream or before a body.
func FaultSlow(each time.Duration) Fault {
	return func(x *Exchange) {
		x.delay = each
		x.SendAll()
	}
}

// FaultErrorAfter sends the given number of stream events, then the API's error event, and ends. For a body it answers
// 500.
func FaultErrorAfter(frames int) Fault {
	return func(x *Exchange) {
		if !x.query.stream {
			FaultStatus(http.StatusInternalServerError)(x)
			return
		}
		x.part(frames)
		x.write([]byte(x.api.broken))
	}
}

// FaultNoUsage answers without any usage.
func FaultNoUsage(x *Exchange) {
	x.rebuild(func(q *providerQuery) { q.noUsage = true })
	x.SendAll()
}

// FaultChunkedBody sends a body without Content-Length. Streams are unchanged.
func FaultChunkedBody(x *Exchange) {
	x.answer.length = 0
	x.SendAll()
}

// FaultBytewise sends a stream, or a body, one byte at a time.
func FaultBytewise(x *Exchange) {
	for x.sent < len(x.answer.frames) {
		b := x.next()
		if x.status == 0 {
			x.header(http.StatusOK)
		}
		for i := range b {
			x.write(b[i : i+1])
			x.flush()
		}
		x.sent++
	}
}

// FaultGzip compresses the answer, whether or not the client accepts gzip.
func FaultGzip(x *Exchange) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	for x.sent < len(x.answer.frames) {
		if _, err := z.Write(x.next()); err != nil {
			panic(err)
		}
		x.sent++
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	x.w.Header().Set("Content-Encoding", "gzip")
	x.answer.length = b.Len()
	x.header(http.StatusOK)
	x.write(b.Bytes())
}

// FaultLongLength sends a Content-Length larger than the body and closes the connection. HTTP/1.1 bodies only.
func FaultLongLength(x *Exchange) { x.lie(+7) }

// FaultShortLength sends a Content-Length smaller than the body. HTTP/1.1 bodies only.
func FaultShortLength(x *Exchange) { x.lie(-7) }

// lie sends a body whose Content-Length is off by the given number.
func (x *Exchange) lie(by int) {
	if x.query.stream {
		x.SendAll()
		return
	}
	conn, rw, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer func() { _ = conn.Close() }()
	x.status = http.StatusOK
	b := x.next()
	x.err = lieOn(rw.Writer, x.answer.contentType, len(b)+by, b)
}

func lieOn(w *bufio.Writer, contentType string, length int, body []byte) error {
	_, err := fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", contentType, length, body)
	if err != nil {
		return err
	}
	return w.Flush()
}

// part sends the given number of stream events, but never all of them, or half of a body.
func (x *Exchange) part(frames int) {
	if x.query.stream {
		x.Send(min(frames, len(x.answer.frames)-1))
	} else {
		x.header(http.StatusOK)
		b := x.next()
		x.write(b[:len(b)/2])
	}
	x.flush()
}
