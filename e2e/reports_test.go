package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakeprovider"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// reportTotals are LiteLLM's reports, each with where the answer has what was spent.
var reportTotals = map[string]string{
	"/spend/logs?DATES":                            "#.spend",
	"/spend/keys":                                  "#.spend",
	"/spend/users":                                 "#.spend",
	"/global/spend":                                "spend",
	"/global/spend/logs":                           "#.spend",
	"/global/spend/keys":                           "#.total_spend",
	"/global/spend/models":                         "#.total_spend",
	"/global/spend/provider":                       "#.spend",
	"/global/spend/teams":                          "total_spend_per_team.#.total_spend",
	"/global/spend/report?DATES":                   "@this.#.teams|@flatten|#.total_spend",
	"/global/spend/report?DATES&group_by=customer": "@this.#.customers|@flatten|#.total_spend",
	"/global/spend/report?DATES&group_by=api_key":  "#.total_cost",
	"/user/daily/activity?DATES":                   "metadata.total_spend",
	"/user/daily/activity/aggregated?DATES":        "metadata.total_spend",
	"/team/daily/activity?DATES":                   "metadata.total_spend",
	"/team/daily/activity/aggregated?DATES":        "metadata.total_spend",
	"/customer/daily/activity?DATES":               "metadata.total_spend",
	"/end_user/daily/activity?DATES":               "metadata.total_spend",
}

// callTotals are the reports of single calls, which the instance that is asked has in its ledger.
var callTotals = map[string]string{
	"/spend/logs":                                             "#.spend",
	"/spend/logs?DATES&summarize=false":                       "#.spend",
	"/spend/logs/v2?DATES&page_size=1000":                     "data.#.spend",
	"/spend/logs/ui?DATES&page_size=1000&sort_order=asc":      "data.#.spend",
	"/spend/logs/ui?DATES&page_size=1000&min_spend=0.0000001": "data.#.spend",
}

// TestWhoSeesWhoseSpend asks for every report, and for the console's page of spend, with every sort of key.
func TestWhoSeesWhoseSpend(t *testing.T) {
	provider := fakeprovider.New(t, fakeprovider.Options{Key: gateway.ProviderKey})
	g := gateway.Start(t, "", "console\n"+limitedSite(t, "file "+t.TempDir(), "", provider))
	for _, team := range []string{"blue", "red"} {
		g.Must(http.StatusOK, http.MethodPost, "/team/new", gateway.MasterKey,
			`{"team_id":"`+team+`","members_with_roles":[{"role":"`+map[string]string{"blue": "admin", "red": "user"}[team]+`","user_id":"ann"},{"role":"admin","user_id":"eve"},{"role":"user","user_id":"bob"}]}`)
	}
	admin := g.NewKey(`{"team_id":"blue","user_id":"ann"}`)
	issued := gjson.Get(g.Must(http.StatusOK, http.MethodPost, "/key/generate", admin, `{"team_id":"blue","user_id":"eve"}`).Body, "key").String()
	// Those who call, each for a sum of its own: the first 1 thousandth of a dollar, the next 2, 4 and so on.
	keys := []string{
		admin,
		g.NewKey(`{"team_id":"blue","user_id":"bob"}`),
		issued,
		g.NewKey(`{"team_id":"blue","user_id":"ann","key_type":"llm_api"}`),
		g.NewKey(`{"team_id":"blue","user_id":"ann","allowed_routes":["llm_api_routes"]}`),
		g.NewKey(`{"team_id":"blue","user_id":"ann","allowed_routes":["llm_api_routes","info_routes"]}`),
		g.NewKey(`{"team_id":"red","user_id":"ann"}`),
		g.NewKey(`{"team_id":"red","user_id":"sam"}`),
	}
	const blue, all = 63, 255
	for i, key := range keys {
		g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, capped("gpt-4o", 1000<<i-10, 10))
	}

	const refused = -1
	cases := []struct {
		name, key        string
		reports, console int // thousandths of a dollar
	}{
		{"the master key", gateway.MasterKey, all, all},
		{"management", g.NewKey(`{"key_type":"management"}`), all, all},
		{"management of a team", g.NewKey(`{"key_type":"management","team_id":"blue"}`), all, all},
		{"read_only", g.NewKey(`{"key_type":"read_only"}`), all, all},
		{"read_only of a team and its member", g.NewKey(`{"key_type":"read_only","team_id":"blue","user_id":"bob"}`), all, all},
		{"read_only with info_routes", g.NewKey(`{"key_type":"read_only","allowed_routes":["info_routes"]}`), all, 0},
		{"management with the reports' paths", g.NewKey(`{"key_type":"management","allowed_routes":["/spend/*","/global/spend*","/*/daily/activity*"]}`), all, 0},
		{"management with other paths", g.NewKey(`{"key_type":"management","allowed_routes":["/key/*"]}`), refused, 0},
		{"read_only that may only call models", g.NewKey(`{"key_type":"read_only","allowed_routes":["llm_api_routes"]}`), 0, 0},
		{"the team's admin", keys[0], blue, blue},
		{"a member of the team", keys[1], 2, 2},
		{"a key that an admin made for another admin", keys[2], 4, 4},
		{"llm_api of an admin", keys[3], 8, 8},
		{"an admin's key that may only call models", keys[4], 16, 16},
		{"an admin's key with info_routes", keys[5], blue, 32},
		{"an admin's key of another team", keys[6], 64, 64},
		{"a key of nobody's team", keys[7], 128, 128},
		{"a key with other paths", g.NewKey(`{"team_id":"blue","user_id":"ann","allowed_routes":["/v1/chat/completions"]}`), refused, 0},
	}
	today := time.Now().UTC()
	dates := "start_date=" + today.AddDate(0, 0, -1).Format(time.DateOnly) + "&end_date=" + today.Format(time.DateOnly)
	get := func(status int, path, key string) gjson.Result {
		return gjson.Parse(g.Must(status, http.MethodGet, strings.ReplaceAll(path, "DATES", dates), key, "").Body)
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for path, member := range reportTotals {
				if c.reports == refused {
					get(http.StatusForbidden, path, c.key)
					continue
				}
				require.Equal(t, usd(c.reports), total(t, get(http.StatusOK, path, c.key).Get(member)), path)
			}
			for path, member := range callTotals {
				if c.reports == refused {
					get(http.StatusForbidden, path, c.key)
					continue
				}
				require.Equal(t, usd(c.reports), total(t, get(http.StatusOK, path, c.key).Get(member)), path)
			}
			require.Equal(t, usd(c.console), consoleTotal(t, g, c.key))
		})
	}

	// What is asked for narrows what a key sees, and never widens it.
	for path, sees := range map[string]map[string]int{
		"/team/daily/activity?DATES&team_ids=blue":          {gateway.MasterKey: blue, cases[3].key: blue, keys[0]: blue, keys[1]: 2, keys[7]: 0},
		"/team/daily/activity?DATES&team_ids=red":           {gateway.MasterKey: all - blue, cases[1].key: all - blue, keys[0]: refused, keys[1]: 0, keys[7]: 128},
		"/team/daily/activity?DATES&team_ids=blue,red":      {cases[3].key: all, keys[0]: refused, keys[6]: 64},
		"/team/daily/activity?DATES&api_key=" + keys[1]:     {cases[3].key: 2, keys[0]: 2, keys[1]: 2, keys[7]: refused},
		"/team/daily/activity?DATES&api_key=" + keys[7]:     {cases[3].key: 128, keys[0]: 0, keys[1]: refused, keys[7]: 128},
		"/user/daily/activity?DATES&user_id=ann":            {cases[3].key: 1 + 8 + 16 + 32 + 64, keys[0]: 1 + 8 + 16 + 32, keys[1]: 0},
		"/global/spend/report?DATES&team_id=red":            {keys[0]: refused},
		"/global/spend/report?DATES&api_key=" + keys[7]:     {keys[6]: refused},
		"/spend/logs?DATES&api_key=" + keys[0]:              {keys[1]: refused},
		"/global/spend/logs?api_key=" + keys[0]:             {keys[1]: refused},
		"/user/daily/activity?DATES&api_key=" + keys[1][3:]: {keys[0]: 0, keys[1]: refused},
	} {
		for key, want := range sees {
			if want == refused {
				get(http.StatusForbidden, path, key)
				continue
			}
			require.Equal(t, usd(want), total(t, get(http.StatusOK, path, key).Get("metadata.total_spend")), path)
		}
	}
	// An admin whose own key is no team's asks for the team by name.
	teamless := g.NewKey(`{"user_id":"ann"}`)
	for path, want := range map[string]int{
		"/team/daily/activity?DATES": 0, "/team/daily/activity?DATES&team_ids=blue": blue, "/team/daily/activity?DATES&team_ids=red": 0,
		"/team/daily/activity?DATES&team_ids=blue,red": 0, "/team/daily/activity?DATES&team_ids=green": 0,
	} {
		require.Equal(t, usd(want), total(t, get(http.StatusOK, path, teamless).Get("metadata.total_spend")), path)
	}
	require.Equal(t, usd(blue), total(t, get(http.StatusOK, "/global/spend/report?DATES&team_id=blue", teamless).Get("@this.#.teams|@flatten|#.total_spend")))

	// A key that replaces another one has what that has spent, by whichever name it is asked for.
	again := gjson.Get(g.Must(http.StatusOK, http.MethodPost, "/key/regenerate", gateway.MasterKey, `{"key":"`+keys[7]+`"}`).Body, "key").String()
	for _, named := range []string{again, keys[7]} {
		for _, caller := range []string{gateway.MasterKey, again} {
			require.Equal(t, usd(128), total(t, get(http.StatusOK, "/user/daily/activity?DATES&api_key="+named, caller).Get("metadata.total_spend")))
		}
		get(http.StatusForbidden, "/user/daily/activity?DATES&api_key="+named, keys[1])
	}
	require.Equal(t, usd(128), total(t, get(http.StatusOK, "/spend/keys", again).Get("#.spend")))
	require.Equal(t, usd(128), consoleTotal(t, g, again))

	// A page in a browser may ask, as of the other paths.
	for path := range reportTotals {
		path = strings.ReplaceAll(path, "DATES", dates)
		asked := g.Must(http.StatusNoContent, http.MethodOptions, path, "", "", "Origin", "https://app.example", "Access-Control-Request-Method", "GET",
			"Access-Control-Request-Headers", "authorization")
		answered := g.Must(http.StatusOK, http.MethodGet, path, gateway.MasterKey, "", "Origin", "https://app.example")
		refusal := g.Must(http.StatusUnauthorized, http.MethodGet, path, "sk-wrong-key", "", "Origin", "https://app.example")
		for _, a := range []gateway.Answer{asked, answered, refusal} {
			require.Equal(t, "*", a.Header.Get("Access-Control-Allow-Origin"), path)
		}
		require.Equal(t, "GET, OPTIONS", asked.Header.Get("Access-Control-Allow-Methods"), path)
		require.Equal(t, "authorization", asked.Header.Get("Access-Control-Allow-Headers"), path)
	}
	require.True(t, get(http.StatusOK, "/global/spend", cases[3].key).Get("limits").Exists(), "who sees all sees the gateway's limits")
	require.False(t, get(http.StatusOK, "/global/spend", keys[0]).Get("limits").Exists())
	get(http.StatusForbidden, "/v1/models", cases[3].key)
}

// TestSingleCalls reads calls one by one in LiteLLM's shape, by each of the filters, and page by page.
func TestSingleCalls(t *testing.T) {
	w := gateway.NewWorld(t, fakelago.Options{})
	w.Gateway = gateway.Start(t, "", w.Routed(t.TempDir(), "", strings.NewReplacer("URL", w.Provider.URL, "KEY", gateway.ProviderKey).Replace(`
		model gpt-4o {
			backend openai URL/v1 {
				api_key KEY
				model gpt-4o-2024-08-06
				price input 2.5
				price cache_read 1.25
				price output 10
			}
		}
		model claude {
			backend anthropic URL {
				api_key KEY
				model claude-sonnet-4-5
				price input 3
				price output 15
			}
		}`)))
	key := w.NewKey(`{"team_id":"` + gateway.Payer + `","key_alias":"first","user_id":"ann"}`)
	other := w.NewKey(`{"team_id":"` + gateway.Payer + `","key_alias":"second"}`)
	var ids []string
	for n := range 5 {
		a := w.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, strings.Replace(gateway.Chat("gpt-4o", "tokens=in:1000,cached:400,out:300", n%2 == 0), "{",
			`{"user":"end-user","metadata":{"session_id":"talk"},`, 1))
		ids = append(ids, a.Header.Get("X-Litellm-Call-Id"))
	}
	w.Provider.Next(fakeprovider.FaultStatus(http.StatusBadRequest))
	w.Must(http.StatusBadRequest, http.MethodPost, "/v1/chat/completions", other, gateway.Chat("gpt-4o", "hi", false))
	w.Must(http.StatusOK, http.MethodPost, "/v1/messages", other, `{"model":"claude","max_tokens":400,"messages":[{"role":"user","content":"tokens=in:50,out:20"}]}`)
	w.Settled(6)

	get := func(status int, key, path string) gjson.Result {
		t.Helper()
		return gjson.Parse(w.Must(status, http.MethodGet, path, key, "").Body)
	}
	one := get(http.StatusOK, key, "/spend/logs?request_id="+ids[1])
	require.Len(t, one.Array(), 1)
	row := one.Get("0")
	for name, want := range map[string]string{
		"litellm_call_id": ids[1], "call_type": "acompletion", "total_tokens": "1300", "prompt_tokens": "1000", "completion_tokens": "300",
		"model": "gpt-4o-2024-08-06", "model_group": "gpt-4o", "custom_llm_provider": "openai", "user": "ann", "team_id": gateway.Payer,
		"end_user": "end-user", "status": "success", "cache_hit": "False", "model_id": "", "metadata.user_api_key_alias": "first",
	} {
		require.Equal(t, want, row.Get(name).String(), name)
	}
	require.Equal(t, "0.005", row.Get("spend").Raw)
	require.NotEmpty(t, row.Get("request_id").String())
	begin, err := time.Parse(time.RFC3339, row.Get("startTime").String())
	require.NoError(t, err)
	end, err := time.Parse(time.RFC3339, row.Get("endTime").String())
	require.NoError(t, err)
	require.False(t, end.Before(begin))
	require.Len(t, get(http.StatusOK, key, "/spend/logs?request_id="+row.Get("request_id").String()).Array(), 1, "the provider's id too")
	require.Empty(t, get(http.StatusOK, other, "/spend/logs?request_id="+ids[1]).Array(), "another's")
	require.Equal(t, "openai", get(http.StatusOK, gateway.MasterKey, "/spend/logs?request_id="+ids[1]).Get("0.model_id").String(), "the backend, for who sees all")
	all := get(http.StatusOK, gateway.MasterKey, "/spend/logs")
	require.Len(t, all.Array(), 7)
	require.Equal(t, "claude", all.Get("0.model_group").String(), "the newest first")

	span := "start_date=" + url.QueryEscape(time.Now().UTC().Add(-time.Hour).Format(time.DateTime)) + "&end_date=" + url.QueryEscape(time.Now().UTC().Add(time.Hour).Format(time.DateTime))
	var seen []string
	for page := 1; page <= 4; page++ {
		answer := get(http.StatusOK, gateway.MasterKey, fmt.Sprintf("/spend/logs/v2?%s&page_size=2&page=%d", span, page))
		require.EqualValues(t, 7, answer.Get("total").Int())
		require.EqualValues(t, 4, answer.Get("total_pages").Int())
		for _, r := range answer.Get("data").Array() {
			seen = append(seen, r.Get("litellm_call_id").String())
		}
	}
	require.Len(t, seen, 7)
	var listed []string
	for _, r := range all.Array() {
		listed = append(listed, r.Get("litellm_call_id").String())
	}
	require.Equal(t, listed, seen)
	for filter, want := range map[string]int{
		"": 7, "&api_key=" + key: 5, "&user_id=ann": 5, "&team_id=" + gateway.Payer: 7, "&team_id=red": 0, "&end_user=end-user": 5, "&model_group=claude": 1,
		"&model=claude-sonnet-4-5": 1, "&key_alias=second": 2, "&status_filter=failure": 1, "&status_filter=success": 6, "&min_spend=0.005": 5,
		"&max_spend=0.004999": 2, "&request_id=" + ids[0]: 1, "&session_id=none": 0,
	} {
		require.EqualValues(t, want, get(http.StatusOK, gateway.MasterKey, "/spend/logs/ui?"+span+filter).Get("total").Int(), filter)
	}
	require.EqualValues(t, 0, get(http.StatusOK, key, "/spend/logs/session/ui?session_id=none").Get("total").Int())
	for _, wrong := range []string{
		"/spend/logs/v2", "/spend/logs/v2?" + span + "&page=0", "/spend/logs/v2?" + span + "&page_size=1001", "/spend/logs/v2?" + span + "&page_size=1000&page=11",
		"/spend/logs/v2?" + span + "&sort_by=spend", "/spend/logs/v2?" + span + "&min_spend=x", "/spend/logs/v2?" + span + "&color=red", "/spend/logs/session/ui",
		"/spend/logs/v2?start_date=now&end_date=then", "/spend/logs/v2?" + span + "&status_filter=odd",
	} {
		get(http.StatusBadRequest, gateway.MasterKey, wrong)
	}
	get(http.StatusForbidden, key, "/spend/logs/v2?"+span+"&api_key="+other)
	get(http.StatusNotImplemented, gateway.MasterKey, "/spend/logs/ui/"+ids[0])
}

// usd is a number of thousandths of a dollar.
func usd(thousandths int) string { return decimal.New(int64(thousandths), -3).String() }

// total adds up amounts of a report.
func total(t *testing.T, amounts gjson.Result) string {
	t.Helper()
	var sum decimal.Decimal
	for _, a := range amounts.Array() {
		d, err := decimal.NewFromString(a.Raw)
		require.NoError(t, err)
		sum = sum.Add(d)
	}
	return sum.String()
}

var costInAll = regexp.MustCompile(`Cost in all \$([0-9.]+)`)

// consoleTotal signs in to the console and returns what its page of spend has in all.
func consoleTotal(t *testing.T, g *gateway.Gateway, key string) string {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	client := http.Client{Jar: jar}
	res, err := client.PostForm(g.URL("/console/"), url.Values{"do": {"sign-in"}, "key": {key}})
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusOK, res.StatusCode)
	res, err = client.Get(g.URL("/console/spend?each=total"))
	require.NoError(t, err)
	page, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusOK, res.StatusCode, string(page))
	m := costInAll.FindSubmatch(page)
	if m == nil {
		return "0"
	}
	return string(m[1])
}
