package upstream

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/translate"
)

// translatedHeader makes the header of an answer that is translated: without what is about its bytes or about the upstream's API, and
// with the upstream's request id under both names.
func translatedHeader(h http.Header) {
	for _, name := range [...]string{"Content-Length", "Content-Encoding", "Content-Md5", "Digest", "Etag", "Last-Modified", "Accept-Ranges"} {
		delete(h, name)
	}
	for name := range h {
		if strings.HasPrefix(name, "Anthropic-") || strings.HasPrefix(name, "Openai-") || name == "X-Amzn-Errortype" {
			delete(h, name)
		}
	}
	for _, names := range [...][2]string{{"X-Request-Id", "X-Amzn-Requestid"}, {"Request-Id", "X-Request-Id"}, {"X-Request-Id", "Request-Id"}} {
		if len(h[names[0]]) == 0 && len(h[names[1]]) > 0 {
			h[names[0]] = h[names[1]]
		}
	}
}

// translated translates an answer that no meter reads.
type translated struct {
	http.ResponseWriter
	with   *translate.Translation
	answer *translate.Answering
}

// WriteHeader takes the status. The header of an answer that is translated whole waits for its end.
func (t *translated) WriteHeader(status int) {
	t.answer = t.with.Begin(status, t.Header().Get("Content-Type"))
	if t.answer.Describe(t.Header()); !t.answer.Whole() {
		t.ResponseWriter.WriteHeader(status)
	}
}

// Write translates a piece. What cannot be translated ends the answer for the client, which is told so.
func (t *translated) Write(p []byte) (int, error) {
	out, err := t.answer.Write(p)
	if len(out) > 0 {
		if _, failed := t.ResponseWriter.Write(out); failed != nil {
			return 0, failed
		}
	}
	return len(p), err
}

// FlushError sends what was written so far.
func (t *translated) FlushError() error {
	if t.answer == nil || t.answer.Whole() {
		return nil
	}
	return http.NewResponseController(t.ResponseWriter).Flush()
}

// end ends the answer. cause is why the upstream's broke off; nil where it did not.
func (t *translated) end(cause error) error {
	status, out, err := t.answer.End(cause)
	if t.answer.Whole() {
		if cause != nil {
			return err
		}
		h := t.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Content-Length", strconv.Itoa(len(out)))
		t.ResponseWriter.WriteHeader(status)
		err = nil // the client is told
	}
	if len(out) > 0 {
		if _, failed := t.ResponseWriter.Write(out); failed != nil {
			return failed
		}
	}
	return err
}

// Unwrap returns the client's writer.
func (t *translated) Unwrap() http.ResponseWriter { return t.ResponseWriter }
