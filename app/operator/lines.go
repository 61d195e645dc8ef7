package operator

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// LinesType is the media type of responses with one JSON value per line.
const LinesType = "application/x-ndjson"

// WriteLines responds with the output of produce. An error before the first byte becomes an ordinary
// error response. After it the connection is aborted, so that clients do not mistake the response for
// complete.
func WriteLines(w http.ResponseWriter, produce func(io.Writer) error) error {
	w.Header().Set("Content-Type", LinesType)
	begun := &beginning{w: w}
	out := bufio.NewWriterSize(begun, 64<<10)
	err := produce(out)
	if err == nil {
		err = out.Flush()
	}
	if err == nil {
		return nil
	}
	if begun.wrote {
		panic(http.ErrAbortHandler)
	}
	w.Header().Del("Content-Type")
	return err
}

// beginning records whether anything was written.
type beginning struct {
	w     io.Writer
	wrote bool
}

func (b *beginning) Write(p []byte) (int, error) {
	b.wrote = true
	return b.w.Write(p)
}

// progress is a line of a streamed response: the progress so far or, in the last line, the result or
// error.
type progress struct {
	Progress string          `json:"progress,omitempty"` // what is being counted
	Done     int             `json:"done,omitempty"`
	Of       int             `json:"of,omitempty"` // 0: unknown
	Result   json.RawMessage `json:"result,omitempty"`
	Error    string          `json:"error,omitempty"`
}

// ProgressEvery is how often a long-running operation reports progress.
const ProgressEvery = time.Second

// Report reports progress: what is being counted, how many are done, and the total (0: unknown).
type Report func(what string, done, of int)

// Work responds with the result of a long-running operation. A client that accepts application/x-ndjson
// gets a progress line at most once per interval, then a line with the result or the error. Other clients
// get only the result. An error without a status is sent as 502, because the operation calls another
// server.
func Work(w http.ResponseWriter, r *http.Request, every time.Duration, work func(context.Context, Report) (any, error)) error {
	if !strings.Contains(r.Header.Get("Accept"), LinesType) {
		v, err := work(r.Context(), func(string, int, int) {})
		if err != nil {
			return asRefusal(err)
		}
		return WriteJSON(w, v)
	}
	last := time.Now()
	started := false
	send := func(p progress) error {
		if !started {
			w.Header().Set("Content-Type", LinesType)
			started = true
		}
		if err := json.NewEncoder(w).Encode(p); err != nil {
			return err
		}
		return http.NewResponseController(w).Flush()
	}
	v, err := work(r.Context(), func(what string, done, of int) {
		if now := time.Now(); now.Sub(last) >= every {
			last = now
			_ = send(progress{Progress: what, Done: done, Of: of}) // a reader that is gone ends the request's context
		}
	})
	switch {
	case err != nil && !started:
		return asRefusal(err)
	case err != nil:
		err = send(progress{Error: err.Error()})
	default:
		var b []byte
		if b, err = json.Marshal(v); err == nil {
			err = send(progress{Result: b})
		}
	}
	if err != nil {
		panic(http.ErrAbortHandler) // the answer has begun
	}
	return nil
}

func asRefusal(err error) error {
	if _, ok := errors.AsType[caddy.APIError](err); ok {
		return err
	}
	return caddy.APIError{HTTPStatus: http.StatusBadGateway, Err: err}
}
