package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
	"github.com/tollgate-llm/tollgate/internal/testkit/scripted"
)

// TestSurfaceIsBilled calls what is beside chats, as each provider's own SDK does, through the whole gateway, and adds up what
// Lago was billed. Prices: input 3, output 15 and a page 2000 per million, each by hand.
func TestSurfaceIsBilled(t *testing.T) {
	for name, c := range map[string]struct{ path, backend, body, kind, answer, cost string }{
		"Ollama's own chat, streamed unasked": {
			path: "/api/chat", backend: "ollama %s/v1", body: `{"model":"m","messages":[{"role":"user","content":"x"}]}`, kind: "application/x-ndjson",
			answer: `{"model":"m","message":{"role":"assistant","content":"Hello"},"done":false}` + "\n" +
				`{"model":"m","message":{"role":"assistant","content":""},"done_reason":"stop","done":true,"prompt_eval_count":26,"eval_count":2}` + "\n",
			cost: "0.000108",
		},
		"Ollama's own embeddings": {
			path: "/api/embed", backend: "ollama %s/v1", body: `{"model":"m","input":["x"]}`, kind: "application/json",
			answer: `{"model":"m","embeddings":[[0.1,0.2]],"total_duration":1,"prompt_eval_count":8}`, cost: "0.000024",
		},
		"Ollama's older embeddings, without usage: estimated": {
			path: "/api/embeddings", backend: "ollama %s/v1", body: `{"model":"m","prompt":"` + strings.Repeat("word ", 80) + `"}`, kind: "application/json",
			answer: `{"embedding":[0.1,0.2]}`, cost: "0.0003",
		},
		"Cohere's first chat": {
			path: "/v1/chat", backend: "cohere %s", body: `{"model":"m","message":"x"}`, kind: "application/json",
			answer: `{"text":"x","generation_id":"g","finish_reason":"COMPLETE","meta":{"billed_units":{"input_tokens":10,"output_tokens":4}}}`, cost: "0.00009",
		},
		"Cohere's first chat, streamed": {
			path: "/v1/chat", backend: "cohere %s", body: `{"model":"m","message":"x","stream":true}`, kind: "application/stream+json",
			answer: `{"is_finished":false,"event_type":"text-generation","text":"x"}` + "\n" +
				`{"is_finished":true,"event_type":"stream-end","response":{"text":"x","meta":{"billed_units":{"input_tokens":10,"output_tokens":4}}}}` + "\n",
			cost: "0.00009",
		},
		"Voyage's rerank": {
			path: "/v1/rerank", backend: "openai %s/v1", body: `{"model":"m","query":"x","documents":["a","b"],"top_k":1}`, kind: "application/json",
			answer: `{"object":"list","data":[{"relevance_score":0.4,"index":0}],"model":"m","usage":{"total_tokens":26}}`, cost: "0.000078",
		},
		"Voyage's embeddings of a text and an image": {
			path: "/v1/multimodalembeddings", backend: "openai %s/v1", body: `{"model":"m","inputs":[{"content":[{"type":"text","text":"x"},{"type":"image_url","image_url":"https://x.example/a.png"}]}]}`, kind: "application/json",
			answer: `{"object":"list","data":[{"object":"embedding","embedding":[0.1],"index":0}],"model":"m","usage":{"text_tokens":5,"image_pixels":2000000,"total_tokens":3576}}`, cost: "0.010728",
		},
		"Jina's embeddings of a text and an image": {
			path: "/v1/embeddings", backend: "openai %s/v1", body: `{"model":"m","input":[{"text":"x"},{"image":"https://x.example/a.png"}]}`, kind: "application/json",
			answer: `{"model":"m","object":"list","usage":{"total_tokens":400,"prompt_tokens":400},"data":[{"object":"embedding","index":0,"embedding":[0.1]}]}`, cost: "0.0012",
		},
		"Claude on a GPU of one's own": {
			path: "/v1/messages", backend: "vllm %s/v1", body: `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}]}`, kind: "application/json",
			answer: `{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"x"}],"stop_reason":"end_turn","usage":{"input_tokens":10,"output_tokens":4}}`,
			cost:   "0.00009",
		},
		"Mistral's OCR": {
			path: "/v1/ocr", backend: "mistral %s/v1", body: `{"model":"m","document":{"type":"document_url","document_url":"https://x.example/a.pdf"}}`, kind: "application/json",
			answer: `{"pages":[{"index":0,"markdown":"# a","images":[],"dimensions":null}],"model":"m","usage_info":{"pages_processed":3,"doc_size_bytes":9}}`, cost: "0.006",
		},
		"Mistral's fill in the middle": {
			path: "/v1/fim/completions", backend: "mistral %s/v1", body: `{"model":"m","prompt":"def","suffix":"end"}`, kind: "application/json",
			answer: `{"id":"f","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":4,"total_tokens":14}}`,
			cost:   "0.00009",
		},
		"Jina's rerank": {
			path: "/v1/rerank", backend: "openai %s/v1", body: `{"model":"m","query":"x","documents":["a","b"]}`, kind: "application/json",
			answer: `{"model":"m","object":"list","usage":{"total_tokens":15},"results":[{"index":0,"relevance_score":0.9}]}`, cost: "0.000045",
		},
		"Voyage's embeddings": {
			path: "/v1/embeddings", backend: "openai %s/v1", body: `{"model":"m","input":["x"],"input_type":"document"}`, kind: "application/json",
			answer: `{"object":"list","data":[{"object":"embedding","embedding":[0.1],"index":0}],"model":"m","usage":{"total_tokens":10}}`, cost: "0.00003",
		},
		"Gemini's embeddings with usage": {
			path: "/v1beta/models/m:batchEmbedContents", backend: "gemini %s", body: `{"requests":[{"model":"models/m","content":{"parts":[{"text":"x"}]}}]}`, kind: "application/json",
			answer: `{"embeddings":[{"values":[0.1]}],"usageMetadata":{"promptTokenCount":7,"totalTokenCount":7}}`, cost: "0.000021",
		},
		"Gemini's embeddings without usage, estimated": {
			path: "/v1beta/models/m:embedContent", backend: "gemini %s", body: `{"content":{"parts":[{"text":"` + strings.Repeat("word ", 80) + `"}]}}`, kind: "application/json",
			answer: `{"embedding":{"values":[0.1]}}`, cost: "0.0003",
		},
	} {
		t.Run(name, func(t *testing.T) {
			u := scripted.New(t, func(int, scripted.Call) scripted.Answer {
				return scripted.Answer{ContentType: c.kind, Body: []byte(c.answer), Length: true}
			})
			w := gateway.NewBooks(t, fakelago.Options{})
			w.Gateway = gateway.Start(t, "", w.Routed(t.TempDir(), "", fmt.Sprintf("model m {\nbackend "+c.backend+" {\napi_key %s\nprice input 3\nprice output 15\nprice pages 0.002\n}\n}", u.URL, gateway.ProviderKey)))
			key := w.NewKey(`{"team_id":"` + gateway.Payer + `"}`)
			r, err := http.NewRequestWithContext(gateway.Timeout(t, time.Minute), http.MethodPost, w.URL(c.path), strings.NewReader(c.body))
			require.NoError(t, err)
			r.Header.Set("Authorization", "Bearer "+key)
			r.Header.Set("Content-Type", "application/json")
			answer, err := http.DefaultClient.Do(r)
			require.NoError(t, err)
			require.NoError(t, answer.Body.Close())
			require.Equal(t, http.StatusOK, answer.StatusCode)
			require.NotEmpty(t, answer.Header.Get("X-Tollgate-Backend"))
			w.Settled(1)
			require.Equal(t, c.cost, w.Lago.Billed(gateway.Payer, "llm", "response_cost"))
		})
	}
}

// TestOllamaIsCapped bounds calls of Ollama's own API by its own member, and leaves those that bound themselves.
func TestOllamaIsCapped(t *testing.T) {
	u := scripted.New(t, func(int, scripted.Call) scripted.Answer {
		return scripted.Answer{ContentType: "application/json", Length: true, Body: []byte(`{"model":"m","message":{"content":"x"},"response":"x","done":true,"prompt_eval_count":1,"eval_count":1}`)}
	})
	w := gateway.NewBooks(t, fakelago.Options{})
	w.Gateway = gateway.Start(t, "", w.Routed(t.TempDir(), "", "model m {\noutput_cap 50\nbackend ollama "+u.URL+"/v1 {\napi_key "+gateway.ProviderKey+"\n}\n}"))
	key := w.NewKey(`{"team_id":"` + gateway.Payer + `"}`)
	for i, c := range []struct{ path, body, sent string }{
		{"/api/chat", `{"model":"m","messages":[]}`, `{"options":{"num_predict":50},"model":"m","messages":[]}`},
		{"/api/generate", `{"model":"m","options":{"seed":1}}`, `{"model":"m","options":{"num_predict":50,"seed":1}}`},
		{"/api/generate", `{"model":"m","options":{"num_predict":-1}}`, `{"model":"m","options":{"num_predict":50}}`},
		{"/api/chat", `{"model":"m","options":{"num_predict":7}}`, `{"model":"m","options":{"num_predict":7}}`},
		{"/api/chat", `{"model":"m","max_tokens":7}`, `{"options":{"num_predict":50},"model":"m","max_tokens":7}`},
		{"/api/embed", `{"model":"m","input":"x"}`, `{"model":"m","input":"x"}`},
	} {
		w.Must(http.StatusOK, http.MethodPost, c.path, key, c.body)
		require.Equal(t, c.sent, string(u.Calls()[i].Body))
	}
}
