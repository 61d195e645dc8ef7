package translate

import (
	"flag"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
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

// TestEveryMemberIsJudged holds that the table has each member of a request that the official SDKs have, and each kind of tool.
func TestEveryMemberIsJudged(t *testing.T) {
	for p := range pairs {
		file := map[API]string{Chat: "chat", Messages: "messages", Responses: "responses"}[p.Caller]
		schema, err := os.ReadFile("../testkit/scripted/schemas/" + file + ".json")
		require.NoError(t, err)
		resolved := func(v gjson.Result) gjson.Result {
			for v.Get("$ref").Exists() {
				v = gjson.GetBytes(schema, `$defs.`+strings.TrimPrefix(v.Get("$ref").Str, "#/$defs/"))
			}
			return v
		}
		choices := func(v gjson.Result) []gjson.Result {
			if v = resolved(v); v.Get("anyOf").Exists() {
				return v.Get("anyOf").Array()
			}
			return []gjson.Result{v}
		}
		members, tools := 0, 0
		for _, body := range choices(gjson.ParseBytes(schema)) {
			resolved(body).Get("properties").ForEach(func(name, value gjson.Result) bool {
				members++
				require.NotSame(t, unknown, tables[p].find(name.Str, gjson.Result{}), "%s: %s", p, name.Str)
				if name.Str != "tools" {
					return true
				}
				for _, list := range choices(value) {
					for _, tool := range choices(list.Get("items")) {
						kinds := resolved(tool).Get("properties.type")
						for _, kind := range append(kinds.Get("enum").Array(), kinds.Get("const")) {
							if kind.Str != "" {
								tools++
								require.NotSame(t, unknown, tables[p].find("tools["+kind.Str+"]", gjson.Result{}), "%s: the tool %s", p, kind.Str)
							}
						}
					}
				}
				return true
			})
		}
		require.Greater(t, members, 20)
		require.Positive(t, tools)
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
