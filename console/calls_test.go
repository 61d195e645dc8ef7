package console_test

import (
	"bytes"
	"compress/gzip"
	"math/big"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// call makes a call and returns its id.
func call(t *testing.T, g *gateway.Gateway, key string) string {
	t.Helper()
	a := g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, gateway.Chat("demo", "hi", false))
	return a.Header.Get("X-Litellm-Call-Id")
}

// TestAnOrdinaryKeySeesItsOwn signs in as each of two customers.
func TestAnOrdinaryKeySeesItsOwn(t *testing.T) {
	g := start(t, "console")
	mine := g.NewKey(`{"team_id":"blue-team","key_alias":"blue-key","user_id":"ann"}`)
	theirs := g.NewKey(`{"team_id":"red-team","key_alias":"red-key","user_id":"bob"}`)
	own, other := call(t, g, mine), call(t, g, theirs)

	b := open(t, g)
	b.signIn(mine)
	list := b.page("/console/calls")
	require.Contains(t, list, own)
	require.Contains(t, list, "1 call,")
	for _, path := range []string{
		"/console/", "/console/calls?since=all", "/console/calls?by=red-key&since=all", "/console/calls?payer=red-team",
		"/console/calls?id=" + other, "/console/calls/" + own,
	} {
		b.page(path)
	}
	detail := b.page("/console/calls/" + own)
	require.Contains(t, detail, "input")
	for _, hidden := range []string{"mock", "Lago", "markup", "Backend", "Payer"} {
		require.NotContains(t, detail, hidden, "how a call was routed and billed is for operators only")
	}
	for _, path := range []string{"/console/calls/" + other, "/console/now", "/console/decide", "/console/keys", "/console/teams", "/console/models", "/console/audit"} {
		status, _ := b.get(path)
		require.Equal(t, http.StatusNotFound, status, path)
	}
	token := b.token(list)
	for _, do := range []string{"retry", "estimate", "discard", "make-key", "block-key", "unblock-key", "limit-key", "make-team", "limit-team"} {
		status, _ := b.post("/console/", url.Values{"do": {do}, "form": {token}, "sure": {"yes"}, "id": {own}, "reason": {"no"}})
		require.Equal(t, http.StatusForbidden, status, do)
	}
	for _, seen := range b.seen {
		for _, key := range []string{mine, theirs, gateway.MasterKey} {
			require.NotContains(t, seen, key, "no key appears in a page or a URL")
		}
		if strings.HasPrefix(seen, "<!") {
			for _, secret := range []string{"red-team", "red-key", "bob", other + "</a>"} {
				require.NotContains(t, seen, secret)
			}
		}
	}
}

// TestATeamsAdminSeesTheTeam signs in as an admin and as a member of one team, next to another team.
func TestATeamsAdminSeesTheTeam(t *testing.T) {
	g := start(t, "console")
	for _, team := range []string{"blue", "red"} {
		g.Must(http.StatusOK, http.MethodPost, "/team/new", gateway.MasterKey,
			`{"team_id":"`+team+`","max_budget":7,"members_with_roles":[{"role":"admin","user_id":"ann"},{"role":"admin","user_id":"eve"},{"role":"user","user_id":"bob"}]}`)
	}
	admin := g.NewKey(`{"team_id":"blue","user_id":"ann","key_alias":"ann-key"}`)
	member := g.NewKey(`{"team_id":"blue","user_id":"bob","key_alias":"bob-key"}`)
	other := g.NewKey(`{"team_id":"red","user_id":"ann","key_alias":"red-key"}`)
	narrow := g.NewKey(`{"team_id":"blue","user_id":"ann","key_alias":"narrow-key","allowed_routes":["/v1/chat/completions"]}`)
	calling := g.NewKey(`{"team_id":"blue","user_id":"ann","key_type":"llm_api"}`)
	// Another admin can see this one, and can stop being an admin.
	issued := gjson.Get(g.Must(http.StatusOK, http.MethodPost, "/key/generate", admin, `{"team_id":"blue","user_id":"eve"}`).Body, "key").String()
	calls := []string{call(t, g, admin), call(t, g, member), call(t, g, other)}

	for key, sees := range map[string][]bool{
		admin: {true, true, false}, member: {false, true, false}, narrow: {false, false, false}, calling: {false, false, false}, issued: {false, false, false},
	} {
		b := open(t, g)
		b.signIn(key)
		list := b.page("/console/calls?since=all")
		for i, id := range calls {
			require.Equal(t, sees[i], strings.Contains(list, ">"+id+"</a>"), "%s %d", key, i)
			status, _ := b.get("/console/calls/" + id)
			require.Equal(t, sees[i], status == http.StatusOK)
		}
		status, page := b.get("/console/spend?by=key_alias&each=total")
		require.Equal(t, key == admin, status == http.StatusOK)
		if key == admin {
			require.Contains(t, page, "calls 2")
			require.Contains(t, page, "bob-key")
			require.Contains(t, b.page("/console/calls?by=bob-key"), calls[1])
			require.Contains(t, b.page("/console/key"), "Spend and limits of team blue")
		}
		for _, seen := range b.seen {
			require.NotContains(t, seen, "red-key")
		}
		for _, path := range []string{"/console/keys", "/console/teams", "/console/now"} {
			status, _ := b.get(path)
			require.Equal(t, http.StatusNotFound, status)
		}
	}
}

// TestSpend compares the page, its CSV file and the command's output.
func TestSpend(t *testing.T) {
	g := start(t, "console")
	blue := g.NewKey(`{"team_id":"blue","key_alias":"=blue"}`)
	red := g.NewKey(`{"team_id":"red","key_alias":"red-key"}`)
	for range 3 {
		call(t, g, blue)
	}
	call(t, g, red)
	total, one := new(big.Rat), new(big.Rat)
	for _, l := range g.Ledger() {
		cost, ok := new(big.Rat).SetString(l.Cost)
		require.True(t, ok)
		total.Add(total, cost)
		one = cost
	}
	exact := func(r *big.Rat) string { return strings.TrimRight(strings.TrimRight(r.FloatString(15), "0"), ".") }

	b := open(t, g)
	b.signIn(gateway.MasterKey)
	page := b.page("/console/spend?by=key_alias&each=total")
	require.Contains(t, page, "Cost in all $"+exact(total)+", calls 4")
	require.Contains(t, page, "<svg")
	require.Contains(t, page, "<title>red-key: $"+exact(one)+"</title>")
	file := b.page("/console/spend/csv?by=key_alias&each=total")
	require.Contains(t, file, "red-key,1,")
	require.Contains(t, file, "'=blue,3,", "no cell is a formula")
	for _, query := range []string{"by=", "by=model", "by=team&each=month&span=12+months", "by=payer&span=7+days"} {
		require.Contains(t, b.page("/console/spend?"+query), "Cost in all $"+exact(total), query)
	}
	status, _ := b.get("/console/spend?by=nothing-known")
	require.Equal(t, http.StatusBadRequest, status)

	// A customer sees only its own spend.
	b = open(t, g)
	b.signIn(red)
	for _, query := range []string{"", "by=model&each=total", "by="} {
		page = b.page("/console/spend?" + query)
		require.Contains(t, page, "Cost in all $"+exact(one)+", calls 1")
		require.NotContains(t, page, "markup")
	}
	for _, query := range []string{"by=key_alias", "by=team", "by=backend"} {
		status, _ = b.get("/console/spend?" + query)
		require.Equal(t, http.StatusBadRequest, status)
	}
	require.Eventually(t, func() bool { return strings.Contains(b.page("/console/key"), "<dd>"+exact(one)+"</dd>") }, 10*time.Second, 10*time.Millisecond,
		"the limits count the same spend, once they have counted it")
}

// TestReadOnlyKeys checks that read_only keys see everything and change nothing, and that management keys may also make changes.
func TestReadOnlyKeys(t *testing.T) {
	g := start(t, "console")
	id := call(t, g, g.NewKey(`{"team_id":"blue"}`))
	b := open(t, g)
	_, page := b.signIn(g.NewKey(`{"key_type":"read_only"}`))
	require.Contains(t, page, "Calls in flight")
	require.Contains(t, b.page("/console/calls/"+id), "Backend")
	status, body := b.post("/console/", url.Values{"do": {"discard"}, "form": {b.token(page)}, "id": {id}})
	require.Equal(t, http.StatusForbidden, status, body)

	b = open(t, g)
	_, page = b.signIn(g.NewKey(`{"key_type":"management"}`))
	require.Contains(t, page, "Calls in flight")
	status, body = b.post("/console/", url.Values{"do": {"discard"}, "form": {b.token(page)}, "id": {id}})
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, "Nothing is changed yet")
}

func TestCallsAreFound(t *testing.T) {
	g := start(t, "console")
	blue := g.NewKey(`{"team_id":"blue","key_alias":"blue-key"}`)
	red := g.NewKey(`{"team_id":"red","key_alias":"red-key"}`)
	calls := []string{call(t, g, blue), call(t, g, red), call(t, g, red)}
	b := open(t, g)
	b.signIn(gateway.MasterKey)
	for query, want := range map[string][]string{
		"":                                     calls,
		"id=" + calls[1]:                       calls[1:2],
		"by=blue-key":                          calls[:1],
		"payer=red":                            calls[1:],
		"model=demo&outcome=completed":         calls,
		"model=demo&outcome=completed&by=none": nil,
		"outcome=rejected":                     nil,
	} {
		page := b.page("/console/calls?" + query)
		for _, id := range calls {
			found := strings.Contains(page, ">"+id+"</a>")
			require.Equal(t, strings.Contains(strings.Join(want, " "), id), found, "%s: %s", query, id)
		}
	}
	// The page of a call shows the values of its record.
	var cost string
	for _, l := range g.Ledger() {
		cost = l.Cost
	}
	require.NotEmpty(t, cost)
	require.Contains(t, b.page("/console/calls/"+calls[0]), "<dd>"+cost+"</dd>")
	status, _ := b.get("/console/calls/no-id")
	require.Equal(t, http.StatusNotFound, status)
}

var assetLink = regexp.MustCompile(`(?:href|src)="(/console/[a-z]+\.(?:css|svg|js)\?v=[0-9a-f]+)"`)

// TestPagesAreSmall adds up the compressed size of each page with its assets, and checks that nothing needs another host or an
// inline script.
func TestPagesAreSmall(t *testing.T) {
	g := start(t, "console")
	key := g.NewKey(`{"team_id":"blue"}`)
	for range 120 {
		call(t, g, key)
	}
	b := open(t, g)
	b.signIn(gateway.MasterKey)
	nav := regexp.MustCompile(`<li><a href="([^"]+)"`).FindAllStringSubmatch(b.page("/console/"), -1)
	require.NotEmpty(t, nav)
	began := time.Now()
	for _, path := range nav {
		page := b.page(path[1])
		require.NotRegexp(t, `<script[^>]*>[^<]`, page, "a script within the page")
		require.NotContains(t, page, "style=")
		require.NotRegexp(t, `(?:src|href|action)="(?:https?:)?//`, page)
		all := page
		links := assetLink.FindAllStringSubmatch(page, -1)
		require.GreaterOrEqual(t, len(links), 2)
		for _, link := range links {
			all += b.page(link[1])
		}
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		_, err := z.Write([]byte(all))
		require.NoError(t, err)
		require.NoError(t, z.Close())
		require.Less(t, packed.Len(), 60_000, path[1])
	}
	t.Log(len(nav), "pages in", time.Since(began))
}
