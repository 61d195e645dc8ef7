package e2e

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/tollgate-llm/tollgate"

// mapped is a row of the tree in docs/architecture.md.
type mapped struct {
	imports []string
	caddy   bool
}

// readMap returns the rows of the tree by package.
func readMap(t *testing.T, page string) map[string]mapped {
	t.Helper()
	_, tree, found := strings.Cut(page, "\n## The tree\n")
	require.True(t, found)
	tree, _, _ = strings.Cut(tree, "\n## ")
	out := make(map[string]mapped)
	word := regexp.MustCompile("`([^`]+)`")
	for line := range strings.Lines(tree) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 3 || !strings.Contains(cells[0], "`") {
			continue
		}
		name := word.FindStringSubmatch(cells[0])[1]
		require.NotContains(t, out, name, "a package stands on the map once")
		row := mapped{caddy: strings.Contains(cells[2], "Caddy")}
		for _, m := range word.FindAllStringSubmatch(cells[2], -1) {
			row.imports = append(row.imports, strings.Replace(m[1], "*", "internal/", 1))
		}
		out[name] = row
	}
	require.NotEmpty(t, out)
	return out
}

// TestMapIsTheTree holds docs/architecture.md against the code: each package is on the map and the other way round, and
// imports what the map allows; of all packages that a directive or an internal package is built of, none is one that it must
// not know.
func TestMapIsTheTree(t *testing.T) {
	page, err := os.ReadFile("../docs/architecture.md")
	require.NoError(t, err)
	tree := readMap(t, string(page))

	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Imports,Deps", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	require.NoError(t, err)
	found := make(map[string]bool)
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath    string
			Imports, Deps []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else {
			require.NoError(t, err)
		}
		name, ours := local(p.ImportPath)
		if !ours {
			continue
		}
		found[name] = true
		row, there := tree[name]
		if !there {
			t.Errorf("package %s is not on the map", name)
			continue
		}
		for _, path := range p.Imports {
			if other, ours := local(path); ours && !slices.Contains(row.imports, other) {
				t.Errorf("%s imports %s, which the map does not allow", name, other)
			}
			if isCaddy(path) && !row.caddy {
				t.Errorf("%s imports %s, which the map does not allow", name, path)
			}
		}
		directive, _, _ := strings.Cut(name, "/")
		for _, path := range p.Deps {
			if isCaddy(path) && !row.caddy && strings.HasPrefix(name, "internal/") {
				t.Errorf("%s is built of %s", name, path)
			}
			for _, other := range []string{"keyauth", "lagobilling", "llmroute"} {
				dep, _ := local(path)
				if slices.Contains([]string{"keyauth", "lagobilling", "llmroute"}, directive) && directive != other &&
					(dep == other || strings.HasPrefix(dep, other+"/")) {
					t.Errorf("%s is built of %s", name, dep)
				}
			}
		}
	}
	for name := range tree {
		if !found[name] {
			t.Errorf("%s is on the map and not in the tree", name)
		}
	}
}

// local returns the path of a package below the module.
func local(path string) (name string, ours bool) {
	if path == module {
		return ".", true
	}
	return strings.CutPrefix(path, module+"/")
}

func isCaddy(path string) bool {
	return strings.HasPrefix(path, "github.com/caddyserver/caddy/v2")
}
