package scripted

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestStrictFaults checks that the request checks accept what providers accept and refuse what they refuse.
func TestStrictFaults(t *testing.T) {
	const tool = `"tools":[{"name":"f","input_schema":{"type":"object","properties":{"a":{"type":"string","minLength":1}}}}]`
	for _, c := range []struct{ path, version, body, fault string }{
		{"/v1/chat/completions", "", `{"model":"m","messages":[{"role":"user","content":"hi"}],"temperature":1}`, ""},
		{"/v1/chat/completions", "", `{"model":"m","messages":[{"role":"assistant","content":"hi","reasoning_content":"r"}]}`, ""},
		{"/v1/chat/completions", "", `{"model":"m","messages":[{"role":"user","content":"hi"}],"top_k":1}`, "top_k: no such member"},
		{"/v1/chat/completions", "", `{"model":"m","messages":[{"role":"user","content":[{"type":"image","url":"x"}]}]}`, "messages[0]"},
		{"/v1/chat/completions", "", `{"model":"m","messages":[{"role":"tool","content":"x","tool_call_id":"1"}]}`, "answers no call"},
		{"/v1/messages", "2026-10-21", `{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"hi"}],` + tool + `}`, ""},
		{"/v1/messages", "2023-06-01", `{"model":"m","max_tokens":5,"temperature":0.5,"messages":[{"role":"user","content":"hi"}]}`, ""},
		{"/v1/messages", "2026-10-21", `{"model":"m","max_tokens":5,"temperature":0.5,"messages":[{"role":"user","content":"hi"}]}`, "temperature: no such member"},
		{"/v1/messages", "", `{"model":"m","max_tokens":5,"messages":[]}`, "anthropic-version"},
		{"/v1/messages", "2026-10-21", `{"model":"m","messages":[]}`, "max_tokens is missing"},
		{"/v1/messages", "2026-10-21", `{"model":"m","max_tokens":5,"messages":[{"role":"user","content":[{"type":"text","text":" "}]}]}`, "non-empty"},
		{"/v1/messages", "2026-10-21", `{"model":"m","max_tokens":5,"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{}}]},{"role":"user","content":"x"}]}`, "no result: t"},
		{"/v1/responses", "", `{"model":"m","input":"hi","store":false}`, ""},
		{"/v1/responses", "", `{"model":"m","input":"hi","n":1}`, "n: no such member"},
	} {
		h := http.Header{}
		h.Set("Anthropic-Version", c.version)
		fault := Refusal(t, Call{URI: c.path, Header: h, Body: []byte(c.body)})
		if c.fault == "" {
			require.Empty(t, fault, c.body)
		} else {
			require.Contains(t, fault, c.fault, c.body)
		}
	}
}
