package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// TestRefusedPromptIsBilledByWhoServed has a provider refuse prompts with usage in the error's body. Another model serves
// the call, and is billed for it once, at its price; a refusal that no model follows is passed on, and not billed.
func TestRefusedPromptIsBilledByWhoServed(t *testing.T) {
	const (
		usage    = `"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}`
		tooLong  = `{"error":{"message":"This model's maximum context length is 8192 tokens.","code":"context_length_exceeded"},` + usage + `}`
		filtered = `{"error":{"message":"filtered","code":"content_filter"},` + usage + `}`
	)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		switch text := string(body); {
		case strings.Contains(text, `"small"`) && strings.Contains(text, "unwelcome"):
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, filtered)
		case strings.Contains(text, `"small"`):
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, tooLong)
		case strings.Contains(text, `"stream":true`):
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, sseContent+sseUsage+sseDone)
		default:
			_, _ = io.WriteString(w, `{"choices":[{"message":{"content":"hi"}}],`+usage+`}`)
		}
	}))
	t.Cleanup(up.Close)
	w := gateway.NewWorld(t, fakelago.Options{})
	backend := func(provider, usd string) string {
		return "backend " + provider + " " + up.URL + "/v1 {\nprice input " + usd + "\nprice output " + usd + "\n}\n"
	}
	w.Gateway = gateway.Start(t, "", w.Routed(t.TempDir(), "unpriced reject", fmt.Sprintf(`
		model small {
			%sretries 3
			context_fallback forbidden unpriced large
		}
		model large forbidden {
			%s
		}
		model unpriced {
			backend vllm %s/v1
		}`, backend("openai", "1")+backend("groq", "2"), backend("xai", "3"), up.URL)))
	key := w.NewKey(`{"team_id":"` + gateway.Payer + `","models":["small","unpriced","large"]}`)

	for i, stream := range []bool{false, true} {
		a := w.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, gateway.Chat("small", "hi", stream))
		require.NotContains(t, a.Body, "context_length_exceeded")
		w.Settled(i + 1)
	}
	a := w.Must(http.StatusBadRequest, http.MethodPost, "/v1/chat/completions", key, gateway.Chat("small", "unwelcome", false))
	require.Equal(t, filtered, a.Body)

	var served, refused int
	var records []gateway.LedgerLine
	require.Eventually(t, func() bool {
		records = w.Ledger()
		return !slices.ContainsFunc(records, func(e gateway.LedgerLine) bool { return e.Outcome == "" })
	}, 10*time.Second, 5*time.Millisecond)
	require.Len(t, records, 3)
	for _, e := range records {
		if e.Outcome == "completed" {
			served++
			require.Equal(t, []any{"large", "xai", "large", 2}, []any{e.Model, e.Backend, e.Upstream, e.Attempts})
			require.Equal(t, "0.000045", e.Cost)
			require.Len(t, e.Events, 1)
			continue
		}
		refused++
		require.Equal(t, []any{"small", 1}, []any{e.Model, e.Attempts})
		require.Empty(t, e.Events)
		require.Empty(t, e.Cost)
		require.NotEmpty(t, e.NotBilled)
	}
	require.Equal(t, []int{2, 1}, []int{served, refused})
	w.Settled(2)
}
