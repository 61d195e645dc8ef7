package keyauth

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/manage"
)

// TestEveryPathOfLiteLLM holds the paths of LiteLLM 1.110.2 against those that are served, and both against the documentation: each is there, or
// refused with a reason that the page has too.
func TestEveryPathOfLiteLLM(t *testing.T) {
	list, err := os.ReadFile("testdata/litellm_paths.txt")
	require.NoError(t, err)
	page, err := os.ReadFile("../docs/keys.md")
	require.NoError(t, err)
	books, err := os.ReadFile("../docs/books.md")
	require.NoError(t, err)
	pages := string(page) + string(books)
	used := make(map[string]bool)
	for line := range strings.Lines(string(list)) {
		method, path, ok := strings.Cut(strings.TrimSpace(line), " ")
		require.True(t, ok, line)
		written := strings.Replace(path, "/end_user/", "/customer/", 1)
		if p := reports[path]; p != nil {
			require.Equal(t, method, p.method, path)
			require.Contains(t, pages, written)
			continue
		}
		op, route := manage.Find(path)
		require.NotNil(t, op, "%s is neither served nor refused", path)
		if why, is := manage.NotServed[route]; is && op.Method == "" {
			used[route] = true
			shown := route
			if strings.HasSuffix(route, "/") {
				shown += "*"
			}
			require.Regexp(t, "`"+strings.ReplaceAll(shown, "*", "\\*")+"`.* \\| "+strings.NewReplacer("{", "\\{", "}", "\\}").Replace(why)+" \\|\n", string(page))
			continue
		}
		require.Equal(t, method, op.Method, path)
		require.Contains(t, string(page), written, "docs/keys.md has no row for it")
	}
	for path := range manage.NotServed {
		require.True(t, used[path], "%s is refused, and no path of LiteLLM's", path)
		require.Nil(t, reports[path], "%s is refused, and a report", path)
	}
}
