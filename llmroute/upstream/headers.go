package upstream

import (
	"maps"
	"net/http"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

// Which of the client's headers go upstream. Headers not listed are dropped, credentials included.
const (
	toAll uint8 = 1 << iota
	toOpenAI
	toAnthropic
	toGemini
	toBedrock
	toCohere
	toTraced // where the operator has it so
)

// formats are the headers that pass to each API's backends.
var formats = map[llm.API]uint8{
	llm.OpenAI: toAll | toOpenAI, llm.Anthropic: toAll | toAnthropic, llm.Gemini: toAll | toGemini,
	llm.Bedrock: toAll | toBedrock, llm.Cohere: toAll | toCohere, llm.Ollama: toAll,
}

var passing = map[string]uint8{
	"Content-Type":      toAll,
	"Accept":            toAll,
	"User-Agent":        toAll,
	"Idempotency-Key":   toAll,
	"X-Request-Id":      toAll,
	"Traceparent":       toTraced,
	"Tracestate":        toTraced,
	"Baggage":           toTraced,
	"Openai-Beta":       toOpenAI,
	"Anthropic-Beta":    toAnthropic,
	"Anthropic-Version": toAnthropic,
	"X-Goog-Api-Client": toGemini,
	"X-Client-Name":     toCohere,

	// By these a provider finds the cache of a conversation again, without which the same call costs more.
	"X-Grok-Conv-Id":      toOpenAI, // xAI
	"X-Session-Affinity":  toOpenAI, // Fireworks
	"X-Session-Id":        toOpenAI, // OpenRouter
	"X-Client-Request-Id": toOpenAI, // OpenAI's Codex, whose session it is

	// By these alone flex and priority are chosen on Vertex AI.
	"X-Vertex-Ai-Llm-Request-Type":        toGemini | toAnthropic,
	"X-Vertex-Ai-Llm-Shared-Request-Type": toGemini | toAnthropic,

	"X-Amzn-Bedrock-Accept":              toBedrock,
	"X-Amzn-Bedrock-Guardrailidentifier": toBedrock,
	"X-Amzn-Bedrock-Guardrailversion":    toBedrock,
	"X-Amzn-Bedrock-Trace":               toBedrock,
	"X-Amzn-Bedrock-Service-Tier":        toBedrock,
}

var (
	jsonType = []string{"application/json"}
	version  = []string{"2023-06-01"} // what Anthropic's own SDKs send
	noAgent  = []string{""}           // keeps Go from naming itself
)

// bare is what a reverse proxy gets that has no use for a request's headers: it would copy them, search them and encode them
// for a log that is off. It leaves a header out that is there without a value. It changes a copy.
var bare = http.Header{"User-Agent": noAgent, "X-Forwarded-For": nil, "X-Forwarded-Host": nil, "X-Forwarded-Proto": nil}

// shown returns the headers for a reverse proxy that edits or logs them.
func shown(in http.Header, api llm.API, traced bool) http.Header {
	out := clientHeader(in, api, traced)
	out["X-Forwarded-For"], out["X-Forwarded-Host"], out["X-Forwarded-Proto"] = nil, nil, nil
	return out
}

// clientHeader returns the client's headers that go upstream, in a map that has room for those of the gateway. Those of a trace
// do where that is set.
func clientHeader(in http.Header, api llm.API, traced bool) http.Header {
	format := formats[api]
	if traced {
		format |= toTraced
	}
	out := make(http.Header, len(in)+2)
	for name, values := range in {
		if passing[name]&format != 0 || strings.HasPrefix(name, "X-Stainless-") {
			out[name] = values
		}
	}
	if len(out["Content-Type"]) == 0 {
		out["Content-Type"] = jsonType
	}
	if _, there := out["User-Agent"]; !there {
		out["User-Agent"] = noAgent
	}
	if api == llm.Anthropic && len(out["Anthropic-Version"]) == 0 {
		out["Anthropic-Version"] = version
	}
	return out
}

// upstreamHeader returns the headers that go upstream, in a new map: the client's, or what the reverse proxy made of
// them, in both cases without what it adds about the client.
func (x *exchange) upstreamHeader(proxied http.Header) http.Header {
	if !x.backend.headerShown {
		out := clientHeader(x.header, x.Endpoint.API, x.backend.Traced)
		if early, there := proxied["Early-Data"]; there { // RFC 8470 asks every intermediary for it
			out["Early-Data"] = early
		}
		return out
	}
	out := maps.Clone(proxied)
	for _, name := range [...]string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if len(out[name]) == 0 {
			delete(out, name)
		}
	}
	if via := out["Via"]; len(via) == 1 && strings.HasSuffix(via[0], " Caddy") {
		delete(out, "Via")
	}
	return out
}
