package llmroute

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

// TestDocsTable holds the table of providers in the documentation against the presets.
func TestDocsTable(t *testing.T) {
	text, err := os.ReadFile("../docs/llmroute.md")
	require.NoError(t, err)
	rows := make(map[string][]string)
	for line := range strings.SplitSeq(string(text), "\n") {
		if cells := strings.Split(line, " | "); len(cells) == 6 && strings.HasPrefix(cells[0], "| `") {
			name, _, _ := strings.Cut(strings.TrimPrefix(cells[0], "| `"), "`")
			rows[name] = cells
		}
	}
	require.Len(t, rows, len(providers))
	names := map[llm.API]string{llm.OpenAI: "OpenAI", llm.Anthropic: "Anthropic", llm.Gemini: "Gemini", llm.Bedrock: "Bedrock", llm.Cohere: "Cohere"}
	for name, p := range providers {
		row := rows[name]
		require.NotNil(t, row, name)
		if p.mock {
			continue
		}
		if p.base == "" {
			require.True(t, strings.Contains(row[1], "must be written") || strings.Contains(row[1], "<"), name)
		} else {
			require.Equal(t, "`"+p.base+"`", row[1])
		}
		flavour := names[p.flavour]
		if p.also != "" {
			flavour += " and " + names[p.also]
		}
		require.Equal(t, flavour, row[2], name)
		if p.keyHeader != "" {
			require.Contains(t, row[3], "`"+p.keyHeader+"`", name)
		}
		options := "yes"
		switch {
		case p.flavour != llm.OpenAI:
			options = "no such thing"
		case p.noStreamOptions:
			options = "no: it refuses them"
		}
		require.Equal(t, options, row[4], name)
		hangUp := "cancel |"
		if p.drain {
			hangUp = "read to the end |"
		}
		require.Equal(t, hangUp, row[5], name)
	}
}
