package litellm_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/tollgate-llm/tollgate/litellm"
)

// adapt adapts a file as `caddy adapt` does.
func adapt(config string) (string, []caddyconfig.Warning, error) {
	result, warnings, err := litellm.Adapter{}.Adapt([]byte(config), map[string]any{"filename": "config.yaml"})
	return string(result), warnings, err
}

const oneModel = `model_list:
  - model_name: demo
    litellm_params:
      model: openai/demo
      api_base: http://localhost:1/v1
      PARAM
    model_info: {INFO}
SECTION
general_settings: {master_key: sk-1234}
`

func TestErrors(t *testing.T) {
	for name, c := range map[string]struct {
		param, info, section string
		want                 []string
	}{
		"price with too many decimals": {param: "input_cost_per_token: 1.0000000001e-6", want: []string{"config.yaml:6: model_list[0].litellm_params.input_cost_per_token", "more than nine decimals"}},
		"negative price":               {param: "input_cost_per_token: -1e-6", want: []string{"config.yaml:6", "negative"}},
		"price that is no number":      {param: "input_cost_per_token: cheap", want: []string{"config.yaml:6", "not a decimal number"}},
		"price of another mode":        {param: "output_cost_per_second: 0.1", want: []string{"config.yaml:6", "has no `price` line for a model of mode \"\""}},
		"prices by range":              {param: "tiered_pricing: [{range: [0, 1000], input_cost_per_token: 1e-6}]", want: []string{"config.yaml:6", "price file"}},
		"two prices for one thing":     {param: "input_cost_per_token: 1e-6", info: "input_cost_per_token: 2e-6", want: []string{"config.yaml:7", "given twice, also in line 6"}},
		"weight":                       {param: "weight: much", want: []string{"config.yaml:6", "a number is expected here"}},
		"endless number":               {param: "rpm: 1e999999999", want: []string{"config.yaml:6", "a number is expected here"}},
		"fractional order":             {param: "order: 1.5", want: []string{"config.yaml:6", "a whole number is expected here"}},
		"order too high":               {param: "order: 1000001", want: []string{"config.yaml:6: model_list[0].litellm_params.order", "1000000"}},
		"timeout too long":             {param: "timeout: 100000", want: []string{"config.yaml:6: model_list[0].litellm_params.timeout"}},
		"retries too many":             {param: "num_retries: 1000", want: []string{"config.yaml:6: model_list[0].litellm_params.num_retries"}},
		"cloud's credentials":          {param: "aws_access_key_id: AKIA", want: []string{"config.yaml:6", "AWS_ACCESS_KEY_ID"}},
		"unknown credential":           {param: "litellm_credential_name: none", want: []string{"config.yaml:6", "no credential of that name"}},
		"header":                       {param: "extra_headers: {\"a b\": c}", want: []string{"config.yaml:6", "no name of a header"}},
		"header that is an order":      {param: "extra_headers: {\"-Host\": c}", want: []string{"config.yaml:6", "no name of a header"}},
		"braces":                       {param: "api_key: \"a{b}\"", want: []string{"config.yaml:6", "braces"}},
		"fixed margin":                 {section: "litellm_settings: {cost_margin_config: {openai: {fixed_amount: 0.001}}}", want: []string{"config.yaml:8", "fixed amount"}},
		"discount of 200 percent":      {section: "litellm_settings: {cost_discount_config: {openai: 2}}", want: []string{"config.yaml:8: litellm_settings.cost_discount_config.openai", "100 percent"}},
		"unknown provider's discount":  {section: "litellm_settings: {cost_discount_config: {acme: 0.1}}", want: []string{"config.yaml:8", "not known"}},
		"shared preset":                {section: "litellm_settings: {cost_discount_config: {nvidia_nim: 0.1}}", want: []string{"config.yaml:8", "models of openai too (line 2)"}},
		"alias of nothing":             {section: "router_settings: {model_group_alias: {a: nothing}}", want: []string{"config.yaml:8", "no model nothing"}},
		"alias of a model's name":      {section: "router_settings: {model_group_alias: {demo: demo}}", want: []string{"config.yaml:8: router_settings.model_group_alias.demo", "taken already"}},
		"redis by variable":            {section: "router_settings: {redis_url: os.environ/REDIS_URL}", want: []string{"config.yaml:8", "redis_host"}},
		"redis db":                     {section: "router_settings: {redis_host: h, redis_db: x}", want: []string{"config.yaml:8: router_settings.redis_db"}},
		"section":                      {section: "router_settings: fast", want: []string{"config.yaml:8: router_settings: a mapping is expected here"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := adapt(strings.NewReplacer("PARAM", c.param, "INFO", c.info, "SECTION", c.section).Replace(oneModel))
			require.Error(t, err)
			for _, want := range c.want {
				require.Contains(t, err.Error(), want)
			}
			require.NotContains(t, err.Error(), "Caddyfile-made")
			require.NotContains(t, err.Error(), "parsing caddyfile")
		})
	}
}

func TestFileErrors(t *testing.T) {
	for name, c := range map[string]struct{ config, want string }{
		"nothing":             {"", "config.yaml: model_list: there is no model"},
		"not YAML":            {"a: [", "config.yaml: yaml: line 1"},
		"list":                {"- a", "config.yaml:1: a mapping of sections is expected here"},
		"written twice":       {"general_settings: {}\nmodel_list: []\ngeneral_settings: {}\n", "config.yaml:3: general_settings is written twice"},
		"key written twice":   {"general_settings:\n  master_key: a\n  master_key: b\n", "config.yaml:3: master_key is written twice"},
		"no name":             {"model_list:\n- litellm_params: {model: openai/a}\n", "config.yaml:2: model_list[0]: an entry of model_list needs a model_name"},
		"no params":           {"model_list:\n- model_name: a\n", "needs litellm_params with a model"},
		"unknown provider":    {"model_list:\n- model_name: a\n  litellm_params: {model: acme/b}\n", `config.yaml:3: model_list[0].litellm_params.model: provider "acme" is not known here`},
		"no provider":         {"model_list:\n- model_name: a\n  litellm_params: {model: b}\n", "does not say which provider serves it"},
		"no base":             {"model_list:\n- model_name: a\n  litellm_params: {model: hosted_vllm/b}\n", "provider hosted_vllm needs an api_base"},
		"no provider's key":   {"model_list:\n- model_name: '*'\n  litellm_params: {model: '*'}\n", "there is none, such as OPENAI_API_KEY"},
		"internal user":       {"general_settings:\n  user_header_mappings:\n  - {header_name: x, litellm_user_role: internal_user}\n", `config.yaml:3: general_settings.user_header_mappings[0].litellm_user_role: a header of role "internal_user"`},
		"endless nesting":     {"a: " + strings.Repeat("[", 100) + strings.Repeat("]", 100), "nests deeper than 64 levels"},
		"missing include":     {"include: [nowhere.yaml]\n", "config.yaml:1: include: open nowhere.yaml"},
		"merge of itself":     {"general_settings: &a\n  <<: *a\n  custom_auth: x\n", "custom_auth"},
		"user param and team": {"general_settings: {enforce_user_param: true, master_key: a}\nenvironment_variables: {LAGO_API_CHARGE_BY: team_id}\n", "calls without an end user are refused only where end users pay"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := adapt(c.config)
			require.ErrorContains(t, err, c.want)
		})
	}
}

// TestSecretsStayOut looks for secrets in messages: of a value that cannot be carried over, and of a URL with a password.
func TestSecretsStayOut(t *testing.T) {
	for _, config := range []string{
		strings.NewReplacer("PARAM", "api_key: \"secret`of mine\"", "INFO", "", "SECTION", "").Replace(oneModel),
		strings.NewReplacer("PARAM", "", "INFO", "", "SECTION", "router_settings: {redis_url: \"http://u:secret@h:1\"}").Replace(oneModel),
		strings.NewReplacer("PARAM", "", "INFO", "", "SECTION", "").Replace(strings.Replace(oneModel, "http://localhost:1/v1", "http://u:secret@h:1", 1)),
	} {
		_, _, err := adapt(config)
		require.Error(t, err)
		require.NotContains(t, err.Error(), "secret")
	}
}

// TestInclude reads a file in pieces, as LiteLLM does: lists go on, other sections are replaced, paths start beside the
// first file.
func TestInclude(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	main := "include: [parts/models.yaml, parts/settings.yaml]\nmodel_list:\n- {model_name: one, litellm_params: {model: openai/a, api_key: k}}\n" +
		"general_settings:\n  master_key: sk-replaced\n"
	path := write("config.yaml", main)
	models := write("parts/models.yaml", "include: [config.yaml]\nmodel_list:\n- {model_name: two, litellm_params: {model: openai/b, api_key: k}}\n")
	write("parts/settings.yaml", "general_settings:\n  master_key: sk-1234\n  bogus: 1\n")
	result, warnings, err := litellm.Adapter{}.Adapt([]byte(main), map[string]any{"filename": path})
	require.NoError(t, err)
	require.Contains(t, string(result), `"names":["one"]`)
	require.Contains(t, string(result), `"names":["two"]`)
	require.Contains(t, string(result), `"master_key":"sk-1234"`)
	require.NotContains(t, string(result), "sk-replaced")
	require.Contains(t, describe(warnings), "parts/settings.yaml:3 general_settings.bogus")
	require.Contains(t, describe(warnings), "config.yaml:5 general_settings: is replaced as a whole by the same section of "+filepath.Join(dir, "parts/settings.yaml"))
	require.NotEmpty(t, models)
}

// TestEnvironment takes what the environment and environment_variables say.
func TestEnvironment(t *testing.T) {
	t.Setenv("HOST", "0.0.0.0")
	t.Setenv("PORT", "5000")
	t.Setenv("OTHER", "sk-of-the-process")
	result, warnings, err := adapt("environment_variables:\n  OPENAI_API_KEY: os.environ/OTHER\n  PORT: 6000\n  SPARE: x\n" +
		"model_list:\n- {model_name: gpt-4o, litellm_params: {model: os.environ/MODEL}}\n")
	require.ErrorContains(t, err, "config.yaml:6: model_list[0].litellm_params.model: the environment variable MODEL is empty or not set")
	t.Setenv("MODEL", "openai/gpt-4o")
	result, warnings, err = adapt("environment_variables:\n  OPENAI_API_KEY: os.environ/OTHER\n  PORT: 6000\n  SPARE: x\n" +
		"model_list:\n- {model_name: gpt-4o, litellm_params: {model: os.environ/MODEL}}\n")
	require.NoError(t, err)
	require.Contains(t, result, `"listen":["0.0.0.0:6000"]`)
	require.Contains(t, result, `"api_key":"{env.OTHER}"`, "a secret stays a placeholder")
	require.NotContains(t, result, "sk-of-the-process")
	require.Equal(t, "config.yaml:0 general_settings.master_key: THERE IS NO MASTER KEY: whoever reaches 0.0.0.0 may call every model, without a key. "+
		"There are no keys and no teams\n"+
		"config.yaml:4 environment_variables.SPARE: nothing here refers to this variable: set it in the environment of the process if something else needs it\n",
		describe(warnings))
	t.Setenv("PORT", "")
	t.Setenv("HOST", "a b")
	_, _, err = adapt(strings.NewReplacer("PARAM", "", "INFO", "", "SECTION", "").Replace(oneModel))
	require.ErrorContains(t, err, `HOST: "a b" is no address`)
	t.Setenv("HOST", "")
	t.Setenv("PORT", "99999")
	_, _, err = adapt(strings.NewReplacer("PARAM", "", "INFO", "", "SECTION", "").Replace(oneModel))
	require.ErrorContains(t, err, `PORT: "99999" is no port`)
}

// FuzzAdapt holds that any file is either Caddy's JSON or an error.
func FuzzAdapt(f *testing.F) {
	files, err := filepath.Glob("testdata/*.litellmtest")
	require.NoError(f, err)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(f, err)
		source, _, _ := strings.Cut(string(data), separator)
		f.Add([]byte(source))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if strings.Contains(string(data), "include") {
			return // the rest of the disk is no part of the input
		}
		result, _, err := litellm.Adapter{}.Adapt(data, nil)
		if err == nil && !json.Valid(result) {
			t.Fatalf("no JSON: %s", result)
		}
		if err != nil && strings.Contains(err.Error(), "Caddyfile-made") {
			t.Fatalf("the error names no line of the file: %v", err)
		}
	})
}
