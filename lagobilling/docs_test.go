package lagobilling

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// TestDocsNameEverything keeps the reference pages complete.
func TestDocsNameEverything(t *testing.T) {
	page := func(name string) string {
		b, err := os.ReadFile(filepath.Join("..", "docs", name)) // #nosec G304 -- a page of this repository
		require.NoError(t, err)
		return string(b)
	}
	directive, records := page("lagobilling.md")+page("lagobilling-lago.md"), page("records.md")
	for name, values := range choices {
		require.Contains(t, directive, "`"+name+"`")
		for _, v := range values {
			require.Contains(t, directive, v, name)
		}
	}
	for field := range reflect.TypeFor[record.Record]().Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		require.Contains(t, records, "`"+name+"`", "a record's member")
	}
	for k := range usage.Kind(usage.NumKinds) {
		require.Contains(t, records, "`"+k.String()+"`", "a kind")
	}
	for _, o := range []string{record.OutcomeCompleted, record.OutcomeCut, record.OutcomeClientGone, record.OutcomeError, record.OutcomeInterrupted} {
		require.Contains(t, directive, "`"+o+"`")
		require.Contains(t, records, "`"+o+"`")
	}
}
