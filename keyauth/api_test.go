package keyauth

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/keys"
	"github.com/tollgate-llm/tollgate/internal/keystore"
	"github.com/tollgate-llm/tollgate/internal/testkit"
)

func withKey(r *http.Request, key string) *http.Request {
	r.Header.Set("Authorization", "Bearer "+key)
	return r
}

func eachGate(t *testing.T, test func(t *testing.T, g *gate)) {
	t.Run("file", func(t *testing.T) { test(t, fileGate(t)) })
	t.Run("redis", func(t *testing.T) { test(t, newGate(t, openRedis(testkit.Redis(t)), time.Now)) })
}

func message(m map[string]any) string { return m["error"].(map[string]any)["message"].(string) }

func TestLifeOfAKey(t *testing.T) {
	eachGate(t, func(t *testing.T, g *gate) {
		status, made := g.do("POST", "/key/generate", testMaster, `{"key_alias":"ann","duration":"30d","models":["gpt-4o"],
			"user_id":"u","team_id":"t","max_budget":12.10,"tpm_limit":1000,"metadata":{"a":"b"},"model_rpm_limit":{"gpt-4o":5}}`)
		require.Equal(t, 200, status, "%v", made)
		key := made["key"].(string)
		require.Regexp(t, regexp.MustCompile(`^sk-[A-Za-z0-9_-]{22}$`), key)
		hash := keys.DigestOf(key).String()
		require.Equal(t, hash, made["token"])
		require.Equal(t, hash, made["token_id"])
		require.Equal(t, "sk-..."+key[len(key)-4:], made["key_name"])
		require.Equal(t, map[string]any{"a": "b", "model_rpm_limit": map[string]any{"gpt-4o": 5.0}}, made["metadata"])
		expires, err := time.Parse(time.RFC3339, made["expires"].(string))
		require.NoError(t, err)
		require.WithinDuration(t, time.Now().AddDate(0, 0, 30), expires, 2*time.Hour, "30 days of 24 hours")

		for _, by := range []string{key, hash} {
			status, m := g.do("GET", "/key/info?key="+by, testMaster, "")
			require.Equal(t, 200, status, "%v", m)
			require.Equal(t, by, m["key"])
			info := m["info"].(map[string]any)
			require.Equal(t, "ann", info["key_alias"])
			require.Equal(t, 12.10, info["max_budget"])
			require.NotContains(t, info, "token")
			require.NotContains(t, info, "key")
		}
		rec, err := keys.NewService(g.cache, nil).Info(t.Context(), key)
		require.NoError(t, err)
		require.Equal(t, json.RawMessage("12.10"), rec.Extra["max_budget"], "amounts are kept to the digit")

		status, m := g.do("POST", "/key/update", testMaster, `{"key":"`+key+`","user_id":null,"tpm_limit":5,"metadata":{"c":"d"}}`)
		require.Equal(t, 200, status, "%v", m)
		require.Equal(t, key, m["key"])
		require.Nil(t, m["user_id"], "null clears")
		require.Equal(t, "ann", m["key_alias"], "absent leaves")
		require.Equal(t, 5.0, m["tpm_limit"])
		require.Equal(t, map[string]any{"c": "d", "model_rpm_limit": map[string]any{"gpt-4o": 5.0}}, m["metadata"],
			"a limit within metadata is not lost to a new metadata")
		status, m = g.do("POST", "/key/update", testMaster, `{"key":"`+key+`","duration":"-1","model_rpm_limit":null}`)
		require.Equal(t, 200, status)
		require.Nil(t, m["expires"])
		require.Equal(t, map[string]any{"c": "d"}, m["metadata"])

		status, m = g.do("POST", "/key/block", testMaster, `{"key":"`+key+`"}`)
		require.Equal(t, 200, status)
		require.Equal(t, true, m["blocked"])
		require.Equal(t, 401, g.model(key).Code, "at once on the instance that did it")
		status, _ = g.do("POST", "/key/unblock", testMaster, `{"key":"`+hash+`"}`)
		require.Equal(t, 200, status)
		require.Equal(t, 200, g.model(key).Code)

		status, m = g.do("POST", "/key/regenerate", testMaster, `{"key":"`+key+`"}`)
		require.Equal(t, 200, status, "%v", m)
		second := m["key"].(string)
		require.Equal(t, "ann", m["key_alias"])
		require.Equal(t, 401, g.model(key).Code, "the old key ends")
		require.Equal(t, 200, g.model(second).Code)
		status, m = g.do("POST", "/key/"+second+"/regenerate", testMaster, ``)
		require.Equal(t, 200, status, "%v", m)
		third := m["key"].(string)

		other := g.generate(`{}`)
		status, m = g.do("POST", "/key/delete", testMaster, `{"keys":["`+other+`","sk-nobody-has-this-one"]}`)
		require.Equal(t, 404, status)
		require.NotContains(t, message(m), "sk-")
		require.Equal(t, 200, g.model(other).Code, "all or none")
		status, m = g.do("POST", "/key/delete", testMaster, `{"keys":["`+other+`"],"key_aliases":["ann"]}`)
		require.Equal(t, 200, status)
		require.Equal(t, []any{other, "ann"}, m["deleted_keys"])
		require.Equal(t, 401, g.model(third).Code)
		status, _ = g.do("GET", "/key/info?key="+third, testMaster, "")
		require.Equal(t, 404, status)
		g.generate(`{"key_alias":"ann"}`) // the alias is free again
	})
}

func TestKeyList(t *testing.T) {
	eachGate(t, func(t *testing.T, g *gate) {
		want := map[string]bool{}
		for i := range 23 {
			key := g.generate(fmt.Sprintf(`{"user_id":"u%d","key_alias":"k%d","organization_id":"o"}`, i%2, i))
			want[keys.DigestOf(key).String()] = true
		}
		got := map[string]bool{}
		for page := 1; page <= 3; page++ {
			status, m := g.do("GET", fmt.Sprintf("/key/list?size=10&page=%d", page), testMaster, "")
			require.Equal(t, 200, status)
			require.Equal(t, 23.0, m["total_count"])
			require.Equal(t, 3.0, m["total_pages"])
			require.Equal(t, float64(page), m["current_page"])
			for _, k := range m["keys"].([]any) {
				got[k.(string)] = true
			}
		}
		require.Equal(t, want, got)
		_, m := g.do("GET", "/key/list?user_id=u1&return_full_object=true&size=100&organization_id=o", testMaster, "")
		require.Equal(t, 11.0, m["total_count"])
		for _, k := range m["keys"].([]any) {
			require.Equal(t, "u1", k.(map[string]any)["user_id"])
			require.Contains(t, want, k.(map[string]any)["token"])
			require.NotContains(t, k, "key")
		}
		_, m = g.do("GET", "/key/list?key_alias=k7", testMaster, "")
		require.Equal(t, 1.0, m["total_count"])
		_, m = g.do("GET", "/key/list?user_id=nobody", testMaster, "")
		require.Equal(t, []any{}, m["keys"])
		for _, query := range []string{"size=101", "size=0", "page=x", "sort_by=nonsense", "sort_order=up", "nonsense=1", "status=deleted"} {
			status, m := g.do("GET", "/key/list?"+query, testMaster, "")
			require.Equal(t, 400, status, query)
			require.Contains(t, message(m), strings.Split(query, "=")[0])
		}
	})
}

func TestAKeyReadsItself(t *testing.T) {
	g := fileGate(t)
	key, other := g.generate(`{"key_alias":"own","user_id":"ann"}`), g.generate(`{"key_alias":"other","user_id":"bob"}`)
	for _, target := range []string{"/key/info", "/key/info?key=" + key, "/key/info?key=" + keys.DigestOf(key).String()} {
		status, m := g.do("GET", target, key, "")
		require.Equal(t, 200, status, target)
		require.Equal(t, "own", m["info"].(map[string]any)["key_alias"])
	}
	status, m := g.do("GET", "/key/info?key="+other, key, "")
	require.Equal(t, 403, status)
	require.NotContains(t, message(m), keys.DigestOf(other).String())
	status, _ = g.do("GET", "/key/info?key=sk-nobody-has-this-one", key, "")
	require.Equal(t, 403, status, "whether a key exists is not told")
	status, _ = g.do("GET", "/key/info", testMaster, "")
	require.Equal(t, 400, status, "the master key has no record")
	_, m = g.do("GET", "/key/list", key, "")
	require.Equal(t, []any{keys.DigestOf(key).String()}, m["keys"])
	_, m = g.do("GET", "/key/aliases", key, "")
	require.Equal(t, []any{"own"}, m["aliases"])
	status, _ = g.do("POST", "/v2/key/info", key, `{"keys":["`+key+`","`+other+`"]}`)
	require.Equal(t, 403, status)
	for _, id := range []string{"ann", "bob"} {
		status, _ = g.do("POST", "/user/new", testMaster, `{"user_id":"`+id+`","auto_create_key":false}`)
		require.Equal(t, 200, status)
	}
	status, m = g.do("GET", "/user/info", key, "")
	require.Equal(t, 200, status)
	require.Len(t, m["keys"], 1)
	status, _ = g.do("GET", "/user/info?user_id=bob", key, "")
	require.Equal(t, 403, status)
}

// TestAnAdminManagesTheTeam has an admin of one team do what it may, and all that it may not.
func TestAnAdminManagesTheTeam(t *testing.T) {
	eachGate(t, func(t *testing.T, g *gate) {
		ask := func(method, path, key, body string, want int) map[string]any {
			t.Helper()
			status, m := g.do(method, path, key, body)
			require.Equal(t, want, status, "%s %s %s: %v", method, path, body, m)
			return m
		}
		for _, id := range []string{"red", "blue"} {
			ask("POST", "/team/new", testMaster, `{"team_id":"`+id+`","members_with_roles":[{"user_id":"ann","role":"user"}]}`, 200)
		}
		ask("POST", "/team/member_add", testMaster, `{"team_id":"red","member":[{"user_id":"ann","role":"admin"},{"user_id":"bob","role":"user"}]}`, 200)
		admin, bob := g.generate(`{"user_id":"ann"}`), g.generate(`{"user_id":"bob","team_id":"red"}`)
		blue := g.generate(`{"team_id":"blue","user_id":"ann"}`)
		free := g.generate(`{}`)

		made := ask("POST", "/key/generate", admin, `{"team_id":"red","user_id":"bob","key_alias":"made","max_budget":1}`, 200)["key"].(string)
		ask("POST", "/key/update", admin, `{"key":"`+bob+`","rpm_limit":5}`, 200)
		ask("POST", "/key/block", admin, `{"key":"`+bob+`"}`, 200)
		ask("GET", "/key/info?key="+bob, admin, "", 200)
		made = ask("POST", "/key/regenerate", admin, `{"key":"`+made+`"}`, 200)["key"].(string)
		require.Equal(t, 4.0, ask("GET", "/key/list?include_team_keys=true", admin, "", 200)["total_count"], "its own, and the team's")
		ask("GET", "/team/info?team_id=red", admin, "", 200)
		require.Equal(t, 1.0, ask("GET", "/v2/team/list", admin, "", 200)["total"])
		ask("POST", "/team/member_add", admin, `{"team_id":"red","member":{"user_id":"eve","role":"user"},"max_budget_in_team":2}`, 200)
		ask("POST", "/team/member_update", admin, `{"team_id":"red","user_id":"eve","rpm_limit":2}`, 200)
		ask("POST", "/team/member_delete", admin, `{"team_id":"red","user_id":"eve"}`, 200)
		ask("POST", "/key/service-account/generate", admin, `{"team_id":"red","key_alias":"robot"}`, 200)

		for _, body := range []string{
			`{"team_id":"blue"}`, `{}`, `{"team_id":"nowhere"}`, `{"team_id":"red","key_type":"management"}`, `{"team_id":"red","key_type":"read_only"}`,
			`{"team_id":"red","metadata":{"lago_subscription_id":"another's"}}`, `{"team_id":"red","metadata":{"fixed_payer":false}}`,
		} {
			ask("POST", "/key/generate", admin, body, 403)
		}
		ask("POST", "/key/generate", admin, `{"team_id":"red","user_id":"stranger"}`, 400)
		ask("POST", "/key/update", admin, `{"key":"`+made+`","team_id":"blue"}`, 403)
		ask("POST", "/key/update", admin, `{"key":"`+made+`","team_id":null}`, 403)
		ask("POST", "/key/update", admin, `{"key":"`+made+`","key_type":"management"}`, 403)
		for _, other := range []string{blue, free} {
			ask("POST", "/key/update", admin, `{"key":"`+other+`","team_id":"red"}`, 403)
			ask("POST", "/key/block", admin, `{"key":"`+other+`"}`, 403)
			ask("POST", "/key/regenerate", admin, `{"key":"`+other+`"}`, 403)
			ask("POST", "/key/delete", admin, `{"keys":["`+other+`"]}`, 403)
			require.Equal(t, 200, g.model(other).Code)
		}
		for _, kind := range []string{"management", "read_only"} {
			high := g.generate(`{"team_id":"red","user_id":"bob","key_type":"` + kind + `"}`)
			ask("POST", "/key/regenerate", admin, `{"key":"`+high+`"}`, 403)
			ask("POST", "/key/update", admin, `{"key":"`+high+`","allowed_routes":[]}`, 403)
			ask("POST", "/key/delete", admin, `{"keys":["`+high+`"]}`, 403)
		}
		// An admin of another team can be made a member, and given a key: it manages nothing of that other team.
		ask("POST", "/team/member_add", testMaster, `{"team_id":"blue","member":{"user_id":"bob","role":"admin"}}`, 200)
		ask("POST", "/key/block", g.generate(`{"user_id":"bob"}`), `{"key":"`+blue+`"}`, 200)
		ask("POST", "/key/unblock", g.generate(`{"user_id":"bob","team_id":"blue"}`), `{"key":"`+blue+`"}`, 200)
		asBob := ask("POST", "/key/generate", admin, `{"team_id":"red","user_id":"bob"}`, 200)["key"].(string)
		ask("POST", "/key/regenerate", asBob, `{"key":"`+blue+`"}`, 403)
		ask("POST", "/key/generate", asBob, `{"team_id":"blue"}`, 403)
		ask("GET", "/team/info?team_id=blue", asBob, "", 403)
		require.Equal(t, 0.0, ask("GET", "/v2/team/list", asBob, "", 200)["total"])
		ask("GET", "/key/info?key="+free, admin, "", 403)
		ask("GET", "/team/info?team_id=blue", admin, "", 403)
		ask("POST", "/team/member_add", admin, `{"team_id":"blue","member":{"user_id":"eve","role":"admin"}}`, 403)
		ask("POST", "/team/update", admin, `{"team_id":"red","max_budget":100}`, 403)
		ask("POST", "/team/delete", admin, `{"team_ids":["red"]}`, 403)
		for _, key := range []string{bob, made} {
			ask("POST", "/key/unblock", testMaster, `{"key":"`+key+`"}`, 200)
			ask("POST", "/key/generate", key, `{"team_id":"red"}`, 403)
			ask("GET", "/team/info?team_id=red", key, "", 403)
		}
		ask("POST", "/key/delete", admin, `{"keys":["`+made+`"]}`, 200)
		ask("POST", "/team/member_update", testMaster, `{"team_id":"red","user_id":"ann","role":"user"}`, 200)
		ask("POST", "/key/update", admin, `{"key":"`+bob+`","rpm_limit":6}`, 403)
		ask("POST", "/team/member_delete", testMaster, `{"team_id":"red","user_id":"bob"}`, 200)
		require.Equal(t, 401, g.model(bob).Code, "who leaves a team loses the keys in it")
	})
}

func TestKeyWithAGracePeriod(t *testing.T) {
	server := testkit.Redis(t)
	c := testkit.NewClock()
	for name, s := range map[string]keystore.Store{"redis": openRedis(server), "file": openFileStore(t)} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, s, c.Now)
			first := g.generate(`{"key_alias":"ann","models":["gpt-4o"]}`)
			regenerate := func(key, body string) string {
				status, m := g.do("POST", "/key/"+key+"/regenerate", testMaster, body)
				require.Equal(t, 200, status, "%v", m)
				return m["key"].(string)
			}
			second := regenerate(first, `{"grace_period":"24h"}`)
			require.Equal(t, 200, g.model(first).Code)
			spend := g.call.Identity.SpendID
			require.Equal(t, 200, g.model(second).Code)
			require.Equal(t, spend, g.call.Identity.SpendID, "both spend one budget")
			_, m := g.do("GET", "/key/list", testMaster, "")
			require.Equal(t, 1.0, m["total_count"], "they are one key")

			status, _ := g.do("POST", "/key/block", testMaster, `{"key":"`+second+`"}`)
			require.Equal(t, 200, status)
			require.Equal(t, 401, g.model(first).Code, "who is blocked is so by both keys")
			g.do("POST", "/key/unblock", testMaster, `{"key":"`+second+`"}`)
			require.Equal(t, 200, g.model(first).Code)
			status, _ = g.do("POST", "/key/update", testMaster, `{"key":"`+first+`","models":[]}`)
			require.Equal(t, 409, status, "the old key has no life of its own")

			third := regenerate(second, `{"grace_period":"1h"}`)
			for _, key := range []string{first, second, third} {
				require.Equal(t, 200, g.model(key).Code)
			}
			c.Forward(time.Hour)
			require.Equal(t, 401, g.model(second).Code)
			require.Equal(t, 200, g.model(first).Code)
			status, _ = g.do("POST", "/key/delete", testMaster, `{"key_aliases":["ann"]}`)
			require.Equal(t, 200, status)
			for _, key := range []string{first, second, third} {
				require.Equal(t, 401, g.model(key).Code)
			}
			rows, err := s.List(t.Context(), keystore.KeyKind, "", 10)
			require.NoError(t, err)
			require.Empty(t, rows)
		})
	}
}

func TestWrongRequestsNameTheField(t *testing.T) {
	g := fileGate(t)
	g.generate(`{"key_alias":"taken","key":"sk-taken-by-somebody"}`)
	for body, param := range map[string]string{
		`{"max_bugdet":1}`:                               "max_bugdet",
		`{"max_budget":-1}`:                              "max_budget",
		`{"max_budget":"1"}`:                             "max_budget",
		`{"tpm_limit":1.5}`:                              "tpm_limit",
		`{"models":"gpt-4o"}`:                            "models",
		`{"models":[1]}`:                                 "models",
		`{"aliases":{"a":1}}`:                            "aliases",
		`{"metadata":[]}`:                                "metadata",
		`{"metadata":{"lago_subscription_id":5}}`:        "metadata",
		`{"metadata":{"lago_subscription_id":"a\nb"}}`:   "metadata",
		`{"metadata":{"fixed_payer":"yes"}}`:             "metadata",
		`{"duration":"30"}`:                              "duration",
		`{"duration":"0d"}`:                              "duration",
		`{"duration":"999999999d"}`:                      "duration",
		`{"blocked":"false"}`:                            "blocked",
		`{"user_id":"a\u0000b"}`:                         "user_id",
		`{"team_id":"` + strings.Repeat("x", 256) + `"}`: "team_id",
		`{"key":"without-prefix"}`:                       "key",
		`{"key":"sk-a b c d e f"}`:                       "key",
		`{"key":"sk-1"}`:                                 "key",
		`{"key":"sk-taken-by-somebody"}`:                 "key",
		`{"key_alias":"taken"}`:                          "key_alias",
		`{"rpm_limit_type":"whatever"}`:                  "rpm_limit_type",
		`[]`:                                             "body",
		`{"models":["a",]}`:                              "body",
		`null`:                                           "body",
		`{"new_key":"sk-something-new"}`:                 "new_key",
	} {
		status, m := g.do("POST", "/key/generate", testMaster, body)
		require.Equal(t, 400, status, body)
		e := m["error"].(map[string]any)
		require.Equal(t, param, e["param"], body)
		require.Equal(t, "400", e["code"])
		require.NotContains(t, e["message"], "sk-taken", body)
	}
	status, _ := g.do("POST", "/key/generate", testMaster, `{"metadata":{"a":"`+strings.Repeat("x", maxBody)+`"}}`)
	require.Equal(t, 413, status)
	for _, body := range []string{`{}`, `{"key":"short"}`} {
		status, m := g.do("POST", "/key/block", testMaster, body)
		require.Equal(t, 400, status)
		require.Equal(t, "key", m["error"].(map[string]any)["param"])
	}
	status, _ = g.do("POST", "/key/update", testMaster, `{"key":"sk-nobody-has-this-one","blocked":true}`)
	require.Equal(t, 404, status)
}

// TestEveryFieldIsKept makes a key with every supported field of LiteLLM's request and reads each back.
func TestEveryFieldIsKept(t *testing.T) {
	eachGate(t, func(t *testing.T, g *gate) {
		status, _ := g.do("POST", "/budget/new", testMaster, `{"budget_id":"b","max_budget":5}`)
		require.Equal(t, 200, status)
		own := `{"key_alias":"ann","user_id":"u","team_id":"t","organization_id":"o","budget_id":"b","end_user_budget_id":"b","budget_duration":"30d",
			"models":["gpt-4o"],"allowed_routes":["/chat/completions"],"model_max_budget":{"gpt-4o":{"budget_limit":0.01,"time_period":"1d"}},
			"aliases":{"best":"gpt-4o"},"max_parallel_requests":3,"tpm_limit":1000,"rpm_limit":10,"max_budget":12.5,"soft_budget":10,"blocked":false,
			"rpm_limit_type":"best_effort_throughput","key_type":"llm_api","access_group_ids":[],"agent_id":"a","project_id":"pr",
			"budget_limits":[{"budget_duration":"1d","max_budget":3}]}`
		inMetadata := `{"tags":["t"],"model_rpm_limit":{"gpt-4o":5},"model_tpm_limit":{"gpt-4o":50}}`
		all := strings.TrimSuffix(own, "}") + "," + strings.TrimPrefix(strings.TrimSuffix(inMetadata, "}"), "{") +
			`,"metadata":{"note":"n"},"duration":"30d","send_invite_email":false,"key":"sk-chosen-with-all-fields"}`
		key := g.generate(all)
		_, m := g.do("GET", "/key/info?key="+key, testMaster, "")
		info := m["info"].(map[string]any)
		var want, meta map[string]any
		require.NoError(t, json.Unmarshal([]byte(own), &want))
		require.NoError(t, json.Unmarshal([]byte(inMetadata), &meta))
		for name, value := range want {
			require.Equal(t, value, info[name], name)
		}
		meta["note"] = "n"
		require.Equal(t, meta, info["metadata"])
		require.NotNil(t, info["expires"])
	})
}

func TestTeams(t *testing.T) {
	eachGate(t, func(t *testing.T, g *gate) {
		status, m := g.do("POST", "/team/new", testMaster, `{"team_alias":"Blue","models":["gpt-*"],"max_budget":1.50}`)
		require.Equal(t, 200, status, "%v", m)
		id := m["team_id"].(string)
		require.Len(t, id, 36)
		key, free := g.generate(`{"team_id":"`+id+`"}`), g.generate(`{}`)
		require.Equal(t, 200, g.model(key).Code)
		require.Equal(t, []string{"gpt-*"}, g.call.Identity.TeamModels)

		status, m = g.do("POST", "/team/update", testMaster, `{"team_id":"`+id+`","metadata":{"lago_subscription_id":"s"}}`)
		require.Equal(t, 200, status)
		require.Equal(t, "Blue", m["data"].(map[string]any)["team_alias"], "absent leaves")
		require.Equal(t, 200, g.model(key).Code)
		require.Equal(t, "s", g.call.Identity.Subscription, "keys follow their team at once")

		status, m = g.do("GET", "/team/info?team_id="+url.QueryEscape(id), testMaster, "")
		require.Equal(t, 200, status)
		require.Equal(t, 1.5, m["team_info"].(map[string]any)["max_budget"])
		w := g.serve(withKey(httptest.NewRequestWithContext(t.Context(), "GET", "/team/list", nil), testMaster))
		var teams []map[string]any
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &teams))
		require.Len(t, teams, 1)
		require.Equal(t, id, teams[0]["team_id"])

		status, _ = g.do("POST", "/team/new", testMaster, `{"team_id":"`+id+`"}`)
		require.Equal(t, 400, status, "it exists")
		status, _ = g.do("POST", "/team/delete", testMaster, `{"team_ids":["`+id+`","nobody"]}`)
		require.Equal(t, 404, status)
		require.Equal(t, 200, g.model(key).Code, "all or none")
		status, _ = g.do("POST", "/team/delete", testMaster, `{"team_ids":["`+id+`"]}`)
		require.Equal(t, 200, status)
		require.Equal(t, 401, g.model(key).Code, "a key does not outlive what restricts it")
		require.Equal(t, 200, g.model(free).Code)
		status, _ = g.do("GET", "/team/info?team_id="+id, testMaster, "")
		require.Equal(t, 404, status)
	})
}

func TestNothingStoredTellsAKey(t *testing.T) {
	server := testkit.Redis(t)
	s := openRedis(server)
	g := newGate(t, s, time.Now)
	key := g.generate(`{"key_alias":"a"}`)
	client := redis.NewClient(&redis.Options{Addr: server.Addr})
	defer func() { require.NoError(t, client.Close()) }()
	names, err := client.Keys(t.Context(), "*").Result()
	require.NoError(t, err)
	var audit string
	for _, name := range names {
		if strings.HasPrefix(name, "tollgate:audit:") {
			audit = name
		}
	}
	require.ElementsMatch(t, []string{"tollgate:key:" + keys.DigestOf(key).String(), "tollgate:keys", "tollgate:key-aliases", "tollgate:audits", audit}, names)
	entry, err := client.Get(t.Context(), audit).Result()
	require.NoError(t, err)
	require.NotContains(t, entry, key[3:10])
	require.NotContains(t, entry, keys.DigestOf(key).String(), "no whole hash is in the audit log")
	data, err := s.Get(t.Context(), keystore.KeyKind, keys.DigestOf(key).String())
	require.NoError(t, err)
	require.NotContains(t, string(data), key[3:10])
}
