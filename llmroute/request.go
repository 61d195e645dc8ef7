package llmroute

import (
	"errors"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tollgate-llm/tollgate/internal/body"
	"github.com/tollgate-llm/tollgate/internal/endpoint"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/llmroute/provider"
)

// read reads the body once and scans it, except for the files in a large form. named is the model in the path,
// or empty if the body names it.
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

// scan parses a body according to its Content-Type.
func (h *Handler) scan(r *http.Request, ep *endpoint.Endpoint, named string) (*body.Body, *llm.Error) {
	contentType := r.Header.Get("Content-Type")
	if !body.IsUTF8(contentType) {
		return nil, refusal(http.StatusUnsupportedMediaType, invalidRequest, "Content-Type", "the body must be UTF-8: send no other charset")
	}
	if ep.Multipart && body.IsForm(contentType) {
		b, err := body.ParseForm(r.Body, contentType, named != "", r.ContentLength, h.maxBody)
		if err != nil {
			return nil, unreadable(err)
		}
		return b, nil
	}
	if !body.IsJSON(contentType) {
		message := "the body must be JSON: send Content-Type: application/json"
		if ep.Multipart {
			message = "the body must be a form or JSON: send Content-Type: multipart/form-data; boundary=... or application/json"
		}
		return nil, refusal(http.StatusUnsupportedMediaType, invalidRequest, "Content-Type", message)
	}
	b, err := body.Read(r.Body, r.ContentLength, h.maxBody)
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

// strayed reports whether a name would change the structure of the path that it is inserted into.
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

// unread returns the refusal of a body that was not received completely.
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
