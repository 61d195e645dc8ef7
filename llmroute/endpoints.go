package llmroute

import (
	"net/url"
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
	// inPath is set where the path names the model, and not the body.
	inPath bool
	// streamed is set where all answers are streams.
	streamed bool
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
func inPath(e *endpoint)    { e.inPath = true }
func streamed(e *endpoint)  { e.streamed = true }
func mocked(e *endpoint)    { e.mocked = true }

// endpoints are the rows by path, with and without the optional /v1. OpenAI's also stand below Azure's
// /openai/deployments/{model}, see match.
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
	row("v2/chat", llm.Cohere, usage.CohereChat, llm.Billable),
	row("v2/embed", llm.Cohere, usage.CohereEmbed, llm.Billable),
	row("v2/rerank", llm.Cohere, usage.CohereRerank, llm.Billable),
)

// models is the row of the list of models, which is answered here.
var models = row("models", llm.OpenAI, usage.NotBillable, llm.Local)

func byPath(rows ...*endpoint) map[string]*endpoint {
	table := make(map[string]*endpoint, 2*len(rows))
	for _, ep := range rows {
		table["/"+ep.Name] = ep
		if ep.API != llm.Cohere {
			table["/v1/"+ep.Name] = ep
		}
	}
	return table
}

// Rows whose paths name the model.
var (
	geminiRows = byVerb(
		row("generateContent", llm.Gemini, usage.GeminiGenerate, llm.Billable, inPath),
		row("streamGenerateContent", llm.Gemini, usage.GeminiGenerate, llm.Billable, inPath, streamed),
	)
	bedrockRows = byVerb(
		row("converse", llm.Bedrock, usage.BedrockConverse, llm.Billable, inPath),
		row("converse-stream", llm.Bedrock, usage.BedrockConverse, llm.Billable, inPath, streamed),
		row("invoke", llm.Bedrock, usage.BedrockInvoke, llm.Billable, inPath),
		row("invoke-with-response-stream", llm.Bedrock, usage.BedrockInvoke, llm.Billable, inPath, streamed),
	)
)

func byVerb(rows ...*endpoint) map[string]*endpoint {
	table := make(map[string]*endpoint, len(rows))
	for _, ep := range rows {
		table[ep.Name] = ep
	}
	return table
}

// lookup finds the endpoint of a URL, and the name of the model in its path: the one behind `models/`, or the one that is
// called. It returns nil where there is no endpoint.
func lookup(u *url.URL) (ep *endpoint, name string) {
	if ep := endpoints[u.Path]; ep != nil {
		return ep, ""
	}
	path := u.EscapedPath()
	if ep, escaped := match(path); ep != nil {
		name, err := url.PathUnescape(escaped)
		if err != nil || name == "" {
			return nil, ""
		}
		return ep, name
	}
	rest, ok := strings.CutPrefix(strings.TrimPrefix(u.Path, "/v1"), "/models")
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

// match finds the endpoint of a path that names the model, and that name as it stands in the path.
func match(path string) (ep *endpoint, name string) {
	if rest, ok := strings.CutPrefix(path, "/model/"); ok {
		if at := strings.LastIndexByte(rest, '/'); at > 0 {
			return bedrockRows[rest[at+1:]], rest[:at]
		}
		return nil, ""
	}
	if rest, ok := strings.CutPrefix(path, "/openai/deployments/"); ok {
		// Names of models may hold slashes.
		for at := range len(rest) {
			if rest[at] != '/' {
				continue
			}
			if at == 0 {
				break
			}
			if ep := endpoints[rest[at:]]; ep != nil && ep.API == llm.OpenAI {
				return ep, rest[:at]
			}
		}
		return nil, ""
	}
	rest, ok := strings.CutPrefix(path, "/v1beta/models/")
	if !ok {
		rest, ok = strings.CutPrefix(path, "/v1/models/")
	}
	if at := strings.LastIndexByte(rest, ':'); ok && at > 0 {
		return geminiRows[rest[at+1:]], rest[:at]
	}
	return nil, ""
}
