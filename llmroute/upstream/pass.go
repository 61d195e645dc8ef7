package upstream

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tollgate-llm/tollgate/internal/translate"
)

// hint passes on a 1xx response without keeping its headers for the final one. HTTP/1.0 clients get none,
// because they would take it for the final response.
func (x *exchange) hint(status int, from textproto.MIMEHeader) error {
	x.hints.Lock()
	defer x.hints.Unlock()
	if x.answering || !x.r.ProtoAtLeast(1, 1) {
		return nil
	}
	header := x.w.Header()
	own := header.Clone()
	hint := http.Header(from).Clone()
	x.dropUnwanted(hint)
	add(header, hint)
	x.w.WriteHeader(status)
	clear(header)
	maps.Copy(header, own)
	return nil
}

// pass passes on an answer as Caddy's reverse proxy does. If the answer is truncated it panics with
// http.ErrAbortHandler, so that the client's connection is aborted too.
func (x *exchange) pass(a *answer) {
	resp, header := a.resp, x.w.Header()
	// Streams are flushed after every write. For other answers a flush_interval asks for at most that delay, so
	// flushing at once satisfies it.
	atOnce := resp.ContentLength == -1 || x.backend.proxy.FlushInterval != 0 || caddyhttp.IsIncremental(resp.Header) || a.scan != nil
	x.answer = resp
	x.dropUnwanted(resp.Header)
	delete(header, "Server") // Via replaces it
	header["Via"] = append(header["Via"], strconv.Itoa(resp.ProtoMajor)+"."+strconv.Itoa(resp.ProtoMinor)+" Caddy")
	if h := x.backend.proxy.Headers; h != nil && h.Response != nil &&
		(h.Response.Require == nil || h.Response.Require.Match(resp.StatusCode, resp.Header)) {
		h.Response.ApplyTo(resp.Header, x.r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer))
	}
	add(header, resp.Header)
	x.dropUnwanted(resp.Trailer)
	announced := len(resp.Trailer)
	if announced > 0 {
		header.Add("Trailer", strings.Join(slices.Sorted(maps.Keys(resp.Trailer)), ", "))
	}
	to := x.w
	if x.Translation() != nil {
		translatedHeader(header)
		if !x.Metered { // otherwise the meter translates
			t := &translated{ResponseWriter: x.w, with: x.Translation()}
			defer t.close()
			to = t
		}
	}
	to.WriteHeader(resp.StatusCode)
	flush := http.NewResponseController(to).Flush
	err := a.copyTo(to, flush, atOnce)
	closed := resp.Body.Close() // resp.Trailer is complete from here on
	x.dropUnwanted(resp.Trailer)
	if errors.Is(err, translate.ErrAnswered) {
		return
	}
	if t, ok := to.(*translated); ok {
		err = errors.Join(err, t.end(err))
	}
	if err != nil {
		x.backend.logger.Warn("aborting with incomplete response", zap.Error(errors.Join(err, closed)))
		_ = flush() // the client should get what has arrived
		panic(http.ErrAbortHandler)
	}
	if len(resp.Trailer) > 0 {
		_ = flush() // otherwise a short answer would get a Content-Length and no trailers
	}
	for name, values := range resp.Trailer {
		if len(resp.Trailer) != announced {
			name = http.TrailerPrefix + name
		}
		add(header, http.Header{name: values})
	}
}

// add copies the headers of an answer.
func add(to, from http.Header) {
	for name, values := range from {
		if there := to[name]; len(there) > 0 {
			values = append(there, values...)
		}
		to[name] = values
	}
}

// largePiece is the read size for answers that arrive faster than in small pieces.
const largePiece = 32 << 10

var largePieces = sync.Pool{New: func() any { b := make([]byte, largePiece); return &b }}

// copyTo writes the body. It reports that the answer was read to its end before it writes the last bytes. Errors
// of flush are ignored, because the next write returns them.
func (a *answer) copyTo(w io.Writer, flush func() error, atOnce bool) error {
	if a.piece == nil { // nothing has been read yet
		a.piece = pieces.Get().(*[]byte)
		if atOnce {
			_ = flush()
		}
	}
	defer a.release()
	buf := *a.piece
	for {
		p, err := a.next(buf)
		ended := errors.Is(err, io.EOF)
		if ended {
			a.attempt.SetAnswerRead()
		}
		if len(p) > 0 {
			if _, err := w.Write(p); err != nil {
				return fmt.Errorf("writing: %w", err)
			}
			if atOnce && !ended {
				_ = flush()
			}
		}
		switch {
		case ended:
			return nil
		case err != nil:
			return fmt.Errorf("reading: %w", err)
		case len(p) == len(buf) && len(buf) < largePiece:
			large := largePieces.Get().(*[]byte)
			defer largePieces.Put(large)
			buf = *large
		}
	}
}
