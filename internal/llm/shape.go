package llm

import "strings"

// ShapeOf returns the API whose shape a caller of that URL path expects, also where the path is no endpoint: a refusal
// must be readable before, or without, a route. Paths that tell nothing get the OpenAI shape.
func ShapeOf(path string) API {
	switch {
	case strings.HasSuffix(path, ":generateContent"), strings.HasSuffix(path, ":streamGenerateContent"):
		return Gemini
	case strings.HasPrefix(path, "/model/"):
		switch path[strings.LastIndexByte(path, '/')+1:] {
		case "converse", "converse-stream", "invoke", "invoke-with-response-stream":
			return Bedrock
		}
	case strings.HasSuffix(path, "/v2/chat"), strings.HasSuffix(path, "/v2/embed"), strings.HasSuffix(path, "/v2/rerank"):
		return Cohere
	case strings.Contains(path, "/messages"):
		return Anthropic
	}
	return OpenAI
}
