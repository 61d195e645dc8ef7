package price

import (
	"slices"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/usage"
)

// fee is a provider's list price for something other than tokens that is missing in the price data.
type fee struct {
	provider string // id in the price data
	models   string // prefixes of the model ids that it applies to, separated by spaces; empty: all
	kind     usage.Kind
	price    Price // US dollars per one, in 10^-9
}

// Thousandths of a dollar per call are dollars per thousand calls.
const perThousand Price = 1_000_000

// fees are list prices from the providers' pages in November 2026. The first match applies; docs/prices.md names what each is counted
// from.
var fees = []fee{
	// platform.openai.com/docs/pricing: Built-in tools. A container costs 0.03 for each gigabyte of its memory.
	{"openai", "", usage.WebSearches, 10 * perThousand},
	{"openai", "o1 o3 o4 gpt-5 gpt-6", usage.WebSearchesPreview, 10 * perThousand},
	{"openai", "", usage.WebSearchesPreview, 25 * perThousand},
	{"openai", "", usage.FileSearches, 2_500_000},
	{"openai", "", usage.CodeSessions, 30 * perThousand},
	// azure.microsoft.com/pricing/details/cognitive-services/openai-service: file search is paid for by its storage.
	{"azure", "", usage.WebSearches, 14 * perThousand},
	{"azure", "", usage.WebSearchesPreview, 14 * perThousand},
	{"azure", "", usage.FileSearches, 0},
	{"azure", "", usage.CodeSessions, 33 * perThousand},
	// docs.anthropic.com/en/docs/about-claude/pricing, also on the clouds.
	{"anthropic", "", usage.WebSearches, 10 * perThousand},
	{"google", "claude", usage.WebSearches, 10 * perThousand},
	{"aws", "anthropic. global.anthropic. us.anthropic. regional.anthropic. claude", usage.WebSearches, 10 * perThousand},
	{"aws", "openai. gpt", usage.WebSearches, 12 * perThousand},
	// ai.google.dev/gemini-api/docs/pricing: prompts up to Gemini 2.5, queries from Gemini 3 on.
	{"google", "gemini-1 gemini-2", usage.WebSearches, 35 * perThousand},
	{"google", "gemini-1 gemini-2", usage.MapsSearches, 25 * perThousand},
	{"google", "gemini-", usage.WebSearches, 14 * perThousand},
	{"google", "gemini-", usage.MapsSearches, 14 * perThousand},
	// aws.amazon.com/bedrock/pricing: Guardrails.
	{"aws", "", usage.GuardrailTopics, 150_000},
	{"aws", "", usage.GuardrailContents, 150_000},
	{"aws", "", usage.GuardrailImages, 750_000},
	{"aws", "", usage.GuardrailSensitive, 100_000},
	{"aws", "", usage.GuardrailGrounding, 100_000},
	{"aws", "", usage.GuardrailReasoning, 170_000},
	// docs.x.ai/developers/models: Tools pricing.
	{"x-ai", "", usage.WebSearches, 5 * perThousand},
	{"x-ai", "", usage.PostSearches, 5 * perThousand},
	{"x-ai", "", usage.CodeCalls, 5 * perThousand},
	{"x-ai", "", usage.AttachmentSearches, 10 * perThousand},
	{"x-ai", "", usage.FileSearches, 2_500_000},
	// docs.perplexity.ai/getting-started/pricing. Sonar's searches are within its fee per request, but for deep research.
	{"perplexity", "sonar-deep-research", usage.WebSearches, 5 * perThousand},
	{"perplexity", "sonar", usage.WebSearches, 0},
	{"perplexity", "sonar-pro sonar-reasoning-pro", usage.SearchRequestsLow, 6 * perThousand},
	{"perplexity", "sonar-pro sonar-reasoning-pro", usage.SearchRequestsMedium, 10 * perThousand},
	{"perplexity", "sonar-pro sonar-reasoning-pro", usage.SearchRequestsHigh, 14 * perThousand},
	{"perplexity", "sonar-deep-research", usage.SearchRequestsLow, 0},
	{"perplexity", "sonar-deep-research", usage.SearchRequestsMedium, 0},
	{"perplexity", "sonar-deep-research", usage.SearchRequestsHigh, 0},
	{"perplexity", "sonar", usage.SearchRequestsLow, 5 * perThousand},
	{"perplexity", "sonar", usage.SearchRequestsMedium, 8 * perThousand},
	{"perplexity", "sonar", usage.SearchRequestsHigh, 12 * perThousand},
	{"perplexity", "", usage.WebSearches, 2_500_000},
	{"perplexity", "", usage.ImageSearches, 2_500_000},
	{"perplexity", "", usage.WebFetches, 500_000},
	{"perplexity", "", usage.DirectorySearches, 5 * perThousand},
	{"perplexity", "", usage.CodeSessions, 30 * perThousand},
	// console.groq.com/docs/browser-search.
	{"groq", "", usage.WebSearches, 5 * perThousand},
	{"groq", "", usage.WebFetches, 1 * perThousand},
	// api-docs.deepseek.com/quick_start/pricing.
	{"deepseek", "", usage.WebSearches, 750_000},
	// platform.kimi.ai/docs/pricing/tools.
	{"moonshotai", "", usage.WebSearches, 5 * perThousand},
	// docs.z.ai/guides/overview/pricing.
	{"zai", "", usage.WebSearches, 10 * perThousand},
}

// cacheMultiple returns the price of tokens of a prompt cache as a multiple of uncached input, for a provider that defines its prices so:
// Alibaba's Model Studio, help.aliyun.com/zh/model-studio/context-cache. explicit: the request set up the cache.
func cacheMultiple(w *who, model string, k slot, explicit bool) (Price, bool) {
	if !slices.ContainsFunc(w.names, func(n string) bool { return n == "dashscope" || n == "qwencloud" || n == "qwen_ai_platform" }) ||
		!strings.HasPrefix(model, "qwen") {
		return 0, false
	}
	switch usage.Kind(k) {
	case usage.CacheRead:
		if explicit {
			return 100_000_000, true
		}
		return 200_000_000, true
	case usage.CacheWrite, usage.CacheWrite5m:
		return 1_250_000_000, true
	default:
		return 0, false
	}
}

// listFee returns the list price of a fee.
func listFee(provider, model string, k usage.Kind) (Price, bool) {
	for i := range fees {
		f := &fees[i]
		if f.kind != k || f.provider != provider {
			continue
		}
		if f.models == "" {
			return f.price, true
		}
		for prefix := range strings.SplitSeq(f.models, " ") {
			if strings.HasPrefix(model, prefix) {
				return f.price, true
			}
		}
	}
	return 0, false
}

// searchModel reports whether a model of chat completions searches the web in each call, for a fee that price lists state
// per request.
func searchModel(id string) bool {
	return strings.Contains(id, "-search-preview") || strings.Contains(id, "-search-api")
}

// standIn returns the slot whose price applies to a medium that price lists have under another name: the output of models that make nothing else,
// and audio that Google's Pro models accept at the price of text.
func standIn(e *entry, k slot) (slot, bool) {
	if e == nil {
		return 0, false
	}
	switch usage.Kind(k) {
	case usage.OutputImage:
		return slot(usage.Output), strings.HasPrefix(e.id, "gpt-image") || strings.HasPrefix(e.id, "chatgpt-image")
	case usage.OutputAudio:
		return slot(usage.Output), strings.Contains(e.id, "-tts")
	case usage.InputAudio:
		return slot(usage.Input), geminiPro(e)
	case usage.CacheReadAudio:
		return slot(usage.CacheRead), geminiPro(e)
	default:
		return 0, false
	}
}

func geminiPro(e *entry) bool {
	return e.provider == "google" && strings.HasPrefix(e.id, "gemini-") && strings.Contains(e.id, "-pro") &&
		!strings.Contains(e.id, "-tts") && !strings.Contains(e.id, "-image")
}
