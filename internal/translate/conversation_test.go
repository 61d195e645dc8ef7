package translate

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

// claudeTurn makes the content of an answer of Messages, with thinking, text and calls: its blocks as the API gives them.
func claudeTurn(r *rand.Rand, turn int) []string {
	var blocks []string
	think := func() {
		if r.IntN(4) == 0 {
			blocks = append(blocks, fmt.Sprintf(`{"type":"redacted_thinking","data":"%x+/="}`, r.Uint64()))
			return
		}
		text := strings.Repeat(`so \"é\n`+"\u2028"+` `, r.IntN(4)) // some thinking is hidden
		blocks = append(blocks, fmt.Sprintf(`{"type":"thinking","thinking":"%s","signature":"%x/+=%x"}`, text, r.Uint64(), r.Uint64()))
	}
	think()
	if r.IntN(2) == 0 {
		blocks = append(blocks, fmt.Sprintf(`{"type":"text","text":"Turn %d: 😀 \"é\\"}`, turn))
		if r.IntN(2) == 0 {
			think()
			blocks = append(blocks, `{"type":"text","text":"and more"}`)
		}
	}
	for i := range 1 + r.IntN(3) {
		blocks = append(blocks, fmt.Sprintf(`{"type":"tool_use","id":"toolu_%d_%d","name":"f","input":{"n":%d.0,"s":"é\"","l":[1e2]}}`, turn, i, r.IntN(9)))
		if r.IntN(3) == 0 {
			think()
		}
	}
	return blocks
}

// asStream returns an answer of Messages as its stream, texts in pieces.
func asStream(blocks []string) string {
	events := []string{`{"type":"message_start","message":{"id":"msg_1","role":"assistant","content":[],"usage":{"input_tokens":1,"output_tokens":1}}}`}
	for i, block := range blocks {
		b := gjson.Parse(block)
		start, member, kind := block, "", ""
		switch b.Get("type").Str {
		case "text":
			start, member, kind = `{"type":"text","text":""}`, "text", "text_delta"
		case "thinking":
			start, member, kind = `{"type":"thinking","thinking":"","signature":""}`, "thinking", "thinking_delta"
		case "tool_use":
			start = fmt.Sprintf(`{"type":"tool_use","id":%s,"name":"f","input":{}}`, b.Get("id").Raw)
		}
		events = append(events, fmt.Sprintf(`{"type":"content_block_start","index":%d,"content_block":%s}`, i, start))
		delta := func(kind, member, text string) {
			quoted, _ := json.Marshal(text)
			events = append(events, fmt.Sprintf(`{"type":"content_block_delta","index":%d,"delta":{"type":%q,%q:%s}}`, i, kind, member, quoted))
		}
		if member != "" {
			runes := []rune(b.Get(member).Str)
			delta(kind, member, string(runes[:len(runes)/2]))
			delta(kind, member, string(runes[len(runes)/2:]))
		}
		if s := b.Get("signature"); s.Exists() {
			delta("signature_delta", "signature", s.Str)
		}
		if in := b.Get("input"); in.Exists() {
			delta("input_json_delta", "partial_json", in.Raw)
		}
		events = append(events, fmt.Sprintf(`{"type":"content_block_stop","index":%d}`, i))
	}
	return sse(append(events, `{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":9}}`, `{"type":"message_stop"}`)...)
}

func asAnswer(blocks []string) []byte {
	return []byte(`{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[` + strings.Join(blocks, ",") + `],"stop_reason":"tool_use","usage":{"input_tokens":1,"output_tokens":9}}`)
}

// caller is a client with tools: it gives back what it got.
type caller struct {
	pair Pair
	body func(history []any) map[string]any
	ask  func(text string) any
	// keep returns what a client keeps of a whole answer, and of a stream.
	keep   func(t *testing.T, answer []byte) []any
	stream func(t *testing.T, stream string) []any
	result func(id string) any
	calls  func(kept []any) []string
}

func decoded(t *testing.T, text string) (v map[string]any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), &v))
	return v
}

var callers = []caller{
	{
		pair: Pair{Chat, Messages},
		body: func(history []any) map[string]any {
			return map[string]any{"model": "m", "messages": history, "reasoning_effort": "high"}
		},
		ask: func(text string) any { return map[string]any{"role": "user", "content": text} },
		keep: func(t *testing.T, answer []byte) []any {
			return []any{decoded(t, gjson.GetBytes(answer, "choices.0.message").Raw)}
		},
		stream: func(t *testing.T, stream string) []any { return []any{chatAccumulated(t, stream)} },
		result: func(id string) any {
			return map[string]any{"role": "tool", "tool_call_id": id, "content": "done " + id}
		},
		calls: func(kept []any) (ids []string) {
			for _, c := range kept[0].(map[string]any)["tool_calls"].([]any) {
				ids = append(ids, c.(map[string]any)["id"].(string))
			}
			return ids
		},
	},
	{
		pair: responsesToMessages,
		body: func(history []any) map[string]any {
			return map[string]any{"model": "m", "input": history, "reasoning": map[string]any{"effort": "high"}, "include": []any{"reasoning.encrypted_content"}, "store": false}
		},
		ask: func(text string) any { return map[string]any{"role": "user", "content": text} },
		keep: func(t *testing.T, answer []byte) (list []any) {
			for _, item := range gjson.GetBytes(answer, "output").Array() {
				list = append(list, decoded(t, item.Raw))
			}
			return list
		},
		stream: func(t *testing.T, stream string) (list []any) {
			kept, _ := items(t, stream)
			for _, item := range kept {
				list = append(list, decoded(t, item))
			}
			return list
		},
		result: func(id string) any {
			return map[string]any{"type": "function_call_output", "call_id": id, "output": "done " + id}
		},
		calls: func(kept []any) (ids []string) {
			for _, item := range kept {
				if id, ok := item.(map[string]any)["call_id"].(string); ok {
					ids = append(ids, id)
				}
			}
			return ids
		},
	},
}

// chatAccumulated puts a stream together as OpenAI's client in Python does: texts are joined, lists by the index of their elements.
func chatAccumulated(t *testing.T, stream string) map[string]any {
	t.Helper()
	message := make(map[string]any)
	for line := range strings.Lines(stream) {
		delta := gjson.Get(strings.TrimPrefix(line, "data: "), "choices.0.delta")
		if delta.IsObject() {
			accumulate(message, decoded(t, delta.Raw))
		}
	}
	return message
}

func accumulate(to, delta map[string]any) {
	for name, value := range delta {
		was, there := to[name]
		switch v := value.(type) {
		case string:
			if s, ok := was.(string); ok && name != "type" {
				value = s + v
			}
		case map[string]any:
			if m, ok := was.(map[string]any); ok {
				accumulate(m, v)
				continue
			}
		case []any:
			if there {
				list := was.([]any)
				for _, entry := range v {
					e := entry.(map[string]any)
					if i := int(e["index"].(float64)); i < len(list) {
						accumulate(list[i].(map[string]any), e)
					} else {
						list = append(list, e)
					}
				}
				value = list
			}
		}
		to[name] = value
	}
}

// Over ten turns with thinking and tools each block of the assistant's goes back as it came, signatures byte for byte, and what was
// sent once is sent the same in each later turn.
func TestThinkingComesBackOverTenTurns(t *testing.T) {
	for _, c := range callers {
		for seed := range uint64(40) {
			r := rand.New(rand.NewPCG(seed, 1))
			history := []any{c.ask("begin")}
			var answers [][]string
			before := ""
			for turn := range 10 {
				body, err := json.Marshal(c.body(history))
				require.NoError(t, err)
				tr, _ := New(c.pair, claudeOptions("claude-opus-5"))
				sent, err := tr.Request(body)
				require.NoError(t, err)
				checkSent(t, sent, answers)
				messages := strings.TrimSuffix(gjson.GetBytes(sent, "messages").Raw, "]}]")
				require.True(t, strings.HasPrefix(messages, before), "the same history, the same bytes")
				before = messages

				blocks := claudeTurn(r, turn)
				answers = append(answers, blocks)
				var kept []any
				if r.IntN(2) == 0 {
					out, err := tr.Answer(asAnswer(blocks))
					require.NoError(t, err)
					kept = c.keep(t, out)
				} else {
					out, err := streamed(tr, nil, asStream(blocks))
					require.NoError(t, err)
					kept = c.stream(t, out)
				}
				history = append(history, kept...)
				for _, id := range c.calls(kept) {
					history = append(history, c.result(id))
				}
				if r.IntN(2) == 0 {
					history = append(history, c.ask(fmt.Sprintf("go on %d", turn)))
				}
			}
		}
	}
}

// checkSent checks that the messages of the assistant hold the blocks of its answers.
func checkSent(t *testing.T, sent []byte, answers [][]string) {
	t.Helper()
	for i, m := range gjson.GetBytes(sent, `messages.#(role=="assistant")#`).Array() {
		blocks := m.Get("content").Array()
		require.Len(t, blocks, len(answers[i]), m.Raw)
		for j, block := range blocks {
			require.Equal(t, sortedJSON(t, answers[i][j]), sortedJSON(t, block.Raw))
			if s := block.Get("signature"); s.Exists() {
				require.Equal(t, gjson.Get(answers[i][j], "signature").Raw, s.Raw)
			}
			if in := block.Get("input"); in.Exists() {
				require.Equal(t, gjson.Get(answers[i][j], "input").Raw, in.Raw, "numbers and the order of members stay")
			}
		}
	}
	require.Len(t, gjson.GetBytes(sent, `messages.#(role=="assistant")#`).Array(), len(answers))
}
