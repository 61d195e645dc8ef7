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

// Fault answers a call in another way than the provider would.
type Fault func(x *Exchange)

// Next adds faults for the next calls that the provider would answer, one each, in order. nil is none.
func (p *Server) Next(faults ...Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = append(p.queue, faults...)
}

// Always asks fn for a fault for every call, after those of Next. It may return nil. fn nil: no more faults.
func (p *Server) Always(fn func(c Call) Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.always = fn
}

// FaultStatus answers that status in the API's shape of errors, with those headers (name, value, ...).
func FaultStatus(status int, header ...string) Fault {
	return func(x *Exchange) {
		for i := 0; i+1 < len(header); i += 2 {
			x.w.Header().Set(header[i], header[i+1])
		}
		x.refuse(status, "The fake provider was told to answer "+strconv.Itoa(status)+".")
	}
}

// FaultPage answers that status with a page, as a proxy before the provider does.
func FaultPage(status int) Fault {
	return func(x *Exchange) {
		page := []byte("<html>\r\n<head><title>" + strconv.Itoa(status) + "</title></head>\r\n<body>nginx</body>\r\n</html>\r\n")
		x.instead(status, "text/html", page)
	}
}

// FaultReset resets the connection before any byte of the answer.
func FaultReset(x *Exchange) { testkit.ResetConn(x.w) }

// FaultResetAfter resets the connection after that many events of a stream, or in the middle of a body.
func FaultResetAfter(frames int) Fault {
	return func(x *Exchange) {
		x.part(frames)
		testkit.ResetConn(x.w)
		panic(http.ErrAbortHandler)
	}
}

// FaultCutAfter ends the answer, as if it was whole, after that many events of a stream or in the middle of a body.
func FaultCutAfter(frames int) Fault {
	return func(x *Exchange) {
		x.answer.length = 0 // no Content-Length could be kept
		x.part(frames)
	}
}

// FaultSlow waits that long before each piece.
func FaultSlow(each time.Duration) Fault {
	return func(x *Exchange) {
		x.delay = each
		x.SendAll()
	}
}

// FaultErrorAfter sends that many events of a stream, then the API's error event, and ends. A body becomes a 500.
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

// FaultChunkedBody sends a body without Content-Length; streams as ever.
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

// FaultGzip compresses the answer, asked for or not.
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

// FaultLongLength announces a body longer than the one it sends, and closes the connection. HTTP/1.1 bodies only.
func FaultLongLength(x *Exchange) { x.lie(+7) }

// FaultShortLength announces a body shorter than the one it sends. HTTP/1.1 bodies only.
func FaultShortLength(x *Exchange) { x.lie(-7) }

// lie sends a body with a Content-Length that is wrong by that much.
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

// part sends that many events of a stream, never all of them, or half of a body.
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
