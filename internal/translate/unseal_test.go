package translate

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestUnseal has a conversation that began on a translated backend go on at one of the caller's own API: what the translation put into it
// is gone, all else is byte for byte as it was.
func TestUnseal(t *testing.T) {
	ours := (&seal{provider: "vllm", field: "reasoning_content"}).String()
	block := sealBlock([]byte(`{"type":"thinking","thinking":"hm","signature":"c2ln"}`))
	for name, c := range map[string]struct {
		api        API
		body, want string
	}{
		"thinking": {
			Messages, `{"model":"m", "messages":[ {"role":"user","content":"a"},{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"` + ours +
				`"},{"type":"text","text":"b "},{"type":"thinking","thinking":"","signature":"c2ln"}]} ],"max_tokens":5}`,
			`{"model":"m", "messages":[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"text","text":"b "},` +
				`{"type":"thinking","thinking":"","signature":"c2ln"}]}],"max_tokens":5}`,
		},
		"a message of thinking alone": {
			Messages, `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"redacted_thinking","data":"` + ours + `"}]}]}`,
			`{"messages":[{"role":"user","content":"a"}]}`,
		},
		"the first is not ours": {
			Messages, `{"messages":[{"role":"assistant","content":[{"type":"text","text":"x"}]},{"role":"assistant","content":[{"type":"thinking","thinking":"","signature":"` +
				ours + `"},{"type":"tool_use","id":"t","name":"f","input":{"a" : 1.0}}]}]}`,
			`{"messages":[{"role":"assistant","content":[{"type":"text","text":"x"}]},{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{"a" : 1.0}}]}]}`,
		},
		"reasoning": {
			Responses, `{"input":[{"type":"reasoning","id":"r","summary":[],"encrypted_content":"` + block + `"},{"type":"message","role":"user","content":"a"},` +
				`{"type":"reasoning","summary":[],"encrypted_content":"gAAA"},{"type":"reasoning","encrypted_content":"` + ours + `"}]}`,
			`{"input":[{"type":"message","role":"user","content":"a"},{"type":"reasoning","summary":[],"encrypted_content":"gAAA"}]}`,
		},
	} {
		got, ok := Unseal(c.api, []byte(c.body))
		require.True(t, ok, name)
		require.Equal(t, c.want, string(got), name)
		_, again := Unseal(c.api, got)
		require.False(t, again, name)
	}
	for _, body := range []string{
		`{"messages":[{"role":"user","content":"` + ours + `"}]}`, // a text that looks like one
		`{"messages":[{"role":"user","content":[{"type":"thinking","thinking":"","signature":"c2ln"}]}]}`,
		`{"messages":"` + ours + `"}`, `["` + ours + `"]`, `{"input":"` + ours + `"}`,
	} {
		for _, api := range []API{Messages, Responses, Chat} {
			_, ok := Unseal(api, []byte(body))
			require.False(t, ok, body)
		}
	}
}
