package llmroute

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tollgate-llm/tollgate/internal/body"
	"github.com/tollgate-llm/tollgate/internal/endpoint"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/llmroute/provider"
)

// read takes the body, once, and scans it: the whole of it, but for the files of a large form. named is the model that the
// path names, empty where the body does.
func (h *Handler) read(r *http.Request, ep *endpoint.Endpoint, named string) (*body.Body, *llm.Error) {
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return nil, refusal(http.StatusUnsupportedMediaType, invalidRequest, "Content-Encoding",
			"a compressed body is not read: send it without Content-Encoding")
	}
	if len(r.Header["Content-Type"]) > 1 {
		return nil, invalid("Content-Type", "the request has several Content-Types")
	}
	b, refused := h.scan(r, ep, named)
	if refused != nil {
		return nil, refused
	}
	if refused := name(b, ep, named); refused != nil {
		return nil, refused
	}
	b.Stream = b.Stream || ep.Streamed
	if b.Background {
		return nil, invalid("background", "background: true is not served: the usage of such calls comes too late to be metered")
	}
	return b, nil
}

// scan reads a body in the form that its Content-Type names.
func (h *Handler) scan(r *http.Request, ep *endpoint.Endpoint, named string) (*body.Body, *llm.Error) {
	contentType := r.Header.Get("Content-Type")
	if !isUTF8(contentType) {
		return nil, refusal(http.StatusUnsupportedMediaType, invalidRequest, "Content-Type", "the body must be UTF-8: send no other charset")
	}
	if ep.Multipart && isForm(contentType) {
		if r.ContentLength > h.maxBody {
			return nil, tooLarge()
		}
		b, err := body.ParseForm(r.Body, contentType, named != "", r.ContentLength, h.maxBody)
		if err != nil {
			return nil, unreadable(err)
		}
		return b, nil
	}
	if !isJSON(contentType) {
		message := "the body must be JSON: send Content-Type: application/json"
		if ep.Multipart {
			message = "the body must be a form or JSON: send Content-Type: multipart/form-data; boundary=... or application/json"
		}
		return nil, refusal(http.StatusUnsupportedMediaType, invalidRequest, "Content-Type", message)
	}
	data, refused := h.readAll(r)
	if refused != nil {
		return nil, refused
	}
	b, err := body.Parse(data)
	if err != nil {
		return nil, unreadable(err)
	}
	return b, nil
}

// name determines the model of a call.
func name(b *body.Body, ep *endpoint.Endpoint, named string) *llm.Error {
	switch {
	case named == "" && b.BodyModel == "" && ep.Default != "":
		b.ModelName = ep.Default
	case named == "" && b.BodyModel == "":
		return invalid("model", "the body names no model: give it as \"model\"")
	case named == "":
	case named == "" || llm.CheckName(named) != nil:
		return invalid("model", "the path names no model, or one of more than 255 bytes, with a control character or with white space at an end")
	default:
		if ep.InPath && b.BodyModel != "" && strings.TrimPrefix(b.BodyModel, provider.GeminiModels) != named {
			return invalid("model", "the body names another model than the path: leave it out of the body")
		}
		b.ModelName = named
		for _, inner := range b.InnerModels {
			if ep.API == llm.Gemini && strings.TrimPrefix(inner, provider.GeminiModels) != named {
				return invalid("requests", "one of the requests names another model than the path: leave it out")
			}
		}
	}
	if strayed(b.ModelName) {
		return invalid("model", "the model's name has . or .. between its slashes")
	}
	return nil
}

// strayed reports whether a name, put into a path, would lead elsewhere.
func strayed(name string) bool {
	if name[0] != '.' && !strings.Contains(name, "/.") {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "." || part == ".." {
			return true
		}
	}
	return false
}

// unreadable returns the refusal of a body that cannot be parsed.
func unreadable(err error) *llm.Error {
	if errors.Is(err, body.ErrTooLarge) {
		return tooLarge()
	}
	at, ok := errors.AsType[*body.Error](err)
	if !ok {
		return unread(err)
	}
	return invalid(at.Param, "the body cannot be read: "+at.Error())
}

func tooLarge() *llm.Error {
	return refusal(http.StatusRequestEntityTooLarge, invalidRequest, "", "the body is larger than this gateway takes (max_body)")
}

// isForm reports whether a Content-Type is a form with files.
func isForm(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(media), "multipart/form-data")
}

// isUTF8 reports whether a Content-Type has no charset but UTF-8, or ASCII, which is a part of it.
func isUTF8(contentType string) bool {
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

// isJSON reports whether a Content-Type is JSON. None at all is taken for it.
func isJSON(contentType string) bool {
	if contentType == "" || contentType == "application/json" {
		return true
	}
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	return media == "application/json" || media == "text/json" || strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")
}

// firstRead is the most that is allocated before any of a body has arrived; a larger Content-Length is not trusted.
const firstRead = 1 << 20

// readAll reads the body up to the bound.
func (h *Handler) readAll(r *http.Request) ([]byte, *llm.Error) {
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
			size := min(2*int64(cap(buf)), h.maxBody)
			if r.ContentLength >= 0 {
				size = min(size, r.ContentLength)
			}
			grown := make([]byte, len(buf), size+1)
			copy(grown, buf)
			buf = grown
		}
	}
}

// unread returns the refusal of a body that did not arrive whole.
func unread(err error) *llm.Error {
	if e := notArrived(err); e != nil {
		return e
	}
	e := invalid("", "the body could not be read to its end")
	e.Err = err
	if by, ok := errors.AsType[caddyhttp.HandlerError](err); ok && by.StatusCode >= 400 {
		e.Status = by.StatusCode
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		e.Status = http.StatusRequestEntityTooLarge
	}
	return e
}
