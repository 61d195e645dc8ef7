package upstream

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// maxWindow limits the memory for decoding an answer. RFC 8878 asks encoders to need no more than 8 MB. Brotli's window is at
// most 16 MB (RFC 7932) and grows with the decoded data.
const maxWindow = 8 << 20

// decoders are the content codings of RFC 9110, section 8.4.1, br of RFC 7932, and zstd of RFC 8878.
var decoders = map[string]func(io.Reader) (io.Reader, error){
	"gzip":    func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
	"x-gzip":  func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
	"deflate": inflate,
	"br":      func(r io.Reader) (io.Reader, error) { return brotli.NewReader(r), nil },
	"zstd": func(r io.Reader) (io.Reader, error) {
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	},
}

// inflate reads the zlib format, which `deflate` stands for, or raw deflate, which some servers send.
func inflate(r io.Reader) (io.Reader, error) {
	b := bufio.NewReader(r)
	head, err := b.Peek(2)
	if err != nil {
		return nil, err
	}
	if head[0]&0x0f == 8 && (int(head[0])<<8|int(head[1]))%31 == 0 {
		return zlib.NewReader(b)
	}
	return flate.NewReader(b), nil
}

// decode decompresses an answer that the backend compressed although it was asked not to, so that usage can be
// read. A model's answer in an unknown coding is an error. Other answers stay as they are.
func decode(resp *http.Response) error {
	written := resp.Header["Content-Encoding"]
	if len(written) == 0 {
		return nil
	}
	coding := strings.ToLower(strings.TrimSpace(strings.Join(written, ",")))
	if coding == "identity" || coding == "" {
		return nil
	}
	open := decoders[coding]
	if open == nil {
		if !hasBody(resp) {
			return nil
		}
		return errors.Join(&failure{reason: "the backend compressed its answer although it was asked not to, in a way that cannot be read"}, resp.Body.Close())
	}
	resp.Body = &decoded{from: resp.Body, open: open}
	resp.ContentLength, resp.Uncompressed = -1, true
	delete(resp.Header, "Content-Encoding")
	delete(resp.Header, "Content-Length")
	return nil
}

// decoded decompresses a body as it is read.
type decoded struct {
	from io.ReadCloser
	open func(io.Reader) (io.Reader, error)

	mu   sync.Mutex // a body may be closed during a read
	text io.Reader  // nil until the first read
}

func (d *decoded) Read(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.text == nil {
		text, err := d.open(d.from)
		if err != nil {
			return 0, err
		}
		d.text = text
	}
	return d.text.Read(p)
}

// Close also interrupts a read in progress, because it closes the underlying body first.
func (d *decoded) Close() error {
	err := d.from.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	if z, ok := d.text.(*zstd.Decoder); ok {
		z.Close()
	}
	return err
}
