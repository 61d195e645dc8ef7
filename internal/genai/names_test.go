package genai

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/usage"
)

func TestOperation(t *testing.T) {
	for endpoint, want := range map[string]string{
		"chat/completions": "chat", "responses": "chat", "responses/compact": "chat", "messages": "chat", "api/chat": "chat", "v2/chat": "chat",
		"completions": "text_completion", "fim/completions": "text_completion", "api/generate": "text_completion",
		"embeddings": "embeddings", "multimodalembeddings": "embeddings", "v2/embed": "embeddings", "api/embed": "embeddings",
		"rerank": "rerank", "ocr": "ocr", "images/generations": "images/generations", "messages/count_tokens": "messages/count_tokens",
		"responses/input_tokens": "responses/input_tokens", "audio/transcriptions": "audio/transcriptions",
	} {
		require.Equal(t, want, Operation(endpoint), endpoint)
	}
	require.Equal(t, "aws.bedrock", Provider("bedrock"))
	require.Equal(t, "openai", Provider("openai"))
	require.Equal(t, "audio", Modality(usage.CacheReadAudio))
	require.Equal(t, "text", Modality(usage.Reasoning))
}
