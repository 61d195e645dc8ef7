package usage

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestCharactersRuleIsDocumented checks the table of docs/records.md against the rule, by characters of each script.
func TestCharactersRuleIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/records.md")
	require.NoError(t, err)
	_, table, ok := strings.Cut(string(page), "| script |")
	require.True(t, ok)
	samples := map[string]string{
		"ASCII": "aZ9 ~", "Cyrillic": "жЯ", "Arabic": "عش", "accented": "éβש", "Devanagari": "नতதไລ", "punctuation": "—€∞─",
		"Georgian,": "აአខế", "Armenian,": "Եあア한", "Han,": "你語Ａ", "Syriac,": "ܐތߊ", "private": "\ue000", "beyond": "😀𠀀",
	}
	rows := regexp.MustCompile(`(?m)^\| ([^|]+?) \| (\d+) \|$`).FindAllStringSubmatch(table, -1)
	require.Len(t, rows, len(samples))
	for _, row := range rows {
		want, err := strconv.ParseInt(row[2], 10, 64)
		require.NoError(t, err)
		word, _, _ := strings.Cut(row[1], " ")
		require.NotEmpty(t, samples[word], row[1])
		for _, c := range samples[word] {
			require.Equal(t, want, Units(string(c)), "%s: %c", row[1], c)
		}
	}
}
