// Package genai maps model calls to the names of OpenTelemetry's semantic conventions for generative AI.
package genai

import (
	"slices"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/usage"
)

// Revision identifies the version of the conventions in use. They are unreleased: "Development".
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

	// Usage. Input includes tokens read from and written to caches; output includes reasoning.
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

// Attributes outside the conventions.
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
	Cost         = "tollgate.cost" // billed USD as a plain decimal, which a double cannot hold
	CostCurrency = "tollgate.cost.currency"
	Unpriced     = "tollgate.unpriced"
)

// Metrics. Their labels are the attributes above.
const (
	InferenceDuration     = "gen_ai.client.inference.duration"            // seconds
	InferenceFirstChunk   = "gen_ai.client.inference.time_to_first_chunk" // seconds; streams
	InferenceInputTokens  = "gen_ai.client.inference.usage.input_tokens"
	InferenceOutputTokens = "gen_ai.client.inference.usage.output_tokens"
	InferenceCacheRead    = "gen_ai.client.inference.usage.cache_read.input_tokens"
	InferenceCacheWrite   = "gen_ai.client.inference.usage.cache_write.input_tokens"
	InferenceReasoning    = "gen_ai.client.inference.usage.reasoning.output_tokens"
	TokenModality         = "gen_ai.token.modality"
)

// modalities are the kinds of tokens other than text.
var modalities = map[string][]usage.Kind{
	"audio":   {usage.InputAudio, usage.CacheReadAudio, usage.OutputAudio},
	"image":   {usage.InputImage, usage.CacheReadImage, usage.OutputImage},
	"unknown": {usage.InputVideo, usage.CacheReadVideo, usage.OutputVideo},
}

// Modality returns the modality of a kind of token: text, audio, image, or unknown.
func Modality(k usage.Kind) string {
	for modality, kinds := range modalities {
		if slices.Contains(kinds, k) {
			return modality
		}
	}
	return "text"
}

// DurationBuckets are the bucket bounds that the conventions recommend for durations, in seconds.
var DurationBuckets = []float64{.01, .02, .04, .08, .16, .32, .64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92}

// Operation returns the operation name of an endpoint in the gateway's table; the endpoint's own name if the conventions
// have none.
func Operation(endpoint string) string {
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(endpoint, part) })
	}
	switch {
	case has("count_tokens", "countTokens", "count-tokens", "input_tokens"):
		return endpoint
	case has("chat", "responses", "messages", "converse", "invoke"):
		return "chat"
	case has("embed"):
		return "embeddings"
	case has("enerateContent"):
		return "generate_content"
	case has("completions", "generate") && !has("images"):
		return "text_completion"
	}
	return endpoint
}

// providers maps preset names to those of the conventions, where they differ.
var providers = map[string]string{
	"bedrock": "aws.bedrock", "azure": "azure.ai.openai", "gemini": "gcp.gemini", "vertex": "gcp.vertex_ai", "mistral": "mistral_ai", "xai": "x_ai",
}

// Provider returns the conventions' name for a provider preset.
func Provider(preset string) string {
	if name, ok := providers[preset]; ok {
		return name
	}
	return preset
}

// Kinds of tokens, by how the conventions count them.
var (
	inputs      = []usage.Kind{usage.Input, usage.InputAudio, usage.InputImage, usage.InputVideo}
	cacheReads  = []usage.Kind{usage.CacheRead, usage.CacheReadAudio, usage.CacheReadImage, usage.CacheReadVideo}
	cacheWrites = []usage.Kind{usage.CacheWrite, usage.CacheWrite5m, usage.CacheWrite1h, usage.CacheWrite12h}
	outputs     = []usage.Kind{usage.Output, usage.Citations, usage.OutputAudio, usage.OutputImage, usage.OutputVideo}
)

// Counters returns the metrics that count a kind of token; none for kinds that are neither input nor output tokens.
func Counters(k usage.Kind) []string {
	switch {
	case slices.Contains(inputs, k):
		return []string{InferenceInputTokens}
	case slices.Contains(cacheReads, k):
		return []string{InferenceInputTokens, InferenceCacheRead}
	case slices.Contains(cacheWrites, k):
		return []string{InferenceInputTokens, InferenceCacheWrite}
	case slices.Contains(outputs, k):
		return []string{InferenceOutputTokens}
	case k == usage.Reasoning:
		return []string{InferenceOutputTokens, InferenceReasoning}
	}
	return nil
}

// CacheReads returns the number of tokens read from a cache.
func CacheReads(c *usage.Counts) int64 { return sum(c, cacheReads) }

// CacheWrites returns the number of tokens written to a cache.
func CacheWrites(c *usage.Counts) int64 { return sum(c, cacheWrites) }

// Reasoning returns the number of reasoning tokens.
func Reasoning(c *usage.Counts) int64 { return c.N(usage.Reasoning) }

func sum(c *usage.Counts, kinds []usage.Kind) (n int64) {
	for _, k := range kinds {
		n += c.N(k)
	}
	return n
}
