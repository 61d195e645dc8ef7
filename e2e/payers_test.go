package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
)

// chargedBy configures a gateway with a lagobilling for each rule, chosen by the header X-Case, which is the rule's index.
func chargedBy(w *gateway.World, spool string, rules ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "keyauth {\n store redis %s\n master_key %s\n}\n", w.Redis.Addr, gateway.MasterKey)
	for i, rule := range rules {
		fmt.Fprintf(&b, "@case%[1]d header X-Case %[1]d\nlagobilling @case%[1]d {\n api_base %[2]s\n api_key %[3]s\n event_code llm\n charge_by %[4]s\n payer_check off\n spool %[5]s\n}\n",
			i, w.Lago.URL, w.Lago.Key(), rule, spool)
	}
	fmt.Fprintf(&b, "llmroute {\n end_user_header X-Mapped X-Named\n model gpt-4o {\n backend openai %s/v1 {\n api_key %s\n }\n }\n}\n", w.Provider.URL, gateway.ProviderKey)
	return b.String()
}

// TestEndUserSources names the end user in each way that LiteLLM knows, alone and in every pair: the first one pays.
func TestEndUserSources(t *testing.T) {
	sources := []struct{ header, member string }{
		{header: "X-Litellm-Customer-Id"},
		{header: "X-Litellm-End-User-Id"},
		{header: "X-Mapped"},
		{header: "X-Named"},
		{member: `"user":%q`},
		{member: `"litellm_metadata":{"user":%q}`},
		{member: `"metadata":{"user_id":%q}`},
		{member: `"safety_identifier":%q`},
	}
	w := gateway.NewWorld(t, fakelago.Options{})
	w.Gateway = gateway.Start(t, "", chargedBy(w, t.TempDir(), "end_user_id"))
	key := w.NewKey(`{"user_id":"owner","team_id":"team"}`)
	name := func(i int) string { return fmt.Sprintf("end-user-%d", i) }
	call := func(named ...int) {
		header := []string{"X-Case", "0"}
		members := ""
		// The body's members stand in the order opposite to their rank, so that it is not their place which decides.
		for _, i := range slices.Backward(named) {
			if s := sources[i]; s.header != "" {
				header = append(header, s.header, name(i))
			} else {
				members += fmt.Sprintf(s.member, name(i)) + ","
			}
		}
		w.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key,
			`{`+members+`"model":"gpt-4o","messages":[{"role":"user","content":"tokens=in:1,out:1"}]}`, header...)
	}
	calls := 0
	for i := range sources {
		w.Lago.AddSubscription(fakelago.Subscription{ExternalID: name(i)})
		call(i)
		calls++
		for j := i + 1; j < len(sources); j++ {
			call(i, j)
			calls++
		}
	}
	w.Settled(calls)
	for i := range sources {
		// Alone once, and once before each of those behind it. A rank that is wrong anywhere shows in the first of the two.
		require.Equal(t, len(sources)-i, w.Lago.BilledCount(name(i), "llm"), "%v", sources[i])
	}

	a := w.Must(http.StatusForbidden, http.MethodPost, "/v1/chat/completions", key, gateway.Chat("gpt-4o", "hi", false), "X-Case", "0")
	require.Contains(t, a.Body, "missing_payer")
	req, err := http.NewRequestWithContext(gateway.Timeout(t, time.Minute), http.MethodPost, w.URL("/v1/chat/completions"), strings.NewReader(gateway.Chat("gpt-4o", "hi", false)))
	require.NoError(t, err)
	req.Header = http.Header{
		"Authorization": {"Bearer " + key}, "X-Case": {"0"}, "Content-Type": {"application/json"},
		"X-Litellm-Customer-Id": {name(0), name(1)},
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusBadRequest, resp.StatusCode, "two end users in one header")
	require.Equal(t, calls, w.Lago.EventCount())
}

// TestFixedPayer calls with keys that may not name another payer, by every rule that lets a request name one and by those
// that do not: the victim never pays.
func TestFixedPayer(t *testing.T) {
	rules := []string{
		"end_user_id", "user_id", "team_id", "key_alias", "{http.request.header.X-Victim}",
		"{http.tollgate.team_id}{http.request.header.X-Victim}", "{http.tollgate.team_id}",
	}
	payers := []string{"owner", "owner", "team", "alias", "owner", "owner", "team"}
	w := gateway.NewWorld(t, fakelago.Options{})
	w.Gateway = gateway.Start(t, "", chargedBy(w, t.TempDir(), rules...))
	for _, id := range []string{"owner", "team", "alias", "victim", "sub-of-key"} {
		w.Lago.AddSubscription(fakelago.Subscription{ExternalID: id})
	}
	const body = `{"model":"gpt-4o","user":"victim","litellm_metadata":{"user":"victim"},"metadata":{"user_id":"victim"},"safety_identifier":"victim",
		"messages":[{"role":"user","content":"tokens=in:1,out:1"}]}`
	call := func(status int, key string, rule int) gateway.Answer {
		return w.Must(status, http.MethodPost, "/v1/chat/completions", key, body, "X-Case", fmt.Sprint(rule), "X-Victim", "victim",
			"X-Litellm-Customer-Id", "victim", "X-Litellm-End-User-Id", "victim", "X-Mapped", "victim", "X-Named", "victim")
	}
	fixed := w.NewKey(`{"user_id":"owner","team_id":"team","key_alias":"alias","metadata":{"fixed_payer":true}}`)
	subscribed := w.NewKey(`{"user_id":"owner","team_id":"team","metadata":{"fixed_payer":true,"lago_subscription_id":"sub-of-key"}}`)
	w.Must(http.StatusOK, http.MethodPost, "/team/new", gateway.MasterKey, `{"team_id":"strict","metadata":{"fixed_payer":true}}`)
	ofTeam := w.NewKey(`{"user_id":"owner","team_id":"strict"}`)
	want := map[string]int{}
	calls := 0
	for rule := range rules {
		call(http.StatusOK, fixed, rule)
		want[payers[rule]]++
		call(http.StatusOK, subscribed, rule)
		want["sub-of-key"]++
		calls += 2
	}
	call(http.StatusOK, ofTeam, 0)
	want["owner"]++
	calls++
	nobody := w.NewKey(`{"metadata":{"fixed_payer":true}}`)
	for _, rule := range []int{0, 1, 4} {
		require.Contains(t, call(http.StatusForbidden, nobody, rule).Body, "give ")
	}
	free := w.NewKey(`{"user_id":"owner"}`)
	call(http.StatusOK, free, 0)
	call(http.StatusOK, free, 4)
	want["victim"] += 2
	calls += 2
	w.Settled(calls)
	got := map[string]int{}
	for id := range want {
		got[id] = w.Lago.BilledCount(id, "llm")
	}
	require.Equal(t, want, got)

	// The option is the administrator's: it is checked when it is set, and taken off by an update.
	w.Must(http.StatusBadRequest, http.MethodPost, "/key/generate", gateway.MasterKey, `{"metadata":{"fixed_payer":"yes"}}`)
	w.Must(http.StatusForbidden, http.MethodPost, "/key/update", fixed, `{"key":"`+fixed+`","metadata":{}}`)
	w.Must(http.StatusOK, http.MethodPost, "/key/update", gateway.MasterKey, `{"key":"`+fixed+`","metadata":{"fixed_payer":false}}`)
	call(http.StatusOK, fixed, 0)
	w.Settled(calls + 1)
	require.Equal(t, 3, w.Lago.BilledCount("victim", "llm"))
}

// TestUnknownPayersAtOnce calls 400 times at once, each time for another payer that Lago does not know: no call goes upstream.
func TestUnknownPayersAtOnce(t *testing.T) {
	w := gateway.NewWorld(t, fakelago.Options{})
	w.Gateway = gateway.Start(t, "", fmt.Sprintf("lagobilling {\n api_base %s\n api_key %s\n event_code llm\n payer_check reject\n spool %s\n}\nllmroute {\n anonymous\n model m {\n backend openai %s/v1 {\n api_key %s\n }\n }\n}\n",
		w.Lago.URL, w.Lago.Key(), t.TempDir(), w.Provider.URL, gateway.ProviderKey))
	const calls = 400
	answers := make(chan gateway.Answer, calls)
	var all sync.WaitGroup
	for i := range calls {
		all.Go(func() {
			a, err := w.Do(http.MethodPost, "/v1/chat/completions", "", gateway.Chat("m", "hi", false), "X-Litellm-End-User-Id", fmt.Sprint("stranger-", i))
			if err != nil {
				a.Body = err.Error()
			}
			answers <- a
		})
	}
	all.Wait()
	close(answers)
	for a := range answers {
		switch a.Status {
		case http.StatusForbidden:
			require.Contains(t, a.Body, "unknown_payer")
		case http.StatusTooManyRequests:
			require.NotEmpty(t, a.Header.Get("Retry-After"))
		default:
			require.Failf(t, "answered", "%d %s", a.Status, a.Body)
		}
	}
	require.Empty(t, w.Provider.Calls())
	require.Contains(t, w.Billing(), `"undecided_calls":`)
}
