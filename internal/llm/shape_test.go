package llm

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestShapeOf(t *testing.T) {
	for path, want := range map[string]API{
		"/v1/chat/completions":                            OpenAI,
		"/v1/messages":                                    Anthropic,
		"/messages":                                       Anthropic,
		"/v1/messages/count_tokens":                       Anthropic,
		"/v1beta/models/gemini-2.5:generateContent":       Gemini,
		"/v1beta/models/gemini-2.5:streamGenerateContent": Gemini,
		"/model/anthropic.claude/converse":                Bedrock,
		"/model/a/invoke-with-response-stream":            Bedrock,
		"/model/a/other":                                  OpenAI,
		"/v2/chat":                                        Cohere,
		"/v2/embed":                                       Cohere,
		"/v2/rerank":                                      Cohere,
		"/v1/rerank":                                      OpenAI,
		"/":                                               OpenAI,
		"/key/generate":                                   OpenAI,
	} {
		require.Equal(t, want, ShapeOf(path), path)
	}
}
