package endpoint

import (
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

// sdkURLs are the paths that SDKs build, from the base URL that docs/clients.md gives them, for each of their calls.
var sdkURLs = []struct {
	sdk   string
	base  string
	calls string // as the SDK appends them to its base URL
	api   llm.API
}{
	{"openai", "/v1", "/chat/completions /completions /responses /responses/compact /responses/input_tokens /embeddings /moderations /images/generations /images/edits /images/variations /audio/transcriptions /audio/translations /audio/speech", llm.OpenAI},
	{"openai, Azure, by deployment", "", "/openai/deployments/m/chat/completions?api-version=x /openai/deployments/m/completions?api-version=x /openai/deployments/m/embeddings?api-version=x /openai/deployments/m/images/generations?api-version=x /openai/deployments/m/images/edits?api-version=x /openai/deployments/m/audio/transcriptions?api-version=x /openai/deployments/m/audio/translations?api-version=x /openai/deployments/m/audio/speech?api-version=x", llm.OpenAI},
	{"openai, Azure, without one", "", "/openai/responses?api-version=x /openai/models?api-version=x /openai/moderations?api-version=x", llm.OpenAI},
	{"openai, Azure's v1", "/openai/v1/", "/chat/completions /responses /embeddings", llm.OpenAI},
	{"openai, older, with an engine", "/v1", "/engines/m/completions /engines/m/embeddings", llm.OpenAI},
	{"anthropic", "", "/v1/messages /v1/messages?beta=true /v1/messages/count_tokens /v1/messages/count_tokens?beta=true", llm.Anthropic},
	{"anthropic, LiteLLM's prefix", "/anthropic", "/v1/messages /v1/messages/count_tokens", llm.Anthropic},
	{"anthropic, Vertex", "/v1", "/projects/p/locations/l/publishers/anthropic/models/m:rawPredict /projects/p/locations/l/publishers/anthropic/models/m:streamRawPredict /projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict", llm.Anthropic},
	{"anthropic, Bedrock", "", "/model/m/invoke /model/m/invoke-with-response-stream", llm.Bedrock},
	{"boto3", "", "/model/m/converse /model/m/converse-stream /model/m/invoke /model/arn%3Aaws%3Ax%2Fm/converse", llm.Bedrock},
	{"google-genai", "", "/v1beta/models/m:generateContent /v1beta/models/m:streamGenerateContent?alt=sse /v1beta/models/m:countTokens /v1beta/models/m:embedContent /v1beta/models/m:batchEmbedContents /v1beta/models /v1beta/models/m", llm.Gemini},
	{"google-genai, v1", "/", "/v1/models/m:generateContent", llm.Gemini},
	{"google-genai, Vertex", "", "/v1beta1/projects/p/locations/l/publishers/google/models/m:generateContent /v1beta1/projects/p/locations/l/publishers/google/models/m:streamGenerateContent?alt=sse /v1beta1/projects/p/locations/l/publishers/google/models/m:countTokens", llm.Gemini},
	{"mistralai", "", "/v1/chat/completions /v1/fim/completions /v1/embeddings /v1/ocr /v1/moderations /v1/models /v1/audio/transcriptions", llm.OpenAI},
	{"cohere", "", "/v2/chat /v2/embed /v2/rerank", llm.Cohere},
	{"cohere, v1", "", "/v1/chat /v1/embed", llm.Cohere},
	{"cohere, LiteLLM's prefix", "/cohere", "/v2/chat /v2/embed /v2/rerank /v1/chat /v1/embed /v1/rerank /v1/models /v1/models/m", llm.Cohere},
	{"groq", "", "/openai/v1/chat/completions /openai/v1/responses /openai/v1/audio/transcriptions /openai/v1/audio/speech /openai/v1/models", llm.OpenAI},
	{"ollama", "", "/api/chat /api/generate /api/embed /api/embeddings /api/show /api/tags /api/version", llm.Ollama},
	{"voyageai", "/v1", "/embeddings /multimodalembeddings /contextualizedembeddings /rerank", llm.OpenAI},
	{"ai, openai", "/v1", "/responses /chat/completions", llm.OpenAI},
	{"ai, anthropic", "/v1", "/messages", llm.Anthropic},
	{"ai, google", "/v1beta", "/models/m:generateContent /models/m:streamGenerateContent?alt=sse /models/m:batchEmbedContents", llm.Gemini},
	{"ai, cohere", "/v2", "/chat /embed /rerank", llm.Cohere},
	{"litellm", "", "/chat/completions /embeddings /model/info /v1/model/info", llm.OpenAI},
	{"openai, lists", "/v1", "/models /models/m", llm.OpenAI},
}

// TestSDKs holds that each path that an SDK builds reaches an endpoint of its API, and that each endpoint has an SDK.
func TestSDKs(t *testing.T) {
	reached := make(map[*Endpoint]bool)
	for _, s := range sdkURLs {
		for call := range strings.FieldsSeq(s.calls) {
			u, err := url.Parse("https://gw.example" + s.base + call)
			require.NoError(t, err)
			ep, model := Lookup(u)
			require.NotNil(t, ep, "%s: %s", s.sdk, u)
			require.Equal(t, s.api, ep.API, "%s: %s", s.sdk, u)
			require.Equal(t, s.api, ep.For(http.Header{}), "%s: %s", s.sdk, u)
			if strings.Contains(call, "/m") && !strings.Contains("/messages /models /moderations /model/info", strings.TrimSuffix(call, "?beta=true")) && ep.InPath {
				require.Contains(t, []string{"m", "arn:aws:x/m"}, model, "%s: %s", s.sdk, u)
			}
			reached[ep] = true
		}
	}
	for _, ep := range rows {
		require.True(t, reached[ep], "no SDK calls %s of %s", ep.path, ep.API)
	}
}

// TestDocumentedPaths holds the table of endpoints in docs/llmroute.md: each of its paths is one, and each endpoint is there.
func TestDocumentedPaths(t *testing.T) {
	page, err := os.ReadFile("../../docs/llmroute.md")
	require.NoError(t, err)
	_, table, ok := strings.Cut(string(page), "| path | API | usage | |\n| --- | --- | --- | --- |\n")
	require.True(t, ok)
	table, _, _ = strings.Cut(table, "\n\n")
	documented := make(map[*Endpoint]bool)
	for line := range strings.SplitSeq(table, "\n") {
		cells := strings.Split(line, " | ")
		before := "" // the path of which the next one has another end
		for i, path := range strings.Split(cells[0], "`") {
			if i%2 == 0 || strings.HasPrefix(path, "/v1/projects/{project}") {
				continue
			}
			switch {
			case strings.HasPrefix(path, ":"):
				path = before[:strings.LastIndexByte(before, ':')] + path
			case strings.HasPrefix(path, "/") && strings.HasPrefix(before, "/model/") && path != "/model/info":
				path = before[:strings.LastIndexByte(before, '/')] + path
			}
			before = path
			path = strings.NewReplacer("{model}", "m", "{id}", "m").Replace(path)
			found := false
			for _, head := range []string{"", "/v1", "/v1beta"} {
				ep, _ := Lookup(&url.URL{Path: head + "/" + strings.TrimPrefix(path, "/")})
				if ep != nil {
					documented[ep], found = true, true
					require.Contains(t, []string{apiNames[ep.API], "by the client"}, cells[1], path)
					require.Equal(t, map[llm.Billing]string{llm.Billable: "billed", llm.Free: "free", llm.Local: "answered here"}[ep.Billing], cells[2], path)
				}
			}
			require.True(t, found, "%s is no endpoint", path)
		}
	}
	for _, ep := range rows {
		require.True(t, documented[ep] || ep.Name == "v1/models", "docs/llmroute.md has no %s of %s", ep.path, ep.API)
	}
}

// TestDocumentedPrefixes holds the table of prefixes in docs/llmroute.md: each is one, before every path of its API, and each prefix
// that there is is in the table.
func TestDocumentedPrefixes(t *testing.T) {
	page, err := os.ReadFile("../../docs/llmroute.md")
	require.NoError(t, err)
	_, table, ok := strings.Cut(string(page), "| prefix | API | |\n| --- | --- | --- |\n")
	require.True(t, ok)
	table, _, _ = strings.Cut(table, "\n\n")
	documented := make(map[string]bool)
	for line := range strings.SplitSeq(table, "\n") {
		cells := strings.Split(line, " | ")
		for i, prefix := range strings.Split(cells[0], "`") {
			if i%2 == 0 || strings.Contains(prefix, "...") {
				continue
			}
			documented[prefix] = true
			query := ""
			if prefix == azureBase {
				query = "api-version=x"
			}
			named := strings.Contains(prefix, "{model}")
			inside := strings.NewReplacer("{model}", "m", "{project}", "p", "{location}", "l").Replace(prefix)
			for _, ep := range rows {
				switch {
				case apiNames[ep.API] != cells[1] && (cells[1] != "that one" || "/"+strings.ToLower(apiNames[ep.API]) != prefix):
					continue
				case named && (ep.Billing == llm.Local || strings.Contains(ep.path, "{model}")), prefix == azureBase && strings.Contains(ep.path, "{model}"),
					strings.Contains(prefix, "publishers/google") && strings.HasPrefix(ep.path, "/publishers/"), strings.HasPrefix(ep.path, "/publishers/"):
					continue
				}
				u := &url.URL{Path: inside + strings.Replace(ep.path, "{model}", "m", 1), RawQuery: query}
				got, model := Lookup(u)
				require.Same(t, ep, got, u)
				require.Equal(t, map[bool]string{true: "m"}[named || strings.Contains(ep.path, "{model}")], model, u)
			}
		}
	}
	for _, b := range bases {
		prefix := b.path
		for _, version := range []string{"/v1beta", "/v1"} {
			if cut := strings.TrimSuffix(prefix, version); prefix != "/openai/v1" {
				prefix = cut
			}
		}
		require.True(t, prefix == "" || documented[prefix] || prefix == "/v1/publishers/google", "docs/llmroute.md has no prefix %s", prefix)
	}
}

var apiNames = map[llm.API]string{
	llm.OpenAI: "OpenAI", llm.Anthropic: "Anthropic", llm.Gemini: "Gemini", llm.Bedrock: "Bedrock", llm.Cohere: "Cohere", llm.Ollama: "Ollama",
}
