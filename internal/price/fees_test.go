package price

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestListFees prices fees by what the providers list, where no price list has them.
func TestListFees(t *testing.T) {
	for name, c := range map[string]struct {
		q     Query
		kinds []any
		want  string
	}{
		// platform.openai.com/docs/pricing: 25 a thousand, 10 of models that reason; web_search is 10 for all.
		"preview, no reasoning":            {Query{Provider: "openai", Model: "gpt-4.1"}, []any{"web_searches_preview", 2}, "0.05"},
		"preview, reasoning":               {Query{Provider: "openai", Model: "o4-mini"}, []any{"web_searches_preview", 2}, "0.02"},
		"web_search, no reasoning":         {Query{Provider: "openai", Model: "gpt-4.1"}, []any{"web_searches", 2}, "0.02"},
		"preview, written":                 {Query{Provider: "openai", Model: "gpt-4.1", Written: map[string]string{"web_searches_preview": "0.001"}}, []any{"web_searches_preview", 2}, "0.002"},
		"preview, as written for searches": {Query{Provider: "openai", Model: "gpt-4.1", Written: map[string]string{"web_searches": "0.002"}}, []any{"web_searches_preview", 2}, "0.004"},
		"moonshot":                         {Query{Provider: "openai", BaseURL: "https://api.moonshot.ai/v1", Model: "kimi-k2.6"}, []any{"web_searches", 3}, "0.015"},
		"z.ai":                             {Query{Provider: "openai", BaseURL: "https://api.z.ai/api/paas/v4", Model: "glm-4.6"}, []any{"web_searches", 1}, "0.01"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, total(t, Default(), c.q, counts(c.kinds...)))
		})
	}
}

// TestAnnotatedPages prices the pages of Mistral's OCR whose answer has annotations: in place of the price of a page, and where there is
// none by that, as what an operator wrote before may have it.
func TestAnnotatedPages(t *testing.T) {
	q := Query{Provider: "mistral", Model: "mistral-ocr-4-1"}
	require.Equal(t, "0.005", total(t, Default(), q, counts("annotated_pages", 1)))
	require.Equal(t, "0.004", total(t, Default(), q, counts("pages", 1)))
	q.Tier = "batch"
	require.Equal(t, "0.0025", total(t, Default(), q, counts("annotated_pages", 1)))
	c := counts("annotated_pages", 3)
	cost, err := Default().Cost(Query{Provider: "openai", BaseURL: "http://10.0.0.7/v1", Model: "ocr", Written: map[string]string{"pages": "0.002"}}, c)
	require.NoError(t, err)
	require.Equal(t, "0.006", cost.Total.String())
	require.Equal(t, []string{"annotated_pages has no price: pages price used"}, cost.Notes)
	_, err = Default().Cost(Query{Provider: "openai", BaseURL: "http://10.0.0.7/v1", Model: "ocr", Written: map[string]string{"input": "1"}}, c)
	require.ErrorIs(t, err, ErrUnpriced)
}

// TestQwenCache prices Alibaba's two caches, which one counter of the answer reports. Source of the multiples:
// help.aliyun.com/zh/model-studio/context-cache.
func TestQwenCache(t *testing.T) {
	q := Query{Provider: "openai", BaseURL: "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", Model: "qwen3.7-max"}
	const million = 1_000_000
	price := func(q Query, tier string, kind string, n int) string {
		q.Tier = tier
		return total(t, Default(), q, counts(kind, n))
	}
	// The list has both: 0.5 by itself, 0.25 where the request asked for the cache, 3.125 for a write.
	require.Equal(t, "0.5", price(q, "", "cache_read", million))
	require.Equal(t, "0.25", price(q, "explicit-cache", "cache_read", million))
	require.Equal(t, "3.125", price(q, "explicit-cache", "cache_write", million))
	require.Equal(t, "2.5", price(q, "explicit-cache", "input", million), "no other price changes")
	// Where the list has none, the documentation's multiples of the input price hold, within each range of the input.
	q.Model = "qwen3-max"
	require.Equal(t, "0.0024", price(q, "", "cache_read", 10_000), "1.2 x 0.2")
	require.Equal(t, "0.0012", price(q, "explicit-cache", "cache_read", 10_000), "1.2 x 0.1")
	require.Equal(t, "0.015", price(q, "explicit-cache", "cache_write_5m", 10_000), "1.2 x 1.25")
	require.Equal(t, "0.024", price(q, "", "cache_read", 50_000), "2.4 x 0.2")
	// What the operator writes goes first, and no other provider has such prices.
	q.Written = map[string]string{"cache_read@explicit-cache": "0.01", "cache_read": "0.02"}
	require.Equal(t, "0.01", price(q, "explicit-cache", "cache_read", million))
	require.Equal(t, "0.02", price(q, "", "cache_read", million))
	require.Equal(t, "1.25", price(Query{Provider: "openai", Model: "gpt-4o"}, "explicit-cache", "cache_read", million))
	require.Equal(t, "4", price(Query{Provider: "vllm", Model: "qwen3-max", Written: map[string]string{"input": "4"}}, "", "cache_read", million))
	own := overlay(t, Default(), "p", `{"models": [{"provider": "dashscope", "model": "qwen3-max", "prices": {"input": 1, "cache_read": 0.3, "cache_read@explicit-cache": 0.2}}]}`)
	q.Written = nil
	q.Tier = "explicit-cache"
	require.Equal(t, "0.2", total(t, own, q, counts("cache_read", million)))
}

// TestTwelveHourWrites prices OpenAI's longest cache, 2.5 times the input: 1.25 times would be half of it.
func TestTwelveHourWrites(t *testing.T) {
	in := total(t, Default(), Query{Provider: "openai", Model: "gpt-5.6"}, counts("input", 100_000))
	require.Equal(t, "0.4", in)
	require.Equal(t, "1", total(t, Default(), Query{Provider: "openai", Model: "gpt-5.6"}, counts("cache_write_12h", 100_000)))
	require.Equal(t, "0.5", total(t, Default(), Query{Provider: "openai", Model: "gpt-5.6", Tier: "flex"}, counts("cache_write_12h", 100_000)))
}

// TestOffPeak reads LiteLLM's hours of lower prices: those of its own list, and the other forms of its documentation.
func TestOffPeak(t *testing.T) {
	table := overlay(t, Default(), "litellm.json", `{
		"deepseek/x": {"litellm_provider": "deepseek", "mode": "chat", "input_cost_per_token": 3e-07, "output_cost_per_token": 1.2e-06, "cache_read_input_token_cost": 6e-09,
			"off_peak_pricing": {"input_cost_per_token": 1.5e-07, "cache_read_input_token_cost": 3e-09, "output_cost_per_token": 6e-07, "windows": [
				{"hours_utc": ["00:00-01:00", "04:00-06:00", "10:00-00:00"], "weekdays": [1, 2, 3, 4, 5]}, {"hours_utc": "00:00-00:00", "weekdays": ["sat", "Sunday"]}]}},
		"deepseek/daily": {"litellm_provider": "deepseek", "mode": "chat", "input_cost_per_token": 2e-06, "input_cost_per_token_above_128k_tokens": 4e-06, "output_cost_per_token": 8e-06,
			"off_peak_pricing": {"hours_utc": "16:30-00:30", "input_cost_per_token": 1e-06}},
		"deepseek/shanghai": {"litellm_provider": "deepseek", "mode": "chat", "input_cost_per_token": 2e-06, "output_cost_per_token": 8e-06,
			"off_peak_pricing": {"weekday_timezone": "Asia/Shanghai", "windows": [{"hours_utc": "00:00-00:00", "weekdays": [6]}], "input_cost_per_token": 1e-06}}}`)
	at := func(model, instant string) Query {
		day, err := time.Parse(time.RFC3339, instant)
		require.NoError(t, err)
		return Query{Provider: "deepseek", Model: model, At: day}
	}
	const million = 1_000_000
	for _, c := range []struct {
		model, instant, kind, want string
		n                          int
	}{
		{"x", "2026-11-27T00:59:59Z", "input", "0.15", million}, // a Friday
		{"x", "2026-11-27T01:00:00Z", "input", "0.3", million},
		{"x", "2026-11-27T05:59:59Z", "output", "0.6", million},
		{"x", "2026-11-27T06:00:00Z", "output", "1.2", million},
		{"x", "2026-11-27T23:59:59Z", "cache_read", "0.003", million},
		{"x", "2026-11-28T02:00:00Z", "input", "0.15", million}, // Saturday and Sunday, all day
		{"x", "2026-11-29T07:00:00Z", "output", "0.6", million},
		{"x", "2026-11-30T07:00:00Z", "output", "1.2", million},
		{"daily", "2026-11-29T00:29:59Z", "input", "0.2", 200_000}, // it replaces the thresholds too
		{"daily", "2026-11-29T00:30:00Z", "input", "0.8", 200_000},
		{"daily", "2026-11-29T17:00:00Z", "output", "8", million},   // what is not stated stays
		{"shanghai", "2026-11-27T16:00:00Z", "input", "1", million}, // Saturday there
		{"shanghai", "2026-11-28T15:59:59Z", "input", "1", million},
		{"shanghai", "2026-11-28T16:00:00Z", "input", "2", million}, // Sunday there
	} {
		require.Equal(t, c.want, total(t, table, at(c.model, c.instant), counts(c.kind, c.n)), "%s %s", c.model, c.instant)
	}
}

// TestOffPeakRefusals shows that hours which cannot be read are not left out.
func TestOffPeakRefusals(t *testing.T) {
	for block, message := range map[string]string{
		`{"hours_utc": "25:00-01:00", "input_cost_per_token": 1}`:                                 "is not a time of day",
		`{"windows": [{"hours_utc": "00:00-01:00", "weekdays": [8]}]}`:                            "no weekday",
		`{"windows": [{"hours_utc": "00:00-01:00", "weekdays": []}]}`:                             "empty list of weekdays",
		`{"windows": [{"hours_utc": "00:00-01:00", "weekdays": [1]}], "weekday_timezone": "X/Y"}`: "weekday_timezone",
		`{"input_cost_per_token": 1}`:                                                             "no hours_utc",
		`"never"`:                                                                                 "off_peak_pricing",
	} {
		_, err := Default().Overlay(strings.NewReader(`{"m": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1, "off_peak_pricing": `+block+`}}`), "p")
		require.ErrorContains(t, err, message, block)
	}
}
