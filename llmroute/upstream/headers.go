package upstream

import (
	"net/http"
	"net/textproto"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

// These flags define which of the client's headers go upstream. Headers not listed are dropped, including
// credentials.
const (
	toAll uint8 = 1 << iota
	toOpenAI
	toAnthropic
	toGemini
	toBedrock
	toCohere
	toTraced // only with Backend.Traced
)

// formats are the header flags of each API's backends.
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

	// Providers route a conversation to its prompt cache by these. Without them the same call costs more.
	"X-Grok-Conv-Id":      toOpenAI, // xAI
	"X-Session-Affinity":  toOpenAI, // Fireworks
	"X-Session-Id":        toOpenAI, // OpenRouter
	"X-Client-Request-Id": toOpenAI, // OpenAI's Codex sends its session in it

	// This is the only way to request flex and priority on Vertex AI.
	"X-Vertex-Ai-Llm-Request-Type":        toGemini | toAnthropic,
	"X-Vertex-Ai-Llm-Shared-Request-Type": toGemini | toAnthropic,

	"X-Amzn-Bedrock-Accept":              toBedrock,
	"X-Amzn-Bedrock-Guardrailidentifier": toBedrock,
	"X-Amzn-Bedrock-Guardrailversion":    toBedrock,
	"X-Amzn-Bedrock-Trace":               toBedrock,
	"X-Amzn-Bedrock-Service-Tier":        toBedrock,

	"X-Amzn-Bedrock-Performanceconfig-Latency": toBedrock, // the answer reports the one that was used
}

var (
	jsonType = []string{"application/json"}
	version  = []string{"2023-06-01"} // the version that Anthropic's own SDKs send
	noAgent  = []string{""}           // keeps Go from sending its default User-Agent
	early    = []string{"1"}
)

// clientHeader returns the client's headers that go upstream, in a map with room for the gateway's own. Trace
// headers are included if the backend forwards them. The values are shared with the client's request and must
// not be changed.
func (x *exchange) clientHeader() http.Header {
	in, api := x.r.Header, x.Endpoint.API
	format := formats[api]
	if x.Translation() != nil {
		format = toAll // other headers are in the caller's API format
	}
	if x.backend.Traced {
		format |= toTraced
	}
	out := make(http.Header, len(in)+2)
	for name, values := range in {
		if passing[name]&format != 0 || strings.HasPrefix(name, "X-Stainless-") && x.Translation() == nil {
			out[name] = values
		}
	}
	dropHopByHop(out, in["Connection"])
	if len(out["Content-Type"]) == 0 {
		out["Content-Type"] = jsonType
	}
	if _, there := out["User-Agent"]; !there {
		out["User-Agent"] = noAgent
	}
	if x.Translation() != nil {
		for name, value := range x.Translation().Headers {
			out[name] = []string{value}
		}
	}
	if api == llm.Anthropic && len(out["Anthropic-Version"]) == 0 {
		out["Anthropic-Version"] = version
	}
	if tls := x.r.TLS; tls != nil && !tls.HandshakeComplete { // required of intermediaries by RFC 8470
		out["Early-Data"] = early
	}
	return out
}

// dropHopByHop removes the headers named in a message's Connection header.
func dropHopByHop(h http.Header, connection []string) {
	for _, names := range connection {
		for name := range strings.SplitSeq(names, ",") {
			h.Del(textproto.TrimString(name))
		}
	}
}

// dropUnwanted removes the answer's headers that clients must not see.
func (x *exchange) dropUnwanted(h http.Header) {
	dropHopByHop(h, h["Connection"])
	for _, name := range removed {
		delete(h, name)
	}
	for name := range h {
		if strings.HasPrefix(name, gatewayHeaders) || strings.HasPrefix(name, "X-Tollgate-") || x.Limited && isRate(name) {
			delete(h, name)
		}
	}
}

// removed are the response headers that clients must not see: those about the connection to the backend (RFC
// 9110, section 7.6.1), the provider's cookies, names from the operator's account, and CORS headers, which the
// gateway sets itself.
var removed = [...]string{
	"Alt-Svc", "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade",
	"Set-Cookie", "Openai-Organization", "Openai-Project", "Anthropic-Organization-Id", "Access-Control-Allow-Origin",
	"Access-Control-Allow-Credentials", "Access-Control-Allow-Headers", "Access-Control-Allow-Methods", "Access-Control-Expose-Headers",
}

// gatewayHeaders is the prefix of headers in which an upstream gateway reports costs and ids. They concern the
// operator's account there.
const gatewayHeaders = "X-Litellm-"

// isRate reports whether a header is about the provider's rate limits, which apply to the operator's account and
// not to the caller's key.
func isRate(name string) bool {
	return strings.HasPrefix(name, "X-Ratelimit-") || strings.HasPrefix(name, "Anthropic-Ratelimit-")
}
