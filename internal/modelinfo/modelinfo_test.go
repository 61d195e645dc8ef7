package modelinfo

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestData(t *testing.T) {
	rows := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	require.Greater(t, len(rows), 3000)
	require.True(t, slices.IsSorted(rows), "it is searched by halves")
	providers := make(map[string]int)
	for _, row := range rows {
		require.Len(t, strings.Split(row, "\t"), 8, row)
		m := parse(row)
		require.Equal(t, m, Find([]string{"none", m.Provider}, strings.ToUpper(m.Name)), row)
		providers[m.Provider]++
	}
	for p, n := range providers {
		require.Len(t, Of([]string{p}), n, p)
	}
	require.Nil(t, Find([]string{"openai"}, "gpt"))
	require.Nil(t, Find(nil, "gpt-4o"))
	require.Nil(t, Of([]string{"zzz", "a"}))
}

func TestKnown(t *testing.T) {
	m := Find([]string{"anthropic"}, "claude-opus-4-5")
	require.Equal(t, &Model{
		Provider: "anthropic", Name: "claude-opus-4-5", Mode: "chat", ContextWindow: 200000, MaxOutput: 64000,
		Input: []string{"file", "image", "text"}, Output: []string{"text"}, Functions: true, Reasoning: true, Schema: true, Caching: true,
	}, m)
	require.True(t, m.IsChat())
}
