package provider

import (
	"strings"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

// GeminiModels is the prefix of model names in Gemini's bodies.
const GeminiModels = "models/"

// anthropicPath adds the version, which Anthropic's base URL does not contain, as in Anthropic's SDKs.
func anthropicPath(s *Server, c *Call) (path, query string) {
	if c.Query == "beta=true" {
		query = c.Query // Anthropic's SDKs mark beta calls in it
	}
	return s.basePath + "/v1/" + c.Endpoint.Name, query
}

// ollamaPath puts Ollama's own API beside OpenAI's, to which the base URL belongs, and not below it.
func ollamaPath(s *Server, c *Call) (path, query string) {
	base := s.basePath
	if c.Endpoint.API == llm.Ollama {
		base = strings.TrimSuffix(base, "/v1")
	}
	return base + "/" + c.Endpoint.Name, ""
}

// coherePath adds the version, which is part of Cohere's endpoint names. rerank of v1 is called at the path of
// OpenAI's endpoints.
func coherePath(s *Server, c *Call) (path, query string) {
	if c.Endpoint.API == llm.OpenAI {
		return s.basePath + "/v1/" + c.Endpoint.Name, ""
	}
	return s.basePath + "/" + c.Endpoint.Name, ""
}

// isRerank reports whether a Cohere model ranks documents.
func isRerank(model string) bool { return strings.Contains(model, "rerank") }

// geminiPath puts the model in the path.
func geminiPath(s *Server, c *Call) (path, query string) {
	return s.basePath + "/v1beta/models/" + Escape(c.Upstream) + ":" + c.Endpoint.Name, geminiQuery(c)
}

// geminiQuery keeps only the parameter that changes the answer's format. Without it, a stream is a JSON array.
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

// bedrockOpenAI reports whether Bedrock's runtime serves a model in OpenAI's API, as it does for OpenAI's own
// models.
func bedrockOpenAI(model string) bool {
	return strings.HasPrefix(model, "openai.") || strings.Contains(model, ".openai.") || strings.Contains(model, "/openai.")
}

// BedrockClaude reports whether a Bedrock model speaks the Messages API. Those are Anthropic's models, by their
// id or a system inference profile's id.
func BedrockClaude(model string) bool {
	return strings.HasPrefix(model, "anthropic.claude-") || strings.Contains(model, ".anthropic.claude-") || strings.Contains(model, "/anthropic.claude-")
}

// bedrockPath puts the model in the path.
func bedrockPath(s *Server, c *Call) (path, query string) {
	if c.Endpoint.API == llm.OpenAI {
		return s.basePath + "/openai/v1/" + c.Endpoint.Name, ""
	}
	return s.basePath + "/model/" + Escape(c.Upstream) + "/" + c.Endpoint.Name, ""
}
