package llmroute

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/body"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

func TestTierAsked(t *testing.T) {
	for _, c := range []struct {
		api    llm.API
		body   string
		header http.Header
		want   string
	}{
		{llm.OpenAI, `{"service_tier":"flex"}`, nil, "flex"},
		{llm.OpenAI, `{}`, http.Header{"X-Amzn-Bedrock-Service-Tier": {"priority"}}, ""}, // does not go upstream
		{llm.Anthropic, `{"speed":"fast"}`, nil, "fast"},
		{llm.Gemini, `{"serviceTier":"priority"}`, nil, "priority"},
		{llm.Gemini, `{}`, http.Header{"X-Vertex-Ai-Llm-Shared-Request-Type": {"flex"}}, "flex"},
		{llm.Anthropic, `{}`, http.Header{"X-Vertex-Ai-Llm-Shared-Request-Type": {"priority"}}, "priority"},
		{llm.Bedrock, `{"serviceTier":{"type":"priority"},"performanceConfig":{"latency":"optimized"}}`, nil, "priority+latency-optimized"},
		{llm.Bedrock, `{"performanceConfig":{"latency":"standard"}}`, nil, ""},
		{llm.Bedrock, `{}`, http.Header{"X-Amzn-Bedrock-Service-Tier": {"flex"}}, "flex"},
		{llm.Bedrock, `{}`, http.Header{"X-Amzn-Bedrock-Performanceconfig-Latency": {"optimized"}}, "latency-optimized"},
	} {
		b, err := body.Parse([]byte(c.body))
		require.NoError(t, err)
		require.Equal(t, c.want, tierAsked(b, c.header, c.api), "%s %v", c.body, c.header)
	}
}
