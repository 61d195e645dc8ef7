package llm

import "strings"

// CapMember returns the member by which a body of an endpoint bounds its answer at a target, and the object that has that
// member, empty for the body itself. member is empty where there is none.
func CapMember(e *Endpoint, t *Target) (member, within string) {
	switch e.Name {
	case "chat/completions":
		if t.Provider == "azure" || t.Provider == "openai" && strings.Contains(t.BaseURL, "://api.openai.com") {
			return "max_completion_tokens", "" // reasoning models there refuse the older name
		}
		return "max_tokens", ""
	case "completions", "messages", "v2/chat", "v1/chat":
		return "max_tokens", ""
	case "responses":
		return "max_output_tokens", ""
	case "api/chat", "api/generate":
		return "num_predict", "options"
	}
	switch {
	case strings.HasSuffix(e.Name, "generateContent"), strings.HasSuffix(e.Name, "streamGenerateContent"):
		return "maxOutputTokens", "generationConfig"
	case strings.HasSuffix(e.Name, "/converse"), strings.HasSuffix(e.Name, "/converse-stream"):
		return "maxTokens", "inferenceConfig"
	}
	return "", ""
}
