package operator_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
	"github.com/tollgate-llm/tollgate/lagobilling/operator"
)

// TestDecisionsAreInTheAuditLog makes each decision on records by the commands, and reads the audit log: who, what, of which record, why.
func TestDecisionsAreInTheAuditLog(t *testing.T) {
	dir, dead := t.TempDir(), t.TempDir()
	ids := interrupted(t, dir, 3)
	interrupted(t, dead, 1)
	d := newDesk(t, dir, `keyauth {
		store file `+t.TempDir()+`
		master_key `+gateway.MasterKey+`
	}`)
	d.lago.AddMetric(fakelago.Metric{Code: "tokens", Field: "total_tokens", Needs: []string{"region"}})
	d.run("estimate", ids[0])
	d.run("discard", ids[1], "--reason", "a test")
	d.run("discard", "--all", "--reason", "the rest")
	d.awaitStatus(func(s operator.Status) bool { return s.Interrupted == 0 && s.Rejected == 1 })
	d.lago.AddMetric(fakelago.Metric{Code: "tokens", Field: "total_tokens"})
	d.run("retry", ids[0])
	d.awaitStatus(func(s operator.Status) bool { return s.Rejected == 0 && s.Pending == 0 })
	d.run("replay", "--since", "1h", "--dry-run")
	d.run("replay", "--since", "1h")
	d.run("adopt", dead)
	_, err := d.try("retry", ids[0])
	require.Error(t, err, "nothing to retry: and nothing to note")

	admin := &gateway.Gateway{T: t, Addr: d.g.Admin}
	var got []string
	for line := range strings.Lines(admin.Must(http.StatusOK, http.MethodGet, "/tollgate/keys/audit?actor=admin+API", "", "").Body) {
		var e keys.AuditEntry
		require.NoError(t, json.Unmarshal([]byte(line), &e))
		require.Len(t, e.Changes, 1)
		c := e.Changes[0]
		after := make(map[string]string)
		for name, raw := range c.After {
			after[name] = string(raw)
		}
		if c.What == "replay" {
			require.NotEmpty(t, after["since"])
			require.NotEmpty(t, after["until"])
			delete(after, "since")
			delete(after, "until")
		}
		text, err := json.Marshal(after)
		require.NoError(t, err)
		got = append(got, strings.Join([]string{e.Action, c.Kind, c.ID, c.What, strings.ReplaceAll(string(text), `\"`, "")}, " "))
	}
	require.Equal(t, []string{
		`/tollgate/billing/estimate record ` + ids[0] + ` estimate {}`,
		`/tollgate/billing/discard record ` + ids[1] + ` discard {"reason":"a test"}`,
		`/tollgate/billing/discard record all discard {"reason":"the rest","records":"1"}`,
		`/tollgate/billing/retry record ` + ids[0] + ` retry {}`,
		`/tollgate/billing/replay record all replay {"records":"1"}`,
		`/tollgate/billing/adopt spool ` + dead + ` adopt {"account":"default","records":"1"}`,
	}, got)
}
