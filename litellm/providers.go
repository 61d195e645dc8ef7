package litellm

import (
	"fmt"
	"strings"
)

// provider is what a LiteLLM provider prefix maps to.
type provider struct {
	preset   string
	base     string   // base URL if it differs from the preset's
	keys     []string // variables with the key if the file has none; LiteLLM uses the first that is set
	bases    []string // the same for the base URL
	needBase bool     // only the file can set the base URL
	keyless  bool     // the key is optional
	// compat is the provider's own OpenAI-compatible API, for clients that call chat/completions. LiteLLM
	// translates such calls itself. Here only calls to Anthropic's models are translated.
	compat string
}

// openAILike returns a provider with an OpenAI-compatible API at its own URL.
func openAILike(base string, key string, more ...string) provider {
	p := provider{preset: "openai", base: base, keys: append([]string{key}, more...)}
	p.bases = []string{strings.TrimSuffix(key, "_KEY") + "_BASE"}
	return p
}

// providers are LiteLLM's provider prefixes. Their base URLs and variables are from its
// get_llm_provider_logic.py.
var providers = map[string]provider{
	"openai":                 {preset: "openai", keys: []string{"OPENAI_API_KEY"}, bases: []string{"OPENAI_BASE_URL", "OPENAI_API_BASE"}},
	"text-completion-openai": {preset: "openai", keys: []string{"OPENAI_API_KEY"}, bases: []string{"OPENAI_BASE_URL", "OPENAI_API_BASE"}},
	"openai_like":            {preset: "openai", needBase: true, keyless: true},
	"custom_openai":          {preset: "openai", needBase: true, keyless: true},
	"litellm_proxy":          {preset: "openai", needBase: true, keys: []string{"LITELLM_PROXY_API_KEY"}, bases: []string{"LITELLM_PROXY_API_BASE"}},
	"lm_studio":              {preset: "openai", needBase: true, keyless: true, keys: []string{"LM_STUDIO_API_KEY"}, bases: []string{"LM_STUDIO_API_BASE"}},
	"llamafile":              {preset: "openai", base: "http://127.0.0.1:8080/v1", keyless: true, keys: []string{"LLAMAFILE_API_KEY"}, bases: []string{"LLAMAFILE_API_BASE"}},
	"hosted_vllm":            {preset: "vllm", needBase: true, keyless: true, keys: []string{"HOSTED_VLLM_API_KEY"}, bases: []string{"HOSTED_VLLM_API_BASE"}},
	"vllm":                   {preset: "vllm", needBase: true, keyless: true},
	"ollama":                 {preset: "ollama", keyless: true, keys: []string{"OLLAMA_API_KEY"}, bases: []string{"OLLAMA_API_BASE"}},
	"ollama_chat":            {preset: "ollama", keyless: true, keys: []string{"OLLAMA_API_KEY"}, bases: []string{"OLLAMA_API_BASE"}},
	"azure":                  {preset: "azure", needBase: true, keys: []string{"AZURE_API_KEY", "AZURE_OPENAI_API_KEY"}, bases: []string{"AZURE_API_BASE"}},
	"anthropic": {
		preset: "anthropic", keys: []string{"ANTHROPIC_API_KEY"}, bases: []string{"ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL"},
	},
	"gemini": {
		preset: "gemini", keys: []string{"GOOGLE_API_KEY", "GEMINI_API_KEY"}, bases: []string{"GEMINI_API_BASE"},
		compat: "https://generativelanguage.googleapis.com/v1beta/openai",
	},
	"cohere":       {preset: "cohere", keys: []string{"COHERE_API_KEY", "CO_API_KEY"}, compat: "https://api.cohere.ai/compatibility/v1"},
	"cohere_chat":  {preset: "cohere", keys: []string{"COHERE_API_KEY", "CO_API_KEY"}, compat: "https://api.cohere.ai/compatibility/v1"},
	"bedrock":      {preset: "bedrock", keyless: true, keys: []string{"AWS_BEARER_TOKEN_BEDROCK"}},
	"vertex_ai":    {preset: "vertex", keyless: true},
	"mistral":      {preset: "mistral", keys: []string{"MISTRAL_API_KEY"}, bases: []string{"MISTRAL_API_BASE"}},
	"groq":         {preset: "groq", keys: []string{"GROQ_API_KEY"}, bases: []string{"GROQ_API_BASE"}},
	"deepseek":     {preset: "deepseek", keys: []string{"DEEPSEEK_API_KEY"}, bases: []string{"DEEPSEEK_API_BASE"}},
	"xai":          {preset: "xai", keys: []string{"XAI_API_KEY"}, bases: []string{"XAI_API_BASE"}},
	"fireworks_ai": {preset: "fireworks", keys: []string{"FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY", "FIREWORKSAI_API_KEY", "FIREWORKS_AI_TOKEN"}, bases: []string{"FIREWORKS_API_BASE"}},
	"together_ai":  {preset: "together", keys: []string{"TOGETHER_API_KEY", "TOGETHER_AI_API_KEY", "TOGETHERAI_API_KEY", "TOGETHER_AI_TOKEN"}, bases: []string{"TOGETHER_AI_API_BASE"}},
	"openrouter":   {preset: "openrouter", keys: []string{"OPENROUTER_API_KEY", "OR_API_KEY"}, bases: []string{"OPENROUTER_API_BASE"}},
	"perplexity":   {preset: "perplexity", keys: []string{"PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"}, bases: []string{"PERPLEXITY_API_BASE"}},
	"nvidia_nim":   openAILike("https://integrate.api.nvidia.com/v1", "NVIDIA_NIM_API_KEY"),
	"cerebras":     openAILike("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
	"sambanova":    openAILike("https://api.sambanova.ai/v1", "SAMBANOVA_API_KEY"),
	"deepinfra":    openAILike("https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY"),
	"meta_llama":   openAILike("https://api.llama.com/compat/v1", "LLAMA_API_KEY"),
	"ai21_chat":    openAILike("https://api.ai21.com/studio/v1", "AI21_API_KEY"),
	"volcengine":   openAILike("https://ark.cn-beijing.volces.com/api/v3", "VOLCENGINE_API_KEY"),
	"codestral":    openAILike("https://codestral.mistral.ai/v1", "CODESTRAL_API_KEY"),
	"friendliai":   openAILike("https://api.friendli.ai/serverless/v1", "FRIENDLIAI_API_KEY", "FRIENDLI_TOKEN"),
	"github":       openAILike("https://models.inference.ai.azure.com", "GITHUB_API_KEY"),
}

// families are prefixes of model names that LiteLLM accepts without a provider, the more specific ones first.
var families = []struct{ prefix, provider string }{
	{"gpt-", "openai"},
	{"chatgpt-", "openai"},
	{"o1", "openai"},
	{"o3", "openai"},
	{"o4", "openai"},
	{"text-embedding-", "openai"},
	{"dall-e", "openai"},
	{"whisper-", "openai"},
	{"tts-", "openai"},
	{"omni-moderation", "openai"},
	{"claude-", "anthropic"},
	{"command", "cohere"},
}

// providerOf returns LiteLLM's provider of a model and the name to send upstream.
func providerOf(name, custom, base string) (prefix, sent string, err error) {
	if custom != "" {
		if _, ok := providers[custom]; !ok {
			return "", "", unknownProvider(custom, name)
		}
		return custom, strings.TrimPrefix(name, custom+"/"), nil
	}
	head, rest, slash := strings.Cut(name, "/")
	if _, known := providers[head]; slash && known {
		if head == "bedrock" {
			for _, route := range []string{"converse/", "invoke/", "converse_like/"} {
				rest = strings.TrimPrefix(rest, route)
			}
		}
		return head, rest, nil
	}
	if slash {
		return "", "", unknownProvider(head, rest)
	}
	for _, f := range families {
		if strings.HasPrefix(name, f.prefix) {
			return f.provider, name, nil
		}
	}
	if base != "" {
		return "openai", name, nil
	}
	return "", "", fmt.Errorf("the name %q does not say which provider serves it: write provider/%s", name, name)
}

func unknownProvider(name, model string) error {
	return fmt.Errorf("provider %q is not known here: for a server that speaks OpenAI's API write openai/%s and its api_base", name, model)
}

// baseFor converts an api_base of a LiteLLM provider to the preset's base URL. LiteLLM's `openai` provider
// appends /chat/completions to any api_base, and so does the gateway.
func baseFor(prefix, base string) string {
	trimmed := strings.TrimRight(base, "/")
	switch prefix {
	case "ollama", "ollama_chat": // LiteLLM uses Ollama's own API at /api
		if !strings.HasSuffix(trimmed, "/v1") {
			return trimmed + "/v1"
		}
	case "anthropic":
		return strings.TrimSuffix(trimmed, "/v1/messages")
	}
	return base
}
