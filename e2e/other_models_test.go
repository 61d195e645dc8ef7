package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakeprovider"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// TestOtherModelsNeedTheKey has clients ask for an allowed model and, in another member, for one that their key's list does
// not have: nothing goes upstream. A key without a list may name any model that can be billed.
func TestOtherModelsNeedTheKey(t *testing.T) {
	w := gateway.NewWorld(t, fakelago.Options{})
	up := fakeprovider.New(t, fakeprovider.Options{Key: gateway.ProviderKey})
	w.Gateway = gateway.Start(t, "", w.Routed(t.TempDir(), "unpriced reject", `model cheap {
		backend openrouter `+up.URL+`/v1 {
			api_key `+gateway.ProviderKey+`
			price input 1
			price output 1
		}
	}`))
	listed := w.NewKey(`{"team_id":"` + gateway.Payer + `","models":["cheap","allowed-*"]}`)
	free := w.NewKey(`{"team_id":"` + gateway.Payer + `"}`)
	body := func(member string) string {
		return strings.Replace(gateway.Chat("cheap", "hi", false), "{", "{"+member+",", 1)
	}
	for _, c := range []struct{ member, param string }{
		{`"models":["allowed-one","dear"]`, "models"},
		{`"fallbacks":[{"model":"dear"}]`, "fallbacks"},
		{`"route":"fallback"`, "route"},
		{`"preset":"dear"`, "preset"},
		{`"tools":[{"type":"openrouter:fusion"}]`, "tools"},
		{`"tools":[{"type":"openrouter:advisor","parameters":{"model":"dear"}}]`, "tools"},
		{`"plugins":[{"id":"auto-router","allowed_models":["*"]}]`, "plugins"},
	} {
		a := w.Must(http.StatusForbidden, http.MethodPost, "/v1/chat/completions", listed, body(c.member))
		require.Contains(t, a.Body, `"param":"`+c.param+`"`)
	}
	a := w.Must(http.StatusBadRequest, http.MethodPost, "/v1/chat/completions", free, body(`"models":["no-such-model-anywhere"]`))
	require.Contains(t, a.Body, "has no price")
	a = w.Must(http.StatusBadRequest, http.MethodPost, "/v1/chat/completions", free, body(`"route":"fallback"`))
	require.Contains(t, a.Body, "lets the provider choose")
	require.Empty(t, up.Calls(), "refused calls go nowhere")

	w.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", free, body(`"models":["openai/gpt-4o"]`))
	w.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", listed, gateway.Chat("cheap", "hi", false))
	w.Settled(2)
}

// TestOtherModelIsBilledAsItself has a provider answer with the fallback model that the call names: the price written for the
// backend's own model does not hold for it.
func TestOtherModelIsBilledAsItself(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":"x","model":"maker/dear-2026","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"ok"}}],`+
			`"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"cost":0.25}}`)
	}))
	t.Cleanup(up.Close)
	w := gateway.NewWorld(t, fakelago.Options{})
	w.Gateway = gateway.Start(t, "", w.Routed(t.TempDir(), "", "model cheap {\nbackend openrouter "+up.URL+"/v1 {\nprice input 1\nprice output 1\n}\n}"))
	key := w.NewKey(`{"team_id":"` + gateway.Payer + `"}`)
	w.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key,
		strings.Replace(gateway.Chat("cheap", "hi", false), "{", `{"models":["maker/dear"],`, 1))
	w.Settled(1)
	r := w.Record()
	require.Equal(t, "0.25", r.Cost, "what the provider states for the model that answered, not 15 tokens at the cheap one's price")
	require.Contains(t, fmt.Sprint(r.Events[0]), "model:maker/dear-2026")
}
