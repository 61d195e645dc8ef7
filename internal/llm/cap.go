package llm

import "strings"

// CapMember returns the member by which a body of an endpoint bounds its answer at a target, and the object that has that
// member, empty for the body itself. member is empty where there is none.
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

// What bounds an answer, by API.
var (
	chatBounds     = []string{"max_tokens", "max_completion_tokens"}
	tokensBound    = []string{"max_tokens"}
	responsesBound = []string{"max_output_tokens"}
	geminiBound    = []string{"generationConfig.maxOutputTokens"}
	converseBound  = []string{"inferenceConfig.maxTokens"}
	invokeBounds   = []string{"max_tokens", "inferenceConfig.maxTokens"} // by the model's own API
	ollamaBound    = []string{"options.num_predict"}
)

// BoundMembers returns the members by which a body of an endpoint bounds its answer, with the object that has them before a dot.
// Those of other APIs bound nothing there.
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

// Answers returns how many answers a body asks for at an endpoint, where it does: n is its `n`, candidates Gemini's candidateCount,
// bestOf the `best_of` and prompts the number of prompts of legacy completions.
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

// maxAnswers is more answers than any provider makes.
const maxAnswers = 1 << 40
