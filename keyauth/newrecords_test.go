package keyauth

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/tollgate-llm/tollgate/internal/keystore"
)

// policyGate is a gate whose handler has what a Caddyfile says of new records.
func policyGate(t *testing.T, text string) *gate {
	t.Helper()
	g := fileGate(t)
	require.NoError(t, g.h.UnmarshalCaddyfile(caddyfile.NewTestDispenser("keyauth {\n"+text+"\n}")))
	require.NoError(t, g.h.usePolicy())
	return g
}

// TestDefaultsOfNewRecords: a request that leaves a field out, or gives null, has the configuration's value; all others have their own.
func TestDefaultsOfNewRecords(t *testing.T) {
	t.Setenv("KEYAUTH_TEST_RPM", "7")
	g := policyGate(t, `new_keys {
		default max_budget 1.50
		default budget_duration monthly
		default models gpt-4o claude
		default rpm_limit {env.KEYAUTH_TEST_RPM}
		default metadata `+"`{\"from\":\"default\"}`"+`
	}
	new_teams {
		default max_budget 100
		default team_member_budget 5
	}
	new_users {
		default max_budget 20
		default teams red
		internal_user max_budget 3
		internal_user budget_duration 30d
	}`)
	ask := func(path, body string) map[string]any {
		t.Helper()
		status, m := g.do("POST", path, testMaster, body)
		require.Equal(t, 200, status, "%v", m)
		return m
	}
	m := ask("/key/generate", `{"rpm_limit":null,"models":[]}`)
	require.Equal(t, 1.5, m["max_budget"])
	require.Equal(t, "monthly", m["budget_duration"])
	require.Equal(t, []any{"gpt-4o", "claude"}, m["models"])
	require.Equal(t, 7.0, m["rpm_limit"])
	require.Equal(t, map[string]any{"from": "default"}, m["metadata"])
	m = ask("/key/generate", `{"max_budget":9,"budget_duration":null,"models":["other"],"rpm_limit":0,"metadata":{"a":"b"}}`)
	require.Equal(t, 9.0, m["max_budget"])
	require.Nil(t, m["budget_duration"], "null says that the budget has no end")
	require.Equal(t, []any{"other"}, m["models"])
	require.Equal(t, 0.0, m["rpm_limit"], "nothing is allowed: that is not left out")
	require.Equal(t, map[string]any{"a": "b"}, m["metadata"])

	require.Equal(t, 100.0, ask("/team/new", `{"team_id":"red"}`)["max_budget"])
	require.Equal(t, 1.0, ask("/team/new", `{"team_id":"blue","max_budget":1}`)["max_budget"])
	ask("/key/generate", `{"team_id":"implied"}`)
	_, m = g.do("GET", "/team/info?team_id=implied", testMaster, "")
	require.Equal(t, 100.0, m["team_info"].(map[string]any)["max_budget"], "a team that its first key makes is a new team")

	m = ask("/user/new", `{"user_id":"a"}`)
	require.Equal(t, 20.0, m["max_budget"])
	require.Equal(t, []any{"red"}, m["teams"])
	m = ask("/user/new", `{"user_id":"b","user_role":"internal_user"}`)
	require.Equal(t, 20.0, m["max_budget"], "the defaults of all come first, as in LiteLLM")
	require.Equal(t, "30d", m["budget_duration"])
	m = ask("/user/update", `{"user_id":"a","user_role":"internal_user"}`)["data"].(map[string]any)
	require.Equal(t, 20.0, m["max_budget"])
	require.Equal(t, "30d", m["budget_duration"])
	require.Nil(t, ask("/user/update", `{"user_id":"b","max_budget":null}`)["data"].(map[string]any)["max_budget"], "a change is no new record")
}

// TestUpperBoundsOfKeys: no request makes a key that goes beyond its bounds, by whatever path and whoever asks.
func TestUpperBoundsOfKeys(t *testing.T) {
	g := policyGate(t, `new_keys {
		at_most max_budget 10
		at_most budget_duration 30d
		at_most duration 1mo
		at_most rpm_limit 100
		at_most tpm_limit 1000
		at_most max_parallel_requests 4
	}`)
	status, m := g.do("POST", "/key/generate", testMaster, `{"max_budget":5,"key":"sk-bounded-key"}`)
	require.Equal(t, 200, status, "%v", m)
	require.Equal(t, 5.0, m["max_budget"])
	require.Equal(t, "30d", m["budget_duration"], "a bound is the value of what is left out")
	require.Equal(t, 100.0, m["rpm_limit"])
	require.NotNil(t, m["expires"])
	status, m = g.do("POST", "/user/new", testMaster, `{"user_id":"ann"}`)
	require.Equal(t, 200, status, "%v", m)
	status, m = g.do("GET", "/key/info?key="+m["key"].(string), testMaster, "")
	require.Equal(t, 200, status)
	require.Equal(t, 10.0, m["info"].(map[string]any)["max_budget"], "so is that key")
	before := g.records()[keystore.KeyKind]
	for field, values := range map[string][]string{
		"max_budget":            {"10.000000000000001", "11", "1e9"},
		"budget_duration":       {`"31d"`, `"1mo"`, `"5w"`},
		"duration":              {`"32d"`, `"-1"`, `"2mo"`},
		"rpm_limit":             {"101"},
		"max_parallel_requests": {"5"},
	} {
		for _, value := range values {
			for path, body := range map[string]string{
				"/key/generate":                 `{"` + field + `":` + value + `}`,
				"/key/service-account/generate": `{"team_id":"t","key_alias":"a","` + field + `":` + value + `}`,
				"/key/update":                   `{"key":"sk-bounded-key","` + field + `":` + value + `}`,
				"/key/regenerate":               `{"key":"sk-bounded-key","` + field + `":` + value + `}`,
			} {
				status, m := g.do("POST", path, testMaster, body)
				require.Equal(t, 400, status, "%s %s: %v", path, body, m)
				require.Equal(t, field, m["error"].(map[string]any)["param"])
			}
		}
		status, _ := g.do("POST", "/key/update", testMaster, `{"key":"sk-bounded-key","`+field+`":null}`)
		require.Equal(t, 400, status, "%s: without it there is no bound", field)
	}
	for _, raised := range []string{
		`"temp_budget_increase":100,"temp_budget_expiry":"2099-01-01"`, `"metadata":{"temp_budget_increase":100,"temp_budget_expiry":"2099-01-01"}`,
		`"token_rate_limit_type":"output"`, `"metadata":{"token_rate_limit_type":"input"}`,
	} {
		for _, path := range []string{"/key/generate", "/key/update", "/key/regenerate"} {
			named := `"key":"sk-bounded-key",`
			if path == "/key/generate" {
				named = ""
			}
			status, m := g.do("POST", path, testMaster, `{`+named+raised+`}`)
			require.Equal(t, 400, status, "%s %s: %v", path, raised, m)
		}
	}
	status, m = g.do("POST", "/key/bulk_update", testMaster, `{"keys":[{"key":"sk-bounded-key","max_budget":11}]}`)
	require.Equal(t, 200, status)
	require.Len(t, m["failed_updates"], 1)
	require.Equal(t, before, g.records()[keystore.KeyKind])
	status, _ = g.do("POST", "/key/update", testMaster, `{"key":"sk-bounded-key","max_budget":10,"budget_duration":"weekly","duration":"28d"}`)
	require.Equal(t, 200, status)
}

// TestPoliciesThatSayNothing: what a configuration says wrongly of new records is refused at its start.
func TestPoliciesThatSayNothing(t *testing.T) {
	for text, want := range map[string]string{
		"new_keys {\n default max_bugdet 1\n}":                                "new_keys default max_bugdet: no such field",
		"new_keys {\n default key_alias a\n}":                                 "new_keys default key_alias: no such field",
		"new_keys {\n default max_budget much\n}":                             "new_keys default max_budget: must be a number",
		"new_keys {\n default guardrails a\n}":                                "new_keys default guardrails: is not supported",
		"new_keys {\n at_most models a\n}":                                    "new_keys at_most models: it cannot have an upper bound",
		"new_keys {\n at_most duration -1\n}":                                 "new_keys at_most duration: an upper bound must be",
		"new_keys {\n at_most max_budget 1\n default max_budget 2\n}":         "new_keys default max_budget: it is above the upper bound",
		"new_keys {\n default max_budget {env.KEYAUTH_TEST_NOT_SET}\n}":       "new_keys default max_budget: ",
		"new_users {\n default user_role proxy_admin\n}":                      "new_users default user_role: proxy_admin is not supported",
		"new_teams {\n default team_id x\n}":                                  "new_teams default team_id: no such field",
		"customer_budget {env.KEYAUTH_TEST_NOT_SET}":                          "customer_budget: ",
		"new_keys {\n default max_budget 1\n default max_budget 2\n}":         "is given twice",
		"new_keys {\n default max_budget\n}":                                  "wrong argument count",
		"new_keys {\n maximum max_budget 1\n}":                                "unrecognized subdirective of new_keys: maximum",
		"new_teams {\n at_most max_budget 1\n}":                               "unrecognized subdirective of new_teams: at_most",
		"new_keys x {\n}":                                                     "wrong argument count",
		"new_users {\n internal_user budget_duration sometimes\n}":            "new_users internal_user budget_duration: must be",
		"new_users {\n default user_id ann\n}":                                "new_users default user_id: no such field",
		"customer_budget \"a\x01b\"":                                          "control",
		"new_keys {\n default max_budget 1\n}\nnew_keys {\n}":                 "new_keys",
		"new_keys {\n default allowed_routes chat\n}":                         "new_keys default allowed_routes: must be",
		"new_keys {\n default models `[1]`\n}":                                "new_keys default models: must be a list",
		"new_teams {\n default members_with_roles `[{\"user_id\":\"a\"}]`\n}": "new_teams default members_with_roles: no such field",
	} {
		h := new(Handler)
		err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser("keyauth {\n" + text + "\n}"))
		if err == nil {
			err = h.usePolicy()
		}
		require.ErrorContains(t, err, want, text)
	}
}
