package endpoint

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

// TestCapsAreBounds holds the member that an output cap is written into against those that bound an answer at the endpoint.
func TestCapsAreBounds(t *testing.T) {
	capped := 0
	for _, e := range rows {
		for _, target := range []*llm.Target{{}, {Provider: "azure"}, {Provider: "openai", BaseURL: "https://api.openai.com/v1"}} {
			member, within := llm.CapMember(&e.Endpoint, target)
			if member == "" {
				continue
			}
			capped++
			if within != "" {
				member = within + "." + member
			}
			require.Contains(t, llm.BoundMembers(&e.Endpoint), member, e.Name)
		}
	}
	require.Greater(t, capped, 30)
	for name, want := range map[string][5]int64{
		"completions":                    {2, 9, 3, 4, 12},
		"chat/completions":               {2, 9, 3, 4, 2},
		"models/{model}:generateContent": {2, 9, 3, 4, 9},
	} {
		require.Equal(t, want[4], llm.Answers(&llm.Endpoint{Name: name}, want[0], want[1], want[2], want[3]), name)
	}
	completions := &llm.Endpoint{Name: "completions"}
	require.Equal(t, int64(2), llm.Answers(completions, 0, 0, 0, 2))
	require.Positive(t, llm.Answers(completions, 1<<62, 0, 0, 1<<20), "an absurd number is none that overflows")
}
