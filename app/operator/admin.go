package operator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// Methods are the handlers of an admin path by HTTP method. GET changes nothing.
type Methods struct{ Get, Post caddy.AdminHandlerFunc }

// Route returns the route of an admin path. Other methods get 405 with an Allow header.
func Route(path string, m Methods) caddy.AdminRoute {
	serve := func(w http.ResponseWriter, r *http.Request) error {
		var allowed []string
		for method, fn := range map[string]caddy.AdminHandlerFunc{http.MethodGet: m.Get, http.MethodPost: m.Post} {
			if fn != nil && r.Method == method {
				return fn(w, r)
			}
			if fn != nil {
				allowed = append(allowed, method)
			}
		}
		slices.Sort(allowed)
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		return Refuse(http.StatusMethodNotAllowed, "method not allowed: %s takes %s", r.URL.Path, strings.Join(allowed, " and "))
	}
	return caddy.AdminRoute{Pattern: path, Handler: caddy.AdminHandlerFunc(serve)}
}

// Refuse returns an admin API error with a status and a message for the operator.
func Refuse(status int, format string, args ...any) error {
	return caddy.APIError{HTTPStatus: status, Err: fmt.Errorf(format, args...)}
}

// OnlyParameters refuses unknown query parameters, because a misspelled one would be ignored.
func OnlyParameters(v url.Values, names ...string) error {
	for name := range v {
		if !slices.Contains(names, name) {
			return Refuse(http.StatusBadRequest, "unknown parameter %s", name)
		}
	}
	return nil
}

// maxBody is the maximum size of a request body in bytes.
const maxBody = 16 << 20

// ReadBody decodes a JSON request body. An empty body counts as an empty object.
func ReadBody(r *http.Request, into any) error {
	b, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	if err != nil {
		return Refuse(http.StatusBadRequest, "reading the body: %w", err)
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return Refuse(http.StatusBadRequest, "the body is not the JSON object that is wanted: %w", err)
	}
	return nil
}

// WriteJSON writes v as the JSON response.
func WriteJSON(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(v)
}
