package llmroute

import (
	"cmp"
	"net/http"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/body"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

// tierAsked returns the requested options that can change the price: a service tier, in the body or in Google's
// or AWS's header, and Bedrock's optimized latency. They are joined in the same way as those in answers.
func tierAsked(b *body.Body, h http.Header, api llm.API) string {
	tier, latency := b.Tier, b.Latency
	switch api {
	case llm.Bedrock:
		tier = cmp.Or(tier, h.Get("X-Amzn-Bedrock-Service-Tier"))
		latency = cmp.Or(latency, h.Get("X-Amzn-Bedrock-Performanceconfig-Latency"))
	case llm.Gemini, llm.Anthropic:
		tier = cmp.Or(tier, h.Get("X-Vertex-Ai-Llm-Shared-Request-Type"))
	default:
	}
	if latency == "optimized" {
		tier = strings.TrimPrefix(tier+"+latency-optimized", "+")
	}
	return tier
}
