package tariff

import (
	"encoding/json"
	"flag"
	"math/big"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/lago"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

var (
	updateEvents = flag.Bool("update-events", false, "write the events as they are now into the goldens")
	anyUUID      = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`)
)

func newTariff(t *testing.T, c Config) *Tariff {
	t.Helper()
	if c.Events == "" {
		c.Events = PerRequest
	}
	tf, err := New(c)
	require.NoError(t, err)
	return tf
}

// priceable is a record as it stands before its events are made.
func priceable(provider string, flavour llm.API, counts map[usage.Kind]int64) (*bill, *usage.Result) {
	r := &record.Record{
		ID: "01960000-0000-7000-8000-000000000000", Account: "main", Payer: "sub-1", ChargeBy: "team_id", Endpoint: "chat/completions",
		Opened: time.Unix(1741219250, 0), Settled: time.UnixMilli(1741219251590), Outcome: record.OutcomeCompleted, Status: 200, Attempts: 1,
		Asked: "gpt-4", Model: "gpt-4", Upstream: "gpt-4o-2024-08-06", Backend: "main", Provider: provider,
		KeyAlias: "ci", Team: "team-1", User: "user-1",
		Properties: []record.Property{{Name: "region", Value: "eu \"west\""}},
	}
	b := &bill{Record: r, target: &llm.Target{
		Provider: provider, Upstream: r.Upstream, API: flavour,
		Prices: map[string]string{"input": "2.50", "output": "10", "cache_read": "1.25", "reasoning": "10", "cache_write_5m": "3.125", "input_audio": "40", "audio_minutes": "0.006"},
	}}
	res := &usage.Result{Source: usage.Reported}
	for k, n := range counts {
		res.Counts.Set(k, n)
	}
	return b, res
}

func TestEvents(t *testing.T) {
	openai := map[usage.Kind]int64{usage.Input: 1000, usage.CacheRead: 400, usage.Output: 50, usage.Reasoning: 30, usage.InputAudio: 0}
	anthropic := map[usage.Kind]int64{usage.Input: 10, usage.CacheRead: 4000, usage.CacheWrite5m: 200, usage.CacheWrite1h: 30, usage.Output: 5, usage.Reasoning: 7}
	media := map[usage.Kind]int64{
		usage.Input: 1, usage.CacheRead: 2, usage.CacheWrite: 4, usage.InputAudio: 8, usage.CacheReadAudio: 16,
		usage.Output: 32, usage.Reasoning: 64, usage.OutputAudio: 128,
	}
	cases := []struct {
		name     string
		config   Config
		provider string
		flavour  llm.API
		counts   map[usage.Kind]int64
	}{
		{"per_request", Config{Code: "tokens"}, "openai", llm.OpenAI, openai},
		{"per_request_markup", Config{Code: "tokens", Markup: []Percent{{Percent: "10"}}}, "openai", llm.OpenAI, openai},
		{"per_request_transcription", Config{}, "openai", llm.OpenAI, map[usage.Kind]int64{usage.Milliseconds: 12_340}},
		{"per_token_type", Config{Events: PerTokenType}, "openai", llm.OpenAI, openai},
		{"per_token_type_sdk_openai", Config{Events: PerTokenType, TokenCounts: SDK}, "openai", llm.OpenAI, openai},
		{"per_token_type_sdk_gemini", Config{Events: PerTokenType, TokenCounts: SDK}, "gemini", llm.Gemini, openai},
		{"per_token_type_sdk_anthropic", Config{Events: PerTokenType, TokenCounts: SDK}, "anthropic", llm.Anthropic, anthropic},
		{"per_token_type_sdk_media", Config{Events: PerTokenType, TokenCounts: SDK}, "openai", llm.OpenAI, media},
		{"cost", Config{Events: Cost}, "openai", llm.OpenAI, openai},
		{"cost_discount", Config{Events: Cost, Code: "ai_cost", Discount: []Percent{{Provider: "openai", Percent: "33.3"}}}, "openai", llm.OpenAI, openai},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := newTariff(t, c.config)
			b, res := priceable(c.provider, c.flavour, c.counts)
			if c.counts[usage.OutputAudio] > 0 { // no other price stands in for that of audio
				b.target.Prices = map[string]string{"input_audio": "40", "output_audio": "80"}
			}
			b.take(res)
			h.price(b, res)
			require.Empty(t, b.Unpriced)
			events := h.shape.appendEvents(nil, b)
			payload := b.Append(nil, events)

			bodies, err := record.Events(payload)
			require.NoError(t, err)
			require.NotEmpty(t, bodies)
			ids := make(map[string]bool)
			var out strings.Builder
			for _, body := range bodies {
				var e struct {
					TransactionID string            `json:"transaction_id"`
					Properties    map[string]string `json:"properties"`
				}
				require.NoError(t, json.Unmarshal(body, &e), "every property is a string: %s", body)
				id, err := uuid.Parse(e.TransactionID)
				require.NoError(t, err)
				require.EqualValues(t, 7, id.Version())
				require.NotEqual(t, b.ID, e.TransactionID, "the id is minted for the event")
				require.False(t, ids[e.TransactionID], "one id an event")
				ids[e.TransactionID] = true
				require.NoError(t, duplicateMembers(body))
				out.Write(anyUUID.ReplaceAll(body, []byte("<id>")))
				out.WriteByte('\n')
			}
			golden := filepath.Join("testdata", "events", c.name+".ndjson")
			if *updateEvents {
				require.NoError(t, os.MkdirAll(filepath.Dir(golden), 0o750))
				require.NoError(t, os.WriteFile(golden, []byte(out.String()), 0o600))
			}
			want, err := os.ReadFile(golden) // #nosec G304 -- a golden
			require.NoError(t, err)
			require.Equal(t, string(want), out.String())
		})
	}
}

// duplicateMembers reports a member that stands twice in one object.
func duplicateMembers(body []byte) error {
	d := json.NewDecoder(strings.NewReader(string(body)))
	var stack []map[string]bool
	key := false
	for {
		tok, err := d.Token()
		if err != nil {
			return nil //nolint:nilerr // the end
		}
		switch v := tok.(type) {
		case json.Delim:
			if v == '{' {
				stack = append(stack, map[string]bool{})
				key = true
				continue
			}
			stack = stack[:len(stack)-1]
			key = true
			continue
		case string:
			if key {
				top := stack[len(stack)-1]
				if top[v] {
					return &json.SyntaxError{Offset: d.InputOffset()}
				}
				top[v] = true
				key = false
				continue
			}
		}
		key = true
	}
}

func TestDisjointKindsSumToTheTotal(t *testing.T) {
	h := newTariff(t, Config{Events: PerTokenType})
	b, res := priceable("openai", llm.OpenAI, map[usage.Kind]int64{
		usage.Input: 3, usage.CacheRead: 5, usage.InputAudio: 7, usage.Output: 11, usage.Reasoning: 13, usage.OutputAudio: 17,
	})
	b.take(res)
	bodies, err := record.Events(b.Append(nil, h.shape.appendEvents(nil, b)))
	require.NoError(t, err)
	sum := new(big.Int)
	for _, body := range bodies {
		var e struct {
			Properties struct {
				Value string `json:"value"`
			} `json:"properties"`
		}
		require.NoError(t, json.Unmarshal(body, &e))
		n, ok := new(big.Int).SetString(e.Properties.Value, 10)
		require.True(t, ok)
		sum.Add(sum, n)
	}
	require.EqualValues(t, 3+5+7+11+13+17, sum.Int64())
}

// TestMoneyIsExact prices random usage with random percentages and compares every amount with rational arithmetic.
func TestMoneyIsExact(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		percent := rnd.Int64N(1_000_000_000) // in millionths: up to 1000
		text := big.NewRat(percent, 1_000_000).FloatString(6)
		h := newTariff(t, Config{Events: Cost, Markup: []Percent{{Percent: text}}})
		in, out := rnd.Int64N(10_000_000)+1, rnd.Int64N(1_000_000)+1
		b, res := priceable("openai", llm.OpenAI, map[usage.Kind]int64{usage.Input: in, usage.Output: out})
		b.take(res)
		h.price(b, res)
		require.Empty(t, b.Unpriced)
		bodies, err := record.Events(b.Append(nil, h.shape.appendEvents(nil, b)))
		require.NoError(t, err)
		require.Len(t, bodies, 2)
		sum := new(big.Rat)
		for i, exact := range []*big.Rat{big.NewRat(in*25, 10_000_000), big.NewRat(out, 100_000)} {
			exact.Mul(exact, big.NewRat(100_000_000+percent, 100_000_000))
			var e struct {
				Cents string `json:"precise_total_amount_cents"`
			}
			require.NoError(t, json.Unmarshal(bodies[i], &e))
			require.Regexp(t, `^\d+(\.\d+)?$`, e.Cents)
			billed, ok := new(big.Rat).SetString(e.Cents)
			require.True(t, ok)
			billed.Quo(billed, big.NewRat(100, 1))
			off := new(big.Rat).Sub(billed, exact)
			require.LessOrEqual(t, off.Abs(off).Cmp(big.NewRat(1, 2_000_000_000_000_000)), 0,
				"%s tokens at %s percent: billed %s USD, exact %s", exact, text, billed.FloatString(20), exact.FloatString(20))
			sum.Add(sum, billed)
		}
		total, ok := new(big.Rat).SetString(b.Cost)
		require.True(t, ok)
		require.Zero(t, total.Cmp(sum), "the record's cost is what its events add up to")
	}
}

func TestProvidersOwnCostIsPreferred(t *testing.T) {
	h := newTariff(t, Config{Markup: []Percent{{Percent: "100"}}})
	for unit, text := range map[string]string{"usd": "0.00123", "usd_ticks": "12300000"} {
		b, res := priceable("openrouter", llm.OpenAI, map[usage.Kind]int64{usage.Input: 10, usage.Output: 1})
		b.target.Prices = nil
		res.Cost, res.CostUnit = text, unit
		b.take(res)
		h.price(b, res)
		require.Equal(t, "0.00246", b.Cost, unit)
		require.Equal(t, "0.00123", b.BaseCost)
		require.Equal(t, text, b.ProviderCost)
	}
	// What the operator wrote wins, and an unknown unit is no price.
	b, res := priceable("openrouter", llm.OpenAI, map[usage.Kind]int64{usage.Input: 1_000_000, usage.Output: 0})
	res.Cost, res.CostUnit = "99", "usd"
	b.take(res)
	h.price(b, res)
	require.Equal(t, "5", b.Cost)
	b, res = priceable("openrouter", llm.OpenAI, map[usage.Kind]int64{usage.Input: 1_000_000, usage.Output: 0})
	b.target.Prices = nil
	res.Cost, res.CostUnit = "99", "credits"
	b.take(res)
	h.price(b, res)
	require.NotEqual(t, "198", b.Cost)
}

func TestUnpriced(t *testing.T) {
	h := newTariff(t, Config{})
	b, res := priceable("openai", llm.OpenAI, map[usage.Kind]int64{usage.Input: 10, usage.Output: 1})
	b.Upstream, b.target.Upstream, b.target.Prices = "a-model-nobody-knows", "a-model-nobody-knows", nil
	b.take(res)
	h.price(b, res)
	require.NotEmpty(t, b.Unpriced)
	events := string(h.shape.appendEvents(nil, b))
	require.Contains(t, events, `"prompt_tokens":"10"`, "tokens are billed without an amount")
	require.NotContains(t, events, "response_cost")

	strict := newTariff(t, Config{Events: Cost})
	b.Unpriced = ""
	strict.price(b, res)
	require.Empty(t, strict.shape.appendEvents(nil, b))
	require.Equal(t, record.NotBilledPrice, b.NotBilled, "a call that cannot be billed says so")
}

func TestRestamp(t *testing.T) {
	for _, shape := range []string{PerRequest, Cost, PerTokenType} {
		h := newTariff(t, Config{Events: shape})
		b, res := priceable("openai", llm.OpenAI, map[usage.Kind]int64{usage.Input: 10, usage.Output: 1})
		b.Payer = `"timestamp":"1"`
		b.take(res)
		h.price(b, res)
		before := b.Append(nil, h.shape.appendEvents(nil, b))
		after, err := record.Restamp(before, time.UnixMilli(1800000000007))
		require.NoError(t, err)
		require.True(t, json.Valid(after))
		require.Equal(t, strings.Count(string(before), `"1741219251.590"`), strings.Count(string(after), `"1800000000.007"`))
		require.NotContains(t, string(after), `"1741219251.590"`)
		require.Contains(t, string(after), `"restamped":"2027-01-15T08:00:00.007Z"`)
		old, err := record.Events(before)
		require.NoError(t, err)
		moved, err := record.Events(after)
		require.NoError(t, err)
		for i := range old {
			require.Equal(t, string(old[i]), strings.Replace(string(moved[i]), `"1800000000.007"`, `"1741219251.590"`, 1), "nothing else moves")
		}
	}
	_, err := record.Restamp([]byte(`{"v":1}`), time.Now())
	require.Error(t, err)
}

// TestZeroIsNotAbsent has a provider report zero tokens: the record does not say that nothing is known.
func TestZeroIsNotAbsent(t *testing.T) {
	for shape, want := range map[string]string{PerTokenType: record.NotBilledNothing, Cost: record.NotBilledNothing, PerRequest: ""} {
		for _, counts := range []map[usage.Kind]int64{{usage.Input: 0, usage.Output: 0}, nil} {
			h := newTariff(t, Config{Events: shape})
			b, res := priceable("openai", llm.OpenAI, counts)
			b.take(res)
			h.price(b, res)
			payload := string(b.Append(nil, h.shape.appendEvents(nil, b)))
			if counts == nil {
				require.Equal(t, record.NotBilledUsage, b.NotBilled, shape)
				require.NotContains(t, payload, `"counts"`)
				continue
			}
			require.Equal(t, want, b.NotBilled, shape)
			require.Contains(t, payload, `"counts":{"input":0,"output":0}`)
			if shape == PerRequest {
				require.Contains(t, payload, `"total_tokens":"0"`)
				require.Contains(t, payload, `"response_cost":"0"`)
			}
		}
	}
}

// TestOverflowIsNoBill has a price and a count whose product does not fit: the record says so, and no amount is billed.
func TestOverflowIsNoBill(t *testing.T) {
	huge := map[string]string{"input": "1", "output": "1", "web_searches": "9000000000"}
	for _, shape := range []string{PerRequest, PerTokenType, Cost} {
		h := newTariff(t, Config{Events: shape})
		b, res := priceable("openai", llm.OpenAI, map[usage.Kind]int64{usage.Input: 10, usage.Output: 1, usage.WebSearches: 1 << 53})
		b.target.Prices = huge
		b.take(res)
		h.price(b, res)
		require.Contains(t, b.Unpriced, "overflows", "the record says why there is no amount")
		require.Empty(t, b.Cost)
		events := h.shape.appendEvents(nil, b)
		payload := b.Append(nil, events)
		require.NotContains(t, string(payload), "response_cost")
		require.NotContains(t, string(payload), "precise_total_amount_cents")
		if shape == Cost {
			require.Empty(t, events)
			require.Equal(t, record.NotBilledPrice, b.NotBilled)
			continue
		}
		require.NotEmpty(t, events, "what was counted is billed all the same")
	}
	// A markup may be what makes it too large, and so may the sum of two amounts that fit.
	for _, markup := range []string{"0", "1000"} {
		h := newTariff(t, Config{Markup: []Percent{{Percent: markup}}})
		b, res := priceable("openai", llm.OpenAI, map[usage.Kind]int64{usage.Input: 1, usage.WebSearches: 1 << 45})
		b.target.Prices = map[string]string{"input": "1", "web_searches": "9000000000"}
		b.take(res)
		h.price(b, res)
		if markup == "0" {
			require.Empty(t, b.Unpriced)
			require.Equal(t, "316659348799488000000000.000001", b.Cost)
		} else {
			require.Contains(t, b.Unpriced, "overflows")
			require.Empty(t, b.Cost)
		}
	}
	h := newTariff(t, Config{})
	b, res := priceable("openrouter", llm.OpenAI, map[usage.Kind]int64{usage.Input: 1, usage.Output: 1})
	b.target.Prices, b.Upstream = nil, "no-such-model"
	res.Cost, res.CostUnit = "1e30", "usd"
	b.take(res)
	h.price(b, res)
	require.Empty(t, b.Cost, "nor does a provider's own cost that does not fit become another one")
	require.Equal(t, "1e30", b.ProviderCost)
	require.NotEmpty(t, b.Unpriced)
}

// TestEventsThatLagoCounts sends the events of every shape, with usage from one token to the largest counts and costs from the
// smallest on, and sees all of them counted: each has an id of its own (on Postgres, an id that is used again for another
// code is a duplicate and its event is lost), a timestamp in milliseconds, and plain decimal quantities (what has an
// exponent is not counted, and an amount that does not parse is zero).
func TestEventsThatLagoCounts(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	ids := make(map[string]bool)
	for name, config := range map[string]Config{
		"per request":         {Code: "tokens", Markup: []Percent{{Percent: "0.000001"}}},
		"per token type":      {Events: PerTokenType},
		"per token type, sdk": {Events: PerTokenType, TokenCounts: SDK},
		"cost":                {Events: Cost, Code: "tokens", Discount: []Percent{{Percent: "99.999999"}}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newTariff(t, config)
			l := fakelago.New(t, fakelago.Options{})
			for _, m := range h.Metrics() {
				l.AddMetric(fakelago.Metric{Code: m.Code, Field: m.Field})
			}
			l.AddSubscription(fakelago.Subscription{ExternalID: "sub-1"})
			base, err := lago.ParseBase(l.URL)
			require.NoError(t, err)
			c, err := lago.New(lago.Options{Base: base, Key: l.Key()})
			require.NoError(t, err)
			t.Cleanup(c.CloseIdle)
			sent := 0
			for range 40 {
				most := int64(1) << rnd.IntN(40)
				b, res := priceable("openai", llm.OpenAI, map[usage.Kind]int64{
					usage.Input: 1 + rnd.Int64N(most), usage.CacheRead: 1 + rnd.Int64N(most), usage.Output: 1 + rnd.Int64N(most), usage.Reasoning: rnd.Int64N(most),
				})
				b.Payer = "sub-1"
				b.take(res)
				h.price(b, res)
				bodies, err := record.Events(b.Append(nil, h.shape.appendEvents(nil, b)))
				require.NoError(t, err)
				for _, body := range bodies {
					e := gjson.ParseBytes(body)
					id := e.Get("transaction_id").Str
					require.False(t, ids[id], "an id is used twice")
					ids[id] = true
					require.Regexp(t, `^\d{10}\.\d{3}$`, e.Get("timestamp").Str)
					if cents := e.Get("precise_total_amount_cents"); h.shape.kind == Cost {
						require.Regexp(t, `^\d+(\.\d+)?$`, cents.Str)
					}
					wanted := h.Metrics()
					e.Get("properties").ForEach(func(k, v gjson.Result) bool {
						require.Equal(t, gjson.String, v.Type, k.Str)
						for _, m := range wanted {
							for _, q := range m.Quantities {
								if q == k.Str {
									require.Regexp(t, `^\d+(\.\d+)?$`, v.Str, k.Str)
								}
							}
						}
						return true
					})
				}
				require.Equal(t, lago.Accepted, c.Batch(t.Context(), bodies).Verdict)
				sent += len(bodies)
			}
			require.Equal(t, sent, l.BilledCount("sub-1", ""), "everything that was sent counts")
			require.Empty(t, l.Violations())
		})
	}
}

func TestEveryKindIsBilled(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "lagobilling-lago.md"))
	require.NoError(t, err)
	for k := range usage.Kind(usage.NumKinds) {
		if tokenCodes[k] != "" && !strings.HasSuffix(tokenCodes[k], "image_input_tokens") && !strings.HasSuffix(tokenCodes[k], "video_input_tokens") {
			require.Contains(t, string(page), "`"+tokenCodes[k]+"`")
		}
		require.NotEmpty(t, tokenCodes[k], "every kind has a code")
		require.True(t, requestProperties[k] != "" || k == usage.Input || k == usage.Output, "every kind but the plain ones has a property")
	}
}
