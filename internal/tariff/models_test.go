package tariff

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

// settleAnswer reads an answer and settles the record of its call.
func settleAnswer(t *testing.T, tf *Tariff, api usage.API, target *llm.Target, answer string) (*record.Record, []string) {
	t.Helper()
	contentType := "application/json"
	if strings.HasPrefix(answer, "data:") {
		contentType = "text/event-stream"
	}
	reader := usage.NewReader(usage.Options{
		API: api, Provider: target.Provider, Status: 200, ContentType: contentType, Model: target.Upstream, BaseURL: target.BaseURL,
		Priced: len(target.Prices) > 0,
	})
	defer reader.Close()
	for p := []byte(answer); len(p) > 0; {
		n, _ := reader.Next(p)
		p = p[n:]
	}
	res := reader.Result(usage.Estimate{})
	r := &record.Record{
		ID: "01960000-0000-7000-8000-000000000000", Payer: "sub-1", Endpoint: "e", Asked: "asked", Upstream: target.Upstream, Provider: target.Provider,
		Outcome: record.OutcomeCompleted, Status: 200, Settled: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC),
	}
	events := tf.Settle(nil, r, target, &res, true)
	var all []string
	for _, e := range gjson.ParseBytes(append(append([]byte{'['}, events...), ']')).Array() {
		all = append(all, e.Raw)
	}
	return r, all
}

const advised = `{"id":"msg_1","model":"claude-sonnet-4-6","content":[{"type":"text","text":"word"}],"stop_reason":"end_turn","usage":{"input_tokens":4727,"output_tokens":3391,"service_tier":"standard","iterations":[
	{"type":"message","input_tokens":1051,"output_tokens":35},{"type":"advisor_message","input_tokens":2728,"output_tokens":3880,"model":"claude-opus-4-7"},{"type":"message","input_tokens":3676,"output_tokens":3356}]}}`

func answered(model, usage, more string) string {
	return `{"id":"c","model":"` + model + `","choices":[{"message":{"content":"word"},"finish_reason":"stop"}],"usage":` + usage + more + `}`
}

// TestTrueCost prices answers with fees and with other models' tokens. Amounts are worked out by hand from the providers' lists.
func TestTrueCost(t *testing.T) {
	const image = `{"id":"r","object":"response","model":"gpt-5","output":[],"usage":{"input_tokens":1000,"output_tokens":100,"total_tokens":1100},` +
		`"tools":[{"type":"image_generation","model":"gpt-image-2"}],"tool_usage":{"image_gen":{"input_tokens":50,"input_tokens_details":{"image_tokens":0,"text_tokens":50},"output_tokens":7024,"output_tokens_details":{"image_tokens":7024,"text_tokens":0}}}}`
	grounded := func(model string) string {
		return `{"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"STOP","groundingMetadata":{"webSearchQueries":["a","b","a",""]}}],` +
			`"usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":10,"totalTokenCount":110},"modelVersion":"` + model + `"}`
	}
	for name, c := range map[string]struct {
		api      usage.API
		provider string
		baseURL  string
		model    string
		prices   map[string]string
		answer   string
		cost     string // empty: unpriced
		why      string // part of why it is unpriced, or of the note
	}{
		// 4727 x 3 + 3391 x 15 = 65,046 of the executor, 2728 x 5 + 3880 x 25 = 110,640 of the adviser.
		"anthropic's adviser": {usage.AnthropicMessages, "anthropic", "", "claude-sonnet-4-6", nil, advised, "0.175686", ""},
		// The executor's own price is written: 4727 x 1 + 3391 x 2 = 11,509. The adviser keeps its list price.
		"anthropic's adviser beside written prices": {
			usage.AnthropicMessages, "anthropic", "", "claude-sonnet-4-6", map[string]string{"input": "1", "output": "2"}, advised, "0.122149", "",
		},
		"an adviser that nobody prices": {
			usage.AnthropicMessages, "anthropic", "", "claude-sonnet-4-6", nil, strings.ReplaceAll(advised, "claude-opus-4-7", "unheard-of"), "", "unheard-of",
		},
		// 1000 x 1.25 + 100 x 10 = 2,250; 50 x 5 + 7024 x 30 = 210,970.
		"the image tool of responses": {usage.OpenAIResponses, "openai", "", "gpt-5", nil, image, "0.21322", ""},
		// The backend's address has no list: its own prices for its own model, OpenAI's list for the tool's.
		"the image tool at an address of one's own": {
			usage.OpenAIResponses, "openai", "http://10.0.0.7/v1", "gpt-5", map[string]string{"input": "1", "output": "10"}, image, "0.21297", "vendor's list price",
		},
		// The model is not named: 1050 x 1 + 100 x 10 + 7024 x 40 = 283,010.
		"the image tool, not named": {
			usage.OpenAIResponses, "openai", "http://10.0.0.7/v1", "gpt-5",
			map[string]string{"input": "1", "output": "10", "output_image": "40", "input_image": "8"},
			strings.Replace(image, `"model":"gpt-image-2"`, `"size":"auto"`, 1), "0.28301", "",
		},
		"the image tool, neither named nor priced": {
			usage.OpenAIResponses, "openai", "", "gpt-5", nil, strings.Replace(image, `"model":"gpt-image-2"`, `"size":"auto"`, 1), "", "output_image",
		},
		// 60,000 x 0.11 + 6000 x 0.34, and 300 x 0.15 + 30 x 0.60 (llama-4-scout, gpt-oss-120b).
		"groq's compound": {
			usage.OpenAIChat, "groq", "", "groq/compound", nil,
			answered("groq/compound", `{"prompt_tokens":60300,"completion_tokens":6030,"total_tokens":66330}`,
				`,"usage_breakdown":{"models":[{"model":"meta-llama/llama-4-scout-17b-16e-instruct","usage":{"prompt_tokens":60000,"completion_tokens":6000}},{"model":"openai/gpt-oss-120b","usage":{"prompt_tokens":300,"completion_tokens":30}}]}`),
			"0.008703", "",
		},
		// 100 x 0.50 + 10 x 3 = 80, and two different queries at 0.014.
		"gemini 3's search": {usage.GeminiGenerate, "gemini", "", "gemini-3-flash-preview", nil, grounded("gemini-3-flash-preview"), "0.02808", ""},
		// 100 x 0.30 + 10 x 2.50 = 55, and one prompt at 0.035.
		"gemini 2.5's search": {usage.GeminiGenerate, "gemini", "", "gemini-2.5-flash", nil, grounded("gemini-2.5-flash"), "0.035055", ""},
		// 46 x 0.20 + 159 x 0.05 + 18 x 0.50.
		"azure states no cost": {
			usage.OpenAIChat, "azure", "https://resource.services.ai.azure.com/openai/v1", "grok-4-1-fast-non-reasoning", nil,
			answered("grok-4-1-fast-non-reasoning", `{"prompt_tokens":205,"completion_tokens":18,"total_tokens":223,"prompt_tokens_details":{"cached_tokens":159},"cost_in_usd_ticks":0}`, ""),
			"0.00002615", "",
		},
		// 100 x 0.20 + 10 x 0.50, though xAI itself says 0.
		"a stated zero beside tokens with a price": {
			usage.OpenAIChat, "xai", "", "grok-4-1-fast-non-reasoning", nil,
			answered("grok-4-1-fast-non-reasoning", `{"prompt_tokens":100,"completion_tokens":10,"total_tokens":110,"cost_in_usd_ticks":0}`, ""), "0.000025", "states a cost of 0",
		},
		"a free model of openrouter": {
			usage.OpenAIChat, "openrouter", "", "deepseek/deepseek-r1:free", nil,
			answered("deepseek/deepseek-r1:free", `{"prompt_tokens":100,"completion_tokens":10,"total_tokens":110,"cost":0}`, ""), "0", "",
		},
		"xai's image": {usage.OpenAIImages, "xai", "", "grok-imagine-image", nil, `{"data":[{"url":"x"}],"usage":{"cost_in_usd_ticks":200000000}}`, "0.02", ""},
		// 24 x 2.50 + 25 x 40 + 10 x 10.
		"audio has its own price": {
			usage.OpenAIChat, "openai", "", "gpt-4o-audio-preview", nil,
			answered("gpt-4o-audio-preview-2025-06-03", `{"prompt_tokens":49,"completion_tokens":10,"total_tokens":59,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":25,"text_tokens":24}}`, ""), "0.00116", "",
		},
		"audio of a model that lists none": {
			usage.OpenAIChat, "openai", "", "gpt-4o", nil,
			answered("gpt-4o", `{"prompt_tokens":49,"completion_tokens":10,"total_tokens":59,"prompt_tokens_details":{"audio_tokens":25}}`, ""), "", "input_audio",
		},
		// 100 x 2.50 + 2 x 10 = 270, and one search at 0.025 or 0.035 within the request's list price.
		"a search model of an operator's own price": {
			usage.OpenAIChat, "openai", "http://10.0.0.7/v1", "gpt-4o-search-preview",
			map[string]string{"input": "1", "output": "10", "web_searches": "0.01"},
			answered("gpt-4o-search-preview-2025-03-11", `{"prompt_tokens":100,"completion_tokens":2,"total_tokens":102}`, ""), "0.01012", "",
		},
		// 1000 x 1.25 + 100 x 10 = 2,250; two file searches at 0.0025; one container of 4 GB at 0.12.
		"file searches and a container": {
			usage.OpenAIResponses, "openai", "", "gpt-5", nil,
			`{"model":"gpt-5","tools":[{"type":"code_interpreter","container":{"type":"auto","memory_limit":"4g"}}],"output":[{"type":"file_search_call","status":"completed"},{"type":"file_search_call","status":"completed"},` +
				`{"type":"code_interpreter_call","status":"completed","container_id":"c1"},{"type":"code_interpreter_call","status":"completed","container_id":"c1"}],"usage":{"input_tokens":1000,"output_tokens":100,"total_tokens":1100}}`,
			"0.12725", "list price",
		},
		"a fee at an address without a list": {
			usage.OpenAIResponses, "openai", "http://10.0.0.7/v1", "m",
			map[string]string{"input": "1", "output": "10"},
			`{"model":"m","output":[{"type":"file_search_call","status":"completed"}],"usage":{"input_tokens":1000,"output_tokens":100,"total_tokens":1100}}`, "", "file_searches",
		},
		// The request's fee by its size, not the one of the price data: 8 x 1 + 213 x 1 = 221, and 0.005.
		"perplexity without a stated cost": {
			usage.OpenAIChat, "perplexity", "", "sonar", nil,
			answered("sonar", `{"prompt_tokens":8,"completion_tokens":213,"total_tokens":221,"search_context_size":"low"}`, ""), "0.005221", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			target := &llm.Target{Provider: c.provider, BaseURL: c.baseURL, Upstream: c.model, Prices: c.prices}
			r, _ := settleAnswer(t, newTariff(t, Config{}), c.api, target, c.answer)
			require.Equal(t, c.cost, r.Cost, "unpriced: %s; note: %s", r.Unpriced, r.PriceNote)
			require.Contains(t, r.Unpriced+r.PriceNote, c.why)
			require.Equal(t, c.cost == "", r.Unpriced != "")
		})
	}
}

// TestModelsOfOneAnswer shows the tokens of two models in each shape of events, and in the record.
func TestModelsOfOneAnswer(t *testing.T) {
	target := &llm.Target{Provider: "anthropic", Upstream: "claude-sonnet-4-6", API: llm.Anthropic}
	type line struct{ code, model, value, cents string }
	read := func(events []string) (out []line) {
		for _, e := range events {
			p := gjson.Get(e, "properties")
			out = append(out, line{gjson.Get(e, "code").Str + p.Get("token_type").Str, p.Get("model").Str, p.Get("value").Str, gjson.Get(e, "precise_total_amount_cents").Str})
		}
		return out
	}
	r, events := settleAnswer(t, newTariff(t, Config{Events: PerTokenType}), usage.AnthropicMessages, target, advised)
	require.Equal(t, []line{
		{"llm_input_tokens", "claude-sonnet-4-6", "4727", ""},
		{"llm_output_tokens", "claude-sonnet-4-6", "3391", ""},
		{"llm_input_tokens", "claude-opus-4-7", "2728", ""},
		{"llm_output_tokens", "claude-opus-4-7", "3880", ""},
	}, read(events))
	again, err := record.Parse(r.Append(nil, nil))
	require.NoError(t, err)
	require.Equal(t, r.Models, again.Models)
	require.Equal(t, r.Counts, again.Counts)
	require.Equal(t, "claude-opus-4-7", r.Models[0].Model)
	require.EqualValues(t, 2728+4727, r.Counts.InputTokens())

	_, events = settleAnswer(t, newTariff(t, Config{Events: Cost}), usage.AnthropicMessages, target, advised)
	require.Equal(t, []line{
		{"llm_costinput", "claude-sonnet-4-6", "4727", "1.4181"},
		{"llm_costoutput", "claude-sonnet-4-6", "3391", "5.0865"},
		{"llm_costinput", "claude-opus-4-7", "2728", "1.364"},
		{"llm_costoutput", "claude-opus-4-7", "3880", "9.7"},
	}, read(events))

	_, events = settleAnswer(t, newTariff(t, Config{}), usage.AnthropicMessages, target, advised)
	require.Len(t, events, 1)
	require.Equal(t, "0.175686", gjson.Get(events[0], "properties.response_cost").Str)
	require.Equal(t, "14726", gjson.Get(events[0], "properties.total_tokens").Str)
}
