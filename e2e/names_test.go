package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakeprovider"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// TestNamesAreTheSameEverywhere gives names in each place where a client or an operator can choose one: what the key API takes as a name,
// lagobilling takes as a payer, and both refuse the same.
func TestNamesAreTheSameEverywhere(t *testing.T) {
	provider := fakeprovider.New(t, fakeprovider.Options{Key: gateway.ProviderKey})
	var b strings.Builder
	fmt.Fprintf(&b, "keyauth {\n store file %s\n master_key %s\n}\n", t.TempDir(), gateway.MasterKey)
	for _, by := range []string{"team_id", "user_id", "key_alias", "end_user_id"} {
		fmt.Fprintf(&b, "@%[1]s header X-By %[1]s\nlagobilling @%[1]s {\n charge_by %[1]s\n account %[1]s\n spool %[2]s\n}\n", by, t.TempDir())
	}
	fmt.Fprintf(&b, "llmroute {\n model gpt-4o {\n backend openai %s/v1 {\n api_key %s\n }\n }\n}\n", provider.URL, gateway.ProviderKey)
	g := gateway.Run(t, b.String())
	const chatPath = "/v1/chat/completions"
	user := g.NewKey(`{}`)
	for i, c := range []struct {
		name string
		ok   bool
	}{
		{"plain", true},
		{"two words", true},
		{"Zoë 東京", true},
		{"a\u00a0b", true},
		{strings.Repeat("x", 255), true},
		{strings.Repeat("x", 256), false},
		{strings.Repeat("ä", 128), false},
		{"a\x00b", false},
		{"a\nb", false},
		{"a\x7fb", false},
		{"a\u0085b", false},
		{"a\u009fb", false},
		{" sub", false},
		{"sub ", false},
		{"\u00a0sub", false},
		{"sub\u3000", false},
	} {
		quoted, err := json.Marshal(c.name)
		require.NoError(t, err)
		want := http.StatusBadRequest
		if c.ok {
			want = http.StatusOK
		}
		for _, by := range []string{"team_id", "user_id", "key_alias", "lago_subscription_id"} {
			fields := fmt.Sprintf(`{%q:%s}`, by, quoted)
			if by == "lago_subscription_id" {
				fields = `{"metadata":` + fields + `}`
			}
			a := g.Must(want, http.MethodPost, "/key/generate", gateway.MasterKey, fields)
			if !c.ok {
				require.Contains(t, a.Body, by, "the refusal names the field")
				continue
			}
			var made struct{ Key string }
			require.NoError(t, json.Unmarshal([]byte(a.Body), &made))
			if by == "lago_subscription_id" {
				by = "team_id"
			}
			g.Must(http.StatusOK, http.MethodPost, chatPath, made.Key, gateway.Chat("gpt-4o", "hi", false), "X-By", by)
		}
		if !c.ok {
			g.Must(want, http.MethodPost, "/team/new", gateway.MasterKey, fmt.Sprintf(`{"team_id":%s}`, quoted))
		}
		g.Must(want, http.MethodPost, chatPath, user,
			fmt.Sprintf(`{"user":%s,"model":"gpt-4o","messages":[{"role":"user","content":"%d"}]}`, quoted, i), "X-By", "end_user_id")
	}
}
