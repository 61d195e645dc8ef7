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

// hint passes an answer of 1xx on, without keeping its headers for what follows. A client of HTTP/1.0 would take it for the answer.
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

// pass passes an answer on, as Caddy's reverse proxy does. It panics with http.ErrAbortHandler where the answer breaks off, so that
// the client's connection does.
func (x *exchange) pass(a *answer) {
	resp, header := a.resp, x.w.Header()
	// No byte of a stream waits for the next. A flush_interval is a promise about the others, which is kept at once.
	atOnce := resp.ContentLength == -1 || x.backend.proxy.FlushInterval != 0 || caddyhttp.IsIncremental(resp.Header) || a.scan != nil
	x.answer = resp
	x.dropUnwanted(resp.Header)
	delete(header, "Server") // Via is in its place
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
	closed := resp.Body.Close() // resp.Trailer is whole from now on
	x.dropUnwanted(resp.Trailer)
	if errors.Is(err, translate.ErrAnswered) {
		return
	}
	if t, ok := to.(*translated); ok {
		err = errors.Join(err, t.end(err))
	}
	if err != nil {
		x.backend.logger.Warn("aborting with incomplete response", zap.Error(errors.Join(err, closed)))
		_ = flush() // the client is to have what there was
		panic(http.ErrAbortHandler)
	}
	if len(resp.Trailer) > 0 {
		_ = flush() // without it a short answer would get a Content-Length, and no trailers
	}
	for name, values := range resp.Trailer {
		if len(resp.Trailer) != announced {
			name = http.TrailerPrefix + name
		}
		add(header, http.Header{name: values})
	}
}

// add adds the headers of an answer.
func add(to, from http.Header) {
	for name, values := range from {
		if there := to[name]; len(there) > 0 {
			values = append(there, values...)
		}
		to[name] = values
	}
}

// largePiece is how much is read at a time of an answer that comes faster than in small pieces.
const largePiece = 32 << 10

var largePieces = sync.Pool{New: func() any { b := make([]byte, largePiece); return &b }}

// copyTo writes the body. That an answer was read to its end is reported before its last bytes are written. What a flush fails for
// is met by the next write.
func (a *answer) copyTo(w io.Writer, flush func() error, atOnce bool) error {
	if a.piece == nil { // nothing of it was read yet
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
