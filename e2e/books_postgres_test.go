package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/testkit"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// TestBooksInPostgres has a gateway write its books into PostgreSQL: they are those that it shows, while the server is away calls go on,
// and what was settled meanwhile is written once it is back.
func TestBooksInPostgres(t *testing.T) {
	server := testkit.Postgres(t)
	t.Setenv("BOOKS_DSN", server.Database("spend"))
	options := func(books string) string { return "\ttollgate {\n\t\tbooks_by_session\n" + books + "\n\t}" }
	const on = "\t\tbooks postgres {env.BOOKS_DSN} {\n\t\t\trecords\n\t\t}"
	keys, spool := t.TempDir(), t.TempDir()
	site := func() string {
		return fmt.Sprintf(`
		keyauth {
			store file %s
			master_key %s
		}
		lagobilling {
			charge_by team_id
			spool %s
		}
		llmroute {
			model demo {
				backend mock {
					price input 1.000000001
					price output 2
				}
			}
		}`, keys, gateway.MasterKey, spool)
	}
	g := gateway.Start(t, options(on), site())
	key := g.NewKey(`{"team_id":"blue"}`)
	n := 0
	calls := func(count int) {
		for range count {
			g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, `{"model":"demo","messages":[{"role":"user","content":"hi"}]}`,
				"X-Litellm-Session-Id", fmt.Sprint("session-", n%3))
			n++
		}
	}
	admin := &gateway.Gateway{T: t, Addr: g.Admin}
	unread := func() float64 {
		return scrapeGauge(t, g, "caddy_tollgate_spool_unread_records", "postgres")
	}
	same := func() {
		require.Eventually(t, func() bool { return unread() == 0 }, 30*time.Second, 10*time.Millisecond)
		var want [][]string
		for line := range strings.Lines(admin.Must(http.StatusOK, http.MethodGet, "/tollgate/books/spend?by=session&format=json", "", "").Body) {
			r := gjson.Parse(line)
			want = append(want, []string{r.Get("session").String(), r.Get("calls").String(), r.Get("cost").String(), r.Get("input_tokens").String()})
		}
		const columns = ", trim_scale(sum(cost)), sum(input_tokens) FROM "
		require.Equal(t, want, server.Rows("spend", "SELECT session, sum(calls)"+columns+"tollgate_daily GROUP BY 1 ORDER BY 1"))
		require.Equal(t, want, server.Rows("spend", "SELECT session, count(*)"+columns+"tollgate_records GROUP BY 1 ORDER BY 1"))
	}
	calls(6)
	same()

	server.Stop()
	calls(6)
	require.EqualValues(t, 6, unread())
	server.Start()
	same()

	g.Caddyfile = gateway.Site(g.Addr, g.Admin, options(""), site())
	g.Load()
	g.AwaitAnswer()
	calls(3) // they wait for no database
	require.NotContains(t, admin.Must(http.StatusOK, http.MethodGet, "/metrics", "", "").Body, `consumer="postgres"`)
	g.Caddyfile = gateway.Site(g.Addr, g.Admin, options(on), site())
	g.Load()
	same()
	gateway.Stop(t)
	require.Equal(t, [][]string{{fmt.Sprint(n)}}, server.Rows("spend", "SELECT count(*) FROM tollgate_records"))
}
