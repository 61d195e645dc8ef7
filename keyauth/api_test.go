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
		for _, query := range []string{"size=101", "size=0", "page=x", "sort_by=spend"} {
			status, m := g.do("GET", "/key/list?"+query, testMaster, "")
			require.Equal(t, 400, status, query)
			require.Contains(t, message(m), strings.Split(query, "=")[0])
		}
	})
}

func TestOnlyTheMasterKeyManages(t *testing.T) {
	g := fileGate(t)
	key, other := g.generate(`{"key_alias":"own"}`), g.generate(`{}`)
	for path, op := range operations {
		if op.own {
			continue
		}
		status, m := g.do(op.method, path, key, `{}`)
		require.Equal(t, 403, status, path)
		require.Contains(t, message(m), "Only the master key")
		status, _ = g.do(op.method, path, "", `{}`)
		require.Equal(t, 401, status, path)
		status, _ = g.do(op.method, path, "sk-nobody-has-this-one", `{}`)
		require.Equal(t, 401, status, path)
		wrong := map[string]string{"GET": "POST", "POST": "GET"}[op.method]
		refused := httptest.NewRequestWithContext(t.Context(), wrong, path, strings.NewReader(`{}`))
		refused.Header.Set("Authorization", "Bearer "+testMaster)
		w := g.serve(refused)
		require.Equal(t, 405, w.Code, path)
		require.Equal(t, op.method, w.Header().Get("Allow"), path)
	}
	for _, target := range []string{"/key/info", "/key/info?key=" + key, "/key/info?key=" + keys.DigestOf(key).String()} {
		status, m := g.do("GET", target, key, "")
		require.Equal(t, 200, status, target)
		require.Equal(t, "own", m["info"].(map[string]any)["key_alias"])
	}
	status, m := g.do("GET", "/key/info?key="+other, key, "")
	require.Equal(t, 403, status)
	require.NotContains(t, message(m), keys.DigestOf(other).String())
	status, _ = g.do("GET", "/key/info", testMaster, "")
	require.Equal(t, 400, status, "the master key has no record")
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

// TestEveryFieldIsKept makes a key with every field of LiteLLM's request and reads each back.
func TestEveryFieldIsKept(t *testing.T) {
	eachGate(t, func(t *testing.T, g *gate) {
		own := `{"key_alias":"ann","user_id":"u","team_id":"t","organization_id":"o","budget_id":"b","budget_duration":"30d","rotation_interval":"90d",
			"models":["gpt-4o"],"allowed_cache_controls":["no-cache"],"allowed_routes":["/chat/completions"],"allowed_passthrough_routes":["/x"],
			"allowed_vector_store_indexes":[{"index_name":"i"}],"config":{"a":1},"permissions":{"p":true},"object_permission":{"vector_stores":["v"]},
			"model_max_budget":{"gpt-4o":{"budget_limit":0.01,"time_period":"1d"}},"aliases":{"best":"gpt-4o"},"max_parallel_requests":3,"tpm_limit":1000,
			"rpm_limit":10,"spend":1.5,"max_budget":12.5,"soft_budget":10,"blocked":false,"auto_rotate":true,"rpm_limit_type":"dynamic",
			"tpm_limit_type":"best_effort_throughput","key_type":"llm_api","policies":["p"],"access_group_ids":[],"router_settings":{"num_retries":1},
			"agent_id":"a","project_id":"pr","budget_limits":[{"budget_duration":"1d","max_budget":3}]}`
		inMetadata := `{"guardrails":["g"],"prompts":["p"],"tags":["t"],"enforced_params":["user"],"model_rpm_limit":{"gpt-4o":5},"model_tpm_limit":{"gpt-4o":50}}`
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
	require.ElementsMatch(t, []string{"tollgate:key:" + keys.DigestOf(key).String(), "tollgate:keys", "tollgate:key-aliases"}, names)
	data, err := s.Get(t.Context(), keystore.KeyKind, keys.DigestOf(key).String())
	require.NoError(t, err)
	require.NotContains(t, string(data), key[3:10])
}
