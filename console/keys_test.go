package console_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

var shownKey = regexp.MustCompile(`<code>(sk-[^<]+)</code>`)

// TestKeysAndTeams creates a team and a key, calls with it, limits it and blocks it, all through the console.
func TestKeysAndTeams(t *testing.T) {
	g := start(t, "console")
	b := open(t, g)
	b.signIn(gateway.MasterKey)

	status, body := b.change("make-team", "team_id", "blue", "team_alias", "Blue & <b>", "rpm_limit", "100")
	require.Equal(t, http.StatusOK, status, body)
	require.Contains(t, body, "Team blue is made.")
	require.Contains(t, body, "Blue &amp; &lt;b&gt;")
	require.NotContains(t, b.page("/console/teams"), "Team blue is made", "a notice is shown once")

	status, body = b.change("make-key", "key_alias", "ann's", "team_id", "blue", "models", "demo, other", "max_budget", "10.5", "budget_duration", "30d")
	require.Equal(t, http.StatusOK, status, body)
	m := shownKey.FindStringSubmatch(body)
	require.NotNil(t, m, body)
	key := m[1]
	id := call(t, g, key)
	for _, address := range []string{"/console/keys/" + key, "/console/keys?alias=" + key} {
		res, err := b.Get(b.g.URL(address))
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, http.StatusBadRequest, res.StatusCode, "a key in a URL")
	}
	list := b.page("/console/keys")
	require.Contains(t, list, "max_budget $10.5 every 30d")
	require.Contains(t, list, "demo, other")
	link := regexp.MustCompile(`href="(/console/keys/[0-9a-f]+)"`).FindStringSubmatch(list)
	require.NotNil(t, link)
	page := b.page(link[1])
	require.Contains(t, page, `name="max_budget" type="text" value="10.5"`)
	require.Contains(t, b.page("/console/calls"), id)

	short := link[1][strings.LastIndex(link[1], "/")+1:]
	_, body = b.change("limit-key", "id", short, "tpm_limit", "5000")
	require.Contains(t, body, "are set")
	page = b.page(link[1])
	require.Contains(t, page, "tpm_limit 5000")
	require.NotContains(t, page, "max_budget $", "what is empty is not limited")

	_, body = b.change("block-key", "id", short)
	require.Contains(t, body, "is blocked")
	a, err := g.Do(http.MethodPost, "/v1/chat/completions", key, gateway.Chat("demo", "hi", false))
	require.NoError(t, err)
	require.Equal(t, http.StatusUnauthorized, a.Status)
	_, _ = b.change("unblock-key", "id", short)
	call(t, g, key)
	_, _ = b.change("block-team", "team_id", "blue")
	a, err = g.Do(http.MethodPost, "/v1/chat/completions", key, gateway.Chat("demo", "hi", false))
	require.NoError(t, err)
	require.Equal(t, http.StatusUnauthorized, a.Status)
	_, _ = b.change("unblock-team", "team_id", "blue")

	for _, fault := range [][]string{{"make-key", "max_budget", "a lot"}, {"make-key", "rpm_limit", "-1"}, {"make-key", "duration", "soon"}, {"make-team", "team_id", "blue"}} {
		status, body = b.change(fault[0], fault[1:]...)
		require.Equal(t, http.StatusBadRequest, status, body)
		require.Contains(t, body, fault[1])
	}
	log := b.page("/console/audit/log")
	require.Contains(t, log, "console make-key")
	require.Contains(t, log, "key "+short+" changed")

	shown := 0
	for _, seen := range b.seen {
		require.NotContains(t, seen, gateway.MasterKey)
		shown += strings.Count(seen, key)
	}
	require.Equal(t, 1, shown, "a key is shown once")

	// Its holder sees the page, without what is for operators only.
	b = open(t, g)
	_, body = b.signIn(key)
	require.Contains(t, body, id)
	require.Contains(t, b.page("/console/key"), "tpm_limit 5000")
}

func TestModels(t *testing.T) {
	g := start(t, "console")
	b := open(t, g)
	b.signIn(gateway.MasterKey)
	page := b.page("/console/models")
	require.Contains(t, page, "demo")
	require.Regexp(t, `input 1 per .*output 2 per`, page)
	require.Contains(t, page, "configuration")
}

// TestAttempts opens a call whose first backend failed: its page shows both attempts.
func TestAttempts(t *testing.T) {
	g := gateway.Start(t, "", `
	console
	keyauth {
		store file `+t.TempDir()+`
		master_key `+gateway.MasterKey+`
	}
	lagobilling {
		charge_by team_id
		spool `+t.TempDir()+`
	}
	llmroute {
		model demo {
			backend mock {
				fail 100
				order 0
				model broken
				price input 1
			}
			backend mock {
				model sound
				price input 1
				price output 2
			}
		}
	}`)
	id := call(t, g, g.NewKey(`{"team_id":"blue"}`))
	b := open(t, g)
	b.signIn(gateway.MasterKey)
	page := b.page("/console/calls/" + id)
	require.Regexp(t, `(?s)<caption>Attempts</caption>.*broken.*status 503.*sound.*completed.*</table>`, page)
}

// TestADeadLetterIsRetried has Lago reject an event until its metric exists.
func TestADeadLetterIsRetried(t *testing.T) {
	w := gateway.NewWorld(t, fakelago.Options{})
	w.Gateway = gateway.Start(t, "", "console\n"+w.Directives(t.TempDir(), ""))
	w.Lago.Always(func(*fakelago.Call) fakelago.Fault {
		return fakelago.FaultStatus(http.StatusUnprocessableEntity, `{"status":422,"error":"Unprocessable Entity","code":"validation_errors","error_details":{"0":{"expression":["expression_evaluation_failed"]}}}`)
	})
	key := w.NewKey(`{"team_id":"` + gateway.Payer + `"}`)
	a := w.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, gateway.Chat("gpt-4o", "hi", false))
	id := a.Header.Get("X-Litellm-Call-Id")
	b := open(t, w.Gateway)
	b.signIn(gateway.MasterKey)
	require.Eventually(t, func() bool { return strings.Contains(b.page("/console/decide"), id) }, 20e9, 20e6)
	require.Contains(t, b.page("/console/decide"), "expression_evaluation_failed")
	require.Contains(t, b.page("/console/"), "Lago rejected 1 record:")
	page := b.page("/console/calls/" + id)
	require.Contains(t, page, "expression_evaluation_failed")
	require.Contains(t, page, "transaction_id")
	require.Contains(t, page, "Price")

	status, body := b.change("discard", "id", id)
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, body, "reason is needed")
	w.Lago.Always(nil)
	_, body = b.change("retry", "id", id)
	require.Contains(t, body, "pending again")
	w.Settled(1)
	require.Eventually(t, func() bool { return strings.Contains(b.page("/console/calls/"+id), "Lago has the events") }, 20e9, 20e6)
	status, _ = b.change("retry", "id", id)
	require.Equal(t, http.StatusNotFound, status, "it is not rejected any more")

	require.Contains(t, b.page("/console/audit/log"), "record "+id+" retry")

	require.Contains(t, b.page("/console/audit/check"), "There is no problem")
	require.Contains(t, b.page("/console/audit/reconcile"), gateway.Payer)
	status, _ = b.get("/console/audit/" + url.PathEscape("nothing"))
	require.Equal(t, http.StatusNotFound, status)
}

// TestRegeneratedKey signs in with a key that replaced another, and sees the calls and the spend of both.
func TestRegeneratedKey(t *testing.T) {
	g := start(t, "console")
	old := g.NewKey(`{"team_id":"blue"}`)
	id := call(t, g, old)
	var made struct{ Key string }
	a := g.Must(http.StatusOK, http.MethodPost, "/key/regenerate", gateway.MasterKey, `{"key":"`+old+`"}`)
	require.NoError(t, json.Unmarshal([]byte(a.Body), &made))
	b := open(t, g)
	b.signIn(made.Key)
	require.Contains(t, b.page("/console/calls"), id)
	require.Contains(t, b.page("/console/calls/"+id), id)
	require.Contains(t, b.page("/console/spend?each=total"), "calls 1")
}
