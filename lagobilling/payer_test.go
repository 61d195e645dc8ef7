package lagobilling

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/settle"
)

func TestWhoPays(t *testing.T) {
	key := llm.Identity{UserID: "user-1", TeamID: "team-1", KeyAlias: "alias-1", KeyName: "sk-...abcd"}
	subscribed := key
	subscribed.Subscription = "sub-key"
	fixed := key
	fixed.FixedPayer = true
	fixedNobody := llm.Identity{FixedPayer: true, TeamID: "team-1"}
	cases := []struct {
		name     string
		handler  Handler
		identity *llm.Identity
		user     string // the end user that the request names
		header   string // X-Customer
		payer    string
		by       string
		status   int // of the refusal
		says     string
	}{
		{name: "end user", user: "end-1", payer: "end-1", by: "end_user_id"},
		{name: "end user, without a key too", identity: &key, user: "end-1", payer: "end-1", by: "end_user_id"},
		{name: "no end user", identity: &key, status: 403, says: "send the member `user`"},
		{name: "end user that the key may not name", identity: &fixed, user: "victim", payer: "user-1", by: "user_id"},
		{name: "end user that the key may not name, no own", identity: &fixedNobody, user: "victim", status: 403, says: "may not name an end user"},
		{name: "user", handler: Handler{ChargeBy: "user_id"}, identity: &key, user: "end-1", payer: "user-1", by: "user_id"},
		{name: "team", handler: Handler{ChargeBy: "team_id"}, identity: &key, user: "end-1", payer: "team-1", by: "team_id"},
		{name: "alias", handler: Handler{ChargeBy: "key_alias"}, identity: &key, payer: "alias-1", by: "key_alias"},
		{name: "no team", handler: Handler{ChargeBy: "team_id"}, identity: &llm.Identity{UserID: "u"}, status: 403, says: "the key has no team_id"},
		{name: "no key", handler: Handler{ChargeBy: "team_id"}, user: "end-1", status: 403, says: "without a key"},
		{name: "subscription of the key wins", handler: Handler{ChargeBy: "team_id"}, identity: &subscribed, payer: "sub-key", by: "lago_subscription_id"},
		{name: "subscription wins over the end user", identity: &subscribed, user: "end-1", payer: "sub-key", by: "lago_subscription_id"},
		{name: "placeholder", handler: Handler{ChargeBy: "c-{http.request.header.X-Customer}"}, header: "42", payer: "c-42", by: "charge_by"},
		{name: "placeholder, empty", handler: Handler{ChargeBy: "{http.request.header.X-Customer}"}, status: 403, says: "what charge_by names is empty"},
		{name: "braces of a client are text", handler: Handler{ChargeBy: "{http.request.header.X-Customer}"}, header: "{env.HOME}", payer: "{env.HOME}", by: "charge_by"},
		{name: "placeholder that the key may not name", handler: Handler{ChargeBy: "c-{http.request.header.X-Customer}"}, identity: &fixed, header: "victim", payer: "user-1", by: "user_id"},
		{name: "placeholder that the key may not name, among its own", handler: Handler{ChargeBy: "{http.tollgate.team_id}{http.request.header.X-Customer}"}, identity: &fixed, header: "victim", payer: "user-1", by: "user_id"},
		{name: "placeholder that the key may not name, no own", handler: Handler{ChargeBy: "{http.request.header.X-Customer}"}, identity: &fixedNobody, header: "victim", status: 403, says: "give the key a user_id"},
		{name: "team of a key with a fixed payer", handler: Handler{ChargeBy: "team_id"}, identity: &fixed, user: "victim", payer: "team-1", by: "team_id"},
		{name: "alias of a key with a fixed payer", handler: Handler{ChargeBy: "key_alias"}, identity: &fixed, user: "victim", payer: "alias-1", by: "key_alias"},
		{name: "list, first", handler: Handler{ChargeBy: "end_user_id user_id team_id"}, identity: &key, user: "end-1", payer: "end-1", by: "end_user_id"},
		{name: "list, second", handler: Handler{ChargeBy: "end_user_id user_id team_id"}, identity: &key, payer: "user-1", by: "user_id"},
		{name: "list, third", handler: Handler{ChargeBy: "end_user_id {http.request.header.X-Customer} team_id"}, identity: &key, payer: "team-1", by: "team_id"},
		{name: "list, a placeholder", handler: Handler{ChargeBy: "end_user_id {http.request.header.X-Customer} team_id"}, identity: &key, header: "42", payer: "42", by: "charge_by"},
		{name: "list, none", handler: Handler{ChargeBy: "end_user_id team_id"}, status: 403, says: "none of end_user_id, team_id"},
		{name: "list, a name that cannot pay is refused", handler: Handler{ChargeBy: "end_user_id team_id"}, identity: &key, user: strings.Repeat("x", 256), status: 400, says: "longer than 255 bytes"},
		{name: "list, a name that need not pay", handler: Handler{ChargeBy: "team_id end_user_id"}, identity: &key, user: strings.Repeat("x", 256), payer: "team-1", by: "team_id"},
		{name: "list, end user that the key may not name", handler: Handler{ChargeBy: "end_user_id team_id"}, identity: &fixedNobody, user: "victim", payer: "team-1", by: "team_id"},
		{name: "default with placeholders", handler: Handler{MissingPayer: "default", DefaultPayer: "house-{http.request.header.X-Customer}"}, header: "7", payer: "house-7", by: "default"},
		{name: "default with placeholders, empty", handler: Handler{MissingPayer: "default", DefaultPayer: "{http.request.header.X-Customer}"}, status: 403, says: "names no end user"},
		{name: "default with placeholders, not a name", handler: Handler{MissingPayer: "default", DefaultPayer: "{http.request.header.X-Customer}"}, header: "a\x01b", status: 400, says: "control character"},
		{name: "default that the key may not name", handler: Handler{MissingPayer: "default", DefaultPayer: "{http.request.header.X-Customer}"}, identity: &fixedNobody, header: "victim", status: 403, says: "may not name an end user"},
		{name: "space at an end of the client's name", user: "sub ", status: 400, says: "white space"},
		{name: "half of a surrogate pair", user: "a\ufffd", status: 400, says: "invalid character"},
		{name: "default", handler: Handler{MissingPayer: "default", DefaultPayer: "house"}, payer: "house", by: "default"},
		{name: "default is for the missing alone", handler: Handler{MissingPayer: "default", DefaultPayer: "house"}, user: "end-1", payer: "end-1", by: "end_user_id"},
		{name: "unbilled", handler: Handler{MissingPayer: "unbilled"}},
		{name: "longest", user: strings.Repeat("x", 255), payer: strings.Repeat("x", 255), by: "end_user_id"},
		{name: "too long", user: strings.Repeat("x", 256), status: 400, says: "longer than 255 bytes"},
		{name: "control character", user: "a\x00b", status: 400, says: "control character"},
		{name: "C1 control character", user: "a\u0085b", status: 400, says: "control character"},
		{name: "not UTF-8", user: "a\xffb", status: 400, says: "UTF-8"},
		{name: "unbilled does not excuse a bad payer", handler: Handler{MissingPayer: "unbilled"}, user: "a\nb", status: 400, says: "control character"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.handler.Spool = t.TempDir()
			require.NoError(t, provision(t, &c.handler))
			r := newRequest(t)
			if c.header != "" {
				r.Header.Set("X-Customer", c.header)
			}
			rt := chatRoute(nil)
			rt.identity, rt.request.User = c.identity, c.user
			payer, by, refusal := c.handler.payer(newCall(rt), r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer))
			if c.status != 0 {
				require.NotNil(t, refusal)
				require.Equal(t, c.status, refusal.Status)
				require.Contains(t, refusal.Message, c.says)
				return
			}
			require.Nil(t, refusal)
			require.Equal(t, c.payer, payer)
			if payer != "" {
				require.Equal(t, c.by, by)
			}
		})
	}
}

func TestCallsWithoutAPayer(t *testing.T) {
	b := newBench(t, &Handler{})
	called := false
	rt := chatRoute(func(http.ResponseWriter, *http.Request) { called = true })
	rt.request.User = ""
	res, body, err := b.post(rt)
	require.NoError(t, err)
	require.Equal(t, http.StatusForbidden, res.StatusCode)
	require.Contains(t, body, "missing_payer")
	b.wait()
	require.False(t, called, "nothing is forwarded")
	require.Empty(t, b.records())

	free := newBench(t, &Handler{MissingPayer: "unbilled"})
	rt = chatRoute(plain("application/json", jsonAnswer))
	rt.request.User = ""
	_, _, err = free.post(rt)
	require.NoError(t, err)
	e := free.only()
	require.Equal(t, record.NotBilledPayer, e.NotBilled)
	require.Empty(t, e.Events)
	require.NotEmpty(t, e.Cost, "the ledger says what it cost all the same")
}

func TestFreeEndpointsNeedNoPayer(t *testing.T) {
	b := newBench(t, &Handler{})
	rt := chatRoute(plain("application/json", `{"input_tokens":1}`))
	rt.endpoint.Billing, rt.request.User = llm.Free, ""
	res, _, err := b.post(rt)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.Equal(t, record.NotBilledFree, b.only().NotBilled)
}

func TestPropertiesAreChecked(t *testing.T) {
	h := &Handler{Properties: []Property{
		{Name: "plain", Value: "x"},
		{Name: "customer", Value: "{http.request.header.X-Customer}"},
		{Name: "unknown", Value: "{no.such.placeholder}"},
	}}
	require.NoError(t, provision(t, h))
	r := newRequest(t)
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	got, refusal := h.evaluate(repl)
	require.Nil(t, refusal)
	require.Equal(t, []record.Property{{Name: "plain", Value: "x"}, {Name: "unknown", Value: "{no.such.placeholder}"}}, got, "an empty property is left out, a slip shows")
	r.Header.Set("X-Customer", "a\x01")
	_, refusal = h.evaluate(repl)
	require.NotNil(t, refusal)
	require.Equal(t, http.StatusBadRequest, refusal.Status)
	require.Equal(t, "customer", refusal.Param)
}

// TestASessionBillsEachCallToItsPayer has two calls of one connection under way together, with payers of their own, and a third
// that is refused: each is settled by itself.
func TestASessionBillsEachCallToItsPayer(t *testing.T) {
	b := newBench(t, &Handler{})
	s := session{h: b.handler, account: b.account, repl: caddy.NewReplacer()}
	rt := chatRoute(nil)
	begin := func(user string) *bill {
		call := newCall(rt)
		call.Request.User = user
		call.Plan(rt.target)
		turn := new(bill)
		turn.begin(s, call)
		if refused := call.Admit(t.Context()); refused != nil {
			require.Equal(t, "missing_payer", refused.Type)
			return turn
		}
		require.Nil(t, call.Open(t.Context(), call))
		attempt := call.Begin(rt.target)
		attempt.Write().Done()
		attempt.SetAnswered()
		return turn
	}
	turns := []*bill{begin("sub-1"), begin("sub-2"), begin("")}
	for range 2 {
		for _, turn := range turns {
			require.True(t, turn.settle(&settle.Answer{Status: http.StatusOK, End: settle.Broken, Bytes: 1}))
		}
	}
	var payers []string
	for _, e := range b.records() {
		payers = append(payers, e.Payer)
		require.Len(t, e.Events, 1)
	}
	require.ElementsMatch(t, []string{"sub-1", "sub-2"}, payers)
}
