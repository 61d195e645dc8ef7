package llmroute

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSent tells whether a provider has the call, which is billed then though its client hears no more of it.
func TestSent(t *testing.T) {
	u := newUpstream(t, respond(200, answered))
	for name, tt := range map[string]struct {
		backends []string
		sent     bool
	}{
		"answered": {[]string{u.URL}, true}, "the first could not be dialled": {[]string{broken(t, "dial"), u.URL}, true},
		"none could be dialled": {[]string{broken(t, "dial"), broken(t, "dial")}, false}, "the last could not be dialled": {[]string{broken(t, "reset"), broken(t, "dial")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			text := "llmroute {\nmodel m {\n"
			for i, url := range tt.backends {
				text += fmt.Sprintf("backend openai %s {\norder %d\n}\n", url, i)
			}
			g := start(t, text+"}\n}")
			g.post(t, "/v1/chat/completions", chat)
			call := g.last()
			if tt.sent {
				require.Eventually(t, call.Attempt().Sent, 10*time.Second, time.Millisecond)
			}
			require.Equal(t, tt.sent, call.Attempt().Sent())
		})
	}
}
