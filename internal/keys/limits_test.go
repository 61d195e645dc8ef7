package keys

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/keystore"
	"github.com/tollgate-llm/tollgate/internal/limit"
	"github.com/tollgate-llm/tollgate/internal/price"
	"github.com/tollgate-llm/tollgate/internal/testkit"
)

func usd(t *testing.T, text string) price.Amount {
	t.Helper()
	a, err := price.ParseUSD(text)
	require.NoError(t, err)
	return a
}

// limitsIn returns the limits of a call with a key, as the cache has them.
func limitsIn(t *testing.T, c *Cache, key string, now time.Time, models ...string) []limit.Limit {
	t.Helper()
	st, err := c.Lookup(t.Context(), DigestOf(key), testBounds)
	require.NoError(t, err)
	list, err := c.LimitsOf(t.Context(), st, &Subject{Models: models, Now: now})
	require.NoError(t, err)
	return list
}

// TestLimitsOfACall sets every limit that a key and a team can have, and looks at what a call comes under.
func TestLimitsOfACall(t *testing.T) {
	clock := testkit.NewClock()
	d, _ := fileDirectory(t, clock.Now)
	made := clock.Now()
	_, err := NewService(d, nil).NewTeam(t.Context(), fields(t, `{"team_id":"blue","max_budget":100,"budget_duration":"monthly","rpm_limit":60,
		"model_max_budget":{"gpt-*":{"max_budget":3,"budget_duration":"1d"}}}`))
	require.NoError(t, err)
	key := generate(t, d, `{"team_id":"blue","max_budget":10.000000000000001,"budget_duration":"1mo","soft_budget":8,
		"budget_limits":[{"budget_duration":"1h","max_budget":0.5}],
		"model_max_budget":{"gpt-4o":{"budget_limit":1e-05,"time_period":"1d","rpm_limit":2},"o1":{"max_budget":1}},
		"rpm_limit":3,"tpm_limit":1000,"max_parallel_requests":2,"model_rpm_limit":{"gpt-4o":5},"model_tpm_limit":{"o1":50}}`)
	k := limit.Scope{Kind: limit.Key, ID: DigestOf(key).String()}
	team := limit.Scope{Kind: limit.Team, ID: "blue"}
	began := made.Truncate(time.Second)
	month := limit.Window{Anchor: began, Months: 1}
	require.ElementsMatch(t, []limit.Limit{
		{Scope: k, Metric: limit.Cost, Window: month, Money: usd(t, "10.000000000000001")},
		{Scope: k, Metric: limit.Cost, Window: month, Money: usd(t, "8"), Soft: true},
		{Scope: k, Metric: limit.Cost, Window: limit.Window{Anchor: began, Every: time.Hour}, Money: usd(t, "0.5")},
		{Scope: k, Metric: limit.Cost, Window: limit.Window{Anchor: began, Every: 24 * time.Hour}, Money: usd(t, "0.00001"), Model: "gpt-4o"},
		{Scope: k, Metric: limit.Requests, Max: 3},
		{Scope: k, Metric: limit.Tokens, Max: 1000},
		{Scope: k, Metric: limit.Parallel, Max: 2},
		{Scope: k, Metric: limit.Requests, Max: 2, Model: "gpt-4o"},
		{Scope: k, Metric: limit.Requests, Max: 5, Model: "gpt-4o"},
		{Scope: team, Metric: limit.Cost, Window: limit.Window{Anchor: began, Every: 30 * 24 * time.Hour}, Money: usd(t, "100")},
		{Scope: team, Metric: limit.Cost, Window: limit.Window{Anchor: began, Every: 24 * time.Hour}, Money: usd(t, "3"), Model: "gpt-*"},
		{Scope: team, Metric: limit.Requests, Max: 60},
	}, limitsIn(t, d, key, clock.Now(), "gpt-4o"))
	require.Empty(t, limitsIn(t, d, generate(t, d, `{}`), clock.Now(), "gpt-4o"), "a key without limits")
}

// TestWindowsOfBudgets changes budgets: a window goes on while its length does, whatever becomes of the amount, and a new budget
// begins when it is set.
func TestWindowsOfBudgets(t *testing.T) {
	clock := testkit.NewClock()
	d, _ := fileDirectory(t, clock.Now)
	s := NewService(d, nil)
	key := generate(t, d, `{"max_budget":1,"budget_duration":"1h"}`)
	began := clock.Now()
	budget := func() limit.Limit {
		list := limitsIn(t, d, key, clock.Now())
		require.Len(t, list, 1)
		return list[0]
	}
	update := func(text string) {
		var m map[string]any
		require.NoError(t, json.Unmarshal([]byte(text), &m))
		m["key"] = key
		b, err := json.Marshal(m)
		require.NoError(t, err)
		_, err = s.Update(t.Context(), fields(t, string(b)))
		require.NoError(t, err)
	}
	clock.Forward(90 * time.Minute)
	update(`{"max_budget":2}`)
	require.Equal(t, began, budget().Window.Anchor, "the amount alone")
	require.Equal(t, began.Add(2*time.Hour), budget().Window.ResetsAt(clock.Now()))
	update(`{"budget_duration":"1d"}`)
	require.Equal(t, clock.Now(), budget().Window.Anchor, "another length")
	update(`{"max_budget":null}`)
	clock.Forward(time.Hour)
	update(`{"max_budget":2}`)
	require.Equal(t, clock.Now(), budget().Window.Anchor, "taken away and set again")

	update(`{"temp_budget_increase":0.5,"temp_budget_expiry":"` + clock.Now().Add(time.Hour).Format(time.RFC3339) + `"}`)
	require.Equal(t, usd(t, "2.5"), budget().Money)
	clock.Forward(time.Hour)
	require.Equal(t, usd(t, "2"), budget().Money, "the increase has ended")

	_, again, err := s.Regenerate(t.Context(), named(key))
	require.NoError(t, err)
	list := limitsIn(t, d, again, clock.Now())
	require.Len(t, list, 1)
	require.Equal(t, DigestOf(key).String(), list[0].Scope.ID, "a new key goes on with what the old one has spent")
}

// TestWindowsOfLiteLLM reads records as they come from LiteLLM's tables, with floats and windows under way.
func TestWindowsOfLiteLLM(t *testing.T) {
	k := &Key{CreatedAt: time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC), Extra: map[string]json.RawMessage{
		"max_budget": json.RawMessage("0.30000000000000004"), "budget_duration": json.RawMessage(`"30d"`),
		"budget_reset_at": json.RawMessage(`"2026-06-01T00:00:00"`), "tpm_limit": json.RawMessage("9007199254740993"),
		"soft_budget":   json.RawMessage("1e30"),
		"budget_limits": json.RawMessage(`[{"budget_duration":"1d","max_budget":1,"reset_at":"2026-05-07T00:00:00Z"}]`),
	}, Metadata: map[string]json.RawMessage{"temp_budget_increase": json.RawMessage("1"), "temp_budget_expiry": json.RawMessage(`"2026-05-07"`)}}
	l, err := k.Limits()
	require.NoError(t, err)
	now := time.Date(2026, 5, 6, 0, 0, 0, 0, time.UTC)
	list := l.Of(nil, limit.Scope{Kind: limit.Key}, &Subject{Now: now})
	require.Len(t, list, 4)
	require.Equal(t, usd(t, "1.3"), list[0].Money, "a float's noise is rounded to 15 decimals")
	require.Equal(t, time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC), list[0].Window.ResetsAt(now), "the window that was under way")
	require.Equal(t, time.Date(2026, 5, 7, 0, 0, 0, 0, time.UTC), list[2].Window.ResetsAt(now))
	require.EqualValues(t, 1<<53, list[3].Max)
}

// TestUnreadableLimitsAreNoneLifted stores limits that cannot be read: the key is refused, as it must not become unlimited.
func TestUnreadableLimitsAreNoneLifted(t *testing.T) {
	for _, extra := range []string{
		`{"max_budget":"ten"}`, `{"rpm_limit":-1}`, `{"rpm_limit":1.5}`, `{"budget_duration":"fortnight","max_budget":1}`,
		`{"model_max_budget":{"m":{"max_budgte":1}}}`, `{"budget_limits":[{"max_budget":1}]}`, `{"model_rpm_limit":[1]}`,
	} {
		d, o := fileDirectory(t, time.Now)
		key := DigestOf("sk-unreadable")
		data := []byte(`{"token":"` + key.String() + `","extra":` + extra + `}`)
		require.NoError(t, o.Apply(t.Context(), keystore.Change{Kind: keystore.KeyKind, ID: key.String(), New: data}))
		_, err := d.Lookup(t.Context(), key, testBounds)
		require.ErrorIs(t, err, ErrMalformed, extra)
	}
}

// TestWrongLimitsAreRefused sets limits that cannot be kept exactly, or that a slip of the pen would lose.
func TestWrongLimitsAreRefused(t *testing.T) {
	d, _ := fileDirectory(t, time.Now)
	for text, want := range map[string]string{
		`{"max_budget":0.0000000000000001}`:                                 "max_budget: has more than 15 decimals",
		`{"max_budget":9007199255}`:                                         "max_budget: is higher than can be counted",
		`{"rpm_limit":9007199254740992}`:                                    "rpm_limit: is higher than can be counted",
		`{"max_budget":1,"budget_duration":"-1"}`:                           "budget_duration: must be a number and one of",
		`{"budget_limits":[{"budget_duration":"1h"}]}`:                      "budget_limits: must be a list of {budget_duration, max_budget}",
		`{"budget_limits":[{"budget_duration":"1h","max_budget":1,"x":1}]}`: "budget_limits: has an unknown member x",
		`{"model_max_budget":{"m":{"max_budget":0.0000000000000001}}}`:      "model_max_budget: has more than 15 decimals",
		`{"model_max_budget":{"m":1}}`:                                      "model_max_budget: is not of its type",
		`{"model_rpm_limit":{"m":-1}}`:                                      "model_rpm_limit: must be a whole number that is not negative",
		`{"temp_budget_increase":1}`:                                        "temp_budget_increase: must come together with temp_budget_expiry",
		`{"temp_budget_increase":1,"temp_budget_expiry":"soon"}`:            "temp_budget_expiry: must be a time",
		`{"budget_limits":[{"budget_duration":"1h","max_budget":1},{"budget_duration":"1h","max_budget":2}]}`: "budget_limits: has the budget_duration 1h twice",
	} {
		_, _, err := NewService(d, nil).Generate(t.Context(), fields(t, text))
		require.ErrorContains(t, err, want, text)
	}
}
