package endpoint

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLookup holds the table of paths: which endpoint, and which model where the path names it.
func TestLookup(t *testing.T) {
	for path, want := range map[string][2]string{
		"/v1/chat/completions":                   {"chat/completions"},
		"/rerank":                                {"rerank"},
		"/v2/chat":                               {"v2/chat"},
		"/v2/embed":                              {"v2/embed"},
		"/v2/rerank":                             {"v2/rerank"},
		"/v1/models":                             {"models"},
		"/models/a/b:c":                          {"models", "a/b:c"},
		"/openai/deployments/d/chat/completions": {"chat/completions", "d"},
		"/openai/deployments/a/b/images/edits":   {"images/edits", "a/b"},
		"/openai/deployments/a%2Fb/embeddings":   {"embeddings", "a/b"},
		"/v1beta/models/gemini-2.5-pro:generateContent":                   {"generateContent", "gemini-2.5-pro"},
		"/v1/models/gemini-2.5-pro:streamGenerateContent":                 {"streamGenerateContent", "gemini-2.5-pro"},
		"/v1beta/models/a:b:generateContent":                              {"generateContent", "a:b"},
		"/model/anthropic.claude-v1%3A0/converse":                         {"converse", "anthropic.claude-v1:0"},
		"/model/anthropic.claude-v1:0/converse-stream":                    {"converse-stream", "anthropic.claude-v1:0"},
		"/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aprofile%2Fx/invoke": {"invoke", "arn:aws:bedrock:us-east-1:1:profile/x"},
		"/model/arn:aws:bedrock:us-east-1:1:profile/x/invoke":             {"invoke", "arn:aws:bedrock:us-east-1:1:profile/x"},
		"/model/m/invoke-with-response-stream":                            {"invoke-with-response-stream", "m"},

		"/api/chat":                           {"api/chat"},
		"/api/generate":                       {"api/generate"},
		"/api/embed":                          {"api/embed"},
		"/api/tags":                           {"api/tags"},
		"/api/embeddings":                     {"api/embeddings"},
		"/api/show":                           {"api/show"},
		"/api/version":                        {"api/version"},
		"/api/pull":                           {},
		"/v1/fim/completions":                 {"fim/completions"},
		"/v1/ocr":                             {"ocr"},
		"/model/info":                         {"model/info"},
		"/v1/model/info":                      {"model/info"},
		"/cohere/v1/models":                   {"v1/models"},
		"/cohere/v1/models/command-r":         {"v1/models", "command-r"},
		"/v1/v2/chat":                         {},
		"/v1/chat":                            {"v1/chat"},
		"/v1/embed":                           {"v1/embed"},
		"/v1/rerank":                          {"rerank"},
		"/cohere/v1/rerank":                   {"v1/rerank"},
		"/v1beta/models":                      {"models"},
		"/v1beta/models/m":                    {"models", "m"},
		"/v1/models/":                         {"models"},
		"/v1beta/models/m:countTokens":        {"countTokens", "m"},
		"/models/m:embedContent":              {"embedContent", "m"},
		"/gemini/v1beta/models/m:countTokens": {"countTokens", "m"},
		"/v1beta/models/m:batchEmbedContents": {"batchEmbedContents", "m"},
		"/v1/projects/p/locations/l/publishers/google/models/m:generateContent":            {"generateContent", "m"},
		"/v1beta1/projects/p/locations/l/publishers/google/models/m:streamGenerateContent": {"streamGenerateContent", "m"},
		"/v1beta1/publishers/google/models/m:countTokens":                                  {"countTokens", "m"},
		"/v1/projects/p/locations/l/publishers/anthropic/models/claude@1:rawPredict":       {"messages", "claude@1"},
		"/v1/projects/p/locations/l/publishers/anthropic/models/claude@1:streamRawPredict": {"messages", "claude@1"},
		"/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict":   {"messages/count_tokens"},
		"/v1/projects/p/publishers/google/models/m:generateContent":                        {},
		"/v1/projects/p/locations/l/publishers/meta/models/m:rawPredict":                   {},
		"/v1beta1/messages":                             {},
		"/openai/v1/chat/completions":                   {"chat/completions"},
		"/openai/v1/models/a/b":                         {"models", "a/b"},
		"/openai/responses?api-version=2025-04-01":      {"responses"},
		"/openai/models?api-version=2025-04-01":         {"models"},
		"/openai/moderations/?x=1&api-version=preview":  {"moderations"},
		"/openai/responses":                             {},
		"/openai/messages?api-version=1":                {},
		"/openai/v2/chat?api-version=1":                 {},
		"/anthropic/v1/messages":                        {"messages"},
		"/anthropic/messages/count_tokens":              {"messages/count_tokens"},
		"/anthropic/v1/chat/completions":                {},
		"/cohere/v2/chat":                               {"v2/chat"},
		"/bedrock/model/m/converse":                     {"converse", "m"},
		"/engines/a/b/chat/completions":                 {"chat/completions", "a/b"},
		"/v1/engines/m/completions":                     {"completions", "m"},
		"/engines/m/models":                             {},
		"/engines//completions":                         {},
		"//v1//chat/completions":                        {"chat/completions"},
		"/v1/chat/completions//":                        {"chat/completions"},
		"/v1beta/models/:generateContent":               {"models", ":generateContent"},
		"/v1beta/chat/completions":                      {},
		"/model/m/count-tokens":                         {},
		"/model//converse":                              {},
		"/model/converse":                               {},
		"/v1/model/m/converse":                          {},
		"/openai/deployments/d/messages":                {},
		"/openai/deployments/chat/completions":          {"completions", "chat"},
		"/openai/deployments//chat/completions":         {},
		"/openai/deployments/d/chat/completions/":       {"chat/completions", "d"},
		"/openai/deployments/d/extensions/completions2": {},
		"/v1/batches":                                   {},
		"/v1/realtime":                                  {},
		"/v1/files":                                     {},
		"/":                                             {},
	} {
		u, err := url.Parse(path)
		require.NoError(t, err)
		ep, name := Lookup(u)
		got := [2]string{"", name}
		if ep != nil {
			got[0] = ep.Name
		}
		require.Equal(t, want, got, path)
	}
}
