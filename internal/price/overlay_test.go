package price

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

func overlay(t *testing.T, below *Table, name, text string) *Table {
	t.Helper()
	table, err := below.Overlay(strings.NewReader(text), name)
	require.NoError(t, err)
	return table
}

func TestOwnFile(t *testing.T) {
	const file = `{"models": [
		{"provider": "openai", "model": "gpt-4o", "prices": {"input": 2.00, "input@flex": "1.00", "output@flex": 4e0}},
		{"provider": "vllm", "model": "llama-*-instruct", "prices": {"input": 0.1, "input>8000": 0.2, "output": 0.3}},
		{"provider": "vllm", "model": "llama-3-70b-instruct", "prices": {"input": 9}},
		{"provider": "x-ai", "model": "grok-4", "replace": true, "prices": {"request": 0.5}},
		{"model": "anything", "prices": {"images": 0.04}}]}`
	table := overlay(t, Default(), "/etc/tollgate/prices.json", file)
	require.Regexp(t, regexp.MustCompile(`^genai-prices \d+\.\d+\.\d+ \+ litellm \d+\.\d+\.\d+ \+ prices\.json@[0-9a-f]{8}$`), table.Version())
	require.NotContains(t, Default().Version(), "prices.json", "the table below is unchanged")

	million := counts("input", 1_000_000, "output", 1_000_000)
	openai := Query{Provider: "openai", BaseURL: "https://api.openai.com/v1", Model: "gpt-4o"}
	require.Equal(t, "12", total(t, table, openai, million), "output is the list's")
	openai.Tier = "flex"
	require.Equal(t, "5", total(t, table, openai, million))
	// The answer's model is another name than the one in the file, which is the one sent upstream.
	openai.Tier, openai.Model, openai.Fallback = "", "gpt-4o-2024-08-06", []string{"gpt-4o"}
	require.Equal(t, "12", total(t, table, openai, million))
	// Written prices go before the file's.
	openai.Written = map[string]string{"output": "1"}
	require.Equal(t, "3", total(t, table, openai, million))
	// What a preset is called in a file holds at any address.
	require.Equal(t, "2", total(t, table, Query{Provider: "openai", BaseURL: "http://10.0.0.1/v1", Model: "GPT-4o"}, counts("input", 1_000_000)))

	vllm := Query{Provider: "vllm", BaseURL: "http://10.0.0.1/v1", Model: "llama-3-70b-instruct"}
	require.Equal(t, "0.0008", total(t, table, vllm, counts("input", 8000)), "the first entry that matches")
	require.Equal(t, "0.0016002", total(t, table, vllm, counts("input", 8001)))
	vllm.Model = "llama-3-70b"
	require.ErrorIs(t, table.Priced(vllm), ErrUnpriced)

	require.Equal(t, "0.5", total(t, table, Query{Provider: "xai", Model: "grok-4"}, million))
	require.Equal(t, "0.5", total(t, table, Query{Provider: "openai", BaseURL: "https://api.x.ai/v1", Model: "grok-4"}, million))
	require.Equal(t, "0.12", total(t, table, Query{Provider: "mock", Model: "anything"}, counts("images", 3)))

	// A file over a file.
	second := overlay(t, table, "more.json", `{"models": [{"provider": "openai", "model": "gpt-4o*", "prices": {"output": "7"}}]}`)
	require.Equal(t, "9", total(t, second, Query{Provider: "openai", Model: "gpt-4o"}, million))
	require.Contains(t, second.Version(), " + prices.json@")
	require.Contains(t, second.Version(), " + more.json@")
}

func TestOverlayErrors(t *testing.T) {
	for file, want := range map[string]string{
		``:     "unexpected end",
		`[]`:   "cannot unmarshal",
		`{}`:   "no price in it",
		`null`: "no price in it",
		`{"models": [{"model": "x", "prices": {"inputs": 1}}]}`:                                           `models[0] ("" "x"): unknown price name "inputs"`,
		`{"models": [{"model": "x", "prices": {"input": true}}]}`:                                         "price input: true is not a number",
		`{"models": [{"model": "x", "prices": {"input": null}}]}`:                                         "price input: null is not a number",
		`{"models": [{"model": "x", "prices": {"input": -1}}]}`:                                           "price input",
		`{"models": [{"model": "x", "prices": {"input": 0.1234567891}}]}`:                                 "too many decimals",
		`{"models": [{"model": "x", "prices": {}}]}`:                                                      "no prices",
		`{"models": [{"prices": {"input": 1}}]}`:                                                          "no model",
		`{"models": [{"model": "x", "price": {"input": 1}}]}`:                                             `unknown field "price"`,
		`{"models": [{"model": "x", "prices": {"input>5": 1}}]}`:                                          "needs a price below its threshold",
		`{"models": [{"model": "x", "prices": {"input": 1}, "later": [{"prices": {"input": 1}}]}]}`:       `needs either "from" or "daily"`,
		`{"models": [{"model": "x", "prices": {"input": 1}, "later": [{"from": "soon", "prices": {}}]}]}`: "is not a date",
		`{"models": [{"model": "x", "prices": {"input": 1}, "later": [{"daily": "1-2", "prices": {}}]}]}`: "is not a time of day",
		`{"gpt-4o": {"litellm_provider": "openai", "input_cost_per_token": "cheap"}}`:                     "input_cost_per_token",
		`{"gpt-4o": 5}`:                "neither a list of models nor",
		`{"models": [], "version": 1}`: "unknown field",
	} {
		_, err := Default().Overlay(strings.NewReader(file), "prices.json")
		require.ErrorContains(t, err, want, file)
		require.ErrorContains(t, err, "prices.json", file)
	}
	broken := errors.New("disk on fire")
	_, err := Default().Overlay(iotest.ErrReader(broken), "prices.json")
	require.ErrorIs(t, err, broken)

	table := Default()
	for range maxSheets - 4 {
		table = overlay(t, table, "p", `{"models": [{"model": "x", "prices": {"input": 1}}]}`)
	}
	_, err = table.Overlay(strings.NewReader(`{"models": [{"model": "x", "prices": {"input": 1}}]}`), "p")
	require.Error(t, err)
}

// liteFile has the shapes of LiteLLM's model_prices_and_context_window.json.
const liteFile = `{
	"sample_spec": {"input_cost_per_token": 0.0, "litellm_provider": "one of https://docs.litellm.ai/docs/providers"},
	"gpt-5": {"litellm_provider": "openai", "mode": "chat", "max_input_tokens": 272000,
		"input_cost_per_token": 1.25e-06, "input_cost_per_token_flex": 6.25e-07, "input_cost_per_token_priority": 2.5e-06,
		"output_cost_per_token": 1e-05, "output_cost_per_token_flex": 5e-06, "output_cost_per_token_priority": 2e-05,
		"output_cost_per_token_batches": 5e-06, "input_cost_per_token_batches": 6.25e-07,
		"cache_read_input_token_cost": 1.25e-07, "cache_read_input_token_cost_flex": 6.25e-08,
		"search_context_cost_per_query": {"search_context_size_low": 0.025, "search_context_size_medium": 0.0275, "search_context_size_high": 0.03},
		"code_interpreter_cost_per_session": 0.03, "supports_vision": true},
	"gemini/gemini-2.5-pro": {"litellm_provider": "gemini", "mode": "chat", "input_cost_per_token": 1.25e-06, "input_cost_per_token_above_200k_tokens": 2.5e-06,
		"input_cost_per_token_above_200k_tokens_priority": 4.5e-06, "input_cost_per_token_priority": 2.25e-06,
		"output_cost_per_token": 1e-05, "output_cost_per_token_above_200k_tokens": 1.5e-05, "cache_creation_input_token_cost_above_200k_tokens": 2.5e-07},
	"gemini-2.5-pro": {"litellm_provider": "vertex_ai-language-models", "mode": "chat", "input_cost_per_token": 3e-06, "output_cost_per_token": "3e-7"},
	"claude-sonnet-4-5": {"litellm_provider": "anthropic", "mode": "chat", "input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05,
		"cache_creation_input_token_cost": 3.75e-06, "cache_creation_input_token_cost_above_1hr": 6e-06,
		"cache_creation_input_token_cost_above_1hr_above_200k_tokens": 1.2e-05},
	"xai/grok-9": {"litellm_provider": "xai", "mode": "chat", "input_cost_per_token": 2e-07, "input_cost_per_token_above_128k_tokens": 4e-07},
	"dashscope/qwen-max": {"litellm_provider": "dashscope", "mode": "chat", "input_cost_per_token": 99, "tiered_pricing": [
		{"range": [0, 32000.0], "input_cost_per_token": 1.2e-06, "output_cost_per_token": 6e-06},
		{"range": [32000.0, 128000.0], "input_cost_per_token": 2.4e-06, "output_cost_per_token": 1.2e-05}]},
	"whisper-1": {"litellm_provider": "openai", "mode": "audio_transcription", "input_cost_per_second": 0.0001, "output_cost_per_second": 0.0001},
	"groq/whisper-large-v3": {"litellm_provider": "groq", "mode": "audio_transcription", "input_cost_per_second": 3.083e-05, "output_cost_per_second": 0.0},
	"tts-1": {"litellm_provider": "openai", "mode": "audio_speech", "input_cost_per_character": 1.5e-05},
	"gemini-1.5-pro": {"litellm_provider": "vertex_ai-language-models", "mode": "chat", "input_cost_per_character": 3e-07, "input_cost_per_token": 1e-06, "input_cost_per_image": 0.1},
	"dall-e-9": {"litellm_provider": "openai", "mode": "image_generation", "input_cost_per_image": 0.04, "input_cost_per_pixel": 1e-08},
	"gpt-image-9": {"litellm_provider": "openai", "mode": "image_generation", "output_cost_per_image": 0.04, "output_cost_per_image_token": 4e-05},
	"rerank-v3.5": {"litellm_provider": "cohere", "mode": "rerank", "input_cost_per_query": 0.002, "input_cost_per_token": 0.0},
	"mistral/ocr": {"litellm_provider": "mistral", "mode": "ocr", "ocr_cost_per_page": 0.001},
	"bedrock/us-east-1/anthropic.claude-9": {"litellm_provider": "bedrock", "mode": "chat", "input_cost_per_token": 8e-06},
	"anthropic.claude-9": {"litellm_provider": "bedrock_converse", "mode": "chat", "input_cost_per_token": 7e-06},
	"together_ai/noise": {"litellm_provider": "together_ai", "mode": "chat", "input_cost_per_token": 8.333333333333334e-08, "output_cost_per_token": 1.0000000000000001e-07},
	"no-price": {"litellm_provider": "openai", "mode": "chat"}
}`

func TestLiteLLM(t *testing.T) {
	table := overlay(t, Default(), "map.json", liteFile)
	for name, c := range map[string]struct {
		q    Query
		c    []any
		want string
	}{
		"standard":                 {Query{Provider: "openai", Model: "gpt-5"}, []any{"input", 1_000_000, "cache_read", 1_000_000}, "1.375"},
		"flex":                     {Query{Provider: "openai", Model: "gpt-5", Tier: "flex"}, []any{"input", 1_000_000, "cache_read", 1_000_000, "output", 1_000_000}, "5.6875"},
		"priority":                 {Query{Provider: "openai", Model: "gpt-5", Tier: "priority"}, []any{"input", 1_000_000, "output", 1_000_000}, "22.5"},
		"priority, no cache":       {Query{Provider: "openai", Model: "gpt-5", Tier: "priority"}, []any{"cache_read", 1_000_000}, "2.5"},
		"batch":                    {Query{Provider: "openai", Model: "gpt-5", Tier: "batch"}, []any{"input", 1_000_000, "output", 1_000_000}, "5.625"},
		"search":                   {Query{Provider: "openai", Model: "gpt-5"}, []any{"web_searches", 2}, "0.055"},
		"date in the answer":       {Query{Provider: "openai", Model: "gpt-5-2099-01-01", Fallback: []string{"gpt-5"}, Tier: "flex"}, []any{"input", 1_000_000}, "0.625"},
		"flex, as vertex names it": {Query{Provider: "openai", Model: "gpt-5", Tier: "ON_DEMAND_FLEX"}, []any{"input", 1_000_000}, "0.625"},
		"below the threshold":      {Query{Provider: "gemini", Model: "gemini-2.5-pro"}, []any{"input", 200_000, "output", 100}, "0.251"},
		"above the threshold":      {Query{Provider: "gemini", Model: "gemini-2.5-pro"}, []any{"input", 200_001, "output", 100}, "0.5015025"},
		"threshold in a tier":      {Query{Provider: "gemini", Model: "gemini-2.5-pro", Tier: "priority"}, []any{"input", 1_000_000}, "4.5"},
		"vertex is not gemini":     {Query{Provider: "vertex", Model: "gemini-2.5-pro"}, []any{"input", 1_000_000, "output", 1_000_000}, "3.3"},
		"one hour":                 {Query{Provider: "anthropic", Model: "claude-sonnet-4-5"}, []any{"cache_write_1h", 100_000, "cache_write_5m", 100_000}, "0.975"},
		"one hour, long":           {Query{Provider: "anthropic", Model: "claude-sonnet-4-5"}, []any{"cache_write_1h", 1_000_000}, "12"},
		"entry stands alone":       {Query{Provider: "anthropic", Model: "claude-sonnet-4-5"}, []any{"cache_read", 100_000}, "0.3"},
		"xai, below":               {Query{Provider: "xai", Model: "grok-9"}, []any{"input", 127_999}, "0.0255998"},
		"xai, at the threshold":    {Query{Provider: "xai", Model: "grok-9"}, []any{"input", 128_000}, "0.0512"},
		"range":                    {Query{Provider: "dashscope", Model: "qwen-max"}, []any{"input", 32_000}, "0.0384"},
		"next range":               {Query{Provider: "dashscope", Model: "qwen-max"}, []any{"input", 32_001, "output", 10}, "0.0769224"},
		"seconds, one side":        {Query{Provider: "openai", Model: "whisper-1"}, []any{"milliseconds", 60_000}, "0.006"},
		"seconds, groq":            {Query{Provider: "groq", Model: "whisper-large-v3"}, []any{"milliseconds", 100_000}, "0.003083"},
		"characters":               {Query{Provider: "openai", Model: "tts-1"}, []any{"input_characters", 1000}, "0.015"},
		"chat has no characters":   {Query{Provider: "vertex", Model: "gemini-1.5-pro"}, []any{"input", 1000, "input_characters", 4000, "images", 1}, "0.001"},
		"images":                   {Query{Provider: "openai", Model: "dall-e-9"}, []any{"images", 2}, "0.08"},
		"images by tokens":         {Query{Provider: "openai", Model: "gpt-image-9"}, []any{"images", 2, "output_image", 1000}, "0.04"},
		"rerank":                   {Query{Provider: "cohere", Model: "rerank-v3.5"}, []any{"search_units", 3, "input", 500}, "0.006"},
		"pages":                    {Query{Provider: "mistral", Model: "ocr"}, []any{"pages", 3}, "0.003"},
		"bedrock":                  {Query{Provider: "bedrock", Model: "us.anthropic.claude-9"}, []any{"input", 1_000_000}, "7"},
		"float noise":              {Query{Provider: "together", Model: "noise"}, []any{"input", 1_000_000, "output", 1_000_000}, "0.183333333"},
		"not in the file":          {Query{Provider: "openai", Model: "gpt-4o-mini"}, []any{"input", 1_000_000}, "0.15"},
	} {
		require.Equal(t, c.want, total(t, table, c.q, counts(c.c...)), name)
	}
	// The file's entry replaces the list's: nothing of the list is mixed into it.
	_, err := table.Cost(Query{Provider: "anthropic", Model: "claude-sonnet-4-5", Tier: "flex"}, counts("input", 1))
	require.ErrorIs(t, err, ErrUnpriced)
	// OpenAI's prices are not those of any server that speaks its API.
	for _, q := range []Query{{Provider: "openai", BaseURL: "http://10.0.0.1/v1", Model: "gpt-5"}, {Provider: "vllm", Model: "gpt-5"}} {
		require.ErrorIs(t, table.Priced(q), ErrUnpriced)
	}
	require.ErrorIs(t, table.Priced(Query{Provider: "openai", Model: "no-price"}), ErrUnpriced)
	require.Equal(t, []string{
		"cache_creation_input_token_cost_above_200k_tokens", "code_interpreter_cost_per_session", "input_cost_per_character",
		"input_cost_per_image", "input_cost_per_pixel",
	}, table.Ignored())
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"a", "a", true},
		{"a", "ab", false},
		{"a*", "abc", true},
		{"*c", "abc", true},
		{"a*c", "abc", true},
		{"a*a", "a", false},
		{"*", "", true},
		{"*b*", "abc", true},
		{"a*b*c", "axbxc", true},
		{"a*b*c", "acb", false},
		{"*ab", "aab", true},
	} {
		require.Equal(t, c.want, glob(c.pattern, c.name), "%+v", c)
	}
}

// FuzzOverlay feeds any bytes to the readers of price files.
func FuzzOverlay(f *testing.F) {
	f.Add([]byte(liteFile))
	f.Add([]byte(`{"models": [{"model": "x", "prices": {"input": 1}, "later": [{"daily": "1:00-02:00", "prices": {"input": 2}}]}]}`))
	below := Default()
	f.Fuzz(func(t *testing.T, data []byte) {
		table, err := below.Overlay(strings.NewReader(string(data)), "f")
		if err != nil {
			return
		}
		_, err = table.Cost(Query{Provider: "openai", Model: "x"}, counts("input", 1))
		if err != nil {
			require.ErrorIs(t, err, ErrUnpriced)
		}
	})
}
