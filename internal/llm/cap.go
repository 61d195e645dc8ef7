package llm

import "strings"

// CapMember returns the member of a request body that bounds the answer at a target, and the object that contains it. within
// is empty for the body itself; member is empty if the endpoint has no bound.
func CapMember(e *Endpoint, t *Target) (member, within string) {
	switch e.Name {
	case "chat/completions":
		if t.Official() {
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

// Members that bound an answer, by API.
var (
	chatBounds     = []string{"max_tokens", "max_completion_tokens"}
	tokensBound    = []string{"max_tokens"}
	responsesBound = []string{"max_output_tokens"}
	geminiBound    = []string{"generationConfig.maxOutputTokens"}
	converseBound  = []string{"inferenceConfig.maxTokens"}
	invokeBounds   = []string{"max_tokens", "inferenceConfig.maxTokens"} // depends on the model's own API
	ollamaBound    = []string{"options.num_predict"}
)

// BoundMembers returns the members of a request body that bound the answer at an endpoint, as `object.member` if nested.
// Members of other APIs have no effect there.
func BoundMembers(e *Endpoint) []string {
	switch e.Name {
	case "chat/completions":
		return chatBounds
	case "completions", "fim/completions", "messages", "v2/chat", "v1/chat":
		return tokensBound
	case "responses", "responses/compact":
		return responsesBound
	case "api/chat", "api/generate":
		return ollamaBound
	}
	switch {
	case strings.HasSuffix(e.Name, "enerateContent"): // streamed or not
		return geminiBound
	case strings.HasSuffix(e.Name, "/converse"), strings.HasSuffix(e.Name, "/converse-stream"):
		return converseBound
	case strings.HasSuffix(e.Name, "/invoke"), strings.HasSuffix(e.Name, "/invoke-with-response-stream"):
		return invokeBounds
	}
	return nil
}

// Answers returns the number of answers that a body requests at an endpoint; 0 if it does not say. n is its `n`, candidates
// Gemini's candidateCount; bestOf and prompts are `best_of` and the number of prompts of legacy completions.
func Answers(e *Endpoint, n, candidates, bestOf, prompts int64) int64 {
	switch {
	case strings.HasSuffix(e.Name, "enerateContent"):
		return candidates
	case e.Name == "completions":
		if n = max(n, bestOf); prompts > 1 {
			n = max(1, n)
			if n > maxAnswers/prompts {
				return maxAnswers
			}
			return n * prompts
		}
	}
	return n
}

// maxAnswers exceeds the number of answers any provider generates.
const maxAnswers = 1 << 40
