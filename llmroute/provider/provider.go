// Package provider contains the presets of model providers: URLs, authentication, and changes to request bodies.
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

// Preset describes a provider, independent of any backend.
type Preset struct {
	// Base is the base URL in the format of the provider's own SDK. It is empty if each customer has their own.
	Base string
	// API and Also are the API formats that the provider speaks. A backend serves the endpoints of all of them.
	API  llm.API
	Also []llm.API
	// KeyHeader and KeyPrefix define how the key is sent. Without a KeyHeader there is no key.
	KeyHeader, KeyPrefix string
	// Keyless is set if a backend may have no key, even at the preset's own URL.
	Keyless bool
	// Options are the provider-specific subdirectives.
	Options []string
	// setUp resolves a backend's options and completes its base URL. Nil if there is nothing to do.
	setUp func(s *Server, o *Options) error
	// offers reports whether the provider serves a model, by its upstream name, in one of its APIs. Nil means
	// all models in all APIs.
	offers func(api llm.API, model string) bool
	// openAIEndpoint is the only endpoint of OpenAI's API that a provider with its own API also serves. Empty
	// means all.
	openAIEndpoint string
	// path returns the escaped path and the query of an upstream call, relative to the base URL's host. Nil
	// means the endpoint's name below the base URL's path.
	path func(s *Server, c *Call) (path, query string)
	// change returns the changes to a call's body. Nil means that the model sent upstream is written into it,
	// unless the endpoint has the model in its path.
	change func(c *Call) body.Change
	// versions are endings of a base URL, and inside are path segments in it, that path adds itself.
	versions, inside []string
	// rootBase is set if the provider's base URL has no path although its API is OpenAI's.
	rootBase bool
	// Drain is set if the provider bills a call to its end after the client hangs up, so that reading on costs
	// no more and gives the exact usage (openrouter.ai/docs/api-reference/streaming lists them).
	Drain bool
	// NoStreamOptions is set if the provider refuses stream_options. Such providers report usage without it.
	NoStreamOptions bool
	// NoResponses is set if the provider has chat completions but no Responses API. It matters if calls are
	// translated.
	NoResponses bool
	// Mock is set for the built-in backend.
	Mock bool
}

// Call is a call to send to a backend.
type Call struct {
	Endpoint *endpoint.Endpoint
	Body     *body.Body
	Upstream string // the model sent upstream
	Query    string // of the client's URL
}

// Options are the provider-specific settings, as written.
type Options struct {
	APIVersion, Region, Project, Location string
	Keyed                                 bool // whether there is an API key
}

// Server is the API server of a backend.
type Server struct {
	*Preset
	Base   *url.URL // without a trailing slash in its path
	Signer Signer   // nil if the key suffices
	Region string   // the cloud's region or location; otherwise empty

	basePath string // the base URL's path, escaped
	version  string // of Azure's API
	parent   string // path prefix of the models on Vertex AI
}

// Signer authenticates requests with a signature or a token.
type Signer interface {
	Sign(r *http.Request, payload *body.Payload) error
}

// Serve completes a preset with options and a base URL, which is nil if none is configured. It opens no
// connections.
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

// compatible returns the preset of a provider with an OpenAI-compatible API.
func compatible(base string) *Preset {
	return &Preset{Base: base, API: llm.OpenAI, KeyHeader: authorization, KeyPrefix: bearer}
}

// with returns a changed copy of the preset.
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

// Names lists the presets for error messages.
func Names() string { return strings.Join(slices.Sorted(maps.Keys(Presets)), ", ") }

// Serves reports whether a backend of this provider serves a model, by its upstream name, at that endpoint.
func (p *Preset) Serves(ep *endpoint.Endpoint, model string) bool {
	if p.Mock {
		return ep.Mocked
	}
	if ep.API == llm.OpenAI && p.openAIEndpoint != "" && ep.Name != p.openAIEndpoint {
		return false
	}
	return p.Offers(ep.API, model)
}

// chatCompletions is the endpoint of OpenAI's API at which clouds serve their models.
const chatCompletions = "chat/completions"

// Offers reports whether the provider serves a model in that API, judging by the model's name.
func (p *Preset) Offers(api llm.API, model string) bool {
	return p.Speaks(api) && (p.offers == nil || p.offers(api, model))
}

// inOpenAI is the offers function of a provider that serves all models in its own API and some in OpenAI's.
func inOpenAI(has func(model string) bool) func(llm.API, string) bool {
	return func(api llm.API, model string) bool { return api != llm.OpenAI || has(model) }
}

// Speaks reports whether the provider has that API.
func (p *Preset) Speaks(api llm.API) bool { return p.API == api || slices.Contains(p.Also, api) }

// URL returns the URL of a call.
func (s *Server) URL(c *Call) *url.URL {
	path, query := s.basePath+"/"+c.Endpoint.Name, ""
	if s.path != nil {
		path, query = s.path(s, c)
	}
	u := &url.URL{Path: path, RawQuery: query}
	if strings.Contains(path, "%") {
		// The path contains only escapes made here, so it can be unescaped.
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
	if c.Endpoint.API == llm.Anthropic { // called in Vertex AI's form, which has no model in the body
		return body.Change{Model: c.Upstream}
	}
	// The body, and each request within it, may repeat the model that is in the path.
	change := body.Change{}
	if c.Body.BodyModel != "" {
		change.Model = likeGemini(c.Body.BodyModel, c.Upstream)
	}
	if len(c.Body.InnerModels) > 0 {
		change.Inner = likeGemini(c.Body.InnerModels[0], c.Upstream)
	}
	return change
}

// likeGemini returns a name with or without Gemini's prefix, like another name.
func likeGemini(like, name string) string {
	if strings.HasPrefix(like, GeminiModels) {
		return GeminiModels + name
	}
	return name
}

// Escape escapes a model name as one path segment.
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
