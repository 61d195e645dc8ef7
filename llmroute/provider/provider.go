// Package provider has the presets of model providers: URLs, authentication, and changes to the body of a call.
package provider

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/body"
	"github.com/tollgate-llm/tollgate/internal/endpoint"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// Preset describes a provider, independently of any backend.
type Preset struct {
	// Base is the base URL in the format of the provider's own SDK; empty if it differs by customer.
	Base string
	// API and Also are the API formats that the provider speaks. A backend serves the endpoints of all.
	API  llm.API
	Also []llm.API
	// KeyHeader and KeyPrefix are how the key is sent. No KeyHeader: there is no key.
	KeyHeader, KeyPrefix string
	// Keyless is set where a backend may have no key, even at the preset's own URL.
	Keyless bool
	// Options are the provider-specific subdirectives.
	Options []string
	// setUp resolves the options of a backend and completes its base URL. Nil without any.
	setUp func(s *Server, o *Options) error
	// offers reports whether the provider has a model, by its name upstream, in one of its APIs. Nil where it has all models in all
	// of them.
	offers func(api llm.API, model string) bool
	// openAIEndpoint is the one endpoint by which it serves OpenAI's API, where that is a further one. Empty for all.
	openAIEndpoint string
	// path returns the escaped path and the query of a call upstream, below the host of the base URL. Nil means the
	// endpoint's name below the base URL's path.
	path func(s *Server, c *Call) (path, query string)
	// change returns what a call's body must name. Nil means the model sent upstream, except where the endpoint has that
	// in its path.
	change func(c *Call) body.Change
	// versions are the ends of a base URL, and inside the pieces of its path, that path adds.
	versions, inside []string
	// rootBase is set where the provider's own base URL has no path although its API is OpenAI's.
	rootBase bool
	// Drain is set where the provider bills a call to its end after the client hung up, so that reading on costs nothing
	// more and gives the exact usage (openrouter.ai/docs/api-reference/streaming lists them).
	Drain bool
	// NoStreamOptions is set where stream_options is refused. Such providers report usage without it.
	NoStreamOptions bool
	// NoResponses is set where the provider has no Responses API beside chat completions, which is of use where calls are translated.
	NoResponses bool
	// Mock is set for the built-in backend.
	Mock bool
}

// Call is a call to a backend.
type Call struct {
	Endpoint *endpoint.Endpoint
	Body     *body.Body
	Upstream string // the model sent upstream
	Query    string // of the client's URL
}

// Options are the provider-specific settings, as written.
type Options struct {
	APIVersion, Region, Project, Location string
	Keyed                                 bool // there is an API key
}

// Server is the API server of a backend.
type Server struct {
	*Preset
	Base   *url.URL // without its path's last slash
	Signer Signer   // nil where the key suffices
	Region string   // the cloud's region or location; empty elsewhere

	basePath string // the base URL's path, escaped
	version  string // of Azure's API
	parent   string // of the models in Vertex' paths
}

// Signer authenticates outgoing requests by a signature or a fetched token.
type Signer interface {
	Sign(r *http.Request, payload *body.Payload) error
}

// Serve completes a preset with a base URL, nil where none is written, and options. It opens nothing.
func (p *Preset) Serve(base *url.URL, o *Options) (*Server, error) {
	s := &Server{Preset: p, Base: base}
	if p.setUp != nil {
		if err := p.setUp(s, o); err != nil {
			return nil, err
		}
	}
	if s.Base == nil {
		return nil, errors.New("a base URL is needed")
	}
	s.basePath = s.Base.EscapedPath()
	return s, nil
}

const (
	authorization = "Authorization"
	bearer        = "Bearer "
)

// compatible returns the preset of a provider that speaks OpenAI's API.
func compatible(base string) *Preset {
	return &Preset{Base: base, API: llm.OpenAI, KeyHeader: authorization, KeyPrefix: bearer}
}

// with returns the preset with changes.
func (p *Preset) with(change func(*Preset)) *Preset {
	change(p)
	return p
}

func drains(p *Preset) { p.Drain = true }

func chatOnly(p *Preset) { p.NoResponses = true }

// Presets are the providers by name.
var Presets = map[string]*Preset{
	"openai":    compatible("https://api.openai.com/v1"),
	"anthropic": {Base: "https://api.anthropic.com", API: llm.Anthropic, KeyHeader: "X-Api-Key", path: anthropicPath, versions: []string{"/v1"}},
	"deepseek":  compatible("https://api.deepseek.com/v1").with(chatOnly),
	"fireworks": compatible("https://api.fireworks.ai/inference/v1"),
	"groq":      compatible("https://api.groq.com/openai/v1").with(drains),
	"mistral":   compatible("https://api.mistral.ai/v1").with(func(p *Preset) { p.Drain, p.NoStreamOptions, p.NoResponses = true, true, true }),
	"ollama": compatible("http://localhost:11434/v1").with(func(p *Preset) {
		p.Keyless, p.Also, p.path = true, []llm.API{llm.Anthropic, llm.Ollama}, ollamaPath
	}),
	"openrouter": compatible("https://openrouter.ai/api/v1"),
	"perplexity": compatible("https://api.perplexity.ai").with(func(p *Preset) { p.Drain, p.rootBase, p.NoResponses = true, true, true }),
	"together":   compatible("https://api.together.xyz/v1").with(chatOnly),
	"vllm":       compatible("").with(func(p *Preset) { p.Keyless, p.Also = true, []llm.API{llm.Anthropic} }),
	"xai":        compatible("https://api.x.ai/v1"),
	"azure": {
		API: llm.OpenAI, KeyHeader: "Api-Key", Options: []string{"api_version"}, setUp: setUpAzure, path: azurePath,
		inside: []string{"/openai/deployments/"}, rootBase: true,
	},
	"gemini": {
		Base: "https://generativelanguage.googleapis.com", API: llm.Gemini, KeyHeader: "X-Goog-Api-Key", path: geminiPath, Drain: true,
		versions: []string{"/v1beta", "/v1"}, inside: []string{"/v1beta/models/", "/v1/models/", "/v1beta/openai/"},
	},
	"cohere": {
		Base: "https://api.cohere.com", API: llm.Cohere, KeyHeader: authorization, KeyPrefix: bearer,
		versions: []string{"/v1", "/v2"}, inside: []string{"/v1/chat/", "/v1/embed/", "/v1/rerank/"},
		Also: []llm.API{llm.OpenAI}, offers: inOpenAI(isRerank), openAIEndpoint: "rerank", path: coherePath,
	},
	"bedrock": {
		API: llm.Bedrock, KeyHeader: authorization, KeyPrefix: bearer, Keyless: true, Options: []string{"region"},
		setUp: setUpBedrock, path: bedrockPath, Drain: true, Also: []llm.API{llm.OpenAI}, offers: inOpenAI(bedrockOpenAI), openAIEndpoint: chatCompletions,
		inside: []string{"/model/"},
	},
	"vertex": {
		API: llm.Gemini, Also: []llm.API{llm.Anthropic, llm.OpenAI}, offers: vertexOffers, openAIEndpoint: chatCompletions,
		Keyless: true, Options: []string{"project", "location"},
		setUp: setUpVertex, path: vertexPath, change: vertexChange, Drain: true,
	},
	"mock": compatible("http://mock.invalid/v1").with(func(p *Preset) { p.Keyless, p.Mock = true, true }),
}

// Names lists the presets for messages.
func Names() string { return strings.Join(slices.Sorted(maps.Keys(Presets)), ", ") }

// Serves reports whether a backend of this provider takes calls of a model, by its name upstream, to that endpoint.
func (p *Preset) Serves(ep *endpoint.Endpoint, model string) bool {
	if p.Mock {
		return ep.Mocked
	}
	if ep.API == llm.OpenAI && p.openAIEndpoint != "" && ep.Name != p.openAIEndpoint {
		return false
	}
	return p.Offers(ep.API, model)
}

// chatCompletions is the endpoint by which clouds serve their models in OpenAI's API.
const chatCompletions = "chat/completions"

// Offers reports whether the provider has a model in that API, judging by the model's name.
func (p *Preset) Offers(api llm.API, model string) bool {
	return p.Speaks(api) && (p.offers == nil || p.offers(api, model))
}

// inOpenAI is the offer of a provider that has some of its models in OpenAI's API, and all in its own.
func inOpenAI(has func(model string) bool) func(llm.API, string) bool {
	return func(api llm.API, model string) bool { return api != llm.OpenAI || has(model) }
}

// Speaks reports whether the provider has that API.
func (p *Preset) Speaks(api llm.API) bool { return p.API == api || slices.Contains(p.Also, api) }

// URL returns where a call goes.
func (s *Server) URL(c *Call) *url.URL {
	path, query := s.basePath+"/"+c.Endpoint.Name, ""
	if s.path != nil {
		path, query = s.path(s, c)
	}
	u := &url.URL{Path: path, RawQuery: query}
	if strings.Contains(path, "%") {
		// It has no escapes but those that are made here, so it can be unescaped.
		if plain, err := url.PathUnescape(path); err == nil {
			u.Path, u.RawPath = plain, path
		}
	}
	return u
}

// Change returns the changes to a call's body.
func (s *Server) Change(c *Call) body.Change {
	if s.change != nil {
		return s.change(c)
	}
	if !c.Endpoint.InPath {
		return body.Change{Model: c.Upstream}
	}
	if c.Endpoint.API == llm.Anthropic { // called in Vertex AI's form, whose bodies name no model
		return body.Change{Model: c.Upstream}
	}
	// The body may name the model of the path once more, and so may each of its requests.
	change := body.Change{}
	if c.Body.BodyModel != "" {
		change.Model = likeGemini(c.Body.BodyModel, c.Upstream)
	}
	if len(c.Body.InnerModels) > 0 {
		change.Inner = likeGemini(c.Body.InnerModels[0], c.Upstream)
	}
	return change
}

// likeGemini returns a name in the form of another one, with what Gemini has before names or without.
func likeGemini(like, name string) string {
	if strings.HasPrefix(like, GeminiModels) {
		return GeminiModels + name
	}
	return name
}

// Escape returns the name of a model as one segment of a path.
func Escape(name string) string {
	const hex = "0123456789ABCDEF"
	plain := func(c byte) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~' || c == '@'
	}
	odd := 0
	for i := range len(name) {
		if !plain(name[i]) {
			odd++
		}
	}
	if odd == 0 {
		return name
	}
	out := make([]byte, 0, len(name)+2*odd)
	for i := range len(name) {
		if c := name[i]; plain(c) {
			out = append(out, c)
		} else {
			out = append(out, '%', hex[c>>4], hex[c&0xf])
		}
	}
	return string(out)
}
