package llmroute

import (
	"strings"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// endpoint is a row of the closed table: no row, no route. All are called by POST, but for the models.
type endpoint struct {
	llm.Endpoint
	// streams is set where `stream_options.include_usage` may be asked for.
	streams bool
	// multipart is set where calls come as forms with files.
	multipart bool
	// mocked is set where the mock backend has an answer.
	mocked bool
}

func row(name string, api llm.API, reader usage.API, billing llm.Billing, set ...func(*endpoint)) *endpoint {
	ep := &endpoint{Endpoint: llm.Endpoint{Name: name, API: api, Reader: reader, Billing: billing}}
	for _, f := range set {
		f(ep)
	}
	return ep
}

func streams(e *endpoint)   { e.streams = true }
func multipart(e *endpoint) { e.multipart = true }
func mocked(e *endpoint)    { e.mocked = true }

// endpoints are the rows by path, without the optional /v1.
var endpoints = byPath(
	row("chat/completions", llm.OpenAI, usage.OpenAIChat, llm.Billable, streams, mocked),
	row("completions", llm.OpenAI, usage.OpenAIChat, llm.Billable, streams, mocked),
	row("responses", llm.OpenAI, usage.OpenAIResponses, llm.Billable, mocked),
	row("responses/compact", llm.OpenAI, usage.OpenAIResponses, llm.Billable),
	row("responses/input_tokens", llm.OpenAI, usage.NotBillable, llm.Free, mocked),
	row("embeddings", llm.OpenAI, usage.OpenAIEmbeddings, llm.Billable, mocked),
	row("moderations", llm.OpenAI, usage.NotBillable, llm.Free),
	row("images/generations", llm.OpenAI, usage.OpenAIImages, llm.Billable),
	row("images/edits", llm.OpenAI, usage.OpenAIImages, llm.Billable, multipart),
	row("images/variations", llm.OpenAI, usage.OpenAIImages, llm.Billable, multipart),
	row("audio/transcriptions", llm.OpenAI, usage.OpenAITranscription, llm.Billable, multipart),
	row("audio/translations", llm.OpenAI, usage.OpenAITranscription, llm.Billable, multipart),
	row("audio/speech", llm.OpenAI, usage.OpenAISpeech, llm.Billable),
	row("rerank", llm.OpenAI, usage.CohereRerank, llm.Billable),
	row("messages", llm.Anthropic, usage.AnthropicMessages, llm.Billable, mocked),
	row("messages/count_tokens", llm.Anthropic, usage.NotBillable, llm.Free, mocked),
)

// models is the row of the list of models, which is answered here.
var models = row("models", llm.OpenAI, usage.NotBillable, llm.Local)

func byPath(rows ...*endpoint) map[string]*endpoint {
	table := make(map[string]*endpoint, 2*len(rows))
	for _, ep := range rows {
		table["/"+ep.Name] = ep
		table["/v1/"+ep.Name] = ep
	}
	return table
}

// lookup finds the endpoint of a path, and the id behind `models/`. It returns nil where there is none.
func lookup(path string) (ep *endpoint, id string) {
	if ep := endpoints[path]; ep != nil {
		return ep, ""
	}
	rest, ok := strings.CutPrefix(strings.TrimPrefix(path, "/v1"), "/models")
	if !ok {
		return nil, ""
	}
	if rest == "" {
		return models, ""
	}
	if id, ok := strings.CutPrefix(rest, "/"); ok && id != "" {
		return models, id
	}
	return nil, ""
}
