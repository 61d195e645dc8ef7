package llmroute

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBareProxy sends the same calls through reverse proxies that see the headers of requests and through such that do not:
// the providers must not be able to tell the difference.
func TestBareProxy(t *testing.T) {
	u := newUpstream(t, respond(200, answered))
	var gateways []*gateway
	for _, edit := range []string{"header_up -X-Absent", ""} {
		gateways = append(gateways, start(t, fmt.Sprintf(`llmroute {
			model m {
				backend openai %[1]s/v1 {
					api_key sk-provider
					%[2]s
				}
				backend anthropic %[1]s {
					api_key sk-provider
					%[2]s
				}
			}
		}`, u.URL, edit)))
	}
	sdk := []string{
		"Content-Type", "application/json; charset=utf-8", "Accept", "text/event-stream", "User-Agent", "sdk/1", "Idempotency-Key", "i", "Openai-Beta", "b",
		"Anthropic-Version", "2024-01-01", "X-Stainless-Lang", "go", "X-Stainless-Os", "linux", "X-Forwarded-For", "198.51.100.7", "X-Custom", "c", "Via", "1.1 x",
		"Connection", "Idempotency-Key", "Te", "trailers", "Incremental", "?1", "Expect", "100-continue", "Upgrade", "h2c",
	}
	for _, headers := range [][]string{nil, {"User-Agent", ""}, {"Content-Type", ""}, {"Accept-Encoding", "gzip"}, sdk} {
		for _, path := range []string{"/v1/chat/completions?a=b", "/v1/messages"} {
			var got [2]received
			for i, g := range gateways {
				u.got = nil
				resp, _ := g.post(t, path, chat, headers...)
				require.Equal(t, 200, resp.StatusCode)
				got[i] = u.only(t)
			}
			require.Equal(t, got[0], got[1], "%s %v", path, headers)
		}
	}
}
