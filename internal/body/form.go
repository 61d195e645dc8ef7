package body

import (
	"errors"
	"io"
	"mime"
	"strings"
	"sync"
	"sync/atomic"
)

// heldForm is how much of a form is buffered before its files are streamed. Shorter forms are read whole.
const heldForm = 1 << 20

// ParseForm reads a form (multipart/form-data) until the call can be routed: up to a file that follows the model's name, or,
// if the model is already known (named), up to any file, but in both cases at least heldForm bytes. The rest is read while
// the body is sent upstream and checked against the same rules. size is the form's length in bytes, -1 if unknown; most is
// the limit. Errors are of type *Error, ErrTooLarge, or the reader's.
func ParseForm(r io.Reader, contentType string, named bool, size, most int64) (*Body, error) {
	if size > most {
		return nil, ErrTooLarge
	}
	boundary, err := boundaryOf(contentType)
	if err != nil {
		return nil, err
	}
	s := &formScanner{needle: "--" + boundary, named: named, body: &Body{form: boundary, Audio: new(atomic.Int64)}}
	b := s.body
	b.Data = make([]byte, 0, 32<<10)
	for {
		n, err := r.Read(b.Data[len(b.Data):cap(b.Data)])
		piece := b.Data[len(b.Data) : len(b.Data)+n]
		b.Data = b.Data[:len(b.Data)+n]
		if int64(len(b.Data)) > most {
			return nil, ErrTooLarge
		}
		if err := s.feed(piece); err != nil {
			return nil, err
		}
		b.SoundUnknown = b.Audio.Load() == 0 && (s.sound == nil || s.sound.Unknown())
		switch {
		case errors.Is(err, io.EOF):
			if s.state != formEnd {
				return nil, formError("", "the form breaks off before its last boundary")
			}
			return b, nil
		case err != nil:
			return nil, err
		case s.file && len(b.Data) >= heldForm:
			s.routed = true
			b.rest = &Rest{src: r, scanner: s, read: int64(len(b.Data)), most: most, left: -1}
			if size >= 0 {
				b.rest.left = max(size-int64(len(b.Data)), 0)
			}
			return b, nil
		case len(b.Data) == cap(b.Data):
			grown := make([]byte, len(b.Data), min(2*int64(cap(b.Data)), most+1))
			copy(grown, b.Data)
			b.Data = grown
		}
	}
}

// boundaryOf returns the boundary parameter of a Content-Type.
func boundaryOf(contentType string) (string, error) {
	media, params, err := mime.ParseMediaType(contentType)
	boundary := params["boundary"]
	if err != nil || media != "multipart/form-data" || boundary == "" || len(boundary) > 70 {
		return "", formError("Content-Type", "the form's Content-Type needs one boundary of at most 70 characters")
	}
	for i := range len(boundary) {
		if c := boundary[i]; c <= ' ' || c > '~' {
			return "", formError("Content-Type", "the form's boundary holds a space or a character that is not ASCII")
		}
	}
	return boundary, nil
}

func formError(param, problem string) *Error { return &Error{Param: param, Problem: problem} }

// Rest is the part of a form that is still to be received. It can be read once, by the latest payload made before reading
// began.
type Rest struct {
	src     io.Reader
	scanner *formScanner
	read    int64 // bytes of the form read so far
	most    int64
	left    int64 // bytes remaining when the rest began; -1 if unknown
	fault   atomic.Pointer[Error]

	mu    sync.Mutex
	turn  *Payload // the payload that may read
	begun bool
}

var errNotItsTurn = errors.New("the rest of the form goes elsewhere")

// offer assigns the rest to a payload, unless another has begun to read it.
func (r *Rest) offer(p *Payload) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.begun {
		r.turn = p
	}
}

// begin reports whether the payload may read.
func (r *Rest) begin(p *Payload) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.turn != p {
		return false
	}
	r.begun = true
	return true
}

// next reads the next bytes. A form that breaks the rules ends in an error, so it is never forwarded whole.
func (r *Rest) next(p *Payload, buf []byte) (int, error) {
	if !r.begin(p) {
		return 0, errNotItsTurn
	}
	n, err := r.src.Read(buf)
	if r.read += int64(n); r.read > r.most {
		return 0, r.fail(formError("", "the form is too large"))
	}
	if e := r.scanner.feed(buf[:n]); e != nil {
		fault, _ := errors.AsType[*Error](e)
		return 0, r.fail(fault)
	}
	switch {
	case errors.Is(err, io.EOF) && r.scanner.state != formEnd:
		return 0, r.fail(formError("", "the form breaks off before its last boundary"))
	case err != nil && !errors.Is(err, io.EOF):
		r.fault.Store(formError("", "the form could not be read to its end"))
	}
	return n, err
}

func (r *Rest) fail(e *Error) error {
	r.fault.Store(e)
	return e
}

// Fault returns the error found so far in the rest of a form, or nil.
func (b *Body) Fault() *Error {
	if b.rest == nil {
		return nil
	}
	return b.rest.fault.Load()
}

// fieldOf returns the name of a part and whether it is a file.
func fieldOf(header string) (name string, file bool, err error) {
	found := false
	for line := range strings.SplitSeq(header, "\r\n") {
		field, value, ok := strings.Cut(line, ":")
		if !ok || field == "" || strings.ContainsAny(field, " \t\r\n") || strings.ContainsAny(value, "\r\n") {
			return "", false, formError("", "a part of the form has a malformed header")
		}
		value = strings.TrimSpace(value)
		switch strings.ToLower(field) {
		case "content-disposition":
			lower := strings.ToLower(value)
			kind, params, err := mime.ParseMediaType(value)
			if err != nil || found || kind != "form-data" || strings.Count(lower, "name*") != strings.Count(lower, "filename*") {
				return "", false, formError("", "a part of the form needs one Content-Disposition: form-data; name=\"...\"")
			}
			found = true
			name = params["name"]
			_, file = params["filename"]
		case "content-transfer-encoding":
			switch strings.ToLower(value) {
			case "binary", "8bit", "7bit":
			default:
				return "", false, formError("", "a part of the form has a Content-Transfer-Encoding: send its bytes as they are")
			}
		case "content-type":
			_, params, err := mime.ParseMediaType(value)
			if cs := strings.ToLower(params["charset"]); err != nil || cs != "" && cs != "utf-8" && cs != "us-ascii" {
				return "", false, formError("", "a part of the form has a Content-Type that is malformed or not in UTF-8")
			}
		}
	}
	if !found || name == "" {
		return "", false, formError("", "a part of the form has no name")
	}
	return name, file, nil
}
