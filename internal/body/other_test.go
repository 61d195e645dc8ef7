package body

import (
	"cmp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each body makes the provider run a model other than the called one, by a member of the named API. A question mark is a
// model that the provider chooses.
func TestOtherModels(t *testing.T) {
	for name, tt := range map[string]struct {
		in   string
		want string
	}{
		"Anthropic fallbacks":       {`{"model":"m","fallbacks":[{"model":"claude-opus-4-6"},{"model":"b","max_tokens":5}]}`, "fallbacks: claude-opus-4-6, fallbacks: b"},
		"Anthropic default":         {`{"model":"m","fallbacks":"default"}`, "fallbacks: ?"},
		"Anthropic advisor":         {`{"model":"m","tools":[{"type":"advisor_20260301","name":"advisor","model":"claude-opus-4-6"}]}`, "tools: claude-opus-4-6"},
		"OpenRouter models":         {`{"model":"m","models":["a/b","c\/d"]}`, "models: a/b, models: c/d"},
		"in another case":           {`{"model":"m","MODELS":["a/b"]}`, "MODELS: a/b"},
		"escaped":                   {`{"model":"m","m\u006fdels":["a/b"]}`, "models: a/b"},
		"OpenRouter route":          {`{"model":"m","route":"fallback"}`, "route: ?"},
		"OpenRouter preset":         {`{"model":"m","preset":"coder"}`, "preset: ?"},
		"OpenRouter auto-router":    {`{"model":"m","plugins":[{"id":"auto-router","allowed_models":["anthropic/*"]}]}`, "plugins: anthropic/*"},
		"OpenRouter fusion":         {`{"model":"m","plugins":[{"id":"fusion","analysis_models":["a"],"model":"j"}]}`, "plugins: a, plugins: j"},
		"OpenRouter advisor":        {`{"model":"m","tools":[{"type":"openrouter:advisor","parameters":{"model":"~a/latest"}}]}`, "tools: ~a/latest"},
		"OpenRouter subagent":       {`{"model":"m","tools":[{"type":"openrouter:subagent"}]}`, "tools: ?"},
		"OpenAI image tool":         {`{"model":"m","tools":[{"type":"image_generation","model":"gpt-image-2"}]}`, "tools: gpt-image-2"},
		"Writer llm tool":           {`{"model":"m","tools":[{"type":"llm","function":{"model":"palmyra-med"}}]}`, "tools: palmyra-med"},
		"Groq compound":             {`{"model":"m","compound_custom":{"models":{"answering_model":"a","reasoning_model":"b"}}}`, "compound_custom: a, compound_custom: b"},
		"Mistral guardrails":        {`{"model":"m","guardrails":[{"moderation_llm_v1":{"model_name":"mod"}}]}`, "guardrails: mod"},
		"Azure data sources":        {`{"model":"m","data_sources":[{"parameters":{"embedding_dependency":{"deployment_name":"e"}}}]}`, "data_sources: e"},
		"Vercel gateway":            {`{"model":"m","providerOptions":{"gateway":{"models":["x"]}}}`, "providerOptions: x"},
		"Together safety":           {`{"model":"m","safety_model":"guard"}`, "safety_model: guard"},
		"Bedrock fields":            {`{"additionalModelRequestFields":{"tools":[{"type":"advisor_20260301","model":"x"}],"fallbacks":["y"]}}`, "tools: x, fallbacks: y"},
		"Vertex routing":            {`{"generationConfig":{"routingConfig":{"manualMode":{"modelName":"x"}}}}`, "routingConfig: x"},
		"Vertex routing by itself":  {`{"generation_config":{"routing_config":{"autoMode":{"modelRoutingPreference":"PRIORITIZE_COST"}}}}`, "routingConfig: ?"},
		"LiteLLM fallbacks":         {`{"model":"m","fallbacks":[{"a":["b"]}]}`, "fallbacks: b"},
		"none: a function's schema": {`{"model":"m","tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"model":{"type":"string"},"models":{"type":"array"}}}}}]}`, ""},
		"none: a schema's own":      {`{"model":"m","tools":[{"name":"f","input_schema":{"type":"object","properties":{"model":{"type":"string","default":"x"}}}}]}`, ""},
		"none: empty and null":      {`{"model":"m","models":[],"fallbacks":null,"route":null,"preset":"","tools":null,"plugins":[]}`, ""},
		"none: text":                {`{"model":"m","messages":[{"role":"user","content":"{\"models\":[\"x\"]}"}],"metadata":{"model":"x"}}`, ""},
		"none: image tool":          {`{"model":"m","tools":[{"type":"image_generation"},{"type":"openrouter:web_search"}]}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := Parse([]byte(tt.in))
			require.NoError(t, err)
			var got []string
			for _, o := range b.Others {
				got = append(got, o.Member+": "+cmp.Or(o.Name, "?"))
			}
			require.Equal(t, tt.want, strings.Join(got, ", "))
		})
	}
}

func TestTooManyOtherModels(t *testing.T) {
	in := `{"model":"m","models":["x0"`
	for i := range 32 {
		in += `,"y` + string(rune('a'+i%26)) + string(rune('a'+i/26)) + `"`
	}
	_, err := Parse([]byte(in + `]}`))
	require.ErrorContains(t, err, "more than 32 other models")
}

// The text in members that name models counts as input, as in any other member.
func TestOtherModelsCountAsText(t *testing.T) {
	with, err := Parse([]byte(`{"model":"m","tools":[{"type":"advisor","model":"abcdefgh"}]}`))
	require.NoError(t, err)
	without, err := Parse([]byte(`{"model":"m","other":[{"type":"advisor","mode":"abcdefgh"}]}`))
	require.NoError(t, err)
	require.Equal(t, without.Units, with.Units)
}

// A bound may be any spelling of a whole number. -1 means no limit where llama.cpp and Ollama read it.
func TestBoundsAsClientsWriteThem(t *testing.T) {
	for in, want := range map[string]int64{"-1": 0, "100.0": 100, "1e3": 1000, "1E+2": 100, "0": 0, "null": 0, "9007199254740993": 9007199254740993} {
		b, err := Parse([]byte(`{"model":"m","max_tokens":` + in + `}`))
		require.NoError(t, err, in)
		require.Equal(t, want, b.MaxOutput(allBounds), in)
	}
	for _, in := range []string{"1e300", "1e16", "0.5", "1e-1"} {
		_, err := Parse([]byte(`{"model":"m","max_tokens":` + in + `}`))
		require.Error(t, err, in)
	}
}

// A prompt without spaces is text, however long. A base64 image in a member that takes images is not.
func TestDataIsNoText(t *testing.T) {
	long := strings.Repeat("Lorem_ipsum_dolor_", 100)
	for member, text := range map[string]bool{
		`"messages":[{"role":"user","content":"X"}]`:                          true,
		`"messages":[{"role":"user","content":[{"type":"text","text":"X"}]}]`: true,
		`"input":"X"`:       true,
		`"input":["a","X"]`: true,
		`"prompt":["X"]`:    true,
		`"messages":[{"content":[{"type":"image_url","image_url":{"url":"X"}}]}]`:                false,
		`"input":[{"content":[{"type":"input_image","image_url":"X"}]}]`:                         false,
		`"messages":[{"content":[{"type":"image","source":{"type":"base64","data":"X"}}]}]`:      false,
		`"contents":[{"parts":[{"inlineData":{"mimeType":"image/png","data":"X"}}]}]`:            false,
		`"messages":[{"content":[{"image":{"format":"png","source":{"bytes":"X"}}}]}]`:           false,
		`"messages":[{"role":"user","content":"a","images":["X"]}]`:                              false,
		`"input":[{"type":"reasoning","encrypted_content":"X"}]`:                                 false,
		`"messages":[{"content":[{"type":"file","file":{"filename":"a.pdf","file_data":"X"}}]}]`: false,
	} {
		short, err := Parse([]byte(`{"model":"m",` + strings.Replace(member, "X", "", 1) + `}`))
		require.NoError(t, err)
		b, err := Parse([]byte(`{"model":"m",` + strings.Replace(member, "X", long, 1) + `}`))
		require.NoError(t, err)
		if text {
			require.Greater(t, b.Units-short.Units, int64(100_000), member)
		} else {
			require.Equal(t, short.Units, b.Units, member)
		}
	}
}

// TestBoundsThatContradict finds a bound beside one that may mean no bound, among the members that an endpoint reads.
func TestBoundsThatContradict(t *testing.T) {
	chat, gemini := []string{"max_tokens", "max_completion_tokens"}, []string{"generationConfig.maxOutputTokens"}
	invoke := []string{"max_tokens", "inferenceConfig.maxTokens"}
	for _, tt := range []struct {
		body    string
		members []string
		want    string
	}{
		{`{"max_tokens":5,"max_completion_tokens":-1}`, chat, "max_completion_tokens"},
		{`{"max_completion_tokens":5,"max_tokens":-1}`, chat, "max_tokens"},
		{`{"max_completion_tokens":5,"max_tokens":0}`, chat, "max_tokens"},
		{`{"max_completion_tokens":5,"max_tokens":-0.0}`, chat, "max_tokens"},
		{`{"max_completion_tokens":5,"max_tokens":null}`, chat, ""},
		{`{"max_completion_tokens":5,"max_tokens":9}`, chat, ""},
		{`{"max_completion_tokens":-1,"max_tokens":0}`, chat, ""}, // neither bounds
		{`{"max_tokens":5,"max_output_tokens":-1}`, chat, ""},
		{`{"generationConfig":{"maxOutputTokens":5},"generation_config":{"max_output_tokens":-1}}`, gemini, "generationConfig.maxOutputTokens"},
		{`{"generationConfig":{"maxOutputTokens":5,"max_output_tokens":0}}`, gemini, "generationConfig.maxOutputTokens"},
		{`{"max_tokens":5,"inferenceConfig":{"maxTokens":-1}}`, invoke, "inferenceConfig.maxTokens"},
		{`{"max_tokens":5,"inferenceConfig":{"maxTokens":-1}}`, chat, ""},
	} {
		b, err := Parse([]byte(tt.body))
		require.NoError(t, err, tt.body)
		require.Equal(t, tt.want, b.Contradiction(tt.members), tt.body)
	}
	for _, bad := range []string{
		`{"max_tokens":5,"n_predict":-1}`, `{"N_Predict":9}`, `{"n_pre\u0064ict":9}`, `{"max_tokens":"5"}`, `{"max_tokens":5.5}`, `{"max_tokens":true}`,
		`{"max_tokens":1e30}`, `{"max_tokens":9223372036854775808}`, `{"max_tokens":[5]}`, `{"max_completion_tokens":{}}`,
	} {
		_, err := Parse([]byte(bad))
		require.Error(t, err, bad)
	}
}

// TestSessionOfABody reads the session from the body's metadata, where LiteLLM's clients write it.
func TestSessionOfABody(t *testing.T) {
	for in, want := range map[string]string{
		`{"metadata":{"user_id":"u","session_id":"s-1"}}`:    "s-1",
		`{"litellm_metadata":{"session_id":"s-1"}}`:          "s-1",
		`{"metadata":{"se\u0073sion_id":"s-1"}}`:             "s-1",
		`{"metadata":{"session_id":7}}`:                      "",
		`{"metadata":{"x":{"session_id":"s-1"}}}`:            "",
		`{"metadata":"session_id","session_id":"top level"}`: "",
	} {
		b, err := Parse([]byte(in))
		require.NoError(t, err, in)
		require.Equal(t, want, b.Session, in)
	}
	_, err := Parse([]byte(`{"metadata":{"session_id":"a","session_id":"b"}}`))
	require.ErrorContains(t, err, "session_id")
}
