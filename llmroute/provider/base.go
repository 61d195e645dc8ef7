package provider

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/endpoint"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// ParseBase parses a base URL.
func ParseBase(base string) (*url.URL, error) {
	u, err := url.Parse(base)
	switch {
	case err != nil:
		// The error's text could show a password in the URL.
		return nil, errors.New("the base URL cannot be parsed")
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, errors.New("the base URL must begin with http:// or https:// and name a host")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("the base URL may hold no credentials, no query and no fragment: a key belongs to api_key")
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), ""
	return u, nil
}

// CheckBase parses a base URL. It refuses a URL that contains what the gateway adds: an endpoint's path or a
// version.
func (p *Preset) CheckBase(base string) (*url.URL, error) {
	u, err := ParseBase(base)
	if err != nil {
		return nil, err
	}
	rest := u.Path
	for {
		cut := p.cut(rest)
		if cut == rest {
			break
		}
		rest = cut
	}
	if rest == u.Path {
		return u, nil
	}
	return nil, fmt.Errorf("the base URL ends in %s, which the gateway adds itself: write %s://%s%s",
		u.Path[len(rest):], u.Scheme, u.Host, rest)
}

// cut removes one surplus segment from the end of a base URL's path.
func (p *Preset) cut(path string) string {
	lower := strings.ToLower(path)
	for _, inside := range p.inside {
		if at := strings.Index(lower+"/", inside); at >= 0 {
			return path[:at]
		}
	}
	for name := range endpoint.Names() {
		if strings.HasSuffix(lower, "/"+name) {
			return path[:len(path)-len(name)-1]
		}
	}
	if strings.HasSuffix(lower, "/v1/v1") {
		return path[:len(path)-len("/v1")]
	}
	for _, version := range p.versions {
		if strings.HasSuffix(lower, version) {
			return path[:len(path)-len(version)]
		}
	}
	return path
}

// Pathless reports whether a base URL lacks the path that the provider's servers have. It may still be right,
// for a server behind a proxy that adds the path.
func (p *Preset) Pathless(u *url.URL) bool {
	return u.Path == "" && p.API == llm.OpenAI && !p.rootBase
}
