package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// BenchmarkTranslatedStreams compares streams of 200 events through a whole gateway, as the caller's API has them and translated from the
// same upstream's.
func BenchmarkTranslatedStreams(b *testing.B) {
	const chunk = `{"id":"c1","created":1,"model":"up","object":"chat.completion.chunk","choices":[{"index":0,"delta":{%s},"finish_reason":%s}]%s}`
	pieces := []string{fmt.Sprintf(chunk, `"role":"assistant","content":""`, "null", "")}
	for range 200 {
		pieces = append(pieces, fmt.Sprintf(chunk, `"content":" a piece of the text"`, "null", ""))
	}
	pieces = append(pieces, fmt.Sprintf(chunk, "", `"stop"`, `,"usage":{"prompt_tokens":20,"completion_tokens":7,"total_tokens":27}`), "[DONE]")
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		for _, p := range pieces {
			_, _ = io.WriteString(w, "data: "+p+"\n\n")
			w.(http.Flusher).Flush() //nolint:forcetypeassert // net/http's writers are
		}
	}))
	b.Cleanup(up.Close)
	g := gateway.Start(b, "", fmt.Sprintf(`
	lagobilling {
		spool %s
		missing_payer unbilled
	}
	llmroute {
		anonymous
		model m {
			backend deepseek %s/v1 {
				price input 1
				price output 2
				translate
			}
		}
	}`, b.TempDir(), up.URL))
	for _, c := range []struct{ name, path, body, end string }{
		{"chat completions, untranslated", "/v1/chat/completions", chatCall + `,"stream":true}`, "data: [DONE]\n\n"},
		{"messages", "/v1/messages", chatCall + `,"stream":true}`, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"},
		{"responses", "/v1/responses", `{"model":"m","input":"hi","store":false,"stream":true}`, "}\n\n"},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				a, err := g.Do(http.MethodPost, c.path, "", c.body)
				require.NoError(b, err)
				require.True(b, a.Status == http.StatusOK && strings.HasSuffix(a.Body, c.end), a.Body)
			}
		})
	}
}
