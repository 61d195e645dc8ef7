package e2e

import (
	"net/http"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// TestDemo runs the demo against a gateway with its models and one that costs: the ledger has what it reports, of several teams,
// and nothing of the model that it may not call. It runs twice, as its keys are there the second time.
func TestDemo(t *testing.T) {
	g := gateway.Start(t, "", "\tconsole\n"+gateway.DemoSite(t.TempDir(), t.TempDir(), `
		model demo-large {
			backend mock {
				fail 50
				price input 10
				price output 20
			}
		}
		model costly {
			backend mock {
				price input 1000
				price output 2000
			}
		}`))
	bin, err := gateway.Build()
	require.NoError(t, err)
	answered, failed := 0, 0
	for range 2 {
		cmd := exec.Command(bin, "tollgate", "demo", "--site", g.URL("/"), "--minutes", "0.04", "--rate", "50")
		cmd.Env = append(cmd.Environ(), "MASTER_KEY="+gateway.MasterKey)
		var progress strings.Builder
		cmd.Stderr = &progress
		out, err := cmd.Output()
		require.NoError(t, err)
		require.Regexp(t, `^(\d+m?\d*s of 2\.4s: \d+ answered, \d+ refused, \d+ failed\n)+$`, progress.String(), "lines, as it is no terminal")
		m := regexp.MustCompile(`(\d+) answered, \d+ refused, (\d+) failed`).FindSubmatch(out)
		require.NotNil(t, m, "%s", out)
		require.Contains(t, string(out), g.URL("/console/"))
		for i, n := range []*int{&answered, &failed} {
			v, err := strconv.Atoi(string(m[i+1]))
			require.NoError(t, err)
			*n += v
		}
	}
	outcomes, models := make(map[string]int), make(map[string]int)
	for _, r := range g.Ledger() {
		outcomes[r.Outcome]++
		models[r.Model]++
	}
	require.Equal(t, map[string]int{"completed": answered, "error": failed}, outcomes)
	require.NotZero(t, failed)
	require.Len(t, models, 2)
	require.NotContains(t, models, "costly")
	admin := &gateway.Gateway{T: t, Addr: g.Admin}
	spent := admin.Must(http.StatusOK, http.MethodGet, "/tollgate/books/spend?by=team&format=json", "", "").Body
	require.Equal(t, 3, strings.Count(spent, `"team":"demo-`), spent)

	cmd := exec.Command(bin, "tollgate", "demo", "--site", g.URL("/"), "--minutes", "-1")
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "--minutes")
}
