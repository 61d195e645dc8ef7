package price

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNoFloats reads the code that handles money, from a price's text to an event's amount: none of it uses a float. The one
// function that makes a float is for metrics.
func TestNoFloats(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	var more []string
	for _, pattern := range []string{"../usage/*.go", "../record/*.go", "../tariff/*.go", "../../lagobilling/pric*.go", "../../lagobilling/event*.go"} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		more = append(more, found...)
	}
	read := 0
	for _, file := range slices.Concat(files, more) {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file) // #nosec G304 -- a file of this repository
		require.NoError(t, err)
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, file, source, parser.SkipObjectResolution)
		require.NoError(t, err)
		read++
		ast.Inspect(f, func(n ast.Node) bool {
			if fn, ok := n.(*ast.FuncDecl); ok && fn.Name.Name == "Float64" && file == "amount.go" {
				return false
			}
			if id, ok := n.(*ast.Ident); ok {
				require.NotContains(t, []string{"float32", "float64", "ParseFloat", "FormatFloat", "Float64", "Float"}, id.Name, set.Position(id.Pos()))
			}
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.FLOAT {
				// A constant such as 1e6 is a whole number.
				require.NotContains(t, lit.Value, ".", set.Position(lit.Pos()))
			}
			return true
		})
	}
	require.Greater(t, read, 30)
}
