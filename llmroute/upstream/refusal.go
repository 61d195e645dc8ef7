package upstream

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// Refusal is a reason why one model refuses a prompt that another may accept.
type Refusal int

// Reasons for a refusal.
const (
	NotRefused    Refusal = iota
	ContextWindow         // the prompt is longer than the model's context window
	ContentPolicy         // the prompt violates the provider's content policy
	Refusals              // number of reasons
)

// wording is how providers word a refusal: codes and types, matched whole, and phrases within messages. All are
// in lower case.
type wording struct {
	codes, phrases []string
}

var wordings = [Refusals]wording{
	ContextWindow: {
		codes: []string{
			"context_length_exceeded",   // OpenAI, Azure, Groq
			"exceed_context_size_error", // llama.cpp
		},
		phrases: []string{
			"maximum context length",                                 // OpenAI, vLLM, DeepSeek, OpenRouter, Mistral
			"exceeds the context window",                             // OpenAI's Responses
			"tokens exceed the configured limit",                     // OpenAI
			"string too long. expected a string with maximum length", // OpenAI, by characters
			"prompt is too long",                                     // Anthropic, also on Bedrock and Vertex; Fireworks
			"exceed context limit",                                   // Anthropic, with max_tokens
			"exceeds the maximum number of tokens allowed",           // Gemini
			"input is too long for requested model",                  // Bedrock
			"too many input tokens",                                  // Bedrock
			"too many tokens",                                        // Cohere
			"maximum prompt length",                                  // xAI
			"reduce the length of the messages",                      // Groq
			"longer than the model's context length",                 // Together, vLLM
			"`inputs` tokens + `max_new_tokens` must be",             // Hugging Face's servers, Together
			"exceeds the available context size",                     // llama.cpp
			"exceeds the context length",                             // Ollama
			"contextwindowexceedederror",                             // LiteLLM
		},
	},
	ContentPolicy: {
		codes: []string{
			"content_policy_violation",     // OpenAI, Azure
			"content_filter",               // Azure
			"responsibleaipolicyviolation", // Azure, in innererror
			"moderation_blocked",           // OpenAI's images
		},
		phrases: []string{
			"violating our usage policy",          // OpenAI's reasoning models
			"result of our safety system",         // OpenAI's and Azure's images
			"rejected by the safety system",       // OpenAI's images
			"content management policy",           // Azure
			"blocked by content filtering policy", // Anthropic
			"content violates usage guidelines",   // xAI
			"contentpolicyviolationerror",         // LiteLLM
		},
	},
}

// refusalOf returns why an answer refuses the prompt, judging by the error in its body. The body stays readable.
func refusalOf(resp *http.Response) Refusal {
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
	default:
		return NotRefused
	}
	var s complaint
	s.read(peek(resp), 0)
	for why := ContextWindow; why < Refusals; why++ {
		if s.is(&wordings[why]) {
			return why
		}
	}
	return NotRefused
}

// complaint is the text of an error in lower case.
type complaint struct{ codes, messages []string }

// maxDepth is how deep an error is searched. Azure nests its inner error at the third level.
const maxDepth = 4

// read collects the text of an error value. It reads only members that describe the error, because others may
// repeat the prompt.
func (s *complaint) read(text json.RawMessage, depth int) {
	if depth > maxDepth || len(text) == 0 {
		return
	}
	var (
		message string
		list    []json.RawMessage
		members map[string]json.RawMessage
	)
	switch {
	case json.Unmarshal(text, &message) == nil:
		s.messages = append(s.messages, strings.ToLower(message))
	case json.Unmarshal(text, &list) == nil: // Gemini's, for a stream
		for _, item := range list {
			s.read(item, depth+1)
		}
	case json.Unmarshal(text, &members) == nil:
		for _, name := range [...]string{"code", "type"} {
			var code string
			if json.Unmarshal(members[name], &code) == nil {
				s.codes = append(s.codes, strings.ToLower(code))
			}
		}
		for _, name := range [...]string{"message", "error", "innererror", "detail", "msg", "metadata", "raw"} {
			s.read(members[name], depth+1)
		}
	}
}

func (s *complaint) is(w *wording) bool {
	return slices.ContainsFunc(s.codes, func(code string) bool { return slices.Contains(w.codes, code) }) ||
		slices.ContainsFunc(s.messages, func(message string) bool {
			return slices.ContainsFunc(w.phrases, func(phrase string) bool { return strings.Contains(message, phrase) })
		})
}
