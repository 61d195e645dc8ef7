package translate

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

// pairsToMessages are those whose upstream is Messages, with a body that each takes.
var pairsToMessages = map[Pair]string{
	{Chat, Messages}:      says(askStream + "," + oneTool),
	{Responses, Messages}: codexCall + `]}`,
}

// Whatever a client sends, the body that goes upstream is JSON, and nothing that was refused goes.
func FuzzRequestsToMessages(f *testing.F) {
	for _, body := range pairsToMessages {
		f.Add([]byte(body), false)
	}
	f.Add([]byte(says(`"tools":[{"type":"function","function":{"name":"f","parameters":{}}}],"stop":["a"],"reasoning_effort":"low","response_format":{"type":"json_schema","json_schema":{"schema":{}}}`)), true)
	f.Add([]byte(`{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}},{"type":"file","file":{"file_data":"data:text/plain;base64,YQ=="}}]},{"role":"assistant","content":"ab","reasoning_details":[{"type":"reasoning.text","text":"t","signature":"s","format":"anthropic-claude-v1","index":1,"content_offset":1}],"tool_calls":[{"id":"a.b","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"a.b","content":"x"}]}`), false)
	f.Fuzz(func(t *testing.T, body []byte, lossy bool) {
		for p := range pairsToMessages {
			o := claudeOptions("claude-opus-4-6")
			o.Lossy = lossy
			tr, _ := New(p, o)
			out, err := tr.Request(body)
			if err != nil {
				var refusal *Refusal
				require.ErrorAs(t, err, &refusal)
				continue
			}
			require.True(t, validJSON(out), string(out))
			require.LessOrEqual(t, len(out), 8*len(body)+1024)
			again, _ := New(p, o)
			same, err := again.Request(body)
			require.NoError(t, err)
			require.Equal(t, out, same)
		}
	})
}

// Whatever an upstream sends, each event that a client gets is whole, the stream ends once, and it holds no more than the stream did.
func FuzzStreamsOfMessages(f *testing.F) {
	f.Add([]byte(claudeStream), uint(7), true)
	f.Add([]byte(claudeStream[:len(claudeStream)/2]), uint(1), false)
	f.Add([]byte(sse(`{"type":"message_start","message":{}}`, `{"type":"error","error":{}}`)), uint(3), true)
	f.Fuzz(func(t *testing.T, stream []byte, size uint, cut bool) {
		size = size%64 + 1
		for p, body := range pairsToMessages {
			tr := asked(t, p, body)
			var pieces []string
			for at := 0; at < len(stream); at += int(size) {
				pieces = append(pieces, string(stream[at:min(len(stream), at+int(size))]))
			}
			var cause error
			if cut {
				cause = errBrokenOff
			}
			out, _ := streamed(tr, cause, pieces...)
			checkEvents(t, p, out)
			require.LessOrEqual(t, len(out), 64*len(stream)+1<<16)
			whole, _ := streamed(asked(t, p, body), cause, string(stream))
			require.Equal(t, whole, out, "however it is split")
		}
	})
}

func checkEvents(t *testing.T, p Pair, out string) {
	t.Helper()
	require.True(t, out == "" || strings.HasSuffix(out, "\n\n"))
	ends := 0
	for line := range strings.Lines(out) {
		data, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "data: ")
		if !ok {
			continue
		}
		require.Zero(t, ends, "nothing follows the end")
		if data == "[DONE]" {
			ends++
			continue
		}
		require.True(t, validJSON([]byte(data)), data)
		v := gjson.Parse(data)
		switch kind := v.Get("type").Str; {
		case p.Caller == Chat && v.Get("error").IsObject(), kind == "response.completed", kind == "response.failed", kind == "response.incomplete":
			ends++
		}
	}
	require.Equal(t, 1, ends, out)
}

// Whole answers are translated or refused, and never half.
func FuzzAnswersOfMessages(f *testing.F) {
	f.Add([]byte(claudeAnswer))
	f.Add([]byte(`{"type":"message","content":[{"type":"thinking"},{"type":"tool_use"}],"stop_reason":"refusal","stop_details":{"explanation":"x"}}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		for p, body := range pairsToMessages {
			out, err := asked(t, p, body).Answer(answer)
			require.True(t, err != nil || validJSON(out), string(out))
			_, out = asked(t, p, body).Error(400, answer)
			require.True(t, validJSON(out))
		}
	})
}

// longStream is an answer of many small pieces, as models give them.
func longStream(n int) []byte {
	var b bytes.Buffer
	b.WriteString(sse(`{"type":"message_start","message":{"id":"msg_1","usage":{"input_tokens":1,"output_tokens":1}}}`,
		`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`))
	for range n {
		b.WriteString(sse(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" some words"}}`))
	}
	b.WriteString(sse(`{"type":"content_block_stop","index":0}`, `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}}`, `{"type":"message_stop"}`))
	return b.Bytes()
}

func BenchmarkStreamOfMessages(b *testing.B) {
	const chunks = 1000
	stream := longStream(chunks)
	for p, body := range pairsToMessages {
		b.Run(string(p.Caller), func(b *testing.B) {
			b.ReportAllocs()
			tr := asked(b, p, body)
			dst := make([]byte, 0, 1<<20)
			b.SetBytes(int64(len(stream)))
			for b.Loop() {
				s := tr.Stream()
				for at := 0; at < len(stream); at += 113 { // about one event a write
					dst, _ = s.Write(dst[:0], stream[at:min(len(stream), at+113)])
				}
				dst, _ = s.Close(dst[:0], nil)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/chunks, "ns/event")
		})
	}
}

func BenchmarkRequestToMessages(b *testing.B) {
	messages := strings.Repeat(`{"role":"user","content":"`+strings.Repeat("some words ", 50)+`"},{"role":"assistant","content":"`+strings.Repeat("more words ", 50)+`"},`, 50)
	body := []byte(`{"model":"m","messages":[` + messages + `{"role":"user","content":"hi"}]}`)
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		tr, _ := New(Pair{Chat, Messages}, claudeOptions("claude-opus-4-6"))
		if _, err := tr.Request(body); err != nil {
			b.Fatal(err)
		}
	}
}
