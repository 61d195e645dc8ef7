package litellm_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const servedModel = "model_list:\n- {model_name: m, litellm_params: {model: openai/m, api_base: \"http://127.0.0.1:9/v1\", api_key: x}}\n"

// TestOpenOnlyOnPurpose has files with a master key that LiteLLM would not read, or that is none: each is an error with its
// line. Only a file without any is an open gateway.
func TestOpenOnlyOnPurpose(t *testing.T) {
	for name, section := range map[string]string{
		"litellm_settings":     "litellm_settings: {master_key: sk-secret}",
		"router_settings":      "router_settings: {master_key: sk-secret}",
		"top level":            "master_key: sk-secret",
		"other case":           "general_settings: {Master_Key: sk-secret}",
		"other spelling":       "general_settings: {master-key: sk-secret}",
		"camel case":           "general_settings: {masterKey: sk-secret}",
		"variable's name":      "general_settings: {LITELLM_MASTER_KEY: sk-secret}",
		"section in caps":      "General_Settings: {master_key: sk-secret}",
		"unknown section":      "proxy_settings: {auth: {master_key: sk-secret}}",
		"within a list":        "litellm_settings: {callbacks: [{master_key: sk-secret}]}",
		"empty":                `general_settings: {master_key: ""}`,
		"null":                 "general_settings: {master_key: }",
		"tilde":                "general_settings: {master_key: ~}",
		"false":                "general_settings: {master_key: false}",
		"zero":                 "general_settings: {master_key: 0}",
		"none":                 "general_settings: {master_key: none}",
		"list":                 "general_settings: {master_key: [sk-secret]}",
		"empty variable":       `environment_variables: {LITELLM_MASTER_KEY: ""}`,
		"variable in low case": "environment_variables: {litellm_master_key: sk-secret}",
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := adapt(servedModel + section + "\n")
			require.ErrorContains(t, err, "config.yaml:3")
			require.NotContains(t, err.Error(), "sk-secret")
		})
	}
	t.Run("empty in the environment", func(t *testing.T) {
		t.Setenv("LITELLM_MASTER_KEY", "")
		_, _, err := adapt(servedModel)
		require.ErrorContains(t, err, "LITELLM_MASTER_KEY is empty")
	})
	t.Run("left out", func(t *testing.T) {
		_, warnings, err := adapt(servedModel + "general_settings: {}\n")
		require.NoError(t, err)
		require.Contains(t, describe(warnings), "THERE IS NO MASTER KEY")
	})
}

// TestReplacedMasterKey has an included file replace the section that holds the key.
func TestReplacedMasterKey(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile(filepath.Join(".", "more.yaml"), []byte("general_settings: {max_request_size_mb: 1}\n"), 0o600))
	_, _, err := adapt(servedModel + "general_settings: {master_key: sk-secret}\ninclude: [more.yaml]\n")
	require.ErrorContains(t, err, "replaced")
}
