package llmroute

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/body"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// read takes the body, once, and scans it.
func (h *Handler) read(r *http.Request, ep *endpoint) (*body.Body, *llm.Error) {
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return nil, refusal(http.StatusUnsupportedMediaType, invalidRequest, "Content-Encoding",
			"a compressed body is not read: send it without Content-Encoding")
	}
	if !isJSON(r.Header.Get("Content-Type")) {
		message := "the body must be JSON: send Content-Type: application/json"
		if ep.multipart {
			message = "forms with files are not served at " + r.URL.Path + ": only JSON bodies are read"
		}
		return nil, refusal(http.StatusUnsupportedMediaType, invalidRequest, "Content-Type", message)
	}
	data, refused := h.readAll(r)
	if refused != nil {
		return nil, refused
	}
	b, err := body.Parse(data)
	if err != nil {
		refused := invalid("", "the body cannot be read: "+err.Error())
		if at, ok := errors.AsType[*body.Error](err); ok {
			refused.Param = at.Param
		}
		return nil, refused
	}
	switch {
	case !b.Model.Present():
		return nil, invalid("model", "the body names no model: give it as \"model\"")
	case b.Background:
		return nil, invalid("background", "background: true is not served: the usage of such calls comes too late to be metered")
	}
	return b, nil
}

// isJSON reports whether a Content-Type is JSON. None at all is taken for it.
func isJSON(contentType string) bool {
	if contentType == "" || contentType == "application/json" {
		return true
	}
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	return media == "application/json" || media == "text/json" || strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")
}

// firstRead is what is set aside for a body before any of it has come; what Content-Length claims is not believed beyond it.
const firstRead = 1 << 20

// readAll reads the body up to the bound.
func (h *Handler) readAll(r *http.Request) ([]byte, *llm.Error) {
	tooLarge := func() *llm.Error {
		return refusal(http.StatusRequestEntityTooLarge, invalidRequest, "", "the body is larger than this gateway takes (max_body)")
	}
	if r.ContentLength > h.maxBody {
		return nil, tooLarge()
	}
	capacity := int64(512)
	if r.ContentLength >= 0 {
		capacity = min(r.ContentLength, firstRead) + 1 // the last byte is room to see the end
	}
	buf := make([]byte, 0, capacity)
	for {
		n, err := r.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if int64(len(buf)) > h.maxBody {
			return nil, tooLarge()
		}
		switch {
		case errors.Is(err, io.EOF):
			return buf, nil
		case err != nil:
			return nil, unread(err)
		case len(buf) == cap(buf):
			grown := make([]byte, len(buf), min(2*int64(cap(buf)), h.maxBody)+1)
			copy(grown, buf)
			buf = grown
		}
	}
}

// unread tells why a body could not be read.
func unread(err error) *llm.Error {
	e := invalid("", "the body could not be read to its end")
	e.Err = err
	if status := handlerError(err); status != 0 {
		e.Status = status
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		e.Status = http.StatusRequestEntityTooLarge
	}
	return e
}

// Which of the client's headers go upstream. What is not named here does not, credentials least of all.
const (
	toAll uint8 = 1 << iota
	toOpenAI
	toAnthropic
)

var passing = map[string]uint8{
	"Content-Type":      toAll,
	"Accept":            toAll,
	"User-Agent":        toAll,
	"Idempotency-Key":   toAll,
	"X-Request-Id":      toAll,
	"Traceparent":       toAll,
	"Tracestate":        toAll,
	"Openai-Beta":       toOpenAI,
	"Anthropic-Beta":    toAnthropic,
	"Anthropic-Version": toAnthropic,
}

// The reverse proxy leaves a header out that is there without a value.
var (
	withheld = []string(nil)
	jsonType = []string{"application/json"}
	version  = []string{"2023-06-01"} // what Anthropic's own SDKs send
)

// upstreamHeader returns the client's headers that go upstream.
func upstreamHeader(in http.Header, api llm.API) http.Header {
	flavour := toAll | toOpenAI
	if api == llm.Anthropic {
		flavour = toAll | toAnthropic
	}
	out := make(http.Header, 16)
	for name, values := range in {
		if passing[name]&flavour != 0 || strings.HasPrefix(name, "X-Stainless-") {
			out[name] = values
		}
	}
	if len(out["Content-Type"]) == 0 {
		out["Content-Type"] = jsonType
	}
	if api == llm.Anthropic && len(out["Anthropic-Version"]) == 0 {
		out["Anthropic-Version"] = version
	}
	out["X-Forwarded-For"], out["X-Forwarded-Host"], out["X-Forwarded-Proto"] = withheld, withheld, withheld
	return out
}

// upstreamRequest makes the request of one attempt. Its path is built from the table, never copied.
func upstreamRequest(r *http.Request, a *attempt, ep *endpoint, header http.Header, upstream string) *http.Request {
	b := a.backend
	out := r.WithContext(withAttempt(r.Context(), a))
	path, query := b.preset.pathOf(ep, upstream)
	out.URL = &url.URL{Path: b.base.Path + path, RawQuery: query}
	if ep.API == llm.Anthropic && r.URL.RawQuery == "beta=true" {
		out.URL.RawQuery = r.URL.RawQuery // how Anthropic's SDKs mark their beta calls
	}
	out.RequestURI = ""
	out.Host = b.base.Host
	out.Header = header // the reverse proxy changes a copy
	out.TransferEncoding, out.Trailer = nil, nil
	payload := a.payload
	out.ContentLength = payload.Len()
	out.Body = payload.Reader()
	out.GetBody = func() (io.ReadCloser, error) { return payload.Reader(), nil }
	return out
}
