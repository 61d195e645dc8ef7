package provider

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBaseURLs refuses base URLs with what is added to them, and names the right one; what providers and proxies document as base URLs
// passes.
func TestBaseURLs(t *testing.T) {
	for _, c := range []struct{ provider, base, right string }{
		{"openai", "https://api.openai.com/v1/chat/completions", "https://api.openai.com/v1"},
		{"openai", "https://api.openai.com/v1/Chat/Completions/", "https://api.openai.com/v1"},
		{"openai", "https://api.openai.com/v1/completions", "https://api.openai.com/v1"},
		{"openai", "https://api.openai.com/v1/responses", "https://api.openai.com/v1"},
		{"openai", "https://api.openai.com/v1/audio/transcriptions", "https://api.openai.com/v1"},
		{"openai", "https://api.openai.com/v1/v1", "https://api.openai.com/v1"},
		{"vllm", "http://gpu:8000/v1/embeddings", "http://gpu:8000/v1"},
		{"vllm", "http://gpu:8000/v1/rerank", "http://gpu:8000/v1"},
		{"groq", "https://api.groq.com/openai/v1/chat/completions", "https://api.groq.com/openai/v1"},
		{"perplexity", "https://api.perplexity.ai/chat/completions", "https://api.perplexity.ai"},
		{"anthropic", "https://api.anthropic.com/v1", "https://api.anthropic.com"},
		{"anthropic", "https://api.anthropic.com/v1/messages", "https://api.anthropic.com"},
		{"anthropic", "https://proxy.example/anthropic/v1/messages/count_tokens", "https://proxy.example/anthropic"},
		{"gemini", "https://generativelanguage.googleapis.com/v1beta", "https://generativelanguage.googleapis.com"},
		{"gemini", "https://generativelanguage.googleapis.com/v1beta/models", "https://generativelanguage.googleapis.com"},
		{"gemini", "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-pro:generateContent", "https://generativelanguage.googleapis.com"},
		{"gemini", "https://generativelanguage.googleapis.com/v1beta/openai", "https://generativelanguage.googleapis.com"},
		{"cohere", "https://api.cohere.com/v2", "https://api.cohere.com"},
		{"cohere", "https://api.cohere.com/v2/chat", "https://api.cohere.com"},
		{"cohere", "https://api.cohere.com/v1/embed", "https://api.cohere.com"},
		{"azure", "https://r.openai.azure.com/openai/deployments/gpt-4o/chat/completions", "https://r.openai.azure.com"},
		{"azure", "https://r.openai.azure.com/openai/deployments/gpt-4o", "https://r.openai.azure.com"},
		{"azure", "https://r.openai.azure.com/openai/v1/responses", "https://r.openai.azure.com/openai/v1"},
		{"bedrock", "https://bedrock-runtime.us-east-1.amazonaws.com/model/amazon.nova-lite-v1:0/converse", "https://bedrock-runtime.us-east-1.amazonaws.com"},

		{provider: "openai", base: "https://api.openai.com/v1"},
		{provider: "openai", base: "https://generativelanguage.googleapis.com/v1beta/openai/"},
		{provider: "openai", base: "https://r.services.ai.azure.com/models"},
		{provider: "openai", base: "https://api-inference.huggingface.co/models/m/v1"},
		{provider: "openai", base: "https://api.deepinfra.com/v1/openai"},
		{provider: "openai", base: "https://api.cohere.ai/compatibility/v1"},
		{provider: "openai", base: "https://gateway.ai.cloudflare.com/v1/account/gateway/openai"},
		{provider: "anthropic", base: "https://gateway.ai.cloudflare.com/v1/account/gateway/anthropic"},
		{provider: "azure", base: "https://r.openai.azure.com/openai/v1"},
		{provider: "azure", base: "https://r.openai.azure.com/openai"},
		{provider: "gemini", base: "https://proxy.example/gemini"},
	} {
		_, err := Presets[c.provider].CheckBase(c.base)
		if c.right == "" {
			require.NoError(t, err, c.base)
			continue
		}
		require.Error(t, err, c.base)
		require.Regexp(t, " write "+c.right+"$", err.Error())
	}
	for name, p := range Presets {
		if p.Base != "" {
			u, err := p.CheckBase(p.Base)
			require.NoError(t, err, name)
			require.False(t, p.Pathless(u), name)
		}
	}
}
