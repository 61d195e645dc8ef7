package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// TestTrueBill sends answers with fees and other models' tokens through the whole gateway and adds up what Lago was billed.
// The amounts are worked out by hand from the prices written here and, for another model, from its maker's list.
func TestTrueBill(t *testing.T) {
	for name, c := range map[string]struct {
		path, backend, body, answer string
		cost                        string
		quantities                  map[string]string
	}{
		// 4727 x 3 + 3391 x 15 by the lines, and the adviser's 2728 x 5 + 3880 x 25 by Anthropic's list.
		"anthropic's adviser": {
			path: "/v1/messages", backend: "anthropic %s", body: `{"model":"m","max_tokens":9000,"messages":[{"role":"user","content":"x"}]}`,
			answer: `{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-4-6","content":[{"type":"text","text":"word"}],"stop_reason":"end_turn","usage":{"input_tokens":4727,"output_tokens":3391,"iterations":[{"type":"message","input_tokens":4727,"output_tokens":3391},{"type":"advisor_message","model":"claude-opus-4-7","input_tokens":2728,"output_tokens":3880}]}}`,
			cost:   "0.175686", quantities: map[string]string{"total_tokens": "14726"},
		},
		// 100 x 3 + 10 x 15, and two different queries at 0.014.
		"gemini 3's search": {
			path: "/v1beta/models/m:generateContent", backend: "gemini %s", body: `{"contents":[{"role":"user","parts":[{"text":"x"}]}],"tools":[{"googleSearch":{}}]}`,
			answer: `{"candidates":[{"content":{"role":"model","parts":[{"text":"x"}]},"finishReason":"STOP","groundingMetadata":{"webSearchQueries":["a","b","a",""]}}],"usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":10,"totalTokenCount":110},"modelVersion":"gemini-3-flash-preview"}`,
			cost:   "0.02845", quantities: map[string]string{"web_searches": "2"},
		},
		// 1820 x 3 + 210 x 15, and the tool's 50 x 5 + 7024 x 30 by OpenAI's list.
		"the image tool of responses": {
			path: "/v1/responses", backend: "openai %s/v1", body: `{"model":"m","input":"draw","tools":[{"type":"image_generation"}]}`,
			answer: `{"id":"resp_1","object":"response","status":"completed","model":"gpt-5.5","output":[],"tools":[{"type":"image_generation","model":"gpt-image-2"}],"usage":{"input_tokens":1820,"output_tokens":210,"total_tokens":2030},"tool_usage":{"image_gen":{"input_tokens":50,"input_tokens_details":{"image_tokens":0,"text_tokens":50},"output_tokens":7024,"output_tokens_details":{"image_tokens":7024,"text_tokens":0}}}}`,
			cost:   "0.21958", quantities: map[string]string{"image_output_tokens": "7024"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			u := testkit.NewScript(t, func(int, testkit.RawCall) testkit.RawAnswer {
				return testkit.RawAnswer{ContentType: "application/json", Body: []byte(c.answer), Length: true}
			})
			w := gateway.NewBooks(t, testkit.LagoOptions{})
			w.Gateway = gateway.Start(t, "", w.Routed(t.TempDir(), "", fmt.Sprintf("model m {\nbackend "+c.backend+" {\napi_key %s\nprice input 3\nprice output 15\n}\n}", u.URL, gateway.ProviderKey)))
			key := w.NewKey(`{"team_id":"` + gateway.Payer + `"}`)
			r, err := http.NewRequestWithContext(gateway.Timeout(t, time.Minute), http.MethodPost, w.URL(c.path), strings.NewReader(c.body))
			require.NoError(t, err)
			r.Header.Set("Authorization", "Bearer "+key)
			r.Header.Set("Content-Type", "application/json")
			answer, err := http.DefaultClient.Do(r)
			require.NoError(t, err)
			require.NoError(t, answer.Body.Close())
			require.Equal(t, http.StatusOK, answer.StatusCode)
			w.Settled(1)
			require.Equal(t, c.cost, w.Lago.Billed(gateway.Payer, "llm", "response_cost"))
			for property, want := range c.quantities {
				require.Equal(t, want, w.Lago.Billed(gateway.Payer, "llm", property))
			}
			require.Empty(t, w.Lago.Violations())
		})
	}
}
