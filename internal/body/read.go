package body

import (
	"errors"
	"io"
	"mime"
	"strings"
)

// ErrTooLarge means that a body is larger than it may be.
var ErrTooLarge = errors.New("the body is too large")

// FirstRead is the most that is allocated before any of a body has arrived; a larger length that is announced is not trusted.
const FirstRead = 1 << 20

// Read reads a JSON body, whole, and scans it. size is its length, -1 when it is not known; most bounds it. Errors are of type *Error,
// ErrTooLarge, or those of the reader.
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
		capacity = min(size, FirstRead) + 1 // the last byte is room to see the end
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

// IsForm reports whether a Content-Type is a form with files.
func IsForm(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(media), "multipart/form-data")
}

// IsUTF8 reports whether a Content-Type has no charset but UTF-8, or ASCII, which is a part of it.
func IsUTF8(contentType string) bool {
	if !strings.Contains(contentType, ";") {
		return true
	}
	_, parameters, err := mime.ParseMediaType(contentType)
	if err != nil {
		return true // what follows refuses it, or does not read it
	}
	switch charset := parameters["charset"]; strings.ToLower(charset) {
	case "", "utf-8", "utf8", "us-ascii", "ascii":
		return true
	}
	return false
}

// IsJSON reports whether a Content-Type is JSON. None at all is taken for it.
func IsJSON(contentType string) bool {
	if contentType == "" || contentType == "application/json" {
		return true
	}
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	return media == "application/json" || media == "text/json" || strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")
}
