package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
	"github.com/tollgate-llm/tollgate/internal/testkit/scripted"
)

const (
	awsID      = "AKIDOFTHETEST"
	awsSecret  = "secret-of-the-test"
	awsSession = "session-of-the-test"
	vertexKey  = "ya29.token-of-the-test"
)

// providerCase is one call to one provider, and what must come of it.
type providerCase struct {
	name    string
	model   string // the model of the configuration below
	path    string // the client's
	headers []string
	body    string // the client's; MODEL stands for the name asked for

	uri      string // upstream: path and query
	sent     string // upstream: the body; empty when it is the client's
	upstream http.Header
	answer   string // file/name of the golden case that the provider answers with
	in, out  int64  // on Lago's event
	free     bool   // not billed: no event
}

// providerBackends are the backends by model: the provider, what follows its URL, and its settings.
var providerBackends = []struct{ model, provider, base, settings string }{
	{"openai", "openai", "/v1", "model gpt-4o-up"},
	{"azure", "azure", "", "model my-deployment"},
	{"azure-old", "azure", "", "model my-deployment\napi_version 2025-04-01-preview"},
	{"azure-v1", "azure", "/openai/v1", "model my-deployment"},
	{"anthropic", "anthropic", "", "model claude-up"},
	{"gemini", "gemini", "", "model gemini-2.5-flash"},
	{"mistral", "mistral", "/v1", "model mistral-up"},
	{"groq", "groq", "/openai/v1", "model groq-up"},
	{"deepseek", "deepseek", "/v1", "model deepseek-chat"},
	{"xai", "xai", "/v1", "model grok-up"},
	{"together", "together", "/v1", "model together-up"},
	{"fireworks", "fireworks", "/inference/v1", "model accounts/fireworks/models/x"},
	{"openrouter", "openrouter", "/api/v1", "model openai/gpt-4o"},
	{"perplexity", "perplexity", "", "model sonar"},
	{"cohere", "cohere", "", "model command-up"},
	{"bedrock", "bedrock", "", "region us-east-1\nmodel us.anthropic.claude-up-v1:0"},
	{"bedrock-openai", "bedrock", "", "region us-east-1\nmodel openai.gpt-oss-120b-1:0"},
	{"bedrock-key", "bedrock", "", "region us-east-1\nmodel arn:aws:bedrock:us-east-1:1:inference-profile/x"},
	{"vertex", "vertex", "", "project my-project\nlocation us-central1\nmodel gemini-2.5-flash"},
	{"vertex-path", "vertex", "/v1/projects/other/locations/europe-west1", "model claude-up@20250514"},
	{"ollama", "ollama", "/v1", "model llama3:8b"},
	{"vllm", "vllm", "/v1", "model qwen-up"},
}

// keyOf is the key of a model's backend; each has its own.
func keyOf(model string) string { return "sk-" + model + "-of-upstream" }

// openAICompatible are the providers that speak OpenAI's API, with what a stream and a whole answer come with.
func openAICompatible() []providerCase {
	type pair struct {
		model, prefix, upstream string
		ask                     bool // stream_options is asked for
		whole, stream           string
		in, out, sin, sout      int64
	}
	var cases []providerCase
	for _, p := range []pair{
		{"openai", "/v1", "gpt-4o-up", true, "openai_chat/json", "openai_chat/stream with usage asked for", 9, 12, 9, 2},
		{"azure-v1", "/openai/v1", "my-deployment", true, "openai_chat/json", "openai_chat/stream azure filter results", 9, 12, 9, 2},
		{"mistral", "/v1", "mistral-up", false, "providers/mistral: null audio seconds", "providers/mistral: usage on the last chunk, with choices", 9, 2, 9, 2},
		{"groq", "/openai/v1", "groq-up", true, "providers/groq: breakdown is not added", "providers/groq: usage twice is not added", 9, 2, 9, 2},
		{"deepseek", "/v1", "deepseek-chat", true, "providers/deepseek: hit and miss", "providers/deepseek: keep-alive comments", 67, 2, 67, 2},
		{"xai", "/v1", "grok-up", true, "providers/xai: reasoning beside the completion", "providers/xai: usage on the chunk before the last", 12, 35, 12, 35},
		{"together", "/v1", "together-up", true, "openai_chat/json", "providers/together: final chunk", 9, 12, 9, 2},
		{"fireworks", "/inference/v1", "accounts/fireworks/models/x", true, "providers/fireworks: account path", "openai_chat/stream with usage asked for", 9, 2, 9, 2},
		{"openrouter", "/api/v1", "openai/gpt-4o", true, "openai_chat/json", "providers/openrouter: cost, comments", 9, 12, 9, 2},
		{"perplexity", "", "sonar", true, "providers/perplexity: cost object", "providers/perplexity: usage on every chunk", 9, 2, 9, 2},
		{"ollama", "/v1", "llama3:8b", true, "openai_chat/json", "openai_chat/stream zeros beside the true counts", 9, 12, 9, 2},
		{"vllm", "/v1", "qwen-up", true, "providers/vllm: cached tokens, both names of reasoning", "openai_chat/stream running totals", 9, 12, 9, 2},
	} {
		auth := http.Header{"Authorization": {"Bearer " + keyOf(p.model)}}
		if p.model == "azure-v1" {
			auth = http.Header{"Api-Key": {keyOf(p.model)}}
		}
		auth.Set("Openai-Beta", "x=1")
		auth.Set("Idempotency-Key", "idem-1")
		passing := []string{"OpenAI-Beta", "x=1", "Idempotency-Key", "idem-1", "Anthropic-Beta", "not-for-them"}
		whole := providerCase{
			name: p.model + " chat", model: p.model, path: "/v1/chat/completions?key=sk-in-the-url", headers: passing,
			body: `{ "model" : "MODEL", "messages":[{"role":"user","content":"h\u00e4"}] , "temperature":1.0}`,
			uri:  p.prefix + "/chat/completions", sent: `{ "model" : "` + p.upstream + `", "messages":[{"role":"user","content":"h\u00e4"}] , "temperature":1.0}`,
			upstream: auth, answer: p.whole, in: p.in, out: p.out,
		}
		stream := whole
		stream.name = p.model + " chat stream"
		stream.body, stream.sent = `{"stream":true,"model":"MODEL"}`, `{"stream":true,"model":"`+p.upstream+`"}`
		if p.ask {
			stream.sent = `{"stream_options":{"include_usage":true},"stream":true,"model":"` + p.upstream + `"}`
		}
		stream.path = "/chat/completions"
		stream.answer, stream.in, stream.out = p.stream, p.sin, p.sout
		cases = append(cases, whole, stream)
	}
	return cases
}

// ownAPIs are the calls in the APIs that are not OpenAI's, and those with paths of their own.
func ownAPIs() []providerCase {
	const (
		sse    = "?alt=sse"
		turn   = `{"contents":[{"parts":[{"text":"hi"}]}]}`
		talk   = `{"messages":[{"role":"user","content":[{"text":"hi"}]}]}`
		native = `{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"messages":[]}`
	)
	azure := http.Header{"Api-Key": {keyOf("azure")}}
	azureOld := http.Header{"Api-Key": {keyOf("azure-old")}}
	bearer := func(model string) http.Header { return http.Header{"Authorization": {"Bearer " + keyOf(model)}} }
	gemini := http.Header{"X-Goog-Api-Key": {keyOf("gemini")}, "X-Goog-Api-Client": {"genai/1"}}
	google := []string{"X-Goog-Api-Client", "genai/1", "X-Goog-User-Project", "somebody-else"}
	vertex := http.Header{"Authorization": {"Bearer " + vertexKey}}
	claude := func(auth http.Header) http.Header {
		auth = auth.Clone()
		auth.Set("Anthropic-Version", "2023-06-01")
		auth.Set("Anthropic-Beta", "b1,b2")
		return auth
	}
	beta := []string{"Anthropic-Beta", "b1,b2", "OpenAI-Beta", "not-for-them"}
	const models = "/v1/projects/my-project/locations/us-central1/publishers/google/models/gemini-2.5-flash"
	const claudes = "/v1/projects/other/locations/europe-west1/publishers/anthropic/models/"
	const arn = "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fx"
	return []providerCase{
		{
			name: "azure deployment", model: "azure", path: "/openai/deployments/MODEL/chat/completions?api-version=2020-01-01",
			body: `{"messages":[],"model":"whatever"}`, uri: "/openai/deployments/my-deployment/chat/completions?api-version=2024-10-21",
			sent: `{"messages":[],"model":"my-deployment"}`, upstream: azure, answer: "openai_chat/json", in: 9, out: 12,
		},
		{
			name: "azure deployment stream", model: "azure", path: "/openai/deployments/MODEL/chat/completions", body: `{"stream":true}`,
			uri:  "/openai/deployments/my-deployment/chat/completions?api-version=2024-10-21",
			sent: `{"model":"my-deployment","stream_options":{"include_usage":true},"stream":true}`, upstream: azure,
			answer: "openai_chat/stream azure filter results with null usage", in: 9, out: 2,
		},
		{
			name: "azure deployment to openai", model: "openai", path: "/openai/deployments/MODEL/embeddings", body: `{}`, uri: "/v1/embeddings",
			sent: `{"model":"gpt-4o-up"}`, upstream: bearer("openai"), answer: "openai_embeddings/usage after the vectors", in: 8,
		},
		{
			name: "azure version", model: "azure-old", path: "/v1/chat/completions", body: `{"model":"MODEL"}`,
			uri: "/openai/deployments/my-deployment/chat/completions?api-version=2025-04-01-preview", sent: `{"model":"my-deployment"}`,
			upstream: azureOld, answer: "openai_chat/json", in: 9, out: 12,
		},
		{
			name: "azure responses", model: "azure", path: "/v1/responses", body: `{"model":"MODEL"}`, uri: "/openai/v1/responses",
			sent: `{"model":"my-deployment"}`, upstream: azure, answer: "openai_responses/json", in: 100, out: 42,
		},
		{
			name: "azure responses with a version", model: "azure-old", path: "/v1/responses", body: `{"model":"MODEL"}`,
			uri: "/openai/responses?api-version=2025-04-01-preview", sent: `{"model":"my-deployment"}`, upstream: azureOld,
			answer: "openai_responses/json", in: 100, out: 42,
		},

		{
			name: "anthropic", model: "anthropic", path: "/v1/messages?beta=true", headers: beta, body: `{"model":"MODEL","max_tokens":5}`,
			uri: "/v1/messages?beta=true", sent: `{"model":"claude-up","max_tokens":5}`,
			upstream: claude(http.Header{"X-Api-Key": {keyOf("anthropic")}}), answer: "anthropic_messages/json", in: 1325, out: 15,
		},
		{
			name: "anthropic stream", model: "anthropic", path: "/messages", headers: beta, body: `{"model":"MODEL","stream":true}`, uri: "/v1/messages",
			sent: `{"model":"claude-up","stream":true}`, upstream: claude(http.Header{"X-Api-Key": {keyOf("anthropic")}}),
			answer: "anthropic_messages/stream stock", in: 8849, out: 426,
		},
		{
			name: "anthropic token count", model: "anthropic", path: "/v1/messages/count_tokens", headers: beta, body: `{"model":"MODEL"}`,
			uri: "/v1/messages/count_tokens", sent: `{"model":"claude-up"}`, upstream: claude(http.Header{"X-Api-Key": {keyOf("anthropic")}}),
			answer: "not_billable/count_tokens", free: true,
		},
		{
			name: "openai token count", model: "openai", path: "/v1/responses/input_tokens", body: `{"model":"MODEL"}`,
			uri: "/v1/responses/input_tokens", sent: `{"model":"gpt-4o-up"}`, upstream: bearer("openai"), answer: "not_billable/count_tokens", free: true,
		},
		{
			name: "openai moderation", model: "openai", path: "/v1/moderations", body: `{"model":"MODEL"}`, uri: "/v1/moderations",
			sent: `{"model":"gpt-4o-up"}`, upstream: bearer("openai"), answer: "not_billable/count_tokens", free: true,
		},

		{
			name: "gemini", model: "gemini", path: "/v1beta/models/MODEL:generateContent?key=sk-x", headers: google, body: turn,
			uri: "/v1beta/models/gemini-2.5-flash:generateContent", upstream: gemini, answer: "gemini/json thoughts, cache and tools", in: 119, out: 52,
		},
		{
			name: "gemini stream", model: "gemini", path: "/v1beta/models/MODEL:streamGenerateContent" + sse, headers: google, body: turn,
			uri: "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", upstream: gemini, answer: "gemini/stream running totals", in: 9, out: 43,
		},
		{
			name: "gemini array", model: "gemini", path: "/v1/models/MODEL:streamGenerateContent?prettyPrint=true", headers: google, body: turn,
			uri: "/v1beta/models/gemini-2.5-flash:streamGenerateContent", upstream: gemini, answer: "gemini/array, pretty-printed", in: 9, out: 43,
		},
		{
			name: "gemini, model in the body too", model: "gemini", path: "/v1beta/models/MODEL:generateContent", headers: google,
			body: `{"model":"models/MODEL"}`, sent: `{"model":"models/gemini-2.5-flash"}`,
			uri: "/v1beta/models/gemini-2.5-flash:generateContent", upstream: gemini, answer: "gemini/json", in: 9, out: 12,
		},

		{
			name: "cohere", model: "cohere", path: "/v2/chat", body: `{"model":"MODEL"}`, uri: "/v2/chat", sent: `{"model":"command-up"}`,
			upstream: bearer("cohere"), answer: "cohere/chat json, floats, billed units", in: 5, out: 418,
		},
		{
			name: "cohere stream", model: "cohere", path: "/v2/chat", body: `{"model":"MODEL","stream":true}`, uri: "/v2/chat",
			sent: `{"model":"command-up","stream":true}`, upstream: bearer("cohere"), answer: "cohere/chat stream", in: 5, out: 418,
		},
		{
			name: "cohere embed", model: "cohere", path: "/v2/embed", body: `{"model":"MODEL"}`, uri: "/v2/embed", sent: `{"model":"command-up"}`,
			upstream: bearer("cohere"), answer: "cohere/embed", in: 2,
		},
		{
			name: "cohere rerank", model: "cohere", path: "/v2/rerank", body: `{"model":"MODEL"}`, uri: "/v2/rerank", sent: `{"model":"command-up"}`,
			upstream: bearer("cohere"), answer: "cohere/rerank by tokens", in: 12,
		},

		{
			name: "bedrock converse", model: "bedrock", path: "/model/MODEL/converse", body: talk,
			uri: "/model/us.anthropic.claude-up-v1%3A0/converse", answer: "bedrock_converse/json", in: 1325, out: 15,
		},
		{
			name: "bedrock converse stream", model: "bedrock", path: "/model/MODEL/converse-stream", body: talk,
			uri: "/model/us.anthropic.claude-up-v1%3A0/converse-stream", answer: "bedrock_converse/stream", in: 1325, out: 15,
		},
		{
			name: "bedrock invoke", model: "bedrock", path: "/model/MODEL/invoke", body: native,
			headers:  []string{"X-Amzn-Bedrock-GuardrailIdentifier", "g1", "X-Amzn-Bedrock-PerformanceConfig-Latency", "optimized", "X-Amz-Security-Token", "mine"},
			upstream: http.Header{"X-Amzn-Bedrock-Guardrailidentifier": {"g1"}, "X-Amzn-Bedrock-Performanceconfig-Latency": {"optimized"}},
			uri:      "/model/us.anthropic.claude-up-v1%3A0/invoke", answer: "bedrock_invoke/json anthropic", in: 1325, out: 15,
		},
		{
			name: "bedrock invoke stream", model: "bedrock", path: "/model/MODEL/invoke-with-response-stream", body: native,
			uri: "/model/us.anthropic.claude-up-v1%3A0/invoke-with-response-stream", answer: "bedrock_invoke/stream claude", in: 8849, out: 426,
		},
		{
			name: "bedrock, OpenAI's API", model: "bedrock-openai", path: "/v1/chat/completions", body: `{"model":"MODEL","messages":[]}`,
			uri: "/openai/v1/chat/completions", sent: `{"model":"openai.gpt-oss-120b-1:0","messages":[]}`, answer: "openai_chat/json", in: 9, out: 12,
		},
		{
			name: "bedrock, OpenAI's API, streamed", model: "bedrock-openai", path: "/v1/chat/completions", body: `{"model":"MODEL","stream":true}`,
			uri: "/openai/v1/chat/completions", sent: `{"stream_options":{"include_usage":true},"model":"openai.gpt-oss-120b-1:0","stream":true}`,
			answer: "openai_chat/stream with usage asked for", in: 9, out: 2,
		},
		{
			name: "bedrock key, llama", model: "bedrock-key", path: "/model/MODEL/invoke", body: `{"prompt":"hi"}`, uri: arn + "/invoke",
			upstream: bearer("bedrock-key"), answer: "bedrock_invoke/json llama", in: 25, out: 15,
		},
		{
			name: "bedrock key, nova stream", model: "bedrock-key", path: "/model/MODEL/invoke-with-response-stream", body: `{"messages":[]}`,
			uri: arn + "/invoke-with-response-stream", upstream: bearer("bedrock-key"), answer: "bedrock_invoke/stream nova", in: 25, out: 15,
		},

		{
			name: "vertex", model: "vertex", path: "/v1beta/models/MODEL:generateContent", body: turn, uri: models + ":generateContent",
			upstream: vertex, answer: "gemini/json vertex traffic type", in: 9, out: 12,
		},
		{
			name: "vertex stream", model: "vertex", path: "/v1beta/models/MODEL:streamGenerateContent" + sse, body: turn,
			uri: models + ":streamGenerateContent?alt=sse", upstream: vertex, answer: "gemini/stream usage after the finish", in: 9, out: 3,
		},
		{
			name: "vertex in OpenAI's API", model: "vertex", path: "/v1/chat/completions", body: `{"model":"MODEL","messages":[]}`,
			sent: `{"model":"google/gemini-2.5-flash","messages":[]}`, uri: "/v1/projects/my-project/locations/us-central1/endpoints/openapi/chat/completions",
			upstream: vertex, answer: "openai_chat/json", in: 9, out: 12,
		},
		{
			name: "vertex claude", model: "vertex-path", path: "/v1/messages", headers: beta, body: `{ "model":"MODEL", "max_tokens":5}`,
			uri: claudes + "claude-up@20250514:rawPredict", sent: `{ "anthropic_version":"vertex-2023-10-16", "max_tokens":5}`,
			upstream: claude(vertex), answer: "anthropic_messages/json", in: 1325, out: 15,
		},
		{
			name: "vertex claude stream", model: "vertex-path", path: "/v1/messages?beta=true", headers: beta,
			body: `{"stream":true,"anthropic_version":"vertex-2023-10-16","model":"MODEL"}`, uri: claudes + "claude-up@20250514:streamRawPredict",
			sent:     `{"stream":true,"anthropic_version":"vertex-2023-10-16"}`,
			upstream: claude(vertex), answer: "anthropic_messages/stream stock", in: 8849, out: 426,
		},
		{
			name: "vertex claude token count", model: "vertex-path", path: "/v1/messages/count_tokens", headers: beta, body: `{"model":"MODEL"}`,
			uri: claudes + "count-tokens:rawPredict", sent: `{"anthropic_version":"vertex-2023-10-16","model":"claude-up@20250514"}`,
			upstream: claude(vertex), answer: "not_billable/count_tokens", free: true,
		},
	}
}

// TestProviders calls every provider through the whole gateway and holds what it gets, byte by byte, and what Lago is told
// against the table. Each provider is an upstream of its own with a key of its own.
func TestProviders(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", awsID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", awsSecret)
	t.Setenv("AWS_SESSION_TOKEN", awsSession)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	tokens := scripted.ServiceAccount(t, vertexKey)
	w := gateway.NewBooks(t, fakelago.Options{})

	var now struct {
		sync.Mutex
		answer scripted.Answer
	}
	upstreams := make(map[string]*scripted.Server)
	var models strings.Builder
	for _, b := range providerBackends {
		u := scripted.New(t, func(int, scripted.Call) scripted.Answer {
			now.Lock()
			defer now.Unlock()
			return now.answer
		})
		upstreams[b.model] = u
		key := "api_key " + keyOf(b.model)
		if b.model == "bedrock" || b.model == "bedrock-openai" || b.provider == "vertex" {
			key = ""
		}
		fmt.Fprintf(&models, "model %s {\nbackend %s %s%s {\n%s\n%s\n}\n}\n", b.model, b.provider, u.URL, b.base, key, b.settings)
	}
	w.Gateway = gateway.Start(t, "", w.Routed(t.TempDir(), "property case {http.request.header.X-Case}", models.String()+"model mock {\nbackend mock\n}"))
	key := w.NewKey(`{"team_id":"` + gateway.Payer + `"}`)

	billed := 0
	want := make(map[string]providerCase)
	for _, c := range append(openAICompatible(), ownAPIs()...) {
		t.Run(c.name, func(t *testing.T) {
			file, name, _ := strings.Cut(c.answer, "/")
			answer := scripted.Golden(t, filepath.Join("..", "internal", "usage", "testdata", file+".json"), name)
			now.Lock()
			now.answer = answer
			now.Unlock()
			u := upstreams[c.model]
			before := len(u.Calls())
			named := strings.NewReplacer("MODEL", c.model)
			asked := named.Replace(c.body)
			a := w.Must(http.StatusOK, http.MethodPost, named.Replace(c.path), key, asked, append([]string{
				"X-Case", c.name, "User-Agent", "sdk/1.0", "Cookie", "session=1", "OpenAI-Organization", "org-client", "X-Forwarded-For", "198.51.100.7",
				"X-Amz-Date", "20200101T000000Z",
			}, c.headers...)...)
			if !strings.Contains(c.sent, "stream_options") {
				require.Equal(t, string(answer.Body), a.Body, "the answer passes byte by byte")
			}
			calls := u.Calls()[before:]
			require.Len(t, calls, 1)
			got := calls[0]
			require.Equal(t, c.uri, got.URI)
			require.Equal(t, http.MethodPost, got.Method)
			if c.sent == "" {
				c.sent = asked
			}
			require.Equal(t, c.sent, string(got.Body))
			require.Equal(t, int64(len(c.sent)), got.Length)
			header := http.Header{"Accept-Encoding": {"identity"}, "Content-Type": {"application/json"}, "User-Agent": {"sdk/1.0"}}
			for field, values := range c.upstream {
				header[field] = values
			}
			header.Set("Content-Length", fmt.Sprint(len(c.sent)))
			if c.model == "bedrock" || c.model == "bedrock-openai" {
				checkSigV4(t, got)
				for _, field := range []string{"Authorization", "X-Amz-Date", "X-Amz-Security-Token"} {
					header[field] = got.Header[field]
				}
			}
			require.Equal(t, header, got.Header, "no header more or less than these")
		})
		if want[c.name] = c; !c.free {
			billed++
		}
	}
	t.Run("mock", func(t *testing.T) {
		w.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, `{"model":"mock"}`, "X-Case", "mock")
		billed++
	})
	require.Equal(t, 2, tokens(), "each of the two backends fetches its token once")
	w.Settled(billed)
	for _, e := range w.Lago.Events() {
		c, ok := want[e.Property("case")]
		if !ok {
			require.Equal(t, "mock", e.Property("case"))
			continue
		}
		delete(want, c.name)
		require.Equal(t, []string{fmt.Sprint(c.in), fmt.Sprint(c.out), fmt.Sprint(c.in + c.out), "reported"},
			[]string{e.Property("prompt_tokens"), e.Property("completion_tokens"), e.Property("total_tokens"), e.Property("usage")}, c.name)
		require.Equal(t, gateway.Payer, e.Subscription)
	}
	ledger, err := (&gateway.Gateway{T: t, Addr: w.Admin}).Do(http.MethodGet, "/tollgate/billing/events", "", "")
	require.NoError(t, err)
	require.Equal(t, len(want), strings.Count(ledger.Body, `"not_billed":"free endpoint"`), "calls that cost nothing have a record that says so")
	for name, c := range want {
		require.True(t, c.free, "%s was billed", name)
	}
	require.Empty(t, w.Lago.BilledTwice())
	require.Empty(t, w.Lago.Violations())
	for model, u := range upstreams {
		for _, c := range u.Calls() {
			text := fmt.Sprint(c.URI, c.Header) + string(c.Body)
			require.NotContains(t, text, key, "the client's key")
			require.NotContains(t, text, awsSecret)
			for other := range upstreams {
				if other != model {
					require.NotContains(t, text, keyOf(other), "the key of %s at %s", other, model)
				}
			}
		}
	}
}
