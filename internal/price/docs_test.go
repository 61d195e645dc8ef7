package price

import (
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDocs checks that docs/prices.md has every price name and that its examples work.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/prices.md")
	require.NoError(t, err)
	text := string(page)
	table, _, _ := strings.Cut(text[strings.Index(text, "## Price names"):], "## When")
	for name := range names {
		require.Contains(t, table, "`"+name+"`")
	}

	example := regexp.MustCompile("(?s)```json\n(.*?)```").FindStringSubmatch(text)
	require.NotNil(t, example)
	require.Equal(t, "10", total(t, overlay(t, Default(), "p", example[1]), Query{Provider: "openai", Model: "gpt-4o"},
		counts("input", 1_000_000, "output", 1_000_000)))

	written := make(map[string]string)
	for _, m := range regexp.MustCompile(`(?m)^\tprice (\S+) (\S+)`).FindAllStringSubmatch(text, -1) {
		written[m[1]] = m[2]
	}
	require.Len(t, written, 6)
	require.NoError(t, CheckWritten(written))
}

// TestConcurrentLookups has many goroutines find the same names first; it is of use with -race.
func TestConcurrentLookups(t *testing.T) {
	fresh := newTable("test", Default().list, []*layer{{find: Default().list.findListed}})
	want := total(t, Default(), Query{Provider: "openai", Model: "gpt-4o"}, counts("input", 1000))
	got := make([]string, 16)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			cost, err := fresh.Cost(Query{Provider: "openai", Model: "gpt-4o", At: at}, counts("input", 1000))
			if err == nil {
				got[i] = cost.Total.String()
			}
		})
	}
	wg.Wait()
	for _, g := range got {
		require.Equal(t, want, g)
	}
}
