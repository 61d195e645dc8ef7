package console_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// consoleWorld is a gateway with a console, the history from writePast, calls of two customers, and one call that Lago has
// rejected.
type consoleWorld struct {
	*gateway.World
	theirs   string // the key of the team website
	rejected string // call id
}

// consoleRoutes are the models of consoleWorld, at the provider's address with its key.
const consoleRoutes = `
	model gpt-4o {
		backend openai %[1]s/v1 {
			api_key %[2]s
			model gpt-4o-2024-08-06
			price input 2.5
			price cache_read 1.25
			price output 10
		}
		fallback claude
	}
	model claude {
		backend anthropic %[1]s {
			api_key %[2]s
			model claude-sonnet-4-5
			price input 3
			price cache_read 0.30
			price output 15
		}
	}
	model text-embedding-3-small {
		backend openai %[1]s/v1 {
			api_key %[2]s
			price input 0.02
		}
	}
	model mixtral {
		backend vllm %[1]s/v1 {
			api_key %[2]s
		}
	}`

func startConsoleWorld(t *testing.T) *consoleWorld {
	t.Helper()
	w := &consoleWorld{World: gateway.NewWorld(t, fakelago.Options{})}
	for _, team := range []string{"support", "research", "website"} {
		w.Lago.AddSubscription(fakelago.Subscription{ExternalID: team})
	}
	dir := t.TempDir()
	interrupted := llm.NewID()
	writePast(t, dir, interrupted)
	w.Gateway = gateway.Start(t, "", "console\n"+w.Routed(dir, "retain 9600h", fmt.Sprintf(consoleRoutes, w.Provider.URL, gateway.ProviderKey)))
	for _, team := range []string{"support", "research", "website"} {
		w.Must(http.StatusOK, http.MethodPost, "/team/new", gateway.MasterKey,
			fmt.Sprintf(`{"team_id":%q,"team_alias":"The %[1]s team","max_budget":250,"budget_duration":"1mo"}`, team))
	}
	w.theirs = w.NewKey(`{"team_id":"website","key_alias":"search","user_id":"bob@example.com","rpm_limit":600}`)
	research := w.NewKey(`{"team_id":"research","key_alias":"notebook","user_id":"eve@example.com","models":["claude","text-embedding-3-small"]}`)
	for range 6 {
		w.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", w.theirs, gateway.Chat("gpt-4o", "tokens=in:900,out:240 chunks=4", true))
		w.Must(http.StatusOK, http.MethodPost, "/v1/messages", research,
			`{"model":"claude","max_tokens":4000,"messages":[{"role":"user","content":"tokens=in:11800,cached:9000,out:2900"}]}`, "anthropic-version", "2023-06-01")
	}
	w.Settled(12)
	w.Lago.Always(func(*fakelago.Call) fakelago.Fault {
		return fakelago.FaultStatus(http.StatusUnprocessableEntity,
			`{"status":422,"error":"Unprocessable Entity","code":"validation_errors","error_details":{"0":{"expression":["expression_evaluation_failed"]}}}`)
	})
	a := w.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", w.theirs, gateway.Chat("gpt-4o", "tokens=in:1200,out:80", false))
	w.rejected = a.Header.Get("X-Litellm-Call-Id")
	require.Eventually(t, func() bool { return strings.Contains(w.Billing(), `"rejected":1`) }, 30*time.Second, 10*time.Millisecond)
	w.Lago.Always(nil)
	return w
}

var shownSecret = regexp.MustCompile(`sk-[A-Za-z0-9_-]{10,}`)

// TestBrowser goes through an operator's and a customer's work in headless Chromium. Every page must load without errors and
// without requests to other hosts, and must be accessible. It also takes the screenshots of docs/console.md.
func TestBrowser(t *testing.T) {
	browser := chromium(t)
	w := startConsoleWorld(t)
	b := newTab(t, browser, w.Gateway, 1200, 700)
	b.open("/console/")
	b.check("sign-in")
	b.signIn(gateway.MasterKey)
	b.shoot("now")

	key := makeKeyInBrowser(b)
	id := w.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, gateway.Chat("gpt-4o", "tokens=in:1000,cached:400,out:300,reasoning:120 chunks=5", true)).
		Header.Get("X-Litellm-Call-Id")
	w.Settled(13)
	seeCallInBrowser(b, id)
	filterSpendInBrowser(b)
	decideInBrowser(w, b)

	for _, page := range []string{"teams", "audit"} {
		b.open("/console/" + page)
		b.check(page)
	}
	for _, page := range []string{"keys", "models"} {
		b.open("/console/" + page)
		b.shoot(page)
	}
	b.open("/console/teams?id=support")
	b.shoot("team")
	b.open("/console/audit/reconcile")
	b.shoot("reconcile")
	b.open("/console/audit/log")
	b.check("audit-log")
	b.leave(chromedp.Click(formOf("sign-out", ` button`)))
	require.Contains(t, b.text(), "Sign in")

	customerInBrowser(w, newTab(t, browser, w.Gateway, 1200, 700), key, id)
	phoneInBrowser(w, newTab(t, browser, w.Gateway, 390, 800))
}

// makeKeyInBrowser creates a key and returns it.
func makeKeyInBrowser(b *tab) string {
	b.t.Helper()
	b.leave(chromedp.Click(chromedp.CSS(`nav a[href$="/keys"]`)))
	b.fill("make-key", "key_alias", "docs-bot")
	b.fill("make-key", "team_id", "support")
	b.fill("make-key", "max_budget", "20")
	b.fill("make-key", "budget_duration", "30d")
	b.send("make-key")
	key := shownSecret.FindString(b.text())
	require.NotEmpty(b.t, key, b.text())
	b.accessible()
	b.open("/console/keys")
	hasNone(b.t, b.text(), key)
	return key
}

// seeCallInBrowser finds a call in the list, opens it, and compares its price lines with its cost.
func seeCallInBrowser(b *tab, id string) {
	b.t.Helper()
	b.open("/console/calls")
	b.shoot("calls")
	b.leave(chromedp.Click(chromedp.CSS(`main a[href$="` + id + `"]`)))
	b.shoot("call")
	lines := b.cells("What the cost is made of")
	kinds := make(map[string]string)
	for _, l := range lines[1:] {
		kinds[l[0]] = l[1] + " at " + l[2]
	}
	require.Equal(b.t, map[string]string{"input": "600 at 2.5", "cache_read": "400 at 1.25", "output": "180 at 10", "reasoning": "120 at 10"}, kinds)
	require.Contains(b.t, b.text(), "0.005") // 600 x 2.5 + 400 x 1.25 + 300 x 10 millionths
	require.Contains(b.t, b.text(), "transaction_id")
}

// filterSpendInBrowser splits spend by team, then by key, and finds the cost of the call.
func filterSpendInBrowser(b *tab) {
	b.t.Helper()
	b.leave(chromedp.Click(chromedp.CSS(`nav a[href$="/spend"]`)))
	b.choose("by", "team")
	b.choose("each", "day")
	b.choose("span", "30 days")
	b.send("")
	b.shoot("spend")
	b.choose("by", "key_alias")
	b.choose("each", "total")
	b.send("")
	found := false
	for _, row := range b.cells("Cost in all") {
		if row[0] == "docs-bot" {
			found = true
			require.Equal(b.t, []string{"docs-bot", "1", "1000", "300", "0.005"}, row[:5])
		}
	}
	require.True(b.t, found)
	b.accessible()
}

// decideInBrowser retries the record that Lago has rejected.
func decideInBrowser(w *consoleWorld, b *tab) {
	b.t.Helper()
	b.leave(chromedp.Click(chromedp.CSS(`nav a[href$="/decide"]`)))
	require.Contains(b.t, b.text(), "expression_evaluation_failed")
	b.shoot("decide")
	b.leave(chromedp.Click(chromedp.CSS(`main a[href$="` + w.rejected + `"]`)))
	b.send("retry")
	require.Contains(b.t, b.text(), "pending again")
	w.Settled(14)
	b.open("/console/audit/reconcile")
	require.Contains(b.t, b.text(), "They agree")
}

// customerInBrowser signs in with an ordinary key and checks that nothing of other customers is visible.
func customerInBrowser(w *consoleWorld, b *tab, key, id string) {
	b.t.Helper()
	b.signIn(key)
	require.Contains(b.t, b.text(), id)
	b.check("customer-calls")
	paths := evaluate[[]string](b, `[...document.querySelectorAll("nav a")].map(a => a.getAttribute("href"))`)
	require.Len(b.t, paths, 3)
	for _, path := range append(paths, "/console/calls/"+id, "/console/calls?since=all", "/console/spend?by=model&each=total&span=30+days") {
		b.open(path)
		b.accessible()
		hasNone(b.t, evaluate[string](b, `document.documentElement.outerHTML`), w.rejected, "website", "research", "notebook", "bob@", "eve@", "helpdesk", "openai/", w.Provider.URL)
	}
	b.open("/console/key")
	b.shoot("customer-key")
}

// phoneInBrowser checks the pages on a narrow screen in dark mode.
func phoneInBrowser(w *consoleWorld, b *tab) {
	b.t.Helper()
	b.setDark()
	b.signIn(gateway.MasterKey)
	for _, page := range []string{"now", "calls", "calls/" + w.rejected, "decide", "keys", "teams", "models", "audit"} {
		b.open("/console/" + page)
		b.accessible()
	}
	b.open("/console/spend?by=model&each=day&span=30+days")
	b.shoot("phone")
}
