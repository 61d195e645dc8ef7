package keys

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestEveryFieldIsDocumented holds docs/keys.md against the fields that requests may have: each has a row, which says whether it is
// supported or refused, and why.
func TestEveryFieldIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/keys.md")
	require.NoError(t, err)
	row := regexp.MustCompile("^\\| `(\\w+)` \\| (yes|refused) \\| (.*) \\|$")
	for title, fields := range map[string]map[string]check{
		"Keys": keyFields, "Teams": teamFields, "Users": userFields, "Customers": customerFields, "Budgets": budgetFields, "Members of teams": memberAddFields,
	} {
		_, section, ok := strings.Cut(string(page), "### "+title+"\n")
		require.True(t, ok, title)
		section, _, _ = strings.Cut(section, "\n### ")
		seen := make(map[string]bool)
		for line := range strings.Lines(section) {
			m := row.FindStringSubmatch(strings.TrimSpace(line))
			if m == nil {
				continue
			}
			require.Contains(t, fields, m[1], title)
			require.False(t, seen[m[1]], "%s: %s is there twice", title, m[1])
			seen[m[1]] = true
			why, refused := reason(fields[m[1]])
			require.Equal(t, refused, m[2] == "refused", "%s: %s", title, m[1])
			if refused {
				require.Equal(t, why, m[3], "%s: %s", title, m[1])
			}
		}
		for name := range fields {
			require.True(t, seen[name], "%s: %s has no row", title, name)
		}
	}
}

// reason returns why a field is refused, whatever it holds.
func reason(c check) (why string, refused bool) {
	for _, raw := range []string{`"anything"`, `7`, `true`, `["a"]`, `{"a":1}`} {
		_, fault := c(json.RawMessage(raw))
		if why, refused = strings.CutPrefix(fault, "is not supported: "); !refused {
			return "", false
		}
	}
	return why, true
}

// TestEveryFieldOfLiteLLM holds the fields that requests may have against those of LiteLLM 1.110.2: none of LiteLLM's is unknown.
func TestEveryFieldOfLiteLLM(t *testing.T) {
	list, err := os.ReadFile("testdata/litellm_fields.txt")
	require.NoError(t, err)
	known := map[string]map[string]check{
		"Keys": keyFields, "Teams": teamFields, "Users": userFields, "Customers": customerFields, "Budgets": budgetFields, "Members of teams": memberAddFields,
	}
	for line := range strings.Lines(string(list)) {
		section, names, ok := strings.Cut(strings.TrimSpace(line), ": ")
		require.True(t, ok, line)
		for name := range strings.SplitSeq(names, " ") {
			if section == "Users" && slices.Contains(userKeyFields, name) { // of the key that is made with the user
				continue
			}
			assert.Contains(t, slices.Collect(maps.Keys(known[section])), name, "%s: LiteLLM's field %s", section, name)
		}
		delete(known, section)
	}
	require.Empty(t, known)
}
