package body

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOutputCap puts a bound into bodies that have none, in the form of each API, and leaves all others as they are.
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
		got := string(b.Changed(Change{OutputCap: 9, CapMember: tt.member, CapWithin: tt.within}).Bytes())
		require.Equal(t, tt.want, got)
		again, err := Parse([]byte(got))
		require.NoError(t, err)
		require.Positive(t, again.MaxOutput)
	}
	b, err := Parse([]byte(`{"max_tokens":0}`))
	require.NoError(t, err)
	require.Equal(t, `{"max_tokens":0}`, string(b.Changed(Change{OutputCap: 9, CapMember: "max_tokens"}).Bytes()))
	b, err = Parse([]byte(`{"model":"m","stream_options":{"x":1},"max_tokens":null}`))
	require.NoError(t, err)
	require.Equal(t, `{"model":"n","stream_options":{"include_usage":true,"x":1},"max_tokens":9}`,
		string(b.Changed(Change{Model: "n", Usage: true, OutputCap: 9, CapMember: "max_tokens"}).Bytes()))
}
