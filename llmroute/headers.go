package llmroute

import (
	"net/http"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

// Which of the client's headers go upstream. What is not named here does not, credentials least of all.
const (
	toAll uint8 = 1 << iota
	toOpenAI
	toAnthropic
	toGemini
	toBedrock
	toCohere
)

// flavours are the headers that pass to each API's backends.
var flavours = map[llm.API]uint8{
	llm.OpenAI: toAll | toOpenAI, llm.Anthropic: toAll | toAnthropic, llm.Gemini: toAll | toGemini,
	llm.Bedrock: toAll | toBedrock, llm.Cohere: toAll | toCohere,
}

var passing = map[string]uint8{
	"Content-Type":      toAll,
	"Accept":            toAll,
	"User-Agent":        toAll,
	"Idempotency-Key":   toAll,
	"X-Request-Id":      toAll,
	"Traceparent":       toAll,
	"Tracestate":        toAll,
	"Openai-Beta":       toOpenAI,
	"Anthropic-Beta":    toAnthropic,
	"Anthropic-Version": toAnthropic,
	"X-Goog-Api-Client": toGemini,
	"X-Client-Name":     toCohere,

	"X-Amzn-Bedrock-Accept":              toBedrock,
	"X-Amzn-Bedrock-Guardrailidentifier": toBedrock,
	"X-Amzn-Bedrock-Guardrailversion":    toBedrock,
	"X-Amzn-Bedrock-Trace":               toBedrock,
	"X-Amzn-Bedrock-Service-Tier":        toBedrock,
}

// The reverse proxy leaves a header out that is there without a value.
var (
	withheld = []string(nil)
	jsonType = []string{"application/json"}
	version  = []string{"2023-06-01"} // what Anthropic's own SDKs send
)

// upstreamHeader returns the client's headers that go upstream.
func upstreamHeader(in http.Header, api llm.API) http.Header {
	flavour := flavours[api]
	out := make(http.Header, 16)
	for name, values := range in {
		if passing[name]&flavour != 0 || strings.HasPrefix(name, "X-Stainless-") {
			out[name] = values
		}
	}
	if len(out["Content-Type"]) == 0 {
		out["Content-Type"] = jsonType
	}
	if api == llm.Anthropic && len(out["Anthropic-Version"]) == 0 {
		out["Anthropic-Version"] = version
	}
	out["X-Forwarded-For"], out["X-Forwarded-Host"], out["X-Forwarded-Proto"] = withheld, withheld, withheld
	return out
}
