package e2e

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakeprovider"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// limitFields are the limits that a record can have, each with a value that admits no second call, or no call at all, and the metric
// by which that is refused.
var limitFields = []struct{ field, metric string }{
	{`"max_budget":0.0000001`, "cost"},
	{`"max_budget":0.0000001,"budget_duration":"1d"`, "cost"},
	{`"budget_limits":[{"budget_duration":"1h","max_budget":1},{"budget_duration":"1d","max_budget":0.0000001}]`, "cost"},
	{`"model_max_budget":{"gpt-4o":{"max_budget":0.0000001,"budget_duration":"1d"}}`, "cost"},
	{`"rpm_limit":0`, "requests"},
	{`"tpm_limit":5`, "tokens"},
	{`"tpm_limit":5,"token_rate_limit_type":"input"`, "input_tokens"},
	{`"tpm_limit":5,"token_rate_limit_type":"output"`, "output_tokens"},
	{`"model_rpm_limit":{"gpt-4o":0}`, "requests"},
	{`"model_tpm_limit":{"gpt-4o":5}`, "tokens"},
	{`"max_parallel_requests":0`, "max_parallel_requests"},
}

// TestEveryLimitOfEveryScope sets each limit on each scope that can have it, and has a call meet it: the answer names both. A soft
// budget refuses nothing.
func TestEveryLimitOfEveryScope(t *testing.T) {
	provider := fakeprovider.New(t, fakeprovider.Options{Key: gateway.ProviderKey})
	onBothStores(t, func(t *testing.T, store string) {
		g := gateway.Start(t, "", strings.Replace(limitedSite(t, store, "", provider), "charge_by key_alias", "charge_by end_user_id", 1))
		create := func(path, body string) { g.Must(http.StatusOK, http.MethodPost, path, gateway.MasterKey, body) }
		seq := 0
		name := func(kind string) string {
			seq++
			return kind + "-" + string(rune('a'+seq/26%26)) + string(rune('a'+seq%26))
		}
		// set sets a limit and returns the fields of a key whose calls come under it, the user of its calls, and the limit's scope.
		scopes := map[string]func(field string) (key, user, scope string){
			"key": func(field string) (string, string, string) { return `{` + field + `}`, "", "key" },
			"team": func(field string) (string, string, string) {
				id := name("team")
				create("/team/new", `{"team_id":"`+id+`",`+field+`}`)
				return `{"team_id":"` + id + `"}`, "", "team"
			},
			"user": func(field string) (string, string, string) {
				id := name("user")
				create("/user/new", `{"user_id":"`+id+`","auto_create_key":false,`+field+`}`)
				return `{"user_id":"` + id + `"}`, "", "user"
			},
			"customer": func(field string) (string, string, string) {
				id := name("customer")
				create("/customer/new", `{"user_id":"`+id+`",`+field+`}`)
				return `{}`, id, "customer"
			},
			"budget of a key": func(field string) (string, string, string) {
				id := name("budget")
				create("/budget/new", `{"budget_id":"`+id+`",`+field+`}`)
				return `{"budget_id":"` + id + `"}`, "", "key"
			},
			"budget of a customer": func(field string) (string, string, string) {
				budget, id := name("budget"), name("customer")
				create("/budget/new", `{"budget_id":"`+budget+`",`+field+`}`)
				create("/customer/new", `{"user_id":"`+id+`","budget_id":"`+budget+`"}`)
				return `{}`, id, "customer"
			},
			"member": func(field string) (string, string, string) {
				team, user := name("team"), name("user")
				create("/team/new", `{"team_id":"`+team+`"}`)
				create("/team/member_add", `{"team_id":"`+team+`","member":{"user_id":"`+user+`","role":"user"}}`)
				if strings.HasPrefix(field, `"max_budget"`) {
					field = `"max_budget_in_team"` + strings.TrimPrefix(field, `"max_budget"`)
				}
				create("/team/member_update", `{"team_id":"`+team+`","user_id":"`+user+`",`+field+`}`)
				return `{"team_id":"` + team + `","user_id":"` + user + `"}`, "", "member"
			},
		}
		lacks := map[string][]string{ // LiteLLM's rows have no such field
			"customer": {"budget_limits", "model_rpm_limit", "model_tpm_limit"}, "budget of a key": {"budget_limits", "model_rpm_limit", "model_tpm_limit"},
			"budget of a customer": {"budget_limits", "model_rpm_limit", "model_tpm_limit"},
			"member":               {"budget_limits", "model_rpm_limit", "model_tpm_limit", "max_parallel_requests"},
		}
		for scope, set := range scopes {
			for _, f := range limitFields {
				field, _, _ := strings.Cut(f.field[1:], `"`)
				if slices.Contains(lacks[scope], field) {
					continue
				}
				fields, user, want := set(f.field)
				key := g.NewKey(fields)
				body := capped("gpt-4o", 10, 100)
				if user != "" {
					body = `{"user":"` + user + `",` + body[1:]
				}
				a, err := g.Do(http.MethodPost, "/v1/chat/completions", key, body)
				require.NoError(t, err)
				metric, status := gjson.Get(a.Body, "error.limit_type").String(), http.StatusTooManyRequests
				if f.metric == "cost" {
					metric, status = "cost", http.StatusUnprocessableEntity
				}
				require.Equal(t, status, a.Status, "%s, %s: %s", scope, f.field, a.Body)
				require.Equal(t, []string{want, f.metric}, []string{gjson.Get(a.Body, "error.scope").String(), metric}, "%s, %s", scope, f.field)
				if scope == "budget of a key" {
					row := gjson.Parse(g.Must(http.StatusOK, http.MethodGet, "/key/info?key="+key, gateway.MasterKey, "").Body).Get("info")
					require.True(t, strings.HasPrefix(row.Get("limits.0.budget_id").String(), "budget-"), row.Raw)
					require.Equal(t, f.metric == "cost" && field == "max_budget", row.Get("left").Type == gjson.Number, row.Raw)
				}
			}
			fields, user, _ := set(`"model_max_budget":{"gpt-4o":{"max_budget":1}}`)
			body := capped("gpt-4o", 10, 100)
			if user != "" {
				body = `{"user":"` + user + `",` + body[1:]
			}
			g.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", g.NewKey(fields), body)
		}
	})
}
