// Package genai names model calls as OpenTelemetry's conventions for generative AI do.
package genai

import (
	"strings"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// Revision is that of the conventions whose names these are. They have no release yet: "Development".
const Revision = "https://github.com/open-telemetry/semantic-conventions-genai: client-inference.md at 024a4f94, " +
	"gen-ai-token-metrics.md at 066d4a7f, non-normative/migration.md at 32c328e8"

// Attributes of spans and metrics.
const (
	OperationName = "gen_ai.operation.name"
	ProviderName  = "gen_ai.provider.name"

	RequestModel       = "gen_ai.request.model"
	RequestStream      = "gen_ai.request.stream"
	RequestMaxTokens   = "gen_ai.request.max_tokens"
	RequestChoiceCount = "gen_ai.request.choice.count"

	ResponseModel            = "gen_ai.response.model"
	ResponseID               = "gen_ai.response.id"
	ResponseTimeToFirstChunk = "gen_ai.response.time_to_first_chunk" // seconds

	// Usage: the input counts what was read from caches and written to them, the output counts reasoning.
	InputTokens      = "gen_ai.usage.input_tokens"
	OutputTokens     = "gen_ai.usage.output_tokens"
	CacheReadTokens  = "gen_ai.usage.cache_read.input_tokens"
	CacheWriteTokens = "gen_ai.usage.cache_write.input_tokens"
	ReasoningTokens  = "gen_ai.usage.reasoning.output_tokens"

	ConversationID = "gen_ai.conversation.id"

	ErrorType     = "error.type"
	ErrorOther    = "_OTHER"
	ServerAddress = "server.address"
	ServerPort    = "server.port"
)

// Attributes that the conventions do not have.
const (
	CallID       = "tollgate.call.id"
	Model        = "tollgate.model"
	Backend      = "tollgate.backend"
	Endpoint     = "tollgate.endpoint"
	Outcome      = "tollgate.outcome"
	Attempts     = "tollgate.attempts"
	Attempt      = "tollgate.attempt"
	Team         = "tollgate.team"
	KeyAlias     = "tollgate.key_alias"
	Cost         = "tollgate.cost" // USD as billed, a plain decimal: a double cannot hold it
	CostCurrency = "tollgate.cost.currency"
	Unpriced     = "tollgate.unpriced"
)

// Metrics. Their labels are the attributes above.
const (
	InferenceDuration     = "gen_ai.client.inference.duration"            // seconds
	InferenceFirstChunk   = "gen_ai.client.inference.time_to_first_chunk" // seconds; streams
	InferenceInputTokens  = "gen_ai.client.inference.usage.input_tokens"
	InferenceOutputTokens = "gen_ai.client.inference.usage.output_tokens"
)

// DurationBuckets are those that the conventions advise for durations, in seconds.
var DurationBuckets = []float64{.01, .02, .04, .08, .16, .32, .64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92}

// Operation returns the name of what an endpoint does; of one that the conventions do not know, its own.
func Operation(e *llm.Endpoint) string {
	switch e.Reader {
	case usage.OpenAIResponses, usage.AnthropicMessages, usage.BedrockConverse, usage.BedrockInvoke, usage.CohereChat:
		return "chat"
	case usage.OpenAIChat, usage.OllamaNative:
		switch {
		case strings.Contains(e.Name, "chat"):
			return "chat"
		case strings.Contains(e.Name, "embed"):
			return "embeddings"
		}
		return "text_completion"
	case usage.OpenAIEmbeddings, usage.GeminiEmbed, usage.CohereEmbed:
		return "embeddings"
	case usage.GeminiGenerate:
		return "generate_content"
	}
	return e.Name
}

// providers are the names of provider presets that are not the conventions'.
var providers = map[string]string{
	"bedrock": "aws.bedrock", "azure": "azure.ai.openai", "gemini": "gcp.gemini", "vertex": "gcp.vertex_ai", "mistral": "mistral_ai", "xai": "x_ai",
}

// Provider returns the name of a provider preset.
func Provider(preset string) string {
	if name, ok := providers[preset]; ok {
		return name
	}
	return preset
}

// CacheReads returns the tokens that were read from a cache.
func CacheReads(c *usage.Counts) int64 {
	return sum(c, usage.CacheRead, usage.CacheReadAudio, usage.CacheReadImage, usage.CacheReadVideo)
}

// CacheWrites returns the tokens that were written to a cache.
func CacheWrites(c *usage.Counts) int64 {
	return sum(c, usage.CacheWrite, usage.CacheWrite5m, usage.CacheWrite1h, usage.CacheWrite12h)
}

// Reasoning returns the tokens that were spent on reasoning.
func Reasoning(c *usage.Counts) int64 { return c.N(usage.Reasoning) }

func sum(c *usage.Counts, kinds ...usage.Kind) (n int64) {
	for _, k := range kinds {
		n += c.N(k)
	}
	return n
}
