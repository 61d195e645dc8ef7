package provider

import (
	"strings"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

// GeminiModels is what comes before names of models in Gemini's bodies.
const GeminiModels = "models/"

// anthropicPath keeps the version out of the base URL, as Anthropic's SDKs do.
func anthropicPath(s *Server, c *Call) (path, query string) {
	if c.Query == "beta=true" {
		query = c.Query // how Anthropic's SDKs mark their beta calls
	}
	return s.basePath + "/v1/" + c.Endpoint.Name, query
}

// ollamaPath has Ollama's own API beside that of OpenAI, which the base URL is of, and not below it.
func ollamaPath(s *Server, c *Call) (path, query string) {
	base := s.basePath
	if c.Endpoint.API == llm.Ollama {
		base = strings.TrimSuffix(base, "/v1")
	}
	return base + "/" + c.Endpoint.Name, ""
}

// coherePath has the versions in the endpoints' names. The rerank of the first one is called at the path of OpenAI's endpoints.
func coherePath(s *Server, c *Call) (path, query string) {
	if c.Endpoint.API == llm.OpenAI {
		return s.basePath + "/v1/" + c.Endpoint.Name, ""
	}
	return s.basePath + "/" + c.Endpoint.Name, ""
}

// isRerank reports whether one of Cohere's models ranks documents.
func isRerank(model string) bool { return strings.Contains(model, "rerank") }

// geminiPath names the model in the path, as Gemini's API has it.
func geminiPath(s *Server, c *Call) (path, query string) {
	return s.basePath + "/v1beta/models/" + Escape(c.Upstream) + ":" + c.Endpoint.Name, geminiQuery(c)
}

// geminiQuery keeps the one parameter that changes the answer's form: without it, a stream is a JSON array.
func geminiQuery(c *Call) string {
	if c.Endpoint.Streamed {
		for part := range strings.SplitSeq(c.Query, "&") {
			if part == "alt=sse" || part == "%24alt=sse" || part == "$alt=sse" {
				return "alt=sse"
			}
		}
	}
	return ""
}

// bedrockOpenAI reports whether Bedrock's runtime has a model in OpenAI's API: OpenAI's own.
func bedrockOpenAI(model string) bool {
	return strings.HasPrefix(model, "openai.") || strings.Contains(model, ".openai.") || strings.Contains(model, "/openai.")
}

// BedrockClaude reports whether one of Bedrock's models speaks Messages: Anthropic's, by its id or that of a system's inference profile.
func BedrockClaude(model string) bool {
	return strings.HasPrefix(model, "anthropic.claude-") || strings.Contains(model, ".anthropic.claude-") || strings.Contains(model, "/anthropic.claude-")
}

// bedrockPath names the model in the path, as Bedrock's runtime API has it.
func bedrockPath(s *Server, c *Call) (path, query string) {
	if c.Endpoint.API == llm.OpenAI {
		return s.basePath + "/openai/v1/" + c.Endpoint.Name, ""
	}
	return s.basePath + "/model/" + Escape(c.Upstream) + "/" + c.Endpoint.Name, ""
}
