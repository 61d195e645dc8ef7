package keyauth

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// The headers that may carry a key, first Authorization, then keyHeaders, in canonical form.
const headerAuthorization = "Authorization"

var keyHeaders = [...]string{"X-Api-Key", "Api-Key", "X-Goog-Api-Key"}

// accountHeaders are credentials or account choices of the client that must not reach an upstream either.
var accountHeaders = [...]string{"Cookie", "Openai-Organization", "Openai-Project"}

// takeCredential returns the key that a request carries, and an error when its headers carry different ones. It removes
// every credential of the client from the request, whatever it returns.
func takeCredential(r *http.Request) (key string, refusal *llm.Error) {
	var from string
	consider := func(name, value string) {
		value = strings.TrimSpace(value)
		switch {
		case value == "" || value == key:
		case key == "":
			key, from = value, name
		case refusal == nil:
			refusal = &llm.Error{
				Status: http.StatusBadRequest, Type: "invalid_request_error", Param: name,
				Message: "the request carries different API keys in " + from + " and " + name + ": send one",
			}
		}
	}
	for _, v := range r.Header[headerAuthorization] {
		if scheme, token, ok := strings.Cut(strings.TrimSpace(v), " "); ok && strings.EqualFold(scheme, "Bearer") {
			consider(headerAuthorization, token)
		}
	}
	for _, name := range keyHeaders {
		for _, v := range r.Header[name] {
			consider(name, v)
		}
	}
	delete(r.Header, headerAuthorization)
	for _, name := range keyHeaders {
		delete(r.Header, name)
	}
	for _, name := range accountHeaders {
		delete(r.Header, name)
	}
	inQuery := stripQueryKey(r)
	switch {
	case refusal != nil:
		return "", refusal
	case key == "" && inQuery:
		return "", authError("a key in the URL is not accepted, as URLs are logged: send it in a header, as `Authorization: Bearer sk-...` or `x-goog-api-key: sk-...`")
	case key == "":
		return "", authError("no API key was sent: send it as `Authorization: Bearer sk-...`")
	case len(key) > keys.MaxBytes:
		return "", authError("the API key is too long to be one")
	}
	return key, nil
}

// stripQueryKey removes `key` parameters from the URL, leaving every other byte of the query, and reports whether any
// was there. The handlers after this one, and Caddy's own request line, see the shorter URL.
func stripQueryKey(r *http.Request) bool {
	if r.URL.RawQuery == "" {
		return false
	}
	found := false
	kept := make([]string, 0, 4)
	for part := range strings.SplitSeq(r.URL.RawQuery, "&") {
		// Some servers take `;` for `&`: a part in which it hides a key goes as a whole.
		if slices.ContainsFunc(strings.Split(part, ";"), isQueryKey) {
			found = true
			continue
		}
		kept = append(kept, part)
	}
	if found {
		r.URL.RawQuery = strings.Join(kept, "&")
		r.RequestURI = r.URL.RequestURI()
	}
	return found
}

// isQueryKey reports whether a parameter of a query is named key.
func isQueryKey(parameter string) bool {
	name, _, _ := strings.Cut(parameter, "=")
	unescaped, err := url.QueryUnescape(name)
	return err == nil && strings.EqualFold(unescaped, "key")
}
