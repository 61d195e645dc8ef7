package console_test

import (
	"fmt"
	"html"
	"math/big"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

var (
	spendRow   = regexp.MustCompile(`<tr><th scope="row"[^>]*>\d{4}-\d\d-\d\d</th><td[^>]*>(.*?)</td>.*</tr>`)
	costFigure = regexp.MustCompile(`<td class="number">([0-9.]+)</td><td class="number">[0-9.]+</td></tr>`)
	nextPage   = regexp.MustCompile(`<p><a href="([^"]+)">Next</a></p>`)
)

// TestSpendHasPages splits spend by more keys than a page shows. The pages together list each key once and add up to the total,
// the chart has the largest keys and the rest, and the CSV file has everything.
func TestSpendHasPages(t *testing.T) {
	g := start(t, "console")
	const keys = 120
	for n := range keys {
		key := g.NewKey(fmt.Sprintf(`{"team_id":"blue","key_alias":"key-%03d"}`, n))
		g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, gateway.Chat("demo", strings.Repeat("word ", n), false))
	}
	b := open(t, g)
	status, _ := b.signIn(gateway.MasterKey)
	require.Equal(t, http.StatusOK, status)
	seen := make(map[string]bool)
	sum := new(big.Rat)
	path, pages := "/console/spend?by=key_alias", 0
	var total string
	for ; path != ""; pages++ {
		page := b.page(html.UnescapeString(path))
		if pages == 0 {
			total = regexp.MustCompile(`Cost in all \$([0-9.]+), calls 120`).FindStringSubmatch(page)[1]
			require.Contains(t, page, "In all, by key_alias; the 100 largest of 120")
			require.Contains(t, page, "<span>others</span>")
			require.Contains(t, page, "<span>key-119</span>")
			require.NotContains(t, page, "<span>key-001</span>")
		}
		rows := 0
		for line := range strings.Lines(page) {
			if m := spendRow.FindStringSubmatch(line); m != nil {
				rows++
				require.False(t, seen[m[1]], m[1])
				seen[m[1]] = true
				cost, ok := new(big.Rat).SetString(costFigure.FindStringSubmatch(line)[1])
				require.True(t, ok)
				sum.Add(sum, cost)
			}
		}
		require.LessOrEqual(t, rows, 100)
		path = ""
		if m := nextPage.FindStringSubmatch(page); m != nil {
			path = m[1]
		}
	}
	require.Equal(t, 2, pages)
	require.Len(t, seen, keys)
	want, ok := new(big.Rat).SetString(total)
	require.True(t, ok)
	require.Zero(t, want.Cmp(sum))
	_, file := b.get("/console/spend/csv?by=key_alias")
	require.Equal(t, keys+1, strings.Count(file, "\n"))
	for _, path := range []string{"/console/spend?page=0", "/console/spend?page=x", "/console/spend?page=9999999"} {
		status, _ := b.get(path)
		require.Equal(t, http.StatusBadRequest, status)
	}
}
