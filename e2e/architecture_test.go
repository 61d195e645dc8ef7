package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMapNamesTests finds each test that docs/architecture.md names.
func TestMapNamesTests(t *testing.T) {
	page, err := os.ReadFile("../docs/architecture.md")
	require.NoError(t, err)
	there := make(map[string]bool)
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	require.NoError(t, filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path) // #nosec G304 -- a test of this repository
		for _, m := range function.FindAllSubmatch(text, -1) {
			there[string(m[1])] = true
		}
		return err
	}))
	_, laws, found := strings.Cut(string(page), "\n## Laws\n")
	require.True(t, found)
	rows := regexp.MustCompile(`(?m)^\| (\d+) \|.*$`).FindAllString(laws, -1)
	require.Len(t, rows, 18)
	name := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
	for _, row := range rows {
		require.Regexp(t, name, row, "each law has a test")
	}
	for _, m := range name.FindAllStringSubmatch(string(page), -1) {
		require.True(t, there[m[1]], "no test %s", m[1])
	}
}
