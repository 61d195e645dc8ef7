package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
	"github.com/tollgate-llm/tollgate/internal/testkit/scripted"
)

// TestDevicesPayNothing calls as Claude Code does: its metadata.user_id names a device and a session. The key's owner pays, the
// session is on the record and, where it is asked for, in the events, and the body goes upstream as it came.
func TestDevicesPayNothing(t *testing.T) {
	const session = "0f2b1d6e-9d2c-4c55-a6f1-3f3c9d1f7a10"
	object := `{\"device_id\":\"` + strings.Repeat("ab", 150) + `\",\"account_uuid\":\"\",\"session_id\":\"` + session + `\"}`
	cases := map[string]struct {
		metadata string
		header   []string
		session  string
		endUser  string
	}{
		"JSON object":       {`"` + object + `"`, nil, session, ""},
		"older form":        {`"user_` + strings.Repeat("0a", 32) + `_account__session_` + session + `"`, nil, session, ""},
		"Claude Code's own": {`"` + object + `"`, []string{"X-Claude-Code-Session-Id", "other"}, "other", ""},
		"Codex":             {`null`, []string{"session_id", "codex-1"}, "codex-1", ""},
		"a hyphen":          {`null`, []string{"session-id", "s-2"}, "s-2", ""},
		"not a name":        {`null`, []string{"session-id", strings.Repeat("s", 300)}, "", ""},
		"a user of 256":     {`"` + strings.Repeat("u", 256) + `"`, nil, "", ""},
		"a user":            {`"customer-1"`, nil, "", "customer-1"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			up := scripted.New(t, func(int, scripted.Call) scripted.Answer {
				return scripted.Answer{ContentType: "application/json", Length: true, Body: []byte(
					`{"id":"m","type":"message","role":"assistant","model":"claude-x","content":[{"type":"text","text":"x"}],"usage":{"input_tokens":5,"output_tokens":1}}`)}
			})
			options := ""
			if name == "Codex" {
				options = "servers {\nexpected_underscore_headers session_id\n}"
			}
			g := gateway.Start(t, options, openSite(t.TempDir(), "charge_by key_alias\nproperty session {http.tollgate.session}",
				"model claude {\nbackend anthropic "+up.URL+" {\nmodel claude\n}\n}"))
			body := `{"model":"claude","max_tokens":5,"messages":[],"metadata":{"user_id":` + c.metadata + `}}`
			g.Must(http.StatusOK, http.MethodPost, "/v1/messages", "", body, c.header...)
			require.Equal(t, body, string(up.Calls()[0].Body))
			a, err := (&gateway.Gateway{T: t, Addr: g.Admin}).Do(http.MethodGet, "/tollgate/billing/events", "", "")
			require.NoError(t, err)
			var r struct {
				Payer   string
				Session string
				EndUser string `json:"end_user"`
				Events  []struct{ Properties map[string]string }
			}
			require.NoError(t, json.Unmarshal([]byte(a.Body), &r))
			require.Equal(t, []string{"sub-1", c.session, c.endUser}, []string{r.Payer, r.Session, r.EndUser})
			require.Equal(t, c.session, r.Events[0].Properties["session"])
		})
	}
	t.Run("with the default rule", func(t *testing.T) {
		w := gateway.NewWorld(t, fakelago.Options{})
		w.Lago.AddSubscription(fakelago.Subscription{ExternalID: "owner"})
		w.Gateway = gateway.Start(t, "", strings.Replace(w.Directives(t.TempDir(), ""), "charge_by team_id", "charge_by end_user_id user_id team_id", 1))
		key := w.NewKey(`{"user_id":"owner","team_id":"sub-1"}`)
		w.Must(http.StatusOK, http.MethodPost, "/v1/messages", key, `{"model":"claude","max_tokens":5,"messages":[{"role":"user","content":"tokens=in:1,out:1"}],"metadata":{"user_id":"`+object+`"}}`)
		w.Settled(1)
		require.Equal(t, 1, w.Lago.BilledCount("owner", "llm"))
	})
}
