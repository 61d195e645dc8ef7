package llmroute

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/body"
	"github.com/tollgate-llm/tollgate/internal/endpoint"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// provider is a preset: what there is to know of a provider before a backend is configured.
type provider struct {
	// base is the base URL as the provider's own SDK has it; empty where everyone has another.
	base string
	// flavour is the API that the provider speaks, and also a further one. A backend serves the endpoints of its flavours.
	flavour, also llm.API
	// keyHeader and keyPrefix say how the key is sent. No keyHeader: there is no key.
	keyHeader, keyPrefix string
	// keyless is set where a backend may well have no key, even at the preset's own URL.
	keyless bool
	// options are the subdirectives that this provider alone has.
	options []string
	// setUp resolves the options of a backend and completes its base URL. Nil without any.
	setUp func(b *Backend) error
	// path returns the escaped path and the query of a call upstream, below the host of the base URL. Nil stands for the
	// endpoint's name below the base URL's path.
	path func(b *Backend, c *calling) (path, query string)
	// change says what a call's body must name. Nil stands for the model sent upstream, except where the endpoint has that
	// in its path.
	change func(c *calling) body.Change
	// drain is set where the provider bills a call to its end after the client hung up, so that reading on costs nothing
	// more and gives the exact usage (openrouter.ai/docs/api-reference/streaming lists them).
	drain bool
	// noStreamOptions is set where stream_options is refused. Such providers report usage without it.
	noStreamOptions bool
	// mock is set for the backend that is built in.
	mock bool
}

// calling is a call as it goes to a backend.
type calling struct {
	ep       *endpoint.Endpoint
	body     *body.Body
	upstream string // the model sent upstream
	query    string // of the client's URL
}

// signer adds what can only be computed of a request as it goes out: a signature, or a token that is fetched.
type signer interface {
	sign(r *http.Request, payload *body.Payload) error
}

const (
	authorization = "Authorization"
	bearer        = "Bearer "
)

// compatible returns the preset of a provider that speaks OpenAI's API.
func compatible(base string) provider {
	return provider{base: base, flavour: llm.OpenAI, keyHeader: authorization, keyPrefix: bearer}
}

// with returns the preset with changes.
func (p provider) with(change func(*provider)) provider {
	change(&p)
	return p
}

func drains(p *provider)  { p.drain = true }
func keyless(p *provider) { p.keyless = true }

// providers are the presets by name.
var providers = map[string]provider{
	"openai":     compatible("https://api.openai.com/v1"),
	"anthropic":  {base: "https://api.anthropic.com", flavour: llm.Anthropic, keyHeader: "X-Api-Key", path: anthropicPath},
	"deepseek":   compatible("https://api.deepseek.com/v1"),
	"fireworks":  compatible("https://api.fireworks.ai/inference/v1"),
	"groq":       compatible("https://api.groq.com/openai/v1").with(drains),
	"mistral":    compatible("https://api.mistral.ai/v1").with(func(p *provider) { p.drain, p.noStreamOptions = true, true }),
	"ollama":     compatible("http://localhost:11434/v1").with(keyless),
	"openrouter": compatible("https://openrouter.ai/api/v1"),
	"perplexity": compatible("https://api.perplexity.ai").with(drains),
	"together":   compatible("https://api.together.xyz/v1"),
	"vllm":       compatible("").with(keyless),
	"xai":        compatible("https://api.x.ai/v1"),
	"azure": {
		flavour: llm.OpenAI, keyHeader: "Api-Key", options: []string{"api_version"}, setUp: setUpAzure, path: azurePath,
	},
	"gemini": {
		base: "https://generativelanguage.googleapis.com", flavour: llm.Gemini, keyHeader: "X-Goog-Api-Key", path: geminiPath, drain: true,
	},
	"cohere": {base: "https://api.cohere.com", flavour: llm.Cohere, keyHeader: authorization, keyPrefix: bearer},
	"bedrock": {
		flavour: llm.Bedrock, keyHeader: authorization, keyPrefix: bearer, keyless: true, options: []string{"region"},
		setUp: setUpBedrock, path: bedrockPath, drain: true,
	},
	"vertex": {
		flavour: llm.Gemini, also: llm.Anthropic, keyless: true, options: []string{"project", "location"},
		setUp: setUpVertex, path: vertexPath, change: vertexChange, drain: true,
	},
	"mock": compatible("http://mock.invalid/v1").with(func(p *provider) { p.keyless, p.mock = true, true }),
}

// providerNames lists the presets for messages.
func providerNames() string { return strings.Join(slices.Sorted(maps.Keys(providers)), ", ") }

// serves reports whether a backend of this provider takes calls to that endpoint.
func (p *provider) serves(ep *endpoint.Endpoint) bool {
	if p.mock {
		return ep.Mocked
	}
	return p.speaks(ep.API)
}

// speaks reports whether the provider has that API.
func (p *provider) speaks(api llm.API) bool { return p.flavour == api || p.also == api }

// url returns where a call goes.
func (b *Backend) url(c *calling) *url.URL {
	path, query := b.basePath+"/"+c.ep.Name, ""
	if b.preset.path != nil {
		path, query = b.preset.path(b, c)
	}
	u := &url.URL{Path: path, RawQuery: query}
	if strings.Contains(path, "%") {
		// Only escapes that are made here stand in it, so that it can be unescaped.
		if plain, err := url.PathUnescape(path); err == nil {
			u.Path, u.RawPath = plain, path
		}
	}
	return u
}

// change returns what is changed of a call's body.
func (b *Backend) change(c *calling) body.Change {
	if b.preset.change != nil {
		return b.preset.change(c)
	}
	if !c.ep.InPath {
		return body.Change{Model: c.upstream}
	}
	if c.ep.API == llm.Anthropic { // called in Vertex AI's form, whose bodies name no model
		return body.Change{Model: c.upstream}
	}
	if c.body.BodyModel == "" {
		return body.Change{}
	}
	// The body names the model of the path once more.
	name, kind := c.upstream, ""
	if strings.HasPrefix(c.body.BodyModel, geminiModels) {
		kind = geminiModels
	}
	return body.Change{Model: kind + name}
}

// escape returns the name of a model as one segment of a path.
func escape(name string) string {
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
