package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

// liteLimits is a file whose budgets and limits are in every place that LiteLLM has for them.
const liteLimits = `model_list:
  - model_name: small
    litellm_params: {model: openai/small, api_key: fake-key, api_base: "` + liteHost + `", max_budget: 0.0000001, budget_duration: 1d}
    model_info: {input_cost_per_token: 0.000001, output_cost_per_token: 0.000001}
  - model_name: rated
    litellm_params: {model: openai/rated, api_key: fake-key, api_base: "` + liteHost + `", rpm: 2}
    model_info: {input_cost_per_token: 0.000001, output_cost_per_token: 0.000001}
  - model_name: plain
    litellm_params: {model: openai/plain, api_key: fake-key, api_base: "` + liteHost + `"}
    model_info: {input_cost_per_token: 0.000001, output_cost_per_token: 0.000001}
litellm_settings:
  max_budget: 1000
  budget_duration: 30d
  budget_exceeded_status_code: 429
  max_end_user_budget_id: free
  default_key_generate_params: {max_budget: 5, duration: 30d}
  upperbound_key_generate_params: {max_budget: 10}
  default_team_params: {rpm_limit: 9}
  max_internal_user_budget: 3
router_settings:
  optional_pre_call_checks: [enforce_model_rate_limits]
general_settings:
  master_key: sk-1234
  global_max_parallel_requests: 500
`

// TestLimitsOfTheConfigFile runs the binary on a LiteLLM file and holds it to each limit of the file.
func TestLimitsOfTheConfigFile(t *testing.T) {
	w := lite(t, liteLimits)
	ask := func(status int, method, path, body string) gjson.Result {
		t.Helper()
		return gjson.Parse(w.Must(status, method, path, "sk-1234", body).Body)
	}
	call := func(key, model string, more string) (int, string) {
		t.Helper()
		a, err := w.Do(http.MethodPost, "/v1/chat/completions", key, `{"model":"`+model+`","max_tokens":5,"messages":[{"role":"user","content":"hi"}]`+more+`}`)
		require.NoError(t, err)
		return a.Status, a.Body
	}
	made := ask(200, "POST", "/key/generate", `{"team_id":"red"}`)
	key := made.Get("key").String()
	require.Equal(t, "5", made.Get("max_budget").Raw)
	require.NotEmpty(t, made.Get("expires").String())
	require.Equal(t, "9", ask(200, "GET", "/team/info?team_id=red", "").Get("team_info.rpm_limit").Raw)
	ask(400, "POST", "/key/generate", `{"max_budget":11}`)
	require.Equal(t, "3", ask(200, "POST", "/user/new", `{"user_id":"ann","user_role":"internal_user"}`).Get("max_budget").Raw)
	require.Equal(t, "1000", ask(200, "GET", "/global/spend", "").Get("max_budget").Raw)

	status, body := call(key, "small", "")
	require.Equal(t, 429, status, body)
	require.Equal(t, "backend", gjson.Get(body, "error.scope").String(), body)
	status, body = call(ask(200, "POST", "/key/generate", `{"max_budget":0,"team_id":"red"}`).Get("key").String(), "plain", "")
	require.Equal(t, 429, status, body)
	require.Equal(t, "budget_exceeded", gjson.Get(body, "error.type").String(), "with the status that the file says")
	for _, want := range []int{200, 200, 429} {
		status, body = call(key, "rated", "")
		require.Equal(t, want, status, body)
	}
	status, body = call(key, "plain", "")
	require.Equal(t, 200, status, body)
	status, body = call(key, "plain", `,"user":"customer"`)
	require.Equal(t, 503, status, body)
	ask(200, "POST", "/budget/new", `{"budget_id":"free","rpm_limit":1}`)
	for _, want := range []int{200, 429} {
		status, body = call(key, "plain", `,"user":"customer"`)
		require.Equal(t, want, status, body)
	}
	require.Equal(t, "customer", gjson.Get(body, "error.scope").String(), body)
	require.NotContains(t, strings.ToLower(body), "sk-1234")
}
