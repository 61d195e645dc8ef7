package keyauth

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/keystore"
	"github.com/tollgate-llm/tollgate/internal/manage"
)

// Who may do what a request asks for, beside the master key and keys of the type management.
const (
	nobody   = "nobody"            // else
	readers  = "read_only"         // keys of the type read_only
	admins   = "the team's admins" // of the team red
	seers    = "admins and read_only"
	bobs     = "bob's own key and read_only"
	everyone = "every key that manages" // what each gets is what it may see
	refused  = "refused to all"         // a path that is not served
)

// requests has one request for every path of the management API, about the team red, its key (KEY) and its member bob.
var requests = []struct{ method, path, body, who string }{
	{"POST", "/key/generate", `{"team_id":"red"}`, admins},
	{"POST", "/key/service-account/generate", `{"team_id":"red","key_alias":"robot"}`, admins},
	{"POST", "/key/update", `{"key":"KEY","rpm_limit":5}`, admins},
	{"POST", "/key/bulk_update", `{"keys":[]}`, everyone},
	{"POST", "/team/key/bulk_update", `{"team_id":"red","all_keys_in_team":true,"update_fields":{"rpm_limit":5}}`, admins},
	{"POST", "/key/block", `{"key":"KEY"}`, admins},
	{"POST", "/key/unblock", `{"key":"KEY"}`, admins},
	{"POST", "/key/{key}/reset_spend", `{"reset_to":0}`, admins},
	{"POST", "/key/regenerate", `{"key":"KEY","new_key":"sk-the-second-key"}`, admins},
	{"POST", "/key/{key}/regenerate", `{"new_key":"KEY"}`, admins},
	{"GET", "/key/info?key=KEY", ``, "the team's admins and read_only"},
	{"POST", "/v2/key/info", `{"keys":["KEY"]}`, "the team's admins and read_only"},
	{"GET", "/key/list", ``, everyone},
	{"GET", "/key/aliases", ``, everyone},
	{"POST", "/key/delete", `{"keys":["KEY"]}`, admins},

	{"POST", "/team/new", `{"team_id":"green"}`, nobody},
	{"POST", "/team/update", `{"team_id":"red","max_budget":5}`, nobody},
	{"PATCH", "/team/{team_id}", `{"metadata":{"a":"b"}}`, nobody},
	{"POST", "/team/block", `{"team_id":"green"}`, nobody},
	{"POST", "/team/unblock", `{"team_id":"green"}`, nobody},
	{"GET", "/team/info?team_id=red", ``, seers},
	{"GET", "/team/list", ``, everyone},
	{"GET", "/v2/team/list", ``, everyone},
	{"GET", "/team/available", ``, everyone},
	{"GET", "/team/permissions_list?team_id=red", ``, seers},
	{"POST", "/team/permissions_update", `{"team_id":"red","team_member_permissions":["/key/info"]}`, admins},
	{"POST", "/team/model/add", `{"team_id":"red","models":["m2"]}`, nobody},
	{"POST", "/team/model/delete", `{"team_id":"red","models":["m2"]}`, nobody},
	{"POST", "/team/member_add", `{"team_id":"red","member":{"user_id":"eve","role":"user"}}`, admins},
	{"POST", "/team/bulk_member_add", `{"team_id":"red","members":[{"user_id":"joe","role":"user"}]}`, admins},
	{"POST", "/team/member_update", `{"team_id":"red","user_id":"bob","max_budget_in_team":5}`, admins},
	{"POST", "/team/{team_id}/member/{user_id}/reset_spend", `{"reset_to":0}`, admins},
	{"POST", "/team/{team_id}/member/{user_id}/reset_budget", `{}`, admins},
	{"GET", "/team/{team_id}/members/me", ``, "members"},
	{"POST", "/team/member_delete", `{"team_id":"red","user_id":"eve"}`, admins},
	{"POST", "/team/delete", `{"team_ids":["green"]}`, nobody},

	{"POST", "/user/new", `{"user_id":"new"}`, nobody},
	{"POST", "/user/update", `{"user_id":"bob","max_budget":5}`, nobody},
	{"POST", "/user/bulk_update", `{"users":[{"user_id":"bob","max_budget":6}]}`, nobody},
	{"GET", "/user/available_roles", ``, everyone},
	{"GET", "/user/info?user_id=bob", ``, bobs},
	{"GET", "/v2/user/info?user_id=bob", ``, bobs},
	{"GET", "/user/list", ``, readers},
	{"POST", "/user/delete", `{"user_ids":["new"]}`, nobody},

	{"POST", "/customer/new", `{"user_id":"c"}`, nobody},
	{"POST", "/customer/update", `{"user_id":"c","max_budget":5}`, nobody},
	{"POST", "/customer/block", `{"user_ids":["c"]}`, nobody},
	{"POST", "/customer/unblock", `{"user_ids":["c"]}`, nobody},
	{"GET", "/customer/info?end_user_id=c", ``, readers},
	{"GET", "/customer/list", ``, readers},
	{"POST", "/customer/delete", `{"user_ids":["c"]}`, nobody},

	{"POST", "/budget/new", `{"budget_id":"gold","max_budget":5}`, nobody},
	{"POST", "/budget/update", `{"budget_id":"gold","max_budget":6}`, nobody},
	{"POST", "/budget/info", `{"budgets":["gold"]}`, readers},
	{"GET", "/budget/settings?budget_id=gold", ``, readers},
	{"GET", "/budget/list", ``, readers},
	{"POST", "/budget/delete", `{"id":"gold"}`, nobody},

	{"POST", "/organization/new", `{}`, refused},
	{"GET", "/project/list", ``, refused},
	{"GET", "/tag/list", ``, refused},
	{"POST", "/key/health", `{}`, refused},
}

// TestEachWrongCallerIsRefused sends every request with every sort of key, the wrong ones first: they are refused, and change nothing.
func TestEachWrongCallerIsRefused(t *testing.T) {
	g := fileGate(t)
	post := func(path, body string) {
		t.Helper()
		status, m := g.do("POST", path, testMaster, body)
		require.Equal(t, 200, status, "%v", m)
	}
	post("/user/new", `{"user_id":"bob","auto_create_key":false}`)
	post("/team/new", `{"team_id":"red","models":["m"],"members_with_roles":[{"user_id":"ann","role":"admin"},{"user_id":"bob","role":"user"}]}`)
	post("/team/new", `{"team_id":"blue","members_with_roles":[{"user_id":"kim","role":"admin"}]}`)
	target := g.generate(`{"team_id":"red","user_id":"bob","max_budget":1}`)
	ann := g.generate(`{"user_id":"ann"}`)
	_, m := g.do("POST", "/key/generate", ann, `{"team_id":"red","user_id":"bob","key_alias":"issued"}`)
	callers := []struct{ name, key string }{
		{"no key", ""},
		{"an unknown key", "sk-nobody-has-this-one"},
		{"a blocked key", g.generate(`{"blocked":true,"key_type":"management"}`)},
		{"llm_api", g.generate(`{"key_type":"llm_api","user_id":"ann"}`)},
		{"allowed_routes", g.generate(`{"key_type":"management","allowed_routes":["/chat/completions"]}`)},
		{"allowed_routes of an admin", g.generate(`{"user_id":"ann","allowed_routes":["/chat/completions"]}`)},
		{"a plain key", g.generate(`{}`)},
		{"a key that an admin made for bob", m["key"].(string)},
		{"a key of a member of the team", g.generate(`{"team_id":"red","user_id":"bob"}`)},
		{"an admin of another team", g.generate(`{"user_id":"kim"}`)},
		{"an admin's key of another team", g.generate(`{"user_id":"ann","team_id":"blue"}`)},
		{"bob", g.generate(`{"user_id":"bob"}`)},
		{"read_only", g.generate(`{"key_type":"read_only"}`)},
		{"info_routes", g.generate(`{"key_type":"management","allowed_routes":["info_routes"]}`)},
		{"an admin of the team", ann},
		{"management", g.generate(`{"key_type":"management"}`)},
		{"master", testMaster},
	}
	right := map[string][]string{
		readers: {"read_only", "info_routes"},
		admins:  {"an admin of the team"},
		seers:   {"an admin of the team", "read_only", "info_routes"},
		bobs:    {"bob", "a key of a member of the team", "read_only", "info_routes"},
		"the team's admins and read_only": {
			"an admin of the team", "read_only", "info_routes", "bob", "a key of a member of the team",
		},
		"members": {"an admin of the team", "an admin's key of another team", "bob", "a key of a member of the team", "a key that an admin made for bob"},
		everyone: {
			"a plain key", "a key that an admin made for bob", "a key of a member of the team", "an admin of another team", "an admin's key of another team", "bob",
			"an admin of the team", "read_only", "info_routes",
		},
	}
	var asked []string
	for _, q := range requests {
		name, _, _ := strings.Cut(q.path, "?")
		op, _ := manage.Find(strings.NewReplacer("{key}", target, "{team_id}", "red", "{user_id}", "bob").Replace(name))
		require.NotNil(t, op, name)
		asked = append(asked, name)
		path := strings.NewReplacer("KEY", target, "{key}", target, "{team_id}", "red", "{user_id}", "bob").Replace(q.path)
		body := strings.ReplaceAll(q.body, "KEY", target)
		switch name {
		case "/key/{key}/regenerate":
			path = strings.ReplaceAll(q.path, "{key}", "sk-the-second-key")
		case "/key/bulk_update":
			right[everyone] = slices.DeleteFunc(slices.Clone(right[everyone]), func(s string) bool { return s == "read_only" || s == "info_routes" })
		case "/key/list":
			right[everyone] = append(right[everyone], "read_only", "info_routes")
		}
		var before map[keystore.Kind][]keystore.Row
		for i, c := range callers {
			may := slices.Contains(right[q.who], c.name) || c.name == "management" || c.name == "master" && q.who != "members"
			if q.who == "members" && c.name == "management" {
				may = false
			}
			if !may && i < len(callers)-3 {
				before = g.records()
			}
			status, m := g.do(q.method, path, c.key, body)
			switch {
			case i < 3:
				require.Equal(t, 401, status, "%s by %s: %v", path, c.name, m)
			case q.who == refused:
				require.Equal(t, 501, status, "%s by %s: %v", path, c.name, m)
			case may:
				require.NotContains(t, []int{401, 403, 405, 501}, status, "%s by %s: %v", path, c.name, m)
			default:
				require.Equal(t, 403, status, "%s by %s: %v", path, c.name, m)
			}
			if !may && i < len(callers)-3 {
				require.Equal(t, before, g.records(), "%s by %s has changed something", path, c.name)
			}
		}
		if op.Method != "" {
			wrong := map[string]string{"GET": "POST", "POST": "GET", "PATCH": "GET"}[op.Method]
			w := g.serve(withKey(httptest.NewRequestWithContext(t.Context(), wrong, path, strings.NewReader(`{}`)), testMaster))
			require.Equal(t, 405, w.Code, path)
			require.Equal(t, op.Method, w.Header().Get("Allow"), path)
		}
	}
	for _, path := range manage.Paths() {
		if !strings.HasPrefix(path, "/end_user/") { // the operations of /customer/
			require.Contains(t, asked, path, "no request of the table asks for it")
		}
	}
}

// records returns all that the store holds.
func (g *gate) records() map[keystore.Kind][]keystore.Row {
	g.t.Helper()
	all := make(map[keystore.Kind][]keystore.Row)
	for _, kind := range []keystore.Kind{
		keystore.KeyKind, keystore.TeamKind, keystore.UserKind, keystore.EndUserKind, keystore.BudgetKind, keystore.MemberKind, keystore.AuditKind,
	} {
		rows, err := g.cache.Store().List(g.t.Context(), kind, "", 10_000)
		require.NoError(g.t, err)
		all[kind] = rows
	}
	return all
}

// TestWhatIsNotTheCallersIsNotKnownToIt: an admin of a team has the same answer about keys, teams and users that are not the team's as about those
// that do not exist.
func TestWhatIsNotTheCallersIsNotKnownToIt(t *testing.T) {
	g := fileGate(t)
	status, m := g.do("POST", "/team/new", testMaster, `{"team_id":"red","members_with_roles":[{"user_id":"ann","role":"admin"}]}`)
	require.Equal(t, 200, status, "%v", m)
	status, _ = g.do("POST", "/team/new", testMaster, `{"team_id":"blue"}`)
	require.Equal(t, 200, status)
	status, _ = g.do("POST", "/user/new", testMaster, `{"user_id":"there","user_email":"there@example.org","auto_create_key":false}`)
	require.Equal(t, 200, status)
	old := g.generate(`{"team_id":"blue","key_alias":"there"}`)
	status, m = g.do("POST", "/key/regenerate", testMaster, `{"key":"`+old+`","grace_period":"1h"}`)
	require.Equal(t, 200, status)
	key := m["key"].(string)
	admin, plain := g.generate(`{"user_id":"ann"}`), g.generate(`{}`)
	for _, q := range []struct{ method, path, body string }{
		{"POST", "/key/update", `{"key":"KEY","rpm_limit":5}`},
		{"POST", "/key/update", `{"key_alias":"NAME","rpm_limit":5}`},
		{"POST", "/key/update", `{"key":"KEY","budget_id":"nowhere"}`},
		{"POST", "/key/bulk_update", `{"keys":[{"key":"KEY","max_budget":1}]}`},
		{"POST", "/team/key/bulk_update", `{"team_id":"red","key_ids":["KEY"],"update_fields":{"rpm_limit":5}}`},
		{"POST", "/key/block", `{"key":"KEY"}`},
		{"POST", "/key/delete", `{"keys":["KEY"]}`},
		{"POST", "/key/delete", `{"key_aliases":["NAME"]}`},
		{"POST", "/key/regenerate", `{"key":"KEY"}`},
		{"POST", "/key/KEY/reset_spend", `{"reset_to":0}`},
		{"GET", "/key/info?key=KEY", ``},
		{"POST", "/v2/key/info", `{"keys":["KEY"]}`},
		{"POST", "/key/generate", `{"team_id":"TEAM"}`},
		{"POST", "/team/member_add", `{"team_id":"TEAM","member":{"user_id":"ann","role":"admin"}}`},
		{"POST", "/team/member_add", `{"team_id":"red","member":{"user_email":"NAME@example.org","role":"user"}}`},
		{"POST", "/team/bulk_member_add", `{"team_id":"red","members":[{"user_email":"NAME@example.org","role":"user"}]}`},
		{"GET", "/team/info?team_id=TEAM", ``},
		{"GET", "/team/permissions_list?team_id=TEAM", ``},
		{"GET", "/team/TEAM/members/me", ``},
		{"GET", "/user/info?user_id=NAME", ``},
	} {
		for _, caller := range []string{admin, plain} {
			answer := func(key, team, name string) (int, string) {
				r := strings.NewReplacer("KEY", key, "TEAM", team, "NAME", name)
				status, m := g.do(q.method, r.Replace(q.path), caller, r.Replace(q.body))
				if status == 200 {
					return status, m["failed_updates"].([]any)[0].(map[string]any)["failed_reason"].(string)
				}
				return status, message(m)
			}
			for _, there := range []string{key, old} {
				status, says := answer(there, "blue", "there")
				other, else_ := answer("sk-nobody-has-this-one", "nowhere", "nowhere")
				require.Equal(t, other, status, "%s %s", q.path, q.body)
				require.Equal(t, else_, says, "%s %s", q.path, q.body)
			}
		}
	}
}

// TestAdminsOfATeamReadNoUser: who makes or replaces a key for a member of its team does not read with it what the user has elsewhere.
func TestAdminsOfATeamReadNoUser(t *testing.T) {
	g := fileGate(t)
	ask := func(method, path, key, body string, want int) map[string]any {
		t.Helper()
		status, m := g.do(method, path, key, body)
		require.Equal(t, want, status, "%s %s %s: %v", method, path, body, m)
		return m
	}
	ask("POST", "/user/new", testMaster, `{"user_id":"victim","auto_create_key":false}`, 200)
	ask("POST", "/team/new", testMaster, `{"team_id":"red","members_with_roles":[{"user_id":"ann","role":"admin"}]}`, 200)
	ask("POST", "/team/new", testMaster, `{"team_id":"blue","members_with_roles":[{"user_id":"victim","role":"admin"}]}`, 200)
	private := g.generate(`{"user_id":"victim","key_alias":"private"}`)
	admin := g.generate(`{"user_id":"ann"}`)
	ask("POST", "/team/member_add", admin, `{"team_id":"red","member":{"user_id":"victim","role":"admin"}}`, 200)
	seesNothing := func(key string) {
		t.Helper()
		for _, path := range []string{"/user/info", "/v2/user/info", "/user/info?user_id=victim", "/key/info?key=" + private, "/team/info?team_id=blue"} {
			ask("GET", path, key, "", 403)
		}
		require.Equal(t, 1.0, ask("GET", "/key/list?include_team_keys=true", key, "", 200)["total_count"])
		require.Equal(t, 0.0, ask("GET", "/v2/team/list", key, "", 200)["total"])
		ask("GET", "/key/info", key, "", 200)
		require.Equal(t, 200, g.model(key).Code)
		require.Equal(t, "victim", g.call.Identity.UserID, "its calls are the user's")
	}
	made := ask("POST", "/key/generate", admin, `{"team_id":"red","user_id":"victim"}`, 200)["key"].(string)
	seesNothing(made)
	own := g.generate(`{"team_id":"red","user_id":"victim"}`)
	ask("GET", "/user/info", own, "", 200)
	replaced := ask("POST", "/key/regenerate", admin, `{"key":"`+own+`","grace_period":"1h"}`, 200)["key"].(string)
	seesNothing(replaced)
	ask("GET", "/user/info", own, "", 200) // which the admin has not seen
	robot := ask("POST", "/key/service-account/generate", admin, `{"team_id":"red","key_alias":"robot"}`, 200)["key"].(string)
	ask("POST", "/key/update", admin, `{"key":"`+robot+`","user_id":"victim"}`, 200)
	seesNothing(robot)
	ask("POST", "/key/update", testMaster, `{"key":"`+made+`","rpm_limit":50}`, 200)
	seesNothing(made)
	again := ask("POST", "/key/regenerate", testMaster, `{"key":"`+made+`"}`, 200)["key"].(string)
	ask("GET", "/user/info", again, "", 200)
	ask("GET", "/user/info", ask("POST", "/key/generate", admin, `{"team_id":"red","user_id":"ann"}`, 200)["key"].(string), "", 404)
}

// TestKeysThatManageCallNoModels: what a key may do beside managing is what its type and its routes say.
func TestKeysThatManageCallNoModels(t *testing.T) {
	g := fileGate(t)
	for _, kind := range []string{"management", "read_only"} {
		require.Equal(t, 403, g.model(g.generate(`{"key_type":"`+kind+`"}`)).Code)
	}
	require.Equal(t, 200, g.model(g.generate(`{"key_type":"llm_api"}`)).Code)
	require.Equal(t, 403, g.model(g.generate(`{"allowed_routes":["/embeddings"]}`)).Code)
	require.Equal(t, 200, g.model(g.generate(`{"allowed_routes":["/chat/*"]}`)).Code)
	require.Equal(t, 200, g.model(g.generate(`{"allowed_routes":["llm_api_routes"]}`)).Code)
}
