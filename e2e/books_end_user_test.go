package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// TestBooksByEndUser asks books that keep end users apart, and books that do not.
func TestBooksByEndUser(t *testing.T) {
	for _, on := range []bool{true, false} {
		options := ""
		if on {
			options = "\ttollgate {\n\t\tbooks_by_end_user\n\t}"
		}
		g := gateway.Start(t, options, gateway.DemoSite(t.TempDir(), t.TempDir(), ""))
		key := g.NewKey(`{"team_id":"blue"}`)
		for _, user := range []string{"ann", "ann", "bob"} {
			g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, `{"model":"demo","user":"`+user+`","messages":[{"role":"user","content":"hi"}]}`)
		}
		rows := (&gateway.Gateway{T: t, Addr: g.Admin}).Must(http.StatusOK, http.MethodGet, "/tollgate/books/spend?by=end_user,team&format=json", "", "").Body
		if on {
			require.Equal(t, 2, strings.Count(rows, "\n"), rows)
			require.Regexp(t, `"end_user":"ann","team":"blue","calls":2`, rows)
			require.Regexp(t, `"end_user":"bob","team":"blue","calls":1`, rows)
		} else {
			require.Regexp(t, `"end_user":"","team":"blue","calls":3`, rows)
		}
		gateway.Stop(t)
	}
}
