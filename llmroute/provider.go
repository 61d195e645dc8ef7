package llmroute

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/body"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// provider is a preset: what there is to know of a provider before a backend is configured.
type provider struct {
	// base is the base URL as the provider's own SDK has it; empty where everyone has another.
	base string
	// flavour is the API that the provider speaks. A backend serves the endpoints of its flavour.
	flavour llm.API
	// keyHeader and keyPrefix say how the key is sent.
	keyHeader, keyPrefix string
	// keyless is set where a backend may well have no key, even at the preset's own URL.
	keyless bool
	// path returns the path and the query below the base URL, for an endpoint and the name of the model sent upstream. Nil
	// stands for the path of the provider's flavour.
	path func(ep *endpoint, model string) (path, query string)
	// sign adds what can only be computed of the request as it goes out, such as a signature. Nil where the key suffices.
	sign func(r *http.Request, payload *body.Payload) error
	// drain is set where the provider bills a call to its end after the client hung up, so that reading on costs nothing
	// more and gives the exact usage (openrouter.ai/docs/api-reference/streaming lists them).
	drain bool
	// noStreamOptions is set where stream_options is refused. Such providers report usage without it.
	noStreamOptions bool
	// mock is set for the backend that is built in.
	mock bool
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
	"anthropic":  {base: "https://api.anthropic.com", flavour: llm.Anthropic, keyHeader: "X-Api-Key"},
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
	"mock":       compatible("http://mock.invalid/v1").with(func(p *provider) { p.keyless, p.mock = true, true }),
}

// providerNames lists the presets for messages.
func providerNames() string { return strings.Join(slices.Sorted(maps.Keys(providers)), ", ") }

// serves reports whether a backend of this provider takes calls to that endpoint.
func (p *provider) serves(ep *endpoint) bool {
	if p.mock {
		return ep.mocked
	}
	return p.flavour == ep.API
}

// pathOf returns the path and the query, below the base URL, of a call upstream.
func (p *provider) pathOf(ep *endpoint, model string) (path, query string) {
	switch {
	case p.path != nil:
		return p.path(ep, model)
	case ep.API == llm.Anthropic && !p.mock:
		return "/v1/" + ep.Name, "" // Anthropic's SDKs keep the version out of the base URL
	}
	return "/" + ep.Name, ""
}
