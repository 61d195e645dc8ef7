package keyauth

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/tollgate-llm/tollgate/app"
	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// The headers that may carry a key, first Authorization, then keyHeaders, in canonical form.
const headerAuthorization = "Authorization"

var keyHeaders = [...]string{"X-Api-Key", "Api-Key", "X-Goog-Api-Key"}

// accountHeaders are credentials or account choices of the client that must not reach an upstream either.
var accountHeaders = [...]string{
	"Cookie", "Proxy-Authorization", "Openai-Organization", "Openai-Project", "X-Litellm-Api-Key", "X-Litellm-Key", "Ocp-Apim-Subscription-Key",
	"X-Portkey-Api-Key", "X-Portkey-Virtual-Key", "Helicone-Auth", "X-Auth-Token", "X-Access-Token", "X-Amz-Security-Token",
}

func init() {
	app.RegisterSecretHeaders(headerAuthorization)
	app.RegisterSecretHeaders(keyHeaders[:]...)
	for _, name := range accountHeaders {
		if !strings.HasPrefix(name, "Openai-") { // these choose an account
			app.RegisterSecretHeaders(name)
		}
	}
}

// credentials are the different values that a request carries where a key may be.
type credentials struct {
	values  [1 + len(keyHeaders)]string
	n       int
	more    bool // than values has room for
	inQuery bool // a key was in the URL, which is none of the values
}

func (c *credentials) add(value string) {
	value = strings.TrimSpace(value)
	switch {
	case value == "" || slices.Contains(c.values[:c.n], value):
	case c.n == len(c.values):
		c.more = true
	default:
		c.values[c.n] = value
		c.n++
	}
}

// takeCredentials returns what a request carries, and removes every credential of the client from it.
func takeCredentials(r *http.Request) (c credentials) {
	for _, v := range r.Header[headerAuthorization] {
		if scheme, token, ok := strings.Cut(strings.TrimSpace(v), " "); ok && strings.EqualFold(scheme, "Bearer") {
			c.add(token)
		}
	}
	for _, name := range keyHeaders {
		for _, v := range r.Header[name] {
			c.add(v)
		}
	}
	delete(r.Header, headerAuthorization)
	for _, name := range keyHeaders {
		delete(r.Header, name)
	}
	for _, name := range accountHeaders {
		delete(r.Header, name)
	}
	c.inQuery = stripQueryKey(r)
	return c
}

// choose judges what a request carries. Clients send their own tokens beside the key, so that a value which is no key of
// this gateway does not count where another one is. Two keys of this gateway are refused, as the payer would be ambiguous.
func (h *Handler) choose(ctx context.Context, c *credentials) (*keys.State, *llm.Error) {
	switch {
	case c.more:
		return nil, ambiguous("the request carries more API keys than there are headers for them: send one")
	case c.n == 0 && c.inQuery:
		return nil, authError("a key in the URL is not accepted, as URLs are logged: send it in a header, as `Authorization: Bearer sk-...` or `x-goog-api-key: sk-...`")
	case c.n == 0:
		return nil, authError("no API key was sent: send it as `Authorization: Bearer sk-...`")
	}
	best := h.judge(ctx, c.values[0])
	for _, value := range c.values[1:c.n] {
		v := h.judge(ctx, value)
		if v.rank == ours && best.rank == ours {
			return nil, ambiguous("the request carries different API keys of this gateway: send one")
		}
		if v.rank > best.rank {
			best = v
		}
	}
	return best.state, best.refusal
}

func ambiguous(message string) *llm.Error {
	return &llm.Error{Status: http.StatusBadRequest, Type: "invalid_request_error", Message: message}
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
