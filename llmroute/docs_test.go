package llmroute

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/llmroute/provider"
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
	require.Len(t, rows, len(provider.Presets))
	names := map[llm.API]string{llm.OpenAI: "OpenAI", llm.Anthropic: "Anthropic", llm.Gemini: "Gemini", llm.Bedrock: "Bedrock", llm.Cohere: "Cohere", llm.Ollama: "Ollama"}
	for name, p := range provider.Presets {
		row := rows[name]
		require.NotNil(t, row, name)
		if p.Mock {
			continue
		}
		if p.Base == "" {
			require.True(t, strings.Contains(row[1], "must be written") || strings.Contains(row[1], "<"), name)
		} else {
			require.Equal(t, "`"+p.Base+"`", row[1])
		}
		format := names[p.API]
		for i, also := range p.Also {
			between := " and "
			if i < len(p.Also)-1 {
				between = ", "
			}
			format += between + names[also]
		}
		require.Equal(t, format, row[2], name)
		if p.KeyHeader != "" {
			require.Contains(t, row[3], "`"+p.KeyHeader+"`", name)
		}
		options := "yes"
		switch {
		case p.API != llm.OpenAI:
			options = "no such thing"
		case p.NoStreamOptions:
			options = "no: it refuses them"
		}
		require.Equal(t, options, row[4], name)
		hangUp := "cancel |"
		if p.Drain {
			hangUp = "read to the end |"
		}
		require.Equal(t, hangUp, row[5], name)
	}
}
