package provider

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync/atomic"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"golang.org/x/sync/singleflight"

	"github.com/tollgate-llm/tollgate/app/setting"
	"github.com/tollgate-llm/tollgate/internal/body"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

const (
	// cloudScope is the OAuth scope of Vertex AI.
	cloudScope = "https://www.googleapis.com/auth/cloud-platform"
	// vertexVersion replaces the model in the body of calls to Anthropic's models on Vertex AI.
	vertexVersion = "vertex-2023-10-16"
	globalVertex  = "global"
)

// A project id may be scoped to a domain: example.com:my-project.
var googleName = regexp.MustCompile(`^[a-z0-9][a-z0-9.:-]{0,99}$`)

// CheckGoogleName checks the name of a project or a location.
func CheckGoogleName(what, s string) error {
	if !googleName.MatchString(s) {
		return fmt.Errorf("%s %s: the id of a Google Cloud %s is expected", what, s, what)
	}
	return nil
}

// setUpVertex determines the project, the location and the location's base URL.
func setUpVertex(s *Server, o *Options) error {
	project, err := setting.Resolve("project", o.Project)
	if err != nil {
		return err
	}
	location, err := setting.Resolve("location", o.Location)
	if err != nil {
		return err
	}
	if s.Base != nil {
		parts := strings.Split(strings.Trim(s.Base.Path, "/"), "/")
		for i, word := range parts[:len(parts)-1] {
			switch {
			case word == "projects" && project == "":
				project = parts[i+1]
			case word == "locations" && location == "":
				location = parts[i+1]
			}
		}
		path, _, _ := strings.Cut(s.Base.Path, "/projects/")
		s.Base.Path = strings.TrimSuffix(path, "/v1")
		if location == "" {
			location, _, _ = strings.Cut(s.Base.Hostname(), "-aiplatform.")
			if location == s.Base.Hostname() {
				location = ""
			}
		}
	}
	// These are the variables that Google's own SDKs read.
	project = cmp.Or(project, os.Getenv("GOOGLE_CLOUD_PROJECT"))
	location = cmp.Or(location, os.Getenv("GOOGLE_CLOUD_LOCATION"), globalVertex)
	if project == "" {
		return errors.New("project is missing: write it, or a base URL that holds it")
	}
	if err := errors.Join(CheckGoogleName("project", project), CheckGoogleName("location", location)); err != nil {
		return err
	}
	if s.Base == nil {
		host := location + "-aiplatform.googleapis.com"
		switch location {
		case globalVertex:
			host = "aiplatform.googleapis.com"
		case "us", "eu":
			host = "aiplatform." + location + ".rep.googleapis.com"
		}
		if s.Base, err = ParseBase("https://" + host); err != nil {
			return err
		}
	}
	s.parent = "/v1/projects/" + project + "/locations/" + location + "/publishers/"
	s.Signer, s.Region = new(googleSigner), location
	return nil
}

// vertexOffers reports whether Vertex AI serves a model in an API: Anthropic's models only in Messages, other
// models in any other API.
func vertexOffers(api llm.API, model string) bool {
	return (api == llm.Anthropic) == strings.HasPrefix(model, "claude")
}

// vertexPath puts the model in the path, below its publisher.
func vertexPath(s *Server, c *Call) (path, query string) {
	path = s.basePath + s.parent
	if c.Endpoint.API == llm.OpenAI {
		return strings.TrimSuffix(path, "publishers/") + "endpoints/openapi/" + c.Endpoint.Name, ""
	}
	if c.Endpoint.API == llm.Gemini {
		return path + "google/models/" + Escape(c.Upstream) + ":" + c.Endpoint.Name, geminiQuery(c)
	}
	verb := ":rawPredict"
	name := Escape(c.Upstream)
	switch {
	case c.Endpoint.Billing == llm.Free:
		name = "count-tokens" // it takes the model from the body
	case c.Body.Stream:
		verb = ":streamRawPredict"
	}
	return path + "anthropic/models/" + name + verb, ""
}

// vertexChange replaces the model with Anthropic's version, because the path contains the model.
func vertexChange(c *Call) body.Change {
	switch {
	case c.Endpoint.API == llm.OpenAI && !strings.Contains(c.Upstream, "/"):
		return body.Change{Model: "google/" + c.Upstream} // the name is prefixed with the publisher
	case c.Endpoint.API == llm.OpenAI:
		return body.Change{Model: c.Upstream}
	case c.Endpoint.API == llm.Gemini:
		return body.Change{NoModel: true}
	case c.Endpoint.Billing == llm.Free:
		return body.Change{Model: c.Upstream, Version: vertexVersion}
	}
	return body.Change{NoModel: true, Version: vertexVersion}
}

// googleSigner adds an access token from Google's Application Default Credentials. It looks them up at the first
// call, and caches a token until it expires.
type googleSigner struct {
	token  atomic.Pointer[oauth2.Token]
	source atomic.Pointer[google.Credentials]
	fetch  singleflight.Group
}

// Sign adds the token.
func (s *googleSigner) Sign(r *http.Request, _ *body.Payload) error {
	token := s.token.Load()
	if !token.Valid() {
		ctx, cancel := context.WithTimeout(r.Context(), credentialTime)
		defer cancel()
		select {
		case got := <-s.fetch.DoChan("", s.renew): // a call stops waiting at its client's deadline
			if got.Err != nil {
				return fmt.Errorf("no Google credentials: %w", got.Err)
			}
			token, _ = got.Val.(*oauth2.Token)
		case <-ctx.Done():
			return fmt.Errorf("no Google credentials: %w", ctx.Err())
		}
	}
	r.Header[authorization] = []string{bearer + token.AccessToken}
	return nil
}

// renew fetches a token. It is shared by all calls that wait for one, so it uses none of their contexts.
func (s *googleSigner) renew() (any, error) {
	if token := s.token.Load(); token.Valid() {
		return token, nil
	}
	credentials := s.source.Load()
	if credentials == nil {
		ctx := context.WithValue(context.Background(), oauth2.HTTPClient, &http.Client{Timeout: credentialTime})
		var err error
		if credentials, err = google.FindDefaultCredentials(ctx, cloudScope); err != nil {
			return nil, err
		}
		s.source.Store(credentials)
	}
	token, err := credentials.TokenSource.Token()
	if err != nil {
		if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
			return nil, fmt.Errorf("the token was refused: %s", refused.Response.Status) // its body is not for a log
		}
		return nil, err
	}
	s.token.Store(token)
	return token, nil
}
