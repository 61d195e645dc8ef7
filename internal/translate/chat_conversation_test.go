package translate

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

// A client of Messages or of the Responses API goes on for ten turns with what it was given, before a backend that signs its reasoning
// and its calls. Each request begins with the bytes of the one before, and the backend gets back each byte that it gave.
func TestTenTurnsOnChat(t *testing.T) {
	for name, client := range map[string]struct {
		pair  Pair
		first string
		body  func(history []string) string
		next  func(t *testing.T, stream string, turn int) []string
	}{
		"messages": {
			pair:  Pair{Messages, Chat},
			first: `{"role":"user","content":"begin"}`,
			body: func(history []string) string {
				return `{"model":"m","max_tokens":9,"stream":true,"system":"s","thinking":{"type":"adaptive"},"tools":[{"name":"f","input_schema":{"type":"object"}}],"messages":[` + strings.Join(history, ",") + `]}`
			},
			next: func(t *testing.T, stream string, turn int) []string {
				content, calls := clientOfMessages(t, stream)
				results := []string{}
				for i := len(calls) - 1; i >= 0; i-- { // in the order in which they end
					results = append(results, `{"type":"tool_result","tool_use_id":"`+calls[i]+`","content":"result of `+calls[i]+`"}`)
				}
				return []string{`{"role":"assistant","content":[` + content + `]}`, `{"role":"user","content":[` + strings.Join(results, ",") + `,{"type":"text","text":"go on"}]}`}
			},
		},
		"responses": {
			pair:  Pair{Responses, Chat},
			first: `{"role":"user","content":"begin"}`,
			body: func(history []string) string {
				return `{"model":"m","stream":true,"instructions":"s","store":false,"include":["reasoning.encrypted_content"],"tools":[{"type":"function","name":"f","parameters":{"type":"object"}}],"input":[` + strings.Join(history, ",") + `]}`
			},
			next: func(t *testing.T, stream string, turn int) []string {
				list, _ := items(t, stream)
				var outputs []string
				for _, item := range list {
					if id := gjson.Get(item, "call_id").Str; id != "" {
						outputs = append([]string{`{"type":"function_call_output","call_id":"` + id + `","output":"result of ` + id + `"}`}, outputs...)
					}
				}
				return append(append(list, outputs...), `{"role":"user","content":"go on"}`)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{Provider: "openrouter", Model: "m", Upstream: "up", ID: "made"}
			history := []string{client.first}
			before := ""
			var given []string
			for turn := range 10 {
				tr, ok := New(client.pair, o)
				require.True(t, ok)
				body, err := tr.Request([]byte(client.body(history)))
				require.NoError(t, err)
				requireChat(t, body, true)
				require.Empty(t, tr.Lost())
				messages := gjson.GetBytes(body, "messages").Raw
				require.True(t, strings.HasPrefix(messages, strings.TrimSuffix(before, "]")), "turn %d changed what was before it", turn)
				before = messages
				var got []string
				for _, m := range gjson.Parse(messages).Array() {
					if m.Get("role").Str == "assistant" {
						got = append(got, m.Get("reasoning").Raw+m.Get("reasoning_details").Raw+m.Get("tool_calls").Raw)
					}
				}
				require.Equal(t, given, got)

				text := `r\u00e9ason ` + strconv.Itoa(turn)
				half := len(`r\u00e9as`)
				signature := strings.Repeat("S+/=", 9) + strconv.Itoa(turn)
				first, second := fmt.Sprintf("call_%d_a", turn), fmt.Sprintf("call_%d_b", turn)
				callOf := func(id string) string {
					return `{"id":"` + id + `","type":"function","function":{"name":"f","arguments":"{\"n\": 1.0}"}`
				}
				extra := `,"extra_content":{"google":{"thought_signature":"` + signature + `"}}`
				stream := chunks(
					`{"reasoning":"`+text[:half]+`","reasoning_details":[{"type":"reasoning.text","text":"`+text[:half]+`","format":"f","index":0}]}`,
					`{"reasoning":"`+text[half:]+`","reasoning_details":[{"type":"reasoning.text","text":"`+text[half:]+`","format":"f","index":0,"signature":"`+signature+`"}]}`,
					`{"content":"let me see"}`,
					`{"tool_calls":[`+strings.Replace(callOf(first), "{", `{"index":0,`, 1)+extra+`}]}`,
					`{"tool_calls":[`+strings.Replace(callOf(second), "{", `{"index":1,`, 1)+`}]}`,
					"=tool_calls", chatUsage, "[DONE]")
				given = append(given, `"`+text+`"[{"type":"reasoning.text","text":"`+text+`","format":"f","index":0,"signature":"`+signature+`"}]`+
					`[`+callOf(first)+extra+`},`+callOf(second)+`}]`)
				answer, err := through(t, tr, stream, 13, nil)
				require.NoError(t, err)
				history = append(history, client.next(t, answer, turn)...)
			}
		})
	}
}

// clientOfMessages puts a stream of Messages together as its SDKs do, and returns the content to give back and the ids of its calls.
func clientOfMessages(t *testing.T, stream string) (content string, calls []string) {
	t.Helper()
	names, data := eventsOf(t, []byte(stream))
	var blocks []string
	var block gjson.Result
	text, signature := "", ""
	for i, d := range data {
		switch names[i] {
		case "content_block_start":
			block, text, signature = d.Get("content_block"), "", ""
		case "content_block_delta":
			delta := d.Get("delta")
			text += inner(delta.Get("text").Raw) + inner(delta.Get("thinking").Raw) + delta.Get("partial_json").Str
			signature += delta.Get("signature").Str
		case "content_block_stop":
			switch block.Get("type").Str {
			case "text":
				blocks = append(blocks, `{"type":"text","text":"`+text+`"}`)
			case "thinking":
				blocks = append(blocks, `{"type":"thinking","thinking":"`+text+`","signature":"`+signature+`"}`)
			case "redacted_thinking":
				blocks = append(blocks, block.Raw)
			case "tool_use":
				calls = append(calls, block.Get("id").Str)
				blocks = append(blocks, `{"type":"tool_use","id":"`+block.Get("id").Str+`","name":"`+block.Get("name").Str+`","input":`+text+`}`)
			}
		}
	}
	return strings.Join(blocks, ","), calls
}
