package genai

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

func TestOperation(t *testing.T) {
	for want, endpoints := range map[string][]llm.Endpoint{
		"chat": {
			{Name: "chat/completions", Reader: usage.OpenAIChat}, {Name: "responses", Reader: usage.OpenAIResponses},
			{Name: "messages", Reader: usage.AnthropicMessages}, {Name: "api/chat", Reader: usage.OllamaNative},
		},
		"text_completion":  {{Name: "completions", Reader: usage.OpenAIChat}, {Name: "api/generate", Reader: usage.OllamaNative}},
		"embeddings":       {{Name: "embeddings", Reader: usage.OpenAIEmbeddings}, {Name: "api/embed", Reader: usage.OllamaNative}},
		"generate_content": {{Name: "any", Reader: usage.GeminiGenerate}},
		"rerank":           {{Name: "rerank", Reader: usage.CohereRerank}},
	} {
		for i := range endpoints {
			require.Equal(t, want, Operation(&endpoints[i]), endpoints[i].Name)
		}
	}
	require.Equal(t, "aws.bedrock", Provider("bedrock"))
	require.Equal(t, "openai", Provider("openai"))
}
