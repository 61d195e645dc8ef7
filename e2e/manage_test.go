package e2e

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/manage"
	"github.com/tollgate-llm/tollgate/internal/testkit"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

var update = flag.Bool("update", false, "write what the gateway answers now into the goldens")

const manageGolden = "testdata/management.golden"

// volatile are the parts of answers that differ from run to run.
var volatile = []struct {
	re *regexp.Regexp
	to string
}{
	{regexp.MustCompile(`"sk-[A-Za-z0-9_-]{22}"`), `"<key>"`},
	{regexp.MustCompile(`"sk-\.\.\.[A-Za-z0-9_-]{4}"`), `"<key name>"`},
	{regexp.MustCompile(`"[0-9a-f]{64}"`), `"<hash>"`},
	{regexp.MustCompile(`"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f-]{22}"`), `"<id>"`},
	{regexp.MustCompile(`"20\d\d-\d\d-\d\dT[0-9:.]+Z"`), `"<time>"`},
}

// TestManagementGolden sends the requests of the golden file through a real Caddy, in their order, and compares each answer. A line that begins with `>`
// is a request: method, path, body. What follows is its answer: the status, and the members that say something.
func TestManagementGolden(t *testing.T) {
	g := gateway.Start(t, "", fmt.Sprintf("keyauth {\n store file %s\n master_key %s\n}\nllmroute {\n unmetered\n model m {\n backend mock\n }\n}\n", t.TempDir(), gateway.MasterKey))
	golden, err := os.ReadFile(manageGolden)
	require.NoError(t, err)
	var out strings.Builder
	asked := make(map[string]bool)
	for line := range strings.Lines(string(golden)) {
		request, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "> ")
		if !ok {
			continue
		}
		method, rest, _ := strings.Cut(request, " ")
		path, body, _ := strings.Cut(rest, " ")
		name, _, _ := strings.Cut(path, "?")
		asked[name] = true
		a, err := g.Do(method, path, gateway.MasterKey, body)
		require.NoError(t, err)
		fmt.Fprintf(&out, "> %s\n%d %s\n\n", request, a.Status, shown(t, a.Body, name == "/team/info" || name == "/user/info"))
	}
	if *update {
		require.NoError(t, os.WriteFile(manageGolden, []byte(out.String()), 0o600))
		return
	}
	require.Equal(t, string(golden), out.String())
	for _, path := range manage.Paths() {
		if !strings.HasPrefix(path, "/end_user/") {
			form := regexp.MustCompile("^" + regexp.MustCompile(`{\w+}`).ReplaceAllString(path, "[^/]+") + "$")
			require.True(t, slices.ContainsFunc(slices.Collect(maps.Keys(asked)), form.MatchString), "no request of %s is in the golden file", path)
		}
	}
}

// shown is an answer without what says nothing and what differs from run to run. unordered: its keys come in the order of their hashes.
func shown(t *testing.T, body string, unordered bool) string {
	t.Helper()
	var v any
	d := json.NewDecoder(strings.NewReader(body))
	d.UseNumber()
	require.NoError(t, d.Decode(&v), body)
	if unordered {
		keys, _ := v.(map[string]any)["keys"].([]any)
		alias := func(key any) string { return fmt.Sprint(key.(map[string]any)["key_alias"]) }
		slices.SortFunc(keys, func(a, b any) int { return strings.Compare(alias(b), alias(a)) })
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	require.NoError(t, e.Encode(telling(v)))
	text := strings.TrimSpace(b.String())
	for _, p := range volatile {
		text = p.re.ReplaceAllString(text, p.to)
	}
	return text
}

func telling(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for n, x := range v {
			switch y := telling(x).(type) {
			case nil:
				delete(v, n)
			case map[string]any:
				if len(y) == 0 {
					delete(v, n)
				}
			case []any:
				if len(y) == 0 {
					delete(v, n)
				}
			}
		}
	case []any:
		for i := range v {
			v[i] = telling(v[i])
		}
	}
	return v
}

// TestCustomersAreLimited has customers come under limits of their own, of a budget that they name, and of one that their key names; a
// blocked one is refused. Each change is in force with the next call.
func TestCustomersAreLimited(t *testing.T) {
	for name, store := range map[string]string{"file": "file " + t.TempDir(), "redis": "redis " + testkit.Redis(t).Addr} {
		t.Run(name, func(t *testing.T) {
			g := gateway.Start(t, "", fmt.Sprintf("keyauth {\n store %s\n master_key %s\n}\nlagobilling {\n spool %s\n}\nllmroute {\n model m {\n backend mock {\n price input 1\n price output 1\n}\n }\n}\n",
				store, gateway.MasterKey, t.TempDir()))
			admin := func(path, body string) { t.Helper(); g.Must(200, "POST", path, gateway.MasterKey, body) }
			key := g.NewKey(`{}`)
			call := func(customer string) int {
				a, err := g.Do(http.MethodPost, "/v1/chat/completions", key, `{"model":"m","user":"`+customer+`","messages":[{"role":"user","content":"hi"}]}`)
				require.NoError(t, err)
				return a.Status
			}
			require.Equal(t, 200, call("free"))
			admin("/customer/new", `{"user_id":"one","rpm_limit":1}`)
			require.Equal(t, 200, call("one"))
			require.Equal(t, 429, call("one"))
			require.Equal(t, 200, call("free"))
			admin("/budget/new", `{"budget_id":"tiny","max_budget":0}`)
			admin("/customer/new", `{"user_id":"two","budget_id":"tiny"}`)
			require.Equal(t, 422, call("two"))
			admin("/budget/update", `{"budget_id":"tiny","max_budget":5}`)
			require.Equal(t, 200, call("two"))
			g.Must(400, "POST", "/budget/delete", gateway.MasterKey, `{"id":"tiny"}`)
			admin("/customer/block", `{"user_ids":["two","free"]}`)
			require.Equal(t, 401, call("two"))
			require.Equal(t, 401, call("free"), "also one of whom there was no record")
			admin("/end_user/unblock", `{"user_ids":["two","free"]}`)
			require.Equal(t, 200, call("two"))
			require.Equal(t, 200, call("free"))
			admin("/budget/new", `{"budget_id":"each","rpm_limit":1}`)
			key = g.NewKey(`{"end_user_budget_id":"each"}`)
			require.Equal(t, 200, call("three"))
			require.Equal(t, 429, call("three"))
			require.Equal(t, 200, call("four"), "each customer for itself")
		})
	}
}

// TestCustomersWithoutABudget: customer_budget limits each customer who has no limits of its own and whose key names no budget for it.
func TestCustomersWithoutABudget(t *testing.T) {
	g := gateway.Start(t, "", fmt.Sprintf("keyauth {\n store file %s\n master_key %s\n customer_budget free\n}\nlagobilling {\n spool %s\n}\nllmroute {\n model m {\n backend mock {\n price input 1\n price output 1\n}\n }\n}\n",
		t.TempDir(), gateway.MasterKey, t.TempDir()))
	admin := func(path, body string) { t.Helper(); g.Must(200, "POST", path, gateway.MasterKey, body) }
	key := g.NewKey(`{}`)
	call := func(customer string) int {
		a, err := g.Do(http.MethodPost, "/v1/chat/completions", key, `{"model":"m","user":"`+customer+`","messages":[{"role":"user","content":"hi"}]}`)
		require.NoError(t, err)
		return a.Status
	}
	require.Equal(t, 503, call("anyone"), "the budget has no record: nobody is served beyond it")
	admin("/budget/new", `{"budget_id":"free","rpm_limit":1}`)
	require.Equal(t, []int{200, 429, 200, 429}, []int{call("anyone"), call("anyone"), call("another"), call("another")}, "each customer for itself")
	admin("/customer/new", `{"user_id":"rich","rpm_limit":2}`)
	require.Equal(t, []int{200, 200, 429}, []int{call("rich"), call("rich"), call("rich")}, "its own limits replace those of the budget")
	admin("/customer/new", `{"user_id":"plain","alias":"no limits"}`)
	require.Equal(t, []int{200, 429}, []int{call("plain"), call("plain")})
	admin("/budget/update", `{"budget_id":"free","rpm_limit":3}`)
	require.Equal(t, 200, call("anyone"), "a change is in force with the next call")
	admin("/budget/new", `{"budget_id":"of the key","rpm_limit":5}`)
	key = g.NewKey(`{"end_user_budget_id":"of the key"}`)
	for range 5 {
		require.Equal(t, 200, call("of a key"))
	}
	require.Equal(t, 429, call("of a key"))
	g.Must(400, "POST", "/budget/delete", gateway.MasterKey, `{"id":"free"}`)
}

// TestUsersAndMembersAreLimited: rates of a user hold over all its keys, budgets over those without a team; a member's limits are within the team, and
// those of the team stand for what a member does not have.
func TestUsersAndMembersAreLimited(t *testing.T) {
	g := gateway.Start(t, "", fmt.Sprintf("keyauth {\n store file %s\n master_key %s\n}\nlagobilling {\n spool %s\n charge_by key_alias\n}\nllmroute {\n model m {\n backend mock {\n price input 1\n price output 1\n}\n }\n}\n",
		t.TempDir(), gateway.MasterKey, t.TempDir()))
	admin := func(path, body string) { t.Helper(); g.Must(200, "POST", path, gateway.MasterKey, body) }
	call := func(key string) int {
		a, err := g.Do(http.MethodPost, "/v1/chat/completions", key, gateway.Chat("m", "hi", false))
		require.NoError(t, err)
		return a.Status
	}
	admin("/user/new", `{"user_id":"ann","max_budget":0,"models":["m"],"auto_create_key":false}`)
	admin("/team/new", `{"team_id":"red","team_member_rpm_limit":1,"members_with_roles":[{"user_id":"ann","role":"user"},{"user_id":"bob","role":"user"}]}`)
	personal, inTeam := g.NewKey(`{"user_id":"ann","key_alias":"a"}`), g.NewKey(`{"user_id":"ann","team_id":"red","key_alias":"b"}`)
	require.Equal(t, 422, call(personal))
	require.Equal(t, 200, call(inTeam), "the budget is that of the user's own keys")
	require.Equal(t, 429, call(inTeam), "the team's default for its members")
	bob := g.NewKey(`{"user_id":"bob","team_id":"red","key_alias":"c"}`)
	admin("/team/member_update", `{"team_id":"red","user_id":"bob","rpm_limit":2}`)
	require.Equal(t, []int{200, 200, 429}, []int{call(bob), call(bob), call(bob)}, "bob's own, and not shared with ann")
	admin("/team/member_update", `{"team_id":"red","user_id":"bob","rpm_limit":100,"allowed_models":["other"]}`)
	require.Equal(t, 403, call(bob))
	admin("/user/update", `{"user_id":"ann","max_budget":5,"models":["other"]}`)
	require.Equal(t, 403, call(personal))
	admin("/user/update", `{"user_id":"ann","models":null,"rpm_limit":0}`)
	require.Equal(t, 429, call(personal))
	admin("/user/delete", `{"user_ids":["ann"]}`)
	require.Equal(t, 401, call(personal))
	require.Equal(t, 401, call(inTeam))
}

// TestResetSpendAdmitsAgain: after /key/{key}/reset_spend nothing counts against a budget, on either store, and what was spent stays known.
func TestResetSpendAdmitsAgain(t *testing.T) {
	for name, store := range map[string]string{"file": "file " + t.TempDir(), "redis": "redis " + testkit.Redis(t).Addr} {
		t.Run(name, func(t *testing.T) {
			g := gateway.Start(t, "", fmt.Sprintf("keyauth {\n store %s\n master_key %s\n}\nlagobilling {\n spool %s\n charge_by key_alias\n}\nllmroute {\n model m {\n backend mock {\n price input 1\n price output 1\n}\n }\n}\n",
				store, gateway.MasterKey, t.TempDir()))
			call := func(key string) int {
				a, err := g.Do(http.MethodPost, "/v1/chat/completions", key, `{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"hi"}]}`)
				require.NoError(t, err)
				return a.Status
			}
			exhaust := func(key, about, reserved string) {
				t.Helper()
				for n := 0; ; n++ {
					require.Less(t, n, 5000, "the budget is never used up")
					idle := gjson.Get(g.Must(200, "GET", about, key, "").Body, reserved).Raw == "0"
					if call(key) == 422 && idle {
						return
					}
				}
			}
			g.Must(200, "POST", "/team/new", gateway.MasterKey, `{"team_id":"red","team_member_budget":0.0002,"members_with_roles":[{"user_id":"bob","role":"user"}]}`)
			own, member := g.NewKey(`{"key_alias":"a","max_budget":0.0002,"budget_duration":"30d"}`), g.NewKey(`{"key_alias":"b","user_id":"bob","team_id":"red"}`)
			for _, c := range []struct{ key, about, reserved, reset string }{
				{own, "/key/info", "info.reserved", "/key/" + own + "/reset_spend"},
				{member, "/team/red/members/me", "reserved", "/team/red/member/bob/reset_spend"},
			} {
				require.Equal(t, 200, call(c.key))
				exhaust(c.key, c.about, c.reserved)
				answer := g.Must(200, "POST", c.reset, gateway.MasterKey, `{"reset_to":0}`)
				require.Equal(t, "0", gjson.Get(answer.Body, "spend").Raw, answer.Body)
				require.Equal(t, 200, call(c.key), c.reset)
				exhaust(c.key, c.about, c.reserved)
			}
			require.Eventually(t, func() bool {
				info := g.Must(200, "GET", "/key/info?key="+own, gateway.MasterKey, "").Body
				return gjson.Get(info, "info.total_spend").Float() > gjson.Get(info, "info.spend").Float()
			}, 20*time.Second, 20*time.Millisecond, "the total is the sum of all calls")
		})
	}
}

// TestAuditLog makes changes by several callers and reads who made them.
func TestAuditLog(t *testing.T) {
	g := gateway.Run(t, fmt.Sprintf("keyauth {\n store file %s\n master_key %s\n}\nllmroute {\n unmetered\n model m {\n backend mock\n }\n}\n", t.TempDir(), gateway.MasterKey))
	made := g.Must(200, "POST", "/key/generate", gateway.MasterKey, `{"key_alias":"boss","key_type":"management"}`)
	var answer struct{ Key string }
	require.NoError(t, json.Unmarshal([]byte(made.Body), &answer))
	g.Must(200, "POST", "/team/new", answer.Key, `{"team_id":"red","max_budget":1}`, "litellm-changed-by", "ann@example.com")
	g.Must(200, "POST", "/team/update", answer.Key, `{"team_id":"red","max_budget":2}`)
	g.Must(400, "POST", "/team/update", answer.Key, `{"team_id":"red","max_budget":-2}`)
	audit := func(args ...string) string {
		bin, err := gateway.Build()
		require.NoError(t, err)
		out, err := exec.Command(bin, append([]string{"tollgate", "audit", "--address", g.Admin}, args...)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	out := audit("--json", "--kind", "team")
	type change struct {
		Kind, ID, Change string
		Before, After    map[string]any
	}
	type entry struct {
		Actor, Action string
		ChangedBy     string `json:"changed_by"`
		Changes       []change
	}
	var entries []entry
	for line := range strings.Lines(out) {
		var e entry
		require.NoError(t, json.Unmarshal([]byte(line), &e), line)
		entries = append(entries, e)
	}
	require.Len(t, entries, 2, "what was refused changed nothing")
	require.Equal(t, "boss", entries[0].Actor)
	require.Equal(t, "ann@example.com", entries[0].ChangedBy)
	require.Equal(t, "/team/new", entries[0].Action)
	require.Equal(t, "made", entries[0].Changes[0].Change)
	require.Equal(t, 1.0, entries[1].Changes[0].Before["max_budget"])
	require.Equal(t, 2.0, entries[1].Changes[0].After["max_budget"])
	out = audit()
	require.Contains(t, out, "master")
	require.NotContains(t, out, answer.Key[3:])
	require.NotContains(t, out, keyHash(answer.Key))
}

// TestImportedBudgetsGoOn has budgets of LiteLLM go on with what was spent there, in the window under way alone.
func TestImportedBudgetsGoOn(t *testing.T) {
	g := gateway.Run(t, fmt.Sprintf("keyauth {\n store file %s\n master_key %s\n}\nlagobilling {\n spool %s\n charge_by key_alias\n}\nllmroute {\n model m {\n backend mock {\n price input 1\n price output 1\n}\n }\n}\n",
		t.TempDir(), gateway.MasterKey, t.TempDir()))
	row := func(key, alias, more string) string {
		return `{"token":"` + keyHash(key) + `","key_alias":"` + alias + `","created_at":"2026-01-01T00:00:00Z",` + more + `}`
	}
	dump := func(spend string) string {
		path := t.TempDir() + "/keys.json"
		text := `{"LiteLLM_BudgetTable":[{"budget_id":"gold","max_budget":10,"budget_duration":"30d","budget_reset_at":"2098-12-31T00:00:00Z"}],
			"LiteLLM_VerificationToken":[` + strings.Join([]string{
			row("sk-spent-for-ever", "a", `"max_budget":2,"spend":2`),
			row("sk-window-under-way", "b", `"max_budget":2,"spend":`+spend+`,"budget_duration":"30d","budget_reset_at":"2099-01-01T00:00:00Z"`),
			row("sk-window-that-ended", "c", `"max_budget":2,"spend":2,"budget_duration":"30d","budget_reset_at":"2026-01-02T00:00:00Z"`),
			row("sk-budget-by-reference", "d", `"spend":10,"budget_id":"gold"`),
			row("sk-budget-that-is-missing", "e", `"budget_id":"nowhere"`),
		}, ",") + `]}`
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	call := func(key string) int {
		a, err := g.Do(http.MethodPost, "/v1/chat/completions", key, gateway.Chat("m", "hi", false))
		require.NoError(t, err)
		return a.Status
	}
	out, _, err := g.Keys("import", dump("1.5"))
	require.Error(t, err, "a row was refused")
	require.Contains(t, out, "its budget has no record")
	require.Equal(t, []int{422, 200, 200, 422, 401}, []int{
		call("sk-spent-for-ever"), call("sk-window-under-way"), call("sk-window-that-ended"), call("sk-budget-by-reference"), call("sk-budget-that-is-missing"),
	})
	spend := func(key string) string {
		var answer struct{ Info struct{ Spend json.Number } }
		require.NoError(t, json.Unmarshal([]byte(g.Must(200, "GET", "/key/info?key="+key, gateway.MasterKey, "").Body), &answer))
		return answer.Info.Spend.String()
	}
	require.Equal(t, "2", spend("sk-spent-for-ever"))
	require.Contains(t, spend("sk-window-under-way"), "1.5")
	_, _, err = g.Keys("import", dump("2.5"))
	require.Error(t, err)
	require.Equal(t, 422, call("sk-window-under-way"), "what LiteLLM has counted since is added")
}

// TestImportedSpendRefuses imports a dump as PostgreSQL writes it, in which everything that LiteLLM counts for has spent 9.99 of 10 US dollars: a call
// that may cost more than a cent is refused, and a smaller one is not. What has spent nothing admits both.
func TestImportedSpendRefuses(t *testing.T) {
	g := gateway.Run(t, fmt.Sprintf("keyauth {\n store file %s\n master_key %s\n}\nlagobilling {\n spool %s\n}\nllmroute {\n model m {\n backend mock {\n price input 100\n price output 100\n}\n }\n}\n",
		t.TempDir(), gateway.MasterKey, t.TempDir()))
	dir := t.TempDir()
	var files []string
	dump := func(table, text string) {
		path := filepath.Join(dir, "LiteLLM_"+table+".csv")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		files = append(files, path)
	}
	const resets = "2098-12-31 00:00:00"
	// In an order in which what is named comes after what names it.
	var rows strings.Builder
	row := func(key, alias string, columns ...string) {
		fmt.Fprintf(&rows, "%s,%s,%s\n", keyHash(key), alias, strings.Join(columns, ","))
	}
	rows.WriteString("token,key_alias,spend,max_budget,budget_duration,budget_reset_at,user_id,team_id,budget_id,model_spend,model_max_budget,models,blocked\n")
	row("sk-spent-key", "a", "9.99", "10", "30d", resets, "", "", "", "{}", "{}", "{}", "f")
	row("sk-spent-key-for-ever", "b", "9.99", "10", "", "", "", "", "", "{}", "{}", "{}", "")
	row("sk-by-reference", "c", "9.99", "", "", "", "", "", "ten", "{}", "{}", "{}", "f")
	row("sk-of-the-team", "d", "0", "", "", "", "", "spent", "", "{}", "{}", "{}", "f")
	row("sk-of-the-user", "e", "0", "", "", "", "ann", "", "", "{}", "{}", "{}", "f")
	row("sk-of-the-member", "f", "0", "", "", "", "bob", "roomy", "", "{}", "{}", "{}", "f")
	row("sk-another-member", "g", "0", "", "", "", "eve", "roomy", "", "{}", "{}", "{}", "f")
	row("sk-of-a-model", "h", "0", "", "", "", "", "", "", `"{""m"": 9.99}"`, `"{""m"": {""max_budget"": 10}}"`, "{}", "f")
	row("sk-fresh", "i", "0", "10", "30d", resets, "", "", "", "{}", "{}", "{}", "f")
	row("sk-any", "j", "0", "", "", "", "", "", "", "{}", "{}", "{}", "f")
	dump("VerificationToken", rows.String())
	dump("TeamMembership", "user_id,team_id,spend,total_spend,budget_id\nbob,roomy,9.99,20.5,ten\neve,roomy,0,0,ten\n")
	dump("TeamTable", "team_id,spend,max_budget,budget_duration,budget_reset_at,members_with_roles,blocked\nspent,9.99,10,30d,"+resets+",[],f\n"+
		`roomy,500,1000,30d,`+resets+`,"[{""role"": ""user"", ""user_id"": ""bob""}, {""role"": ""user"", ""user_id"": ""eve""}]",f`+"\n")
	dump("UserTable", "user_id,user_role,spend,max_budget,budget_duration,budget_reset_at\nann,internal_user,9.99,10,30d,"+resets+"\n")
	dump("EndUserTable", "user_id,alias,spend,budget_id,blocked\ncustomer,,9.99,ten,f\nnew customer,,0,ten,f\n")
	dump("BudgetTable", "budget_id,max_budget,budget_duration,budget_reset_at,created_by\nten,10,30d,"+resets+",admin\n")
	out, errOut, err := g.Keys(append([]string{"import"}, files...)...)
	require.NoError(t, err, "%s%s", out, errOut)
	require.NotContains(t, out, "refused ")

	call := func(key, customer string, tokens int) int {
		t.Helper()
		a, err := g.Do(http.MethodPost, "/v1/chat/completions", key, fmt.Sprintf(`{"model":"m","max_tokens":%d,"user":%q,"messages":[{"role":"user","content":"hi"}]}`, tokens, customer))
		require.NoError(t, err)
		return a.Status
	}
	for _, key := range []string{"sk-spent-key", "sk-spent-key-for-ever", "sk-by-reference", "sk-of-the-team", "sk-of-the-user", "sk-of-the-member", "sk-of-a-model"} {
		require.Equal(t, 422, call(key, "somebody", 200), key)
		require.Equal(t, 200, call(key, "somebody", 1), "%s: there is a cent left", key)
	}
	require.Equal(t, []int{422, 200}, []int{call("sk-any", "customer", 200), call("sk-any", "customer", 1)})
	require.Equal(t, []int{200, 200, 200}, []int{call("sk-fresh", "somebody", 200), call("sk-another-member", "somebody", 200), call("sk-any", "new customer", 200)})

	about := gjson.Parse(g.Must(200, "GET", "/team/info?team_id=roomy", gateway.MasterKey, "").Body)
	member := about.Get(`team_memberships.#(user_id=="bob")`)
	require.GreaterOrEqual(t, member.Get("total_spend").Float(), 20.5, member.Raw)
	again, _, err := g.Keys(append([]string{"import", "--json"}, files...)...)
	require.NoError(t, err)
	require.Equal(t, int64(2), gjson.Get(again, `tables.#(table=="LiteLLM_TeamMembership").same`).Int(), again)
	require.Equal(t, 422, call("sk-of-the-member", "somebody", 200), "what is imported again counts once")
}
