package translate

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

// chunks makes a stream of chat completions of deltas. What begins with a bracket is a whole line of data, a colon begins a comment,
// and =reason is a chunk with finish_reason.
func chunks(list ...string) string {
	var b strings.Builder
	for _, s := range list {
		switch {
		case s == "":
			continue
		case s[0] == '[':
		case s[0] == ':':
			b.WriteString(s + "\n\n")
			continue
		case s[0] == '=':
			s = `{"id":"chatcmpl-1","object":"chat.completion.chunk","created":9,"model":"up","choices":[{"index":0,"delta":{},"finish_reason":"` + s[1:] + `"}]}`
		case !strings.HasPrefix(s, `{"id"`) && !strings.HasPrefix(s, `{"error"`):
			s = `{"id":"chatcmpl-1","object":"chat.completion.chunk","created":9,"model":"up","choices":[{"index":0,"delta":` + s + `,"finish_reason":null}]}`
		}
		b.WriteString("data: " + s + "\n\n")
	}
	return b.String()
}

const chatUsage = `{"id":"chatcmpl-1","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":4,"cache_write_tokens":1},"completion_tokens_details":{"reasoning_tokens":2}}}`

// through translates a stream that comes in pieces of a size.
func through(t *testing.T, tr *Translation, stream string, size int, cause error) (string, error) {
	t.Helper()
	s := tr.Stream()
	var dst []byte
	var err error
	for at := 0; at < len(stream) && err == nil; at += size {
		dst, err = s.Write(dst, []byte(stream[at:min(at+size, len(stream))]))
	}
	if err == nil {
		dst, err = s.Close(dst, cause)
	}
	return string(dst), err
}

// accumulated is the blocks of a stream of Messages as the official accumulators put them together, in short, and its end.
func accumulated(t *testing.T, stream string) (blocks []string, end string) {
	t.Helper()
	names, data := eventsOf(t, []byte(stream))
	open, started := false, false
	block := ""
	for i, d := range data {
		switch names[i] {
		case "message_start":
			require.Equal(t, 0, i)
			require.Equal(t, "[]", d.Get("message.content").Raw)
			require.Equal(t, "null", d.Get("message.stop_reason").Raw)
			started = true
		case "ping":
			require.True(t, started)
		case "content_block_start":
			require.True(t, started && !open)
			require.Equal(t, int64(len(blocks)), d.Get("index").Int())
			open = true
			b := d.Get("content_block")
			switch block = b.Get("type").Str + ":"; b.Get("type").Str {
			case "tool_use":
				require.Equal(t, "{}", b.Get("input").Raw)
				block += b.Get("id").Str + "=" + b.Get("name").Str
			case "redacted_thinking":
				block += sealed(b.Get("data").Str)
			}
		case "content_block_delta":
			require.True(t, open)
			require.Equal(t, int64(len(blocks)), d.Get("index").Int())
			delta := d.Get("delta")
			if delta.Get("type").Str == "signature_delta" {
				require.NotContains(t, block, "|")
				block += "|" + sealed(delta.Get("signature").Str)
			}
			block += delta.Get("text").Str + delta.Get("thinking").Str + delta.Get("partial_json").Str
		case "content_block_stop":
			require.True(t, open)
			require.Equal(t, int64(len(blocks)), d.Get("index").Int())
			if strings.HasPrefix(block, "tool_use:") && !strings.Contains(block, "{") {
				block += "{}" // as the accumulators have it
			}
			open, blocks = false, append(blocks, block)
		case "message_delta":
			require.False(t, open)
			require.True(t, d.Get("usage.output_tokens").Exists())
			end = d.Get("delta.stop_reason").Str
			if s := d.Get("delta.stop_sequence").Str; s != "" {
				end += " " + s
			}
			end += " " + d.Get("usage").Raw
		case "message_stop":
			require.Equal(t, len(data)-1, i)
			end += " stop"
		case "error":
			require.Equal(t, len(data)-1, i)
			end = "error " + d.Get("error.type").Str + ": " + d.Get("error.message").Str
		default:
			require.Fail(t, names[i])
		}
	}
	return blocks, end
}

// sealed shows what is in a seal.
func sealed(text string) string {
	s, ok := openSeal(text)
	if !ok {
		return "no seal: " + text
	}
	return strings.TrimRight(s.provider+" "+s.field+" "+s.text+" "+s.details+" "+s.extra+" "+s.calls, " ")
}

const (
	usageOfNothing = `{"input_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}`
	usageOfChat    = `{"input_tokens":5,"cache_creation_input_tokens":1,"cache_read_input_tokens":4,"output_tokens":5,"output_tokens_details":{"thinking_tokens":2}}`
)

// toolStart and toolMore are deltas of a call.
func toolStart(index, id, name, arguments string) string {
	return `{"tool_calls":[{"index":` + index + `,"id":"` + id + `","type":"function","function":{"name":"` + name + `","arguments":"` + arguments + `"}}]}`
}

func toolMore(index, arguments string) string {
	return `{"tool_calls":[{"index":` + index + `,"function":{"arguments":"` + arguments + `"}}]}`
}

var chatStreams = []struct {
	name   string
	o      Options
	stream string
	blocks []string
	end    string
}{
	{
		name: "text", stream: chunks(`{"role":"assistant","content":""}`, `{"content":"a\u00e9"}`, `: comment`, `{"content":"b\n"}`, "=stop", chatUsage, "[DONE]"),
		blocks: []string{"text:aéb\n"}, end: "end_turn " + usageOfChat + " stop",
	},
	{name: "no usage, no DONE", stream: chunks(`{"content":"a"}`, "=stop"), blocks: []string{"text:a"}, end: "end_turn " + usageOfNothing + " stop"},
	{name: "length", stream: chunks(`{"content":"a"}`, "=length", "[DONE]"), blocks: []string{"text:a"}, end: "max_tokens " + usageOfNothing + " stop"},
	{name: "filter", stream: chunks(`{"content":"a"}`, "=content_filter", "[DONE]"), blocks: []string{"text:a"}, end: "refusal " + usageOfNothing + " stop"},
	{name: "a refusal", stream: chunks(`{"refusal":"no"}`, "=stop", "[DONE]"), blocks: []string{"text:no"}, end: "refusal " + usageOfNothing + " stop"},
	{
		name: "the stop sequence of vLLM", stream: chunks(`{"content":"a"}`, `{"id":"1","choices":[{"index":0,"delta":{},"finish_reason":"stop","stop_reason":"##"}]}`, "[DONE]"),
		blocks: []string{"text:a"}, end: "stop_sequence ## " + usageOfNothing + " stop",
	},
	{
		name: "a reason that is no stop sequence", stream: chunks(`{"content":"a"}`, `{"id":"1","choices":[{"index":0,"delta":{},"finish_reason":"stop","stop_reason":"eos"}]}`, "[DONE]"),
		blocks: []string{"text:a"}, end: "end_turn " + usageOfNothing + " stop",
	},
	{name: "Azure's first chunk", stream: chunks(`{"id":"","choices":[],"prompt_filter_results":[]}`, `{"content":"a"}`, "=stop", "[DONE]"), blocks: []string{"text:a"}, end: "end_turn " + usageOfNothing + " stop"},
	{
		name: "reasoning before text", o: Options{Provider: "deepseek"}, stream: chunks(`{"role":"assistant","content":null,"reasoning_content":"th"}`, `{"reasoning_content":"ink","content":""}`, `{"content":"a"}`, "=stop", "[DONE]"),
		blocks: []string{"thinking:think|deepseek reasoning_content", "text:a"}, end: "end_turn " + usageOfNothing + " stop",
	},
	{
		name: "both names of reasoning", o: Options{Provider: "vllm"}, stream: chunks(`{"reasoning":"t","reasoning_content":"t"}`, `{"content":"a"}`, "=stop", "[DONE]"),
		blocks: []string{"thinking:t|vllm reasoning", "text:a"}, end: "end_turn " + usageOfNothing + " stop",
	},
	{name: "reasoning alone", o: Options{Provider: "vllm"}, stream: chunks(`{"reasoning":"t"}`, "=stop", "[DONE]"), blocks: []string{"thinking:t|vllm reasoning"}, end: "end_turn " + usageOfNothing + " stop"},
	{
		name: "reasoning_details in pieces", o: Options{Provider: "openrouter"}, stream: chunks(
			`{"reasoning":"th","reasoning_details":[{"type":"reasoning.text","text":"th","format":"f","index":0,"signature":null}]}`,
			`{"reasoning":"ink","reasoning_details":[{"type":"reasoning.text","text":"ink","format":"f","index":0}]}`,
			`{"reasoning_details":[{"type":"reasoning.text","signature":"S","index":0}]}`, `{"content":"a"}`,
			`{"reasoning_details":[{"type":"reasoning.encrypted","data":"D","index":1}]}`, "=stop", "[DONE]"),
		blocks: []string{`thinking:think|openrouter reasoning  [{"type":"reasoning.text","text":"think","format":"f","index":0,"signature":"S"}]`, "text:a", `redacted_thinking:openrouter reasoning  [{"type":"reasoning.encrypted","data":"D","index":1}]`},
		end:    "end_turn " + usageOfNothing + " stop",
	},
	{
		name: "Mistral's parts", o: Options{Provider: "mistral"}, stream: chunks(`{"content":[{"type":"thinking","thinking":[{"type":"text","text":"t"}]}]}`, `{"content":[{"type":"text","text":"a"}]}`, `{"content":"b"}`, "=stop", "[DONE]"),
		blocks: []string{"thinking:t", "text:ab"}, end: "end_turn " + usageOfNothing + " stop",
	},
	{
		name: "a call", stream: chunks(`{"content":"a"}`, toolStart("0", "A", "f", ""), toolMore("0", `{\"p\":`), toolMore("0", `1}`), "=tool_calls", chatUsage, "[DONE]"),
		blocks: []string{"text:a", `tool_use:A=f{"p":1}`}, end: "tool_use " + usageOfChat + " stop",
	},
	{name: "a call that ends by stop", stream: chunks(toolStart("0", "A", "f", "{}"), "=stop", "[DONE]"), blocks: []string{`tool_use:A=f{}`}, end: "tool_use " + usageOfNothing + " stop"},
	{name: "tool_calls without any", stream: chunks(`{"content":"a"}`, "=tool_calls", "[DONE]"), blocks: []string{"text:a"}, end: "end_turn " + usageOfNothing + " stop"},
	{
		name: "calls after each other", stream: chunks(toolStart("0", "A", "f", `{\"a\":\"}\"}`), toolStart("1", "B", "g", ""), toolMore("1", "{}"), "=tool_calls", "[DONE]"),
		blocks: []string{`tool_use:A=f{"a":"}"}`, `tool_use:B=g{}`}, end: "tool_use " + usageOfNothing + " stop",
	},
	{
		name: "calls in alternation", stream: chunks(toolStart("0", "A", "f", `{\"a\":`), toolStart("1", "B", "g", `{\"b\"`), toolMore("0", `1`), toolMore("1", `:2}`), toolMore("0", `}`), "=tool_calls", "[DONE]"),
		blocks: []string{`tool_use:A=f{"a":1}`, `tool_use:B=g{"b":2}`}, end: "tool_use " + usageOfNothing + " stop",
	},
	{
		name: "three calls at once", stream: chunks(toolStart("0", "A", "f", "{"), toolStart("1", "B", "g", "{"), toolStart("2", "C", "h", "{"), toolMore("0", "}"), toolMore("2", "}"), toolMore("1", "}"), "=tool_calls", "[DONE]"),
		blocks: []string{`tool_use:A=f{}`, `tool_use:B=g{}`, `tool_use:C=h{}`}, end: "tool_use " + usageOfNothing + " stop",
	},
	{
		name: "calls without arguments", stream: chunks(toolStart("0", "A", "f", ""), toolStart("1", "B", "g", ""), "=tool_calls", "[DONE]"),
		blocks: []string{`tool_use:A=f{}`, `tool_use:B=g{}`}, end: "tool_use " + usageOfNothing + " stop",
	},
	{name: "all calls with the index 0", stream: chunks(toolStart("0", "A", "f", "{}"), toolStart("0", "B", "g", "{}"), "=stop", "[DONE]"), blocks: []string{`tool_use:A=f{}`, `tool_use:B=g{}`}, end: "tool_use " + usageOfNothing + " stop"},
	{name: "id and name again in each piece", stream: chunks(toolStart("0", "A", "f", "{"), toolStart("0", "A", "f", "}"), "=stop", "[DONE]"), blocks: []string{`tool_use:A=f{}`}, end: "tool_use " + usageOfNothing + " stop"},
	{name: "a call without an id", stream: chunks(toolStart("0", "", "f", "{}"), "=stop", "[DONE]"), blocks: []string{`tool_use:call_made_0=f{}`}, end: "tool_use " + usageOfNothing + " stop"},
	{name: "all calls with the index 0 and no id", stream: chunks(toolStart("0", "", "f", "{}"), toolStart("0", "", "g", "{}"), "=stop", "[DONE]"), blocks: []string{`tool_use:call_made_0=f{}`, `tool_use:call_made_1=g{}`}, end: "tool_use " + usageOfNothing + " stop"},
	{name: "one id for two calls", stream: chunks(toolStart("0", "A", "f", "{}"), toolStart("1", "A", "g", "{}"), "=stop", "[DONE]"), blocks: []string{`tool_use:A=f{}`, `tool_use:A_1=g{}`}, end: "tool_use " + usageOfNothing + " stop"},
	{
		name: "text while a call is not whole", stream: chunks(toolStart("0", "A", "f", "{"), `{"content":"a"}`, toolMore("0", "}"), `{"content":"b"}`, "=tool_calls", "[DONE]"),
		blocks: []string{`tool_use:A=f{}`, "text:ab"}, end: "tool_use " + usageOfNothing + " stop",
	},
	{
		name: "thought signatures", o: Options{Provider: "gemini"}, stream: chunks(`{"content":"a"}`, `{"tool_calls":[{"index":0,"id":"A","type":"function","function":{"name":"f","arguments":"{}"},"extra_content":{"google":{"thought_signature":"G"}}},{"index":1,"id":"B","function":{"name":"g","arguments":"{}"}}]}`, "=tool_calls", "[DONE]"),
		blocks: []string{"text:a", `redacted_thinking:gemini     {"A":{"google":{"thought_signature":"G"}}}`, `tool_use:A=f{}`, `tool_use:B=g{}`}, end: "tool_use " + usageOfNothing + " stop",
	},
	{name: "an error in the middle", stream: chunks(`{"content":"a"}`, `{"error":{"message":"slow","type":"rate_limit_exceeded"}}`), blocks: nil, end: "error rate_limit_error: slow"},
	{name: "an error with a status", stream: chunks(`{"error":{"message":"gone","code":529}}`), blocks: nil, end: "error overloaded_error: gone"},
	{name: "no end", stream: chunks(`{"content":"a"}`, "[DONE]"), blocks: nil, end: "error api_error: " + brokenOff},
	{name: "cut", stream: chunks(`{"content":"a"}`), blocks: nil, end: "error api_error: " + brokenOff},
	{name: "cut in a chunk", stream: chunks(`{"content":"a"}`) + `data: {"id":"x","cho`, blocks: nil, end: "error api_error: " + brokenOff},
	{name: "no JSON", stream: "data: <html>\n\n", blocks: nil, end: "error api_error: " + brokenOff},
}

func TestChatStreamToMessages(t *testing.T) {
	for _, c := range chatStreams {
		tr := newTranslation(t, messagesOnChatPair, c.o)
		_, err := tr.Request([]byte(`{"model":"m","max_tokens":9,"stop_sequences":["##"],"messages":[{"role":"user","content":"x"}]}`))
		require.NoError(t, err)
		whole, err := through(t, tr, c.stream, len(c.stream), nil)
		require.Equal(t, strings.HasPrefix(c.end, "error"), err != nil, c.name)
		blocks, end := accumulated(t, whole)
		require.Equal(t, c.blocks, blocks, c.name)
		require.Equal(t, c.end, end, c.name)
		for at := 1; at < len(c.stream); at++ {
			s := tr.Stream()
			dst, err := s.Write(nil, []byte(c.stream[:at]))
			if err == nil {
				if dst, err = s.Write(dst, []byte(c.stream[at:])); err == nil {
					dst, _ = s.Close(dst, nil)
				}
			}
			require.Equal(t, whole, string(dst), "%s, split at %d", c.name, at)
		}
		each, _ := through(t, tr, c.stream, 1, nil)
		require.Equal(t, whole, each, c.name)
		// However late it is cut, nothing says that it is whole.
		for at := 0; at < len(c.stream); at += 7 {
			got, err := through(t, tr, c.stream[:at], 1000, errors.New("reset"))
			if strings.Contains(c.stream[:at], "[DONE]\n\n") {
				continue
			}
			require.Error(t, err)
			require.NotContains(t, got, "message_stop")
			require.NotContains(t, got, "stop_reason\":\"")
			require.Contains(t, got, "event: error")
		}
	}
}

// wholeOf makes the whole answer of the deltas of a stream.
func TestChatAnswerToMessages(t *testing.T) {
	answer := func(message, finish string) string {
		return `{"id":"chatcmpl-1","object":"chat.completion","created":9,"model":"up","choices":[{"index":0,"message":` + message + `,"finish_reason":"` + finish + `"}],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}`
	}
	head := `{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[`
	tail := func(stop string) string {
		return `],"stop_reason":"` + stop + `","stop_sequence":null,"usage":{"input_tokens":10,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":5}}`
	}
	for _, c := range []struct{ name, message, finish, want, stop string }{
		{"text", `{"role":"assistant","content":"a\u00e9"}`, "stop", `{"type":"text","text":"a\u00e9"}`, "end_turn"},
		{"nothing", `{"role":"assistant","content":null}`, "stop", ``, "end_turn"},
		{
			"calls", `{"role":"assistant","content":"a","tool_calls":[{"id":"A","type":"function","function":{"name":"f","arguments":"{\"p\": 1.0}"}},{"id":"B","type":"function","function":{"name":"g","arguments":""}}]}`, "tool_calls",
			`{"type":"text","text":"a"},{"type":"tool_use","id":"A","name":"f","input":{"p": 1.0}},{"type":"tool_use","id":"B","name":"g","input":{}}`, "tool_use",
		},
		{"a call that was cut", `{"role":"assistant","content":"a","tool_calls":[{"id":"A","type":"function","function":{"name":"f","arguments":"{\"p\""}}]}`, "length", `{"type":"text","text":"a"}`, "max_tokens"},
		{"reasoning", `{"role":"assistant","reasoning_content":"t","content":"a"}`, "stop", `{"type":"thinking","thinking":"t","signature":"` + (&seal{field: "reasoning_content"}).String() + `"},{"type":"text","text":"a"}`, "end_turn"},
	} {
		got, err := newTranslation(t, messagesOnChatPair, Options{}).Answer([]byte(answer(c.message, c.finish)))
		require.NoError(t, err, c.name)
		require.Equal(t, head+c.want+tail(c.stop), string(got), c.name)
	}
	for _, bad := range []string{
		"", "{}", "[]", "null", `{"choices":[]}`, answer(`{"content":"a"}`, ""), answer(`{"content":"a"}`, "error"), answer(`{"tool_calls":[{"id":"A","function":{"name":"f","arguments":"[1]"}}]}`, "stop"),
		`{"error":{"message":"x"}}`, answer(`"a"`, "stop"),
	} {
		_, err := newTranslation(t, messagesOnChatPair, Options{}).Answer([]byte(bad))
		require.Error(t, err, bad)
	}
}

func TestThinkingThatIsNotShown(t *testing.T) {
	stream := chunks(`{"reasoning":"th"}`, `{"reasoning":"ink"}`, `{"content":"a"}`, "=stop", "[DONE]")
	for thinking, want := range map[string][]string{
		`{"type":"disabled"}`:                     {"text:a"},
		`{"type":"adaptive","display":"omitted"}`: {`thinking:|vllm reasoning "think"`, "text:a"},
		`{"type":"adaptive"}`:                     {"thinking:think|vllm reasoning", "text:a"},
	} {
		tr := newTranslation(t, messagesOnChatPair, Options{Provider: "vllm"})
		_, err := tr.Request([]byte(`{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}],"thinking":` + thinking + `}`))
		require.NoError(t, err)
		got, err := through(t, tr, stream, 9, nil)
		require.NoError(t, err)
		blocks, _ := accumulated(t, got)
		require.Equal(t, want, blocks, thinking)
		require.Equal(t, thinking != `{"type":"adaptive"}`, strings.Contains(got, "event: ping"), "a client waits while nothing is shown")
	}
	// What was hidden from the caller goes back to the backend.
	tr := newTranslation(t, messagesOnChatPair, Options{Provider: "vllm"})
	s := (&seal{provider: "vllm", field: "reasoning", text: `"think"`}).String()
	got, err := tr.Request([]byte(`{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"thinking","thinking":"","signature":"` + s + `"},{"type":"text","text":"a"}]},{"role":"user","content":"y"}]}`))
	require.NoError(t, err)
	require.Equal(t, "think", gjson.GetBytes(got, "messages.1.reasoning").Str)
}

func TestPiecesPassAtOnce(t *testing.T) {
	tr := newTranslation(t, messagesOnChatPair, Options{})
	s := tr.Stream()
	for _, piece := range []struct{ chunk, want string }{
		{`{"reasoning_content":"think"}`, "think"}, {`{"content":"text"}`, "text"}, {toolStart("0", "A", "f", `{\"arg`), "arg"}, {toolMore("0", `ument`), "ument"},
	} {
		out, err := s.Write(nil, []byte(chunks(piece.chunk)))
		require.NoError(t, err)
		require.Contains(t, string(out), piece.want)
	}
	out, err := s.Write(nil, []byte(": keep-alive\n\n"))
	require.NoError(t, err)
	require.Equal(t, "event: ping\ndata: {\"type\":\"ping\"}\n\n", string(out))
}

func TestHeldBytesAreBounded(t *testing.T) {
	s := newTranslation(t, messagesOnChatPair, Options{}).Stream()
	_, err := s.Write(nil, []byte(chunks(toolStart("0", "A", "f", "{"), toolStart("1", "B", "g", "{"))))
	require.NoError(t, err)
	piece := []byte(chunks(toolMore("1", strings.Repeat("x", 1<<20))))
	for i := 0; err == nil; i++ {
		require.Less(t, i, 8)
		_, err = s.Write(nil, piece)
	}
	require.ErrorIs(t, err, errHeld)
}

// Some backends send the calls of tools as null where there are none.
func TestNullInPlaceOfCalls(t *testing.T) {
	stream := chunks(`{"role":"assistant","content":"","tool_calls":null}`, `{"content":"a","tool_calls":null}`, `{"function_call":null,"audio":{},"tool_calls":null}`, "=stop", "[DONE]")
	for p, end := range map[Pair]string{messagesOnChatPair: "message_stop", responsesToChatPair: "response.completed"} {
		got, err := through(t, newTranslation(t, p, Options{}), stream, len(stream), nil)
		require.NoError(t, err)
		require.Contains(t, got, end)
		_, err = newTranslation(t, p, Options{}).Answer([]byte(`{"id":"1","choices":[{"message":{"content":"a","tool_calls":null},"finish_reason":"stop"}]}`))
		require.NoError(t, err)
	}
}
