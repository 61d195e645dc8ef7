package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/tollgate-llm/tollgate/internal/testkit"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakeprovider"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// query is a query of a dashboard or of an alert rule.
type query struct{ from, expr string }

// deployed reads the queries of deploy/.
func deployed(t *testing.T) (list []query, rules string) {
	t.Helper()
	boards, err := filepath.Glob("../deploy/grafana/*.json")
	require.NoError(t, err)
	require.Len(t, boards, 2)
	uids := make(map[string]bool)
	for _, path := range boards {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		var board struct {
			UID           string          `json:"uid"`
			ID            json.RawMessage `json:"id"`
			Title         string          `json:"title"`
			SchemaVersion int             `json:"schemaVersion"`
			Templating    struct {
				List []struct{ Name, Type string } `json:"list"`
			} `json:"templating"`
			Panels []struct {
				ID         int                      `json:"id"`
				Type       string                   `json:"type"`
				Title      string                   `json:"title"`
				GridPos    struct{ X, Y, W, H int } `json:"gridPos"`
				DataSource struct{ UID string }     `json:"datasource"`
				Targets    []struct {
					Expr  string `json:"expr"`
					RefID string `json:"refId"`
				} `json:"targets"`
			} `json:"panels"`
		}
		require.NoError(t, json.Unmarshal(text, &board), path)
		require.NotEmpty(t, board.UID)
		require.False(t, uids[board.UID])
		uids[board.UID] = true
		require.Equal(t, "null", string(board.ID), "an id is the database's")
		require.Equal(t, "datasource", board.Templating.List[0].Type)
		ids := make(map[int]bool)
		for i, p := range board.Panels {
			require.False(t, ids[p.ID], "panel %d", p.ID)
			ids[p.ID] = true
			require.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, p.Title)
			for _, q := range board.Panels[:i] {
				apart := p.GridPos.X >= q.GridPos.X+q.GridPos.W || q.GridPos.X >= p.GridPos.X+p.GridPos.W ||
					p.GridPos.Y >= q.GridPos.Y+q.GridPos.H || q.GridPos.Y >= p.GridPos.Y+p.GridPos.H
				require.True(t, apart, "%s lies over %s", p.Title, q.Title)
			}
			if p.Type == "row" {
				continue
			}
			require.NotEmpty(t, p.Targets, p.Title)
			require.Equal(t, "${datasource}", p.DataSource.UID)
			for _, target := range p.Targets {
				list = append(list, query{board.Title + ", " + p.Title, target.Expr})
			}
		}
	}
	text, err := os.ReadFile("../deploy/prometheus/alerts.yaml")
	require.NoError(t, err)
	var file struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	require.NoError(t, yaml.Unmarshal(text, &file))
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			list = append(list, query{r.Alert, r.Expr})
		}
	}
	return list, string(text)
}

var (
	metricName = regexp.MustCompile(`\b(?:caddy|process|go|gen_ai)_[a-z0-9_]+\b`)
	selector   = regexp.MustCompile(`\b((?:caddy|process|go|gen_ai)_[a-z0-9_]+)\{([^}]*)\}`)
	labelMatch = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)\s*"`)
	grouping   = regexp.MustCompile(`by \(([a-z_, ]*)\)`)
	grafana    = strings.NewReplacer("$__rate_interval", "5m", "$__range", "1d", "$model", ".*")
)

// TestDeploy scrapes a gateway after calls of all kinds: each metric and each label that a dashboard or an alert rule asks for is there.
// promtool reads every query.
func TestDeploy(t *testing.T) {
	w := gateway.NewWorld(t, fakelago.Options{})
	w.Gateway = gateway.Start(t, "metrics", w.Routed(t.TempDir(), "", strings.NewReplacer("URL", w.Provider.URL, "KEY", gateway.ProviderKey).Replace(`
		model gpt-4o {
			backend openai URL/v1 {
				api_key KEY
				retry_on 401
				price input 2.5
				price output 10
			}
		}
		model unpriced {
			backend vllm URL/v1 {
				api_key KEY
			}
		}`)))
	key := w.NewKey(`{"team_id":"` + gateway.Payer + `","metadata":{"n":1}}`)
	limited := w.NewKey(`{"team_id":"` + gateway.Payer + `","rpm_limit":1}`)
	chat := gateway.Chat("gpt-4o", "tokens=in:10,cached:4,out:5", true)
	w.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, chat)
	w.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, gateway.Chat("unpriced", "hi", false))
	w.Must(http.StatusUnauthorized, http.MethodPost, "/v1/chat/completions", "sk-nobody-at-all", chat)
	w.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", limited, chat)
	w.Must(http.StatusTooManyRequests, http.MethodPost, "/v1/chat/completions", limited, chat)
	w.Provider.Next(fakeprovider.FaultStatus(http.StatusUnauthorized))
	_, err := w.Do(http.MethodPost, "/v1/chat/completions", key, chat)
	require.NoError(t, err)
	require.NoError(t, w.Lago.Await(gateway.Timeout(t, 30e9), func() bool { return w.Lago.EventCount() >= 2 }))

	scraped := (&gateway.Gateway{T: t, Addr: w.Admin}).Must(http.StatusOK, http.MethodGet, "/metrics", "", "").Body
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(scraped))
	require.NoError(t, err)
	labels := make(map[string][]string) // of each series' name
	for name, f := range families {
		names := []string{name}
		if f.Metric[0].Histogram != nil {
			names = []string{name + "_bucket", name + "_sum", name + "_count"}
		}
		for _, n := range names {
			labels[n] = []string{"le", "instance"} // the scrape adds the latter
			for _, m := range f.Metric {
				for _, l := range m.Label {
					labels[n] = append(labels[n], l.GetName())
				}
			}
		}
	}
	queries, rules := deployed(t)
	require.Greater(t, len(queries), 30)
	var recorded strings.Builder
	recorded.WriteString(rules + "\n  - name: dashboards\n    rules:\n")
	for i, q := range queries {
		q.expr = grafana.Replace(q.expr)
		asked := metricName.FindAllString(q.expr, -1)
		require.NotEmpty(t, asked, q)
		var has []string
		for _, name := range asked {
			require.Contains(t, labels, name, "%s asks for a metric that is not there", q.from)
			has = append(has, labels[name]...)
		}
		for _, s := range selector.FindAllStringSubmatch(q.expr, -1) {
			for _, l := range labelMatch.FindAllStringSubmatch(s[2], -1) {
				require.Contains(t, labels[s[1]], l[1], "%s: a label that %s has not", q.from, s[1])
			}
		}
		for _, g := range grouping.FindAllStringSubmatch(q.expr, -1) {
			for _, l := range strings.Split(g[1], ",") {
				require.True(t, slices.Contains(has, strings.TrimSpace(l)), "%s groups by %s", q.from, l)
			}
		}
		fmt.Fprintf(&recorded, "      - record: tollgate:q%d\n        expr: %q\n", i, q.expr)
	}
	checkRules(t, recorded.String())
}

// checkRules has Prometheus' own tool read rules.
func checkRules(t *testing.T, rules string) {
	t.Helper()
	if testkit.IsLeftOut("promtool") {
		return
	}
	file := filepath.Join(t.TempDir(), "rules.yaml")
	require.NoError(t, os.WriteFile(file, []byte(rules), 0o600))
	out, err := exec.Command(cmp.Or(os.Getenv("TOLLGATE_PROMTOOL"), "promtool"), "check", "rules", file).CombinedOutput()
	require.NoError(t, err, "promtool is needed: ./test.sh gets it\n%s", out)
}
