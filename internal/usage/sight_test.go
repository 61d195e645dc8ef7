package usage

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReasoningModels(t *testing.T) {
	for _, name := range []string{
		"o1", "o3-mini", "openai/o4-mini-2025-04-16", "gpt-5.1", "gpt-5-nano", "openai/gpt-oss-120b", "deepseek-reasoner", "DeepSeek-R1",
		"deepseek-ai/DeepSeek-R1-0528", "grok-4-0709", "grok-4-fast-reasoning", "magistral-medium-latest", "sonar-reasoning-pro",
		"sonar-deep-research", "gemini-2.5-pro", "kimi-k2-thinking",
	} {
		require.True(t, ReasoningModel(name), name)
	}
	for _, name := range []string{
		"", "o", "gpt-4o", "gpt-4.1-mini", "gpt-5-chat-latest", "claude-sonnet-4-5", "ollama/llama3.1", "grok-4-fast-non-reasoning", "deepseek-chat",
		"mistral-large-latest", "Qwen/Qwen3-235B-A22B-Instruct-2507", "omni-moderation-latest",
	} {
		require.False(t, ReasoningModel(name), name)
	}
}

// TestEndInSight feeds streams event by event: the end comes in sight with a part's end, and goes out of it when another begins.
func TestEndInSight(t *testing.T) {
	cases := map[string]struct {
		api    API
		events []string
		sight  []bool // after each event
	}{
		"anthropic": {AnthropicMessages, []string{
			`{"type":"message_start","message":{"id":"a","usage":{"input_tokens":1,"output_tokens":1}}}`,
			`{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}`,
			`{"type":"content_block_stop","index":0}`,
			`{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}`,
			`{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"a"}}`,
			`{"type":"content_block_stop","index":1}`,
			`{"type":"content_block_start","index":2,"content_block":{"type":"tool_use"}}`,
			`{"type":"content_block_stop","index":2}`,
			`{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":9}}`,
		}, []bool{false, false, false, false, false, true, false, true, true}},
		"responses": {OpenAIResponses, []string{
			`{"type":"response.created","response":{"id":"r"}}`,
			`{"type":"response.output_item.added","item":{"type":"reasoning"}}`,
			`{"type":"response.output_item.done","item":{"type":"reasoning"}}`,
			`{"type":"response.output_item.added","item":{"type":"message"}}`,
			`{"type":"response.output_text.delta","delta":"a"}`,
			`{"type":"response.output_text.done","text":"a"}`,
			`{"type":"response.output_item.done","item":{"type":"message"}}`,
			`{"type":"response.output_item.added","item":{"type":"function_call"}}`,
			`{"type":"response.function_call_arguments.done","arguments":"{}"}`,
		}, []bool{false, false, false, false, false, true, true, false, true}},
		"chat": {OpenAIChat, []string{
			`{"choices":[{"delta":{"content":"a"},"finish_reason":null}]}`,
			`{"choices":[{"delta":{},"finish_reason":"length"}]}`,
			`{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}`,
		}, []bool{false, true, true}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := NewReader(Options{API: c.api, Status: 200, ContentType: "text/event-stream"})
			defer r.Close()
			for i, e := range c.events {
				for p := []byte("data: " + e + "\n\n"); len(p) > 0; {
					n, _ := r.Next(p)
					p = p[n:]
				}
				require.Equal(t, c.sight[i], r.EndInSight(), e)
			}
		})
	}
	whole := NewReader(Options{API: OpenAIChat, Status: 200, ContentType: "application/json"})
	defer whole.Close()
	whole.Next([]byte(" \n"))
	require.False(t, whole.EndInSight(), "white space keeps a connection alive")
	whole.Next([]byte(`{"id":`))
	require.True(t, whole.EndInSight())
}
