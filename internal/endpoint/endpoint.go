// Package endpoint is the closed table of the paths that the gateway serves: their method, their API, how their answers report
// usage and whether they are billed. Other paths are not found.
package endpoint

import (
	"iter"
	"net/http"
	"strings"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// Endpoint is a row of the table.
type Endpoint struct {
	llm.Endpoint
	// Method is the only method allowed. GET includes HEAD.
	Method string
	// Streams is set if `stream_options.include_usage` may be requested.
	Streams bool
	// Multipart is set where calls may come as forms with files.
	Multipart bool
	// InPath is set if the path names the model instead of the body.
	InPath bool
	// Streamed is set where all answers are streams.
	Streamed bool
	// Default is the model that the provider documents for calls without one; empty where a model is required.
	Default string
	// Mocked is set where the mock backend has an answer.
	Mocked bool

	path string // the pattern, below the bases of its API; {model} is a model's name, slashes included
}

// Names yields the paths of model calls below the base URLs of their APIs, where they name no model.
func Names() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, e := range rows {
			if e.Billing != llm.Local && !e.InPath && e.path == "/"+e.Name && !yield(e.Name) {
				return
			}
		}
	}
}

// Find returns the endpoint of a name in an API, the one whose body names the model where there are several; nil without any.
func Find(api llm.API, name string) *Endpoint {
	for _, e := range rows {
		if e.API == api && e.Name == name {
			return e
		}
	}
	return nil
}

// Takes reports whether the endpoint allows a method.
func (e *Endpoint) Takes(method string) bool {
	return method == e.Method || method == http.MethodHead && e.Method == http.MethodGet
}

// For returns the API whose format the caller expects. If several APIs share the path, such as for lists of models, the headers
// of their SDKs decide.
func (e *Endpoint) For(h http.Header) llm.API {
	switch {
	case e.API == llm.OpenAI && (e.Billing == llm.Local || e.Name == "rerank") && strings.HasPrefix(h.Get("X-Fern-Sdk-Name"), "cohere"):
		return llm.Cohere
	case e.Billing != llm.Local || e.API != llm.OpenAI:
		return e.API
	case h.Get("Anthropic-Version") != "":
		return llm.Anthropic
	case h.Get("X-Goog-Api-Client") != "":
		return llm.Gemini
	}
	return e.API
}

// rows are the table. A row's name is also the end of the path upstream.
var rows = []*Endpoint{
	row("/chat/completions", llm.OpenAI, usage.OpenAIChat, llm.Billable, streams, mocked),
	row("/completions", llm.OpenAI, usage.OpenAIChat, llm.Billable, streams, mocked),
	row("/responses", llm.OpenAI, usage.OpenAIResponses, llm.Billable, mocked),
	row("/responses/compact", llm.OpenAI, usage.OpenAIResponses, llm.Billable),
	row("/responses/input_tokens", llm.OpenAI, usage.NotBillable, llm.Free, mocked),
	row("/embeddings", llm.OpenAI, usage.OpenAIEmbeddings, llm.Billable, mocked),
	row("/multimodalembeddings", llm.OpenAI, usage.OpenAIEmbeddings, llm.Billable),
	row("/contextualizedembeddings", llm.OpenAI, usage.OpenAIEmbeddings, llm.Billable),
	row("/moderations", llm.OpenAI, usage.NotBillable, llm.Free, unnamed("omni-moderation-latest")),
	row("/images/generations", llm.OpenAI, usage.OpenAIImages, llm.Billable, unnamed("dall-e-2")),
	row("/images/edits", llm.OpenAI, usage.OpenAIImages, llm.Billable, multipart, unnamed("dall-e-2")),
	row("/images/variations", llm.OpenAI, usage.OpenAIImages, llm.Billable, multipart, unnamed("dall-e-2")),
	row("/audio/transcriptions", llm.OpenAI, usage.OpenAITranscription, llm.Billable, multipart),
	row("/audio/translations", llm.OpenAI, usage.OpenAITranscription, llm.Billable, multipart),
	row("/audio/speech", llm.OpenAI, usage.OpenAISpeech, llm.Billable),
	row("/fim/completions", llm.OpenAI, usage.OpenAIChat, llm.Billable, streams),
	row("/ocr", llm.OpenAI, usage.MistralOCR, llm.Billable),
	row("/rerank", llm.OpenAI, usage.CohereRerank, llm.Billable),
	row("/models", llm.OpenAI, usage.NotBillable, llm.Local, get),
	row("/models/{model}", llm.OpenAI, usage.NotBillable, llm.Local, get),
	row("/model/info", llm.OpenAI, usage.NotBillable, llm.Local, get),

	row("/messages", llm.Anthropic, usage.AnthropicMessages, llm.Billable, mocked),
	row("/messages/count_tokens", llm.Anthropic, usage.NotBillable, llm.Free, mocked),
	row("/publishers/anthropic/models/count-tokens:rawPredict", llm.Anthropic, usage.NotBillable, llm.Free, named("messages/count_tokens")),
	row("/publishers/anthropic/models/{model}:rawPredict", llm.Anthropic, usage.AnthropicMessages, llm.Billable, inPath, named("messages")),
	row("/publishers/anthropic/models/{model}:streamRawPredict", llm.Anthropic, usage.AnthropicMessages, llm.Billable, inPath, streamed, named("messages")),

	row("/models/{model}:generateContent", llm.Gemini, usage.GeminiGenerate, llm.Billable, inPath),
	row("/models/{model}:streamGenerateContent", llm.Gemini, usage.GeminiGenerate, llm.Billable, inPath, streamed),
	row("/models/{model}:countTokens", llm.Gemini, usage.NotBillable, llm.Free, inPath),
	row("/models/{model}:embedContent", llm.Gemini, usage.GeminiEmbed, llm.Billable, inPath),
	row("/models/{model}:batchEmbedContents", llm.Gemini, usage.GeminiEmbed, llm.Billable, inPath),
	row("/models", llm.Gemini, usage.NotBillable, llm.Local, get),
	row("/models/{model}", llm.Gemini, usage.NotBillable, llm.Local, get),

	row("/model/{model}/converse", llm.Bedrock, usage.BedrockConverse, llm.Billable, inPath),
	row("/model/{model}/converse-stream", llm.Bedrock, usage.BedrockConverse, llm.Billable, inPath, streamed),
	row("/model/{model}/invoke", llm.Bedrock, usage.BedrockInvoke, llm.Billable, inPath),
	row("/model/{model}/invoke-with-response-stream", llm.Bedrock, usage.BedrockInvoke, llm.Billable, inPath, streamed),

	row("/v2/chat", llm.Cohere, usage.CohereChat, llm.Billable),
	row("/v2/embed", llm.Cohere, usage.CohereEmbed, llm.Billable),
	row("/v2/rerank", llm.Cohere, usage.CohereRerank, llm.Billable),
	row("/v1/chat", llm.Cohere, usage.CohereChat, llm.Billable),
	row("/v1/embed", llm.Cohere, usage.CohereEmbed, llm.Billable),
	row("/v1/rerank", llm.Cohere, usage.CohereRerank, llm.Billable),

	row("/api/chat", llm.Ollama, usage.OllamaNative, llm.Billable),
	row("/api/generate", llm.Ollama, usage.OllamaNative, llm.Billable),
	row("/api/embed", llm.Ollama, usage.OllamaNative, llm.Billable),
	row("/api/embeddings", llm.Ollama, usage.OllamaNative, llm.Billable),
	row("/api/show", llm.Ollama, usage.NotBillable, llm.Free),
	row("/api/tags", llm.Ollama, usage.NotBillable, llm.Local, get),
	row("/api/version", llm.Ollama, usage.NotBillable, llm.Local, get),

	row("/v1/models", llm.Cohere, usage.NotBillable, llm.Local, get),
	row("/v1/models/{model}", llm.Cohere, usage.NotBillable, llm.Local, get),
}

// base is what may come before the rows of an API in a path: what its clients have in their base URLs, and a version.
type base struct {
	api  llm.API
	path string
}

// bases are in the order in which they are looked for. Vertex AI's paths are matched as clean leaves them.
var bases = []base{
	{llm.OpenAI, "/v1"},
	{llm.OpenAI, ""},
	{llm.OpenAI, "/openai/v1"},
	{llm.OpenAI, "/openai/deployments/{model}"},
	{llm.OpenAI, "/engines/{model}"},
	{llm.OpenAI, "/v1/engines/{model}"},
	{llm.Anthropic, "/v1"},
	{llm.Anthropic, ""},
	{llm.Anthropic, "/anthropic/v1"},
	{llm.Anthropic, "/anthropic"},
	{llm.Gemini, "/v1beta"},
	{llm.Gemini, "/v1"},
	{llm.Gemini, ""},
	{llm.Gemini, "/gemini/v1beta"},
	{llm.Gemini, "/gemini/v1"},
	{llm.Gemini, "/gemini"},
	{llm.Gemini, "/v1/publishers/google"},
	{llm.Bedrock, ""},
	{llm.Bedrock, "/bedrock"},
	{llm.Cohere, ""},
	{llm.Cohere, "/cohere"},
	{llm.Ollama, ""},
}

// azureBase comes before OpenAI's rows in the calls of Azure's SDKs that name no deployment. They are known by their
// api-version.
const azureBase = "/openai"
