package upstream

import (
	"cmp"
	"net/http"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
	"go.uber.org/zap"

	"github.com/tollgate-llm/tollgate/internal/translate"
)

// translatedHeader adjusts the header of an answer for translation: it removes headers about the answer's bytes
// and the upstream's API, and sets the upstream's request id under both names.
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

// permission logs that the provider denied access to the gateway's own account, because the translated error
// does not say who was denied what. The message is logged only if AWS denies an action: it names an identity,
// the action and the resource. Other errors may contain parts of keys.
func (x *exchange) permission(resp *http.Response) {
	if resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusForbidden {
		return
	}
	kind, _, _ := strings.Cut(resp.Header.Get("X-Amzn-Errortype"), ":")
	fields := []zap.Field{zap.Int("status", resp.StatusCode), zap.String("type", kind), zap.String("upstream_request_id", resp.Header.Get("X-Amzn-Requestid"))}
	if kind == "AccessDeniedException" {
		fields = append(fields, zap.String("reason", reason(peek(resp))))
	}
	if x.Target != nil {
		fields = append(fields, zap.String("model", x.Target.Model), zap.String("backend", x.Target.Backend))
	}
	x.backend.logger.Error("the provider refuses the gateway's account", fields...)
}

// reason returns the message of an AWS error.
func reason(text []byte) string {
	const most = 1 << 10
	m := gjson.GetManyBytes(text, "message", "Message")
	s := cmp.Or(m[0].Str, m[1].Str)
	return strings.ToValidUTF8(s[:min(len(s), most)], "")
}

// translated translates an answer that no meter reads.
type translated struct {
	http.ResponseWriter
	with   *translate.Translation
	answer *translate.Answering
}

// WriteHeader records the status. If the answer is translated as a whole, the header is sent at its end.
func (t *translated) WriteHeader(status int) {
	t.answer = t.with.Begin(status, t.Header().Get("Content-Type"))
	if t.answer.Describe(t.Header()); !t.answer.Whole() {
		t.ResponseWriter.WriteHeader(status)
	}
}

// Write translates the next bytes. If that fails, the client's answer ends with an error.
func (t *translated) Write(p []byte) (int, error) {
	out, err := t.answer.Write(p)
	if len(out) > 0 {
		if _, failed := t.ResponseWriter.Write(out); failed != nil {
			return 0, failed
		}
	}
	switch {
	case err == nil:
		return len(p), nil
	case t.answer.Whole():
		if failed := t.end(nil); failed != nil {
			return 0, failed
		}
	case !translate.TooLong(err):
		return 0, err
	}
	return 0, translate.ErrAnswered
}

// FlushError flushes what has been written.
func (t *translated) FlushError() error {
	if t.answer == nil || t.answer.Whole() {
		return nil
	}
	return http.NewResponseController(t.ResponseWriter).Flush()
}

// end ends the answer. cause is why the upstream's answer was truncated, or nil if it was complete.
func (t *translated) end(cause error) error {
	status, out, err := t.answer.End(cause)
	if t.answer.Whole() {
		if cause != nil || out == nil {
			return err
		}
		h := t.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Content-Length", strconv.Itoa(len(out)))
		t.ResponseWriter.WriteHeader(status)
		err = nil // the client has received the error
	}
	if len(out) > 0 {
		if _, failed := t.ResponseWriter.Write(out); failed != nil {
			return failed
		}
	}
	return err
}

// close releases the answer's memory.
func (t *translated) close() {
	if t.answer != nil {
		t.answer.Close()
	}
}

// Unwrap returns the client's writer.
func (t *translated) Unwrap() http.ResponseWriter { return t.ResponseWriter }
