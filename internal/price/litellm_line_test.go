package price

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLiteLLMLine reads prices as LiteLLM's configuration file has them: exactly, and each under the name of a price line.
func TestLiteLLMLine(t *testing.T) {
	for _, c := range []struct{ field, number, provider, mode, name, price string }{
		{"input_cost_per_token", "3e-7", "openai", "chat", "input", "0.3"},
		{"output_cost_per_token", "0.000000000000001", "openai", "", "output", "0.000000001"},
		{"output_cost_per_token", "1.5E-6", "openai", "", "output", "1.5"},
		{"cache_read_input_token_cost_priority", "0", "openai", "chat", "cache_read@priority", "0"},
		{"input_cost_per_token_batches", "1e-6", "openai", "chat", "input@batch", "1"},
		{"output_cost_per_token_above_200k_tokens_flex", "1e-6", "gemini", "chat", "output@flex>200000", "1"},
		{"input_cost_per_token_above_128k_tokens", "1e-6", "xai", "chat", "input>127999", "1"},
		{"output_cost_per_image", "0.04", "openai", "image_generation", "images", "0.04"},
		{"input_cost_per_second", "0.0001", "openai", "audio_transcription", "audio_seconds", "0.0001"},
		{"input_cost_per_request", "0.01", "openai", "chat", "request", "0.01"},
	} {
		name, price, err := LiteLLMLine(c.field, c.number, c.provider, c.mode)
		require.NoError(t, err, c.field)
		require.Equal(t, c.name, name)
		require.Equal(t, c.price, price)
		require.NoError(t, CheckWritten(map[string]string{"input": "1", "output": "1", "images": "1", "input@flex": "1", "output@flex": "1", name: price}), name)
	}
	for _, field := range []string{"input_cost_per_pixel", "tiered_pricing", "search_context_cost_per_query", "regional_processing_uplift_multiplier_eu"} {
		require.True(t, IsLiteLLMPrice(field), field)
		_, _, err := LiteLLMLine(field, "1", "openai", "chat")
		require.ErrorContains(t, err, field+" has no `price` line")
	}
	_, _, err := LiteLLMLine("output_cost_per_token", "0.0000000000000015", "openai", "chat")
	require.ErrorContains(t, err, "more than nine decimals in USD per million")
	require.False(t, IsLiteLLMPrice("temperature"))
}
