package body

import (
	"errors"
	"io"
	"mime"
	"strings"
)

// ErrTooLarge is returned for a body above the size limit.
var ErrTooLarge = errors.New("the body is too large")

// FirstRead is the most that is allocated, in bytes, before any of a body has arrived. A larger announced length is not
// trusted.
const FirstRead = 1 << 20

// Read reads and scans a whole JSON body. size is its length in bytes, -1 if unknown; most is the limit. Errors are of type
// *Error, ErrTooLarge, or the reader's.
func Read(r io.Reader, size, most int64) (*Body, error) {
	data, err := readAll(r, size, most)
	if err != nil {
		return nil, err
	}
	return Parse(data)
}

func readAll(r io.Reader, size, most int64) ([]byte, error) {
	if size > most {
		return nil, ErrTooLarge
	}
	capacity := int64(512)
	if size >= 0 {
		capacity = min(size, FirstRead) + 1 // one more byte, to see the end
	}
	buf := make([]byte, 0, capacity)
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if int64(len(buf)) > most {
			return nil, ErrTooLarge
		}
		switch {
		case errors.Is(err, io.EOF):
			return buf, nil
		case err != nil:
			return nil, err
		case len(buf) == cap(buf):
			grow := min(2*int64(cap(buf)), most)
			if size >= 0 {
				grow = min(grow, size)
			}
			grown := make([]byte, len(buf), grow+1)
			copy(grown, buf)
			buf = grown
		}
	}
}

// IsForm reports whether a Content-Type is multipart/form-data.
func IsForm(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(media), "multipart/form-data")
}

// IsUTF8 reports whether the charset of a Content-Type is absent, UTF-8, or ASCII, which is a subset.
func IsUTF8(contentType string) bool {
	if !strings.Contains(contentType, ";") {
		return true
	}
	_, parameters, err := mime.ParseMediaType(contentType)
	if err != nil {
		return true // refused later, or not read
	}
	switch charset := parameters["charset"]; strings.ToLower(charset) {
	case "", "utf-8", "utf8", "us-ascii", "ascii":
		return true
	}
	return false
}

// IsJSON reports whether a Content-Type is JSON. An empty one counts as JSON.
func IsJSON(contentType string) bool {
	if contentType == "" || contentType == "application/json" {
		return true
	}
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	return media == "application/json" || media == "text/json" || strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")
}
