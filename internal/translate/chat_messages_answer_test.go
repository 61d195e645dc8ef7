package translate

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

// sse returns events of Messages as a stream: an object is the data of one, with its type as its name.
func sse(events ...string) string {
	var b strings.Builder
	for _, e := range events {
		if name := gjson.Get(e, "type").Str; name != "" {
			b.WriteString("event: " + name + "\n")
		}
		b.WriteString("data: " + e + "\n\n")
	}
	return b.String()
}

// claudeStream is an answer of Messages with each kind of block, and claudeAnswer the same one whole.
var claudeStream = sse(
	`{"type":"message_start","message":{"id":"msg_01A","type":"message","role":"assistant","model":"claude-opus-4-6","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":10,"cache_creation_input_tokens":20,"cache_read_input_tokens":30,"output_tokens":1,"service_tier":"standard"}}}`,
	`{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}`,
	`{"type":"ping"}`,
	`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Let me \"see\""}}`,
	`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":" \u00e9\n"}}`,
	`{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"sig/1+="}}`,
	`{"type":"content_block_stop","index":0}`,
	`{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}`,
	`{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Héllo"}}`,
	`{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":" \ud83d\ude00"}}`,
	`{"type":"content_block_stop","index":1}`,
	`{"type":"content_block_start","index":2,"content_block":{"type":"redacted_thinking","data":"cmVk"}}`,
	`{"type":"content_block_stop","index":2}`,
	`{"type":"content_block_start","index":3,"content_block":{"type":"text","text":"!"}}`,
	`{"type":"content_block_stop","index":3}`,
	`{"type":"content_block_start","index":4,"content_block":{"type":"tool_use","id":"toolu_1","name":"f","input":{}}}`,
	`{"type":"content_block_delta","index":4,"delta":{"type":"input_json_delta","partial_json":""}}`,
	`{"type":"content_block_delta","index":4,"delta":{"type":"input_json_delta","partial_json":"{\"b\": 1.0, \"a\":"}}`,
	`{"type":"content_block_delta","index":4,"delta":{"type":"input_json_delta","partial_json":"\"\\u00e9\"}"}}`,
	`{"type":"content_block_stop","index":4}`,
	`{"type":"content_block_start","index":5,"content_block":{"type":"tool_use","id":"toolu_2","name":"g","input":{}}}`,
	`{"type":"content_block_stop","index":5}`,
	`{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":40,"output_tokens_details":{"thinking_tokens":15}}}`,
	`{"type":"message_stop"}`,
)

const claudeAnswer = `{"id":"msg_01A","type":"message","role":"assistant","model":"claude-opus-4-6","content":[
	{"type":"thinking","thinking":"Let me \"see\" \u00e9\n","signature":"sig/1+="},
	{"type":"text","text":"Héllo \ud83d\ude00"},
	{"type":"redacted_thinking","data":"cmVk"},
	{"type":"text","text":"!"},
	{"type":"tool_use","id":"toolu_1","name":"f","input":{"b": 1.0, "a":"\u00e9"}},
	{"type":"tool_use","id":"toolu_2","name":"g","input":{}}],
	"stop_reason":"tool_use","stop_sequence":null,
	"usage":{"input_tokens":10,"cache_creation_input_tokens":20,"cache_read_input_tokens":30,"output_tokens":40,"output_tokens_details":{"thinking_tokens":15},"service_tier":"standard"}}`

// chatStreamed is what a client of chat completions gets of claudeStream: the deltas of its chunks, and the last two.
var chatStreamed = []string{
	`{"role":"assistant","content":""}`,
	`{"reasoning_content":"Let me \"see\""}`,
	`{"reasoning_content":" \u00e9\n"}`,
	`{"reasoning_details":[{"type":"reasoning.text","text":"Let me \"see\" \u00e9\n","signature":"sig/1+=","format":"anthropic-claude-v1","index":0}]}`,
	`{"content":"Héllo"}`,
	`{"content":" \ud83d\ude00"}`,
	`{"reasoning_details":[{"type":"reasoning.encrypted","data":"cmVk","format":"anthropic-claude-v1","index":2,"content_offset":11}]}`,
	`{"content":"!"}`,
	`{"tool_calls":[{"index":0,"id":"toolu_1","type":"function","function":{"name":"f","arguments":""}}]}`,
	`{"tool_calls":[{"index":0,"function":{"arguments":"{\"b\": 1.0, \"a\":"}}]}`,
	`{"tool_calls":[{"index":0,"function":{"arguments":"\"\\u00e9\"}"}}]}`,
	`{"tool_calls":[{"index":1,"id":"toolu_2","type":"function","function":{"name":"g","arguments":""}}]}`,
	`{"tool_calls":[{"index":1,"function":{"arguments":"{}"}}]}`,
}

const chatAnswered = `{"id":"chatcmpl-01A","object":"chat.completion","created":1700000000,"model":"claude","choices":[{"index":0,"message":{"role":"assistant","content":"Héllo 😀!","refusal":null,
	"reasoning_content":"Let me \"see\" é\n","reasoning_details":[
	{"type":"reasoning.text","text":"Let me \"see\" é\n","signature":"sig/1+=","format":"anthropic-claude-v1","index":0},
	{"type":"reasoning.encrypted","data":"cmVk","format":"anthropic-claude-v1","index":2,"content_offset":11}],
	"tool_calls":[{"id":"toolu_1","type":"function","function":{"name":"f","arguments":"{\"b\": 1.0, \"a\":\"\\u00e9\"}"}},{"id":"toolu_2","type":"function","function":{"name":"g","arguments":"{}"}}]},
	"logprobs":null,"finish_reason":"tool_calls"}],
	"usage":{"prompt_tokens":60,"completion_tokens":40,"total_tokens":100,"prompt_tokens_details":{"cached_tokens":30,"cache_write_tokens":20},"completion_tokens_details":{"reasoning_tokens":15}},"service_tier":"default"}`

// asked is a translation whose request has passed.
func asked(t testing.TB, p Pair, body string) *Translation {
	t.Helper()
	tr, ok := New(p, claudeOptions("claude-opus-4-6"))
	require.True(t, ok)
	_, err := tr.Request([]byte(body))
	require.NoError(t, err)
	return tr
}

// streamed returns what the caller gets of a stream that comes in pieces and ends by cause.
func streamed(tr *Translation, cause error, pieces ...string) (string, error) {
	s := tr.Stream()
	var out []byte
	var err error
	for _, piece := range pieces {
		if out, err = s.Write(out, []byte(piece)); err != nil {
			return string(out), err
		}
	}
	out, err = s.Close(out, cause)
	return string(out), err
}

const askStream = `"stream":true,"stream_options":{"include_usage":true}`

func TestMessagesStreamToChat(t *testing.T) {
	tr := asked(t, Pair{Chat, Messages}, says(askStream))
	out, err := streamed(tr, nil, claudeStream)
	require.NoError(t, err)
	chunks := strings.Split(strings.ReplaceAll(out, ": ping\n\n", ""), "\n\n")
	require.Len(t, chunks, len(chatStreamed)+4)
	const head = `{"id":"chatcmpl-01A","object":"chat.completion.chunk","created":1700000000,"model":"claude",`
	for i, want := range chatStreamed {
		require.Equal(t, `data: `+head+`"choices":[{"index":0,"delta":`+want+`,"logprobs":null,"finish_reason":null}]}`, chunks[i])
	}
	n := len(chatStreamed)
	require.Equal(t, `data: `+head+`"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"tool_calls"}],"service_tier":"default"}`, chunks[n])
	require.Equal(t, `data: `+head+`"choices":[],"usage":{"prompt_tokens":60,"completion_tokens":40,"total_tokens":100,"prompt_tokens_details":{"cached_tokens":30,"cache_write_tokens":20},"completion_tokens_details":{"reasoning_tokens":15}},"service_tier":"default"}`, chunks[n+1])
	require.Equal(t, []string{"data: [DONE]", ""}, chunks[n+2:])
	require.Contains(t, out, ": ping\n\n")

	out, err = streamed(asked(t, Pair{Chat, Messages}, says(`"stream":true`)), nil, claudeStream)
	require.NoError(t, err)
	require.NotContains(t, out, "usage")
	require.True(t, strings.HasSuffix(out, "data: [DONE]\n\n"))
}

func TestMessagesAnswerToChat(t *testing.T) {
	out, err := asked(t, Pair{Chat, Messages}, says("")).Answer([]byte(claudeAnswer))
	require.NoError(t, err)
	require.JSONEq(t, chatAnswered, string(out))
}

// A client makes the same of a stream as of a whole answer.
func TestAStreamIsTheWholeAnswer(t *testing.T) {
	out, err := streamed(asked(t, Pair{Chat, Messages}, says(askStream)), nil, claudeStream)
	require.NoError(t, err)
	message := chatAccumulated(t, out)
	for _, call := range message["tool_calls"].([]any) {
		delete(call.(map[string]any), "index")
	}
	want := decoded(t, gjson.Get(chatAnswered, "choices.0.message").Raw)
	delete(want, "refusal") // null
	require.Equal(t, want, message)
}

func TestAStreamMayBeSplitAnywhere(t *testing.T) {
	for _, stream := range []string{claudeStream, strings.ReplaceAll(claudeStream, "\n", "\r\n")} {
		want, err := streamed(asked(t, Pair{Chat, Messages}, says(askStream)), nil, claudeStream)
		require.NoError(t, err)
		for at := range len(stream) {
			got, err := streamed(asked(t, Pair{Chat, Messages}, says(askStream)), nil, stream[:at], stream[at:])
			require.NoError(t, err)
			require.Equal(t, want, got, "split at %d", at)
		}
		got, err := streamed(asked(t, Pair{Chat, Messages}, says(askStream)), nil, strings.Split(stream, "")...)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

// Wherever an upstream is cut off, the client gets an error and no end.
func TestACutStreamNeverEndsWell(t *testing.T) {
	whole, err := streamed(asked(t, Pair{Chat, Messages}, says(askStream)), nil, claudeStream)
	require.NoError(t, err)
	last := strings.LastIndex(claudeStream, "\n\n") // the end of message_stop's data
	for _, cause := range []error{nil, errors.New("connection to 10.0.0.1 reset")} {
		for at := range last {
			if cause == nil && at >= last-1 {
				continue // the last event is whole
			}
			out, err := streamed(asked(t, Pair{Chat, Messages}, says(askStream)), cause, claudeStream[:at])
			require.Error(t, err)
			require.NotContains(t, out, "[DONE]")
			require.NotContains(t, out, `"finish_reason":"`)
			require.NotContains(t, out, "10.0.0.1")
			end := strings.LastIndex(out, "data: ")
			require.Equal(t, "server_error", gjson.Get(out[end+6:], "error.type").Str)
			require.True(t, strings.HasPrefix(whole, out[:end]), "what came before is as ever")
		}
	}
}

func TestErrorsInsideAStream(t *testing.T) {
	start := sse(`{"type":"message_start","message":{"id":"msg_1","usage":{"input_tokens":1,"output_tokens":1}}}`)
	for _, c := range []struct{ in, kind, message string }{
		{start + sse(`{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`), "server_error", "Overloaded"},
		{sse(`{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}`), "rate_limit_exceeded", "slow down"},
		{start + "data: {\n\n", "server_error", "not JSON"},
		{start + sse(`{"type":"content_block_start","index":0,"content_block":{"type":"server_tool_use"}}`), "server_error", `"server_tool_use"`},
		{start + sse(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}`), "server_error", "not open"},
		{start + sse(`{"type":"message_stop"}`), "server_error", "no stop_reason"},
		{start + sse(`{"type":"message_delta","delta":{"stop_reason":"pause_turn"},"usage":{"output_tokens":1}}`, `{"type":"message_stop"}`), "server_error", `"pause_turn"`},
		{sse(`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`), "server_error", "message_start"},
	} {
		out, _ := streamed(asked(t, Pair{Chat, Messages}, says(askStream)), nil, c.in+sse(`{"type":"message_stop"}`))
		at := strings.LastIndex(out, "data: ")
		require.Equal(t, c.kind, gjson.Get(out[at+6:], "error.type").Str, out)
		require.Contains(t, gjson.Get(out[at+6:], "error.message").Str, c.message)
		require.NotContains(t, out, "[DONE]")
	}
}

func TestReasonsOfMessagesInChat(t *testing.T) {
	answer := func(content, reason, more string) string {
		return `{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[` + content + `],"stop_reason":"` + reason + `"` + more + `,"usage":{"input_tokens":1,"output_tokens":1}}`
	}
	const text, call = `{"type":"text","text":"a"}`, `{"type":"tool_use","id":"t1","name":"f","input":{}}`
	for _, c := range []struct{ content, reason, want string }{
		{text, "end_turn", "stop"},
		{text, "stop_sequence", "stop"},
		{text, "max_tokens", "length"},
		{text, "model_context_window_exceeded", "length"},
		{call, "tool_use", "tool_calls"},
		{text, "refusal", "content_filter"},
		{call, "end_turn", "tool_calls"},
		{text, "tool_use", "stop"},
		{call, "max_tokens", "length"},
	} {
		out, err := asked(t, Pair{Chat, Messages}, says("")).Answer([]byte(answer(c.content, c.reason, "")))
		require.NoError(t, err)
		require.Equal(t, c.want, gjson.GetBytes(out, "choices.0.finish_reason").Str, c.content+c.reason)
	}
	tr := asked(t, Pair{Chat, Messages}, says(""))
	_, err := tr.Answer([]byte(answer(text, "stop_sequence", `,"stop_sequence":"end"`)))
	require.NoError(t, err)
	require.Equal(t, []string{"stop_sequence"}, tr.Dropped(), "which one it was has no place in the answer")
	out, err := asked(t, Pair{Chat, Messages}, says("")).Answer([]byte(answer("", "refusal", `,"stop_details":{"type":"refusal","category":"cyber","explanation":"I \"cannot\"."}`)))
	require.NoError(t, err)
	require.Equal(t, `I "cannot".`, gjson.GetBytes(out, "choices.0.message.refusal").Str)
	for _, bad := range []string{`{}`, `[]`, `x`, `{"type":"message"}`, answer(text, "pause_turn", ""), answer(text, "", ""), answer(`{"type":"web_search_tool_result"}`, "end_turn", "")} {
		_, err := asked(t, Pair{Chat, Messages}, says("")).Answer([]byte(bad))
		require.Error(t, err, bad)
	}
}

// A block of thinking is held for its signature, up to a bound.
func TestThinkingWithoutEndIsCutOff(t *testing.T) {
	s := asked(t, Pair{Chat, Messages}, says(askStream)).Stream()
	out, err := s.Write(nil, []byte(sse(`{"type":"message_start","message":{"id":"msg_1"}}`, `{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}`)))
	require.NoError(t, err)
	piece := []byte(sse(`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"` + strings.Repeat("x", 1<<20) + `"}}`))
	sent := 0
	for ; err == nil; sent++ {
		require.Less(t, sent, 5)
		out, err = s.Write(out[:0], piece)
	}
	require.ErrorIs(t, err, errHeld)
	require.Contains(t, string(out), `data: {"error":`)
	out, err = s.Write(nil, piece)
	require.NoError(t, err)
	require.Empty(t, out)
	out, err = s.Close(nil, nil)
	require.NoError(t, err)
	require.Empty(t, out)
}
