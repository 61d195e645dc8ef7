package llmroute

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/body"
	"github.com/tollgate-llm/tollgate/llmroute/provider"
)

// TestBaseURLs shows where the presets that take options send a call.
func TestBaseURLs(t *testing.T) {
	t.Setenv("TOLLGATE_REGION", "eu-central-1")
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION"} {
		t.Setenv(name, "")
	}
	ep := endpointAt(t, "/chat/completions")
	for config, want := range map[string]string{
		"azure https://r.openai.azure.com {\napi_key x\n}":                        "https://r.openai.azure.com/openai/deployments/m/chat/completions?api-version=2024-10-21",
		"azure https://r.openai.azure.com/openai/ {\napi_key x\n}":                "https://r.openai.azure.com/openai/deployments/m/chat/completions?api-version=2024-10-21",
		"azure https://r.openai.azure.com/openai/v1/ {\napi_key x\n}":             "https://r.openai.azure.com/openai/v1/chat/completions",
		"azure https://r/openai/v1 {\napi_version preview\napi_key x\n}":          "https://r/openai/v1/chat/completions?api-version=preview",
		"bedrock {\nregion us-east-1\n}":                                          "https://bedrock-runtime.us-east-1.amazonaws.com/openai/v1/chat/completions",
		"bedrock {\nregion {env.TOLLGATE_REGION}\n}":                              "https://bedrock-runtime.eu-central-1.amazonaws.com/openai/v1/chat/completions",
		"bedrock {\nregion cn-north-1\n}":                                         "https://bedrock-runtime.cn-north-1.amazonaws.com.cn/openai/v1/chat/completions",
		"bedrock https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com":        "https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com/openai/v1/chat/completions",
		"vertex {\nproject p\n}":                                                  "https://aiplatform.googleapis.com/v1/projects/p/locations/global/endpoints/openapi/chat/completions",
		"vertex {\nproject p\nlocation eu\n}":                                     "https://aiplatform.eu.rep.googleapis.com/v1/projects/p/locations/eu/endpoints/openapi/chat/completions",
		"vertex {\nproject p\nlocation us-east5\n}":                               "https://us-east5-aiplatform.googleapis.com/v1/projects/p/locations/us-east5/endpoints/openapi/chat/completions",
		"vertex https://us-east5-aiplatform.googleapis.com {\nproject p\n}":       "https://us-east5-aiplatform.googleapis.com/v1/projects/p/locations/us-east5/endpoints/openapi/chat/completions",
		"vertex https://h/v1/projects/a/locations/b":                              "https://h/v1/projects/a/locations/b/endpoints/openapi/chat/completions",
		"vertex https://h/proxy/v1/projects/a/locations/b {\nlocation c\n}":       "https://h/proxy/v1/projects/a/locations/c/endpoints/openapi/chat/completions",
		"gemini {\napi_key x\n}":                                                  "https://generativelanguage.googleapis.com/v1beta/models/m:chat/completions",
		"cohere https://api.cohere.com {\napi_key x\n}":                           "https://api.cohere.com/v1/chat/completions",
		"anthropic https://r.services.ai.azure.com/anthropic {\napi_key x\n}":     "https://r.services.ai.azure.com/anthropic/v1/chat/completions",
		"openai https://bedrock-runtime.us-west-2.amazonaws.com/openai/v1 {\n\n}": "https://bedrock-runtime.us-west-2.amazonaws.com/openai/v1/chat/completions",
	} {
		h, err := provision(t, "llmroute {\nmodel m {\nbackend "+config+"\n}\n}")
		require.NoError(t, err, config)
		b := h.Models[0].Backends[0]
		u := b.server.URL(&provider.Call{Endpoint: ep, Body: bodyOf(t, `{}`), Upstream: "m"})
		u.Scheme, u.Host = b.server.Base.Scheme, b.server.Base.Host
		require.Equal(t, want, u.String(), config)
	}
	for config, want := range map[string]string{
		"bedrock": "region is missing",
		"bedrock {\nregion {env.TOLLGATE_KEY}\n}": "region: ",
		"vertex": "project is missing",
		"vertex https://us-east5-aiplatform.googleapis.com": "project is missing",
		"vertex https://h/v1/projects/A%2FB/locations/b":    "project ",
		"gemini": "api_key is missing",
		"cohere": "api_key is missing",
		"azure https://r.openai.azure.com {\napi_version 1\n}": "api_version 1",
	} {
		_, err := provision(t, "llmroute {\nmodel m {\nbackend "+config+"\n}\n}")
		require.ErrorContains(t, err, want, config)
	}
	t.Setenv("AWS_REGION", "us-west-2")
	t.Setenv("GOOGLE_CLOUD_PROJECT", "from-env")
	t.Setenv("GOOGLE_CLOUD_LOCATION", "asia-south1")
	h, err := provision(t, "llmroute {\nmodel m {\nbackend bedrock\nbackend bedrock https://bedrock-runtime.us-east-1.amazonaws.com\nbackend bedrock http://localhost:1\nbackend vertex\n}\n}")
	require.NoError(t, err)
	backends := h.Models[0].Backends
	require.Equal(t, "bedrock-runtime.us-west-2.amazonaws.com", backends[0].server.Base.Host)
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	for i, region := range map[int]string{1: "us-east-1", 2: "us-west-2"} { // the URL goes before the environment
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost", nil)
		require.NoError(t, err)
		require.NoError(t, backends[i].server.Signer.Sign(r, new(body.Payload)))
		require.Contains(t, r.Header.Get("Authorization"), "/"+region+"/bedrock/")
	}
	require.Equal(t, "asia-south1-aiplatform.googleapis.com", backends[3].server.Base.Host)
	require.Contains(t, backends[3].server.URL(&provider.Call{Endpoint: ep, Body: bodyOf(t, `{}`), Upstream: "m"}).Path, "/projects/from-env/locations/asia-south1/")
}

// TestCloudCredentials fetches credentials when the first call goes out, within a deadline, and goes on to the next backend
// when there are none. What the issuer says is not for a log.
func TestCloudCredentials(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join(t.TempDir(), "none"))
	u := newUpstream(t, respond(200, `{}`))
	const config = `llmroute {
		model gem {
			backend vertex %[1]s {
				project p
				timeout 500ms
			}
			backend gemini %[1]s {
				api_key x
				order 2
			}
		}
		model alone {
			backend bedrock %[1]s {
				region us-east-1
			}
		}
	}`
	g := start(t, fmt.Sprintf(config, u.URL))
	resp, body := g.post(t, "/model/alone/converse", `{}`)
	require.Equal(t, 502, resp.StatusCode, body)
	require.Contains(t, body, "the backend of model alone could not be reached")
	require.Empty(t, u.requests(), "nothing goes out unsigned")
	resp, _ = g.post(t, "/v1beta/models/gem:generateContent", `{}`)
	require.Equal(t, 200, resp.StatusCode)
	require.Equal(t, "x", u.only(t).header.Get("X-Goog-Api-Key"))

	refusing := newUpstream(t, respond(401, `{"error":"invalid_grant","error_description":"the secret is hunter2"}`))
	accountOf(t, refusing.URL)
	g = start(t, fmt.Sprintf(config, u.URL))
	resp, _ = g.post(t, "/v1beta/models/gem:generateContent", `{}`)
	require.Equal(t, 200, resp.StatusCode)
	require.NotEmpty(t, refusing.requests())
	signs := g.handler.Models[0].Backends[0].server.Signer
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost", nil)
	require.NoError(t, err)
	err = signs.Sign(req, nil)
	require.ErrorContains(t, err, "401 Unauthorized")
	require.NotContains(t, err.Error(), "hunter2")

	release := make(chan struct{})
	hanging := newUpstream(t, func(http.ResponseWriter, *http.Request) { <-release })
	accountOf(t, hanging.URL)
	g = start(t, fmt.Sprintf(config, u.URL))
	resp, _ = g.post(t, "/v1beta/models/gem:generateContent", `{}`)
	require.Equal(t, 200, resp.StatusCode)
	ended, end := context.WithCancel(t.Context())
	end()
	err = g.handler.Models[0].Backends[0].server.Signer.Sign(req.WithContext(ended), nil)
	close(release)
	require.ErrorIs(t, err, context.Canceled, "the backend's timeout holds for its credentials too")
}

// accountOf makes a Google service account, whose tokens come from there, the default one.
func accountOf(t *testing.T, issuer string) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	account, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "p", "private_key_id": "1", "client_email": "test@p.example", "token_uri": issuer,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	require.NoError(t, err)
	name := filepath.Join(t.TempDir(), "account.json")
	require.NoError(t, os.WriteFile(name, account, 0o600))
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", name)
}
