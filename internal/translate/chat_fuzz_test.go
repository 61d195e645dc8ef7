package translate

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

// FuzzOntoChat translates bodies of any kind: whatever is taken is a body of chat completions, and the same bytes give the same body.
func FuzzOntoChat(f *testing.F) {
	for _, body := range []string{
		`{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}]}`, `{"model":"m","input":"x"}`, codexBody, "{", `[]`, `{"input":[{}]}`, `{"messages":[{"role":"user","content":[{"type":"tool_result"}]}]}`,
		`{"model":"m","max_tokens":9,"system":[{"type":"text","text":"s"}],"tools":[{"name":"f","input_schema":{"a":[1,{"b":2}]}}],"tool_choice":{"type":"any"},"messages":[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"` + (&seal{field: "reasoning", details: `[{"index":0}]`, calls: `{"A":{}}`}).String() + `"},{"type":"tool_use","id":"A","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"A","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA"}}]}]}]}`,
	} {
		f.Add(body, false)
		f.Add(body, true)
	}
	f.Fuzz(func(t *testing.T, body string, lossy bool) {
		for _, p := range []Pair{messagesOnChatPair, responsesToChatPair} {
			request := func() ([]byte, error) {
				tr, ok := New(p, Options{Model: "m", Upstream: "up", Lossy: lossy})
				require.True(t, ok)
				return tr.Request([]byte(body))
			}
			got, err := request()
			if err != nil {
				require.IsType(t, &Refusal{}, err)
				continue
			}
			require.True(t, gjson.ValidBytes(got), string(got))
			again, err := request()
			require.NoError(t, err)
			require.Equal(t, string(got), string(again))
		}
	})
}

// FuzzChatStream translates streams of any kind, whole and split: the same events come, each of them whole, and what is cut off never has
// the end of a complete answer.
func FuzzChatStream(f *testing.F) {
	for _, c := range chatStreams {
		f.Add(c.stream, 9, true)
		f.Add(c.stream, 1, false)
	}
	for _, s := range scannedChunks {
		f.Add(scannedStream(s.chunk), 5, false)
		f.Add(scannedCall(s.chunk), 5, false)
	}
	f.Fuzz(func(t *testing.T, stream string, size int, cut bool) {
		var cause error
		if cut {
			cause = errors.New("reset")
		}
		for p, endings := range map[Pair][]string{messagesOnChatPair: {"message_stop", "stop_reason\":\""}, responsesToChatPair: {"response.completed", "response.incomplete"}} {
			tr := newTranslation(t, p, Options{Provider: "vllm"})
			whole, wholeErr := through(t, tr, stream, len(stream)+1, cause)
			split, splitErr := through(t, tr, stream, max(1, size%64), cause)
			require.Equal(t, whole, split)
			require.Equal(t, wholeErr == nil, splitErr == nil)
			require.Equal(t, whole, unscanned(t, p, stream, cause))
			for e := range strings.SplitSeq(strings.TrimSuffix(whole, "\n\n"), "\n\n") {
				if e == "" || e[0] == ':' {
					continue
				}
				_, data, ok := strings.Cut(e, "\ndata: ")
				require.True(t, ok && gjson.Valid(data), e)
			}
			for _, end := range endings {
				if wholeErr != nil && !strings.Contains(stream, end) {
					require.NotContains(t, whole, "event: "+end)
				}
			}
		}
	})
}

// FuzzChatAnswer translates whole answers of any kind.
func FuzzChatAnswer(f *testing.F) {
	for _, message := range []string{`{"content":"a"}`, `{"tool_calls":[{"id":"A","function":{"name":"f","arguments":"{}"}}]}`, `{"reasoning":"t","reasoning_details":[{"index":0,"type":"a","text":"b"}],"content":[{"type":"text","text":"x"}]}`} {
		f.Add(`{"id":"1","choices":[{"message":` + message + `,"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}`)
	}
	f.Fuzz(func(t *testing.T, body string) {
		for _, p := range []Pair{messagesOnChatPair, responsesToChatPair} {
			if got, err := newTranslation(t, p, Options{}).Answer([]byte(body)); err == nil {
				require.True(t, gjson.ValidBytes(got), string(got))
			}
		}
	})
}
