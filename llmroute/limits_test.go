package llmroute

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

// TestLimitsThatNothingKeeps: a backend with limits gets no call of which nothing counts what it uses, whether it is the first or one
// that a call comes to later.
func TestLimitsThatNothingKeeps(t *testing.T) {
	broken, limited := newUpstream(t, respond(500, `{}`)), newUpstream(t, respond(200, answered))
	g := start(t, fmt.Sprintf(`llmroute {
		anonymous
		model m {
			backend openai %[2]s {
				limits {
					rpm_limit 1
				}
			}
		}
		model first {
			backend openai %[1]s
			backend openai %[2]s {
				order 2
				limits {
					rpm_limit 1
				}
			}
		}
		model other {
			backend openai %[1]s
			fallback m
		}
	}`, broken.URL, limited.URL))
	g.prepare = func(c *llm.Call) { c.Metered = true }
	for model, status := range map[string]int{"m": 503, "first": 502, "other": 502} {
		resp, body := g.post(t, "/v1/chat/completions", fmt.Sprintf(`{"model":%q}`, model))
		require.Equal(t, status, resp.StatusCode, "%s: %s", model, body)
	}
	require.Empty(t, limited.requests())
}
