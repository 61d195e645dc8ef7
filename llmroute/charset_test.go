package llmroute

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestCharset refuses bodies of another charset, as they are read as UTF-8.
func TestCharset(t *testing.T) {
	u := newUpstream(t, respond(200, answered))
	g := start(t, "llmroute {\nmodel m {\nbackend openai "+u.URL+"\n}\n}")
	for kind, want := range map[string]int{
		"application/json; charset=utf-8": 200, `application/json;charset="UTF-8"`: 200, "application/json; charset=us-ascii": 200, "application/json": 200,
		"application/json; charset=iso-8859-1": 415, "application/json; charset=utf-16": 415, "multipart/form-data; boundary=b; charset=latin1": 415,
	} {
		resp, body := g.post(t, "/v1/chat/completions", chat, "Content-Type", kind)
		require.Equal(t, want, resp.StatusCode, kind+" "+body)
	}
}
