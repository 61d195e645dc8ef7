package translate

import (
	"flag"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// rows are those of each pair in the order of the file.
var rows, errRows = readRows(membersText)

var update = flag.Bool("update", false, "write the tables of docs/translate.md")

const page = "../../docs/translate.md"

// titles name the pairs on the page.
var titles = map[API]string{Chat: "Chat completions", Messages: "Messages", Responses: "Responses"}

// TestPage holds docs/translate.md against the table of members.
func TestPage(t *testing.T) {
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	head, _, found := strings.Cut(string(text), "\n<!-- from members.txt -->\n")
	require.True(t, found)
	want := head + "\n<!-- from members.txt -->\n" + tablesOfPage()
	if *update {
		require.NoError(t, os.WriteFile(page, []byte(want), 0o600))
		return
	}
	require.Equal(t, want, string(text), "go test ./internal/translate -run TestPage -update writes it")
}

func tablesOfPage() string {
	var b strings.Builder
	cell := strings.NewReplacer("|", "\\|", "<", "&lt;")
	for _, caller := range []API{Chat, Messages, Responses} {
		for _, upstream := range []API{Chat, Messages} {
			list := rows[Pair{caller, upstream}]
			if !Known(Pair{caller, upstream}) {
				continue
			}
			b.WriteString("\n## " + titles[caller] + " to " + titles[upstream] + "\n\n| member | | rule |\n| --- | --- | --- |\n")
			for _, r := range list {
				member := "`" + r.Member + "`"
				if len(r.When) > 0 {
					member += " of `" + strings.Join(r.When, "`, `") + "`"
				}
				b.WriteString("| " + cell.Replace(member) + " | " + string(r.Action) + " | " + cell.Replace(r.Text) + " |\n")
			}
		}
	}
	return b.String()
}

// TestEachPairHasItsRows holds that a pair that is translated has a table, and that no row of it can never be reached.
func TestEachPairHasItsRows(t *testing.T) {
	require.NoError(t, errRows)
	for p := range pairs {
		require.NotEmpty(t, rows[p], p)
	}
	for p, list := range rows {
		for i, r := range list {
			require.NotEmpty(t, r.Text, "%s: %s", p, r.Member)
			require.False(t, slices.ContainsFunc(list[:i], func(before *Row) bool { return before.Member == r.Member && len(before.When) == 0 }),
				"%s: a row of %s for any value is before another one", p, r.Member)
		}
	}
}

// TestEfforts holds the page's table of efforts against the code.
func TestEfforts(t *testing.T) {
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	for word, budget := range thinkingBudgets {
		require.Contains(t, string(text), "| `"+word+"` | "+strconv.FormatInt(budget, 10)+" tokens | `"+strings.Replace(word, "minimal", "low", 1)+"` |")
	}
	for _, budget := range []int64{2048, 16384, 32000} {
		require.NotEqual(t, effortOf(budget-1), effortOf(budget))
		bound := " | below " + strconv.FormatInt(budget, 10) + " tokens |"
		line := string(text)[:strings.Index(string(text), bound)]
		line = line[strings.LastIndexByte(line, '\n')+1:]
		require.True(t, strings.HasPrefix(line, "| `"+effortOf(budget-1)+"` |"), line)
	}
}
