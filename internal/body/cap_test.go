package body

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOutputCap checks that bodies without a bound get one, in the form of each API, and that all others stay unchanged.
func TestOutputCap(t *testing.T) {
	for _, tt := range []struct{ body, member, within, want string }{
		{`{"model":"m"}`, "max_tokens", "", `{"max_tokens":9,"model":"m"}`},
		{`{}`, "max_tokens", "", `{"max_tokens":9}`},
		{`{"max_tokens":null}`, "max_tokens", "", `{"max_tokens":9}`},
		{`{"max_tokens":-1}`, "max_tokens", "", `{"max_tokens":9}`},
		{`{"max_tokens":-1,"max_completion_tokens":null}`, "max_tokens", "", `{"max_tokens":9,"max_completion_tokens":null}`},
		{`{"n":null}`, "max_tokens", "", `{"max_tokens":9,"n":null}`},
		{`{"generationConfig":{"candidateCount":null}}`, "maxOutputTokens", "generationConfig", `{"generationConfig":{"maxOutputTokens":9,"candidateCount":null}}`},
		{`{"max_completion_tokens":5}`, "max_tokens", "", `{"max_completion_tokens":5}`},
		{`{"max_output_tokens":5}`, "max_tokens", "", `{"max_tokens":9,"max_output_tokens":5}`}, // the Responses API's
		{`{"max_tokens":5}`, "maxTokens", "inferenceConfig", `{"inferenceConfig":{"maxTokens":9},"max_tokens":5}`},
		{`{"max_tokens":-1,"max_completion_tokens":-1}`, "max_tokens", "", `{"max_tokens":9,"max_completion_tokens":9}`},
		{`{"a":1}`, "maxTokens", "inferenceConfig", `{"inferenceConfig":{"maxTokens":9},"a":1}`},
		{`{"inferenceConfig":{}}`, "maxTokens", "inferenceConfig", `{"inferenceConfig":{"maxTokens":9}}`},
		{`{"inferenceConfig":{"topP":1}}`, "maxTokens", "inferenceConfig", `{"inferenceConfig":{"maxTokens":9,"topP":1}}`},
		{`{"inferenceConfig":null}`, "maxTokens", "inferenceConfig", `{"inferenceConfig":{"maxTokens":9}}`},
		{`{"options":{"seed":1}}`, "num_predict", "options", `{"options":{"num_predict":9,"seed":1}}`},
		{`{"options":{"num_predict":-1}}`, "num_predict", "options", `{"options":{"num_predict":9}}`},
		{`{"options":{"num_predict":3}}`, "num_predict", "options", `{"options":{"num_predict":3}}`},
		{`{"options":{},"generationConfig":{}}`, "num_predict", "options", `{"options":{"num_predict":9},"generationConfig":{}}`},
		{`{"model":"m"}`, "num_predict", "options", `{"options":{"num_predict":9},"model":"m"}`},
		{`{"generationConfig":{"maxOutputTokens":null}}`, "maxOutputTokens", "generationConfig", `{"generationConfig":{"maxOutputTokens":9}}`},
		{`{"generationConfig":{"maxOutputTokens":3}}`, "maxOutputTokens", "generationConfig", `{"generationConfig":{"maxOutputTokens":3}}`},
	} {
		b, err := Parse([]byte(tt.body))
		require.NoError(t, err)
		bounds := []string{tt.within + "." + tt.member}
		if tt.within == "" {
			bounds = []string{"max_tokens", "max_completion_tokens"}
		}
		got := string(b.Changed(Change{OutputCap: 9, CapMember: tt.member, CapWithin: tt.within, Bounds: bounds}).Bytes())
		require.Equal(t, tt.want, got)
		again, err := Parse([]byte(got))
		require.NoError(t, err)
		require.Positive(t, again.MaxOutput(bounds))
	}
	b, err := Parse([]byte(`{"max_tokens":0}`))
	require.NoError(t, err)
	require.Equal(t, `{"max_tokens":0}`, string(b.Changed(Change{OutputCap: 9, CapMember: "max_tokens", Bounds: allBounds}).Bytes()))
	require.Equal(t, `{"max_tokens":9}`, string(b.Changed(Change{OutputCap: 9, CapMember: "max_tokens", Bounds: allBounds, NoZero: true}).Bytes()), "Ollama's")
	b, err = Parse([]byte(`{"model":"m","stream_options":{"x":1},"max_tokens":null}`))
	require.NoError(t, err)
	require.Equal(t, `{"model":"n","stream_options":{"include_usage":true,"x":1},"max_tokens":9}`,
		string(b.Changed(Change{Model: "n", Usage: true, OutputCap: 9, CapMember: "max_tokens", Bounds: allBounds}).Bytes()))
}

// TestPrompts counts the prompts of legacy completions, and the token ids in prompts or in an embedding's input.
func TestPrompts(t *testing.T) {
	for in, want := range map[string][2]int64{
		`{"prompt":"one"}`:                            {0, 750},
		`{"prompt":["one","two"],"best_of":3}`:        {2, 1500},
		`{"prompt":[1,22,333]}`:                       {1, 3000},
		`{"prompt":[[1,2],[3]]}`:                      {2, 3000},
		`{"prompt":[]}`:                               {0, 0},
		`{"input":[[1,2],[3,4]]}`:                     {0, 4000},
		`{"input":[{"role":"user","content":"one"}]}`: {0, 750 + 1000},
		`{"messages":[{"prompt":[1,2,3]}],"n":[]}`:    {-1, 0},
		`{"input":[1.5,-2]}`:                          {0, 1000},
	} {
		b, err := Parse([]byte(in))
		if want[0] < 0 {
			require.Error(t, err)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, want[0], b.Prompts, in)
		require.Equal(t, want[1], b.Units, in)
	}
}
