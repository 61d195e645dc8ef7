package translate

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// scannedChunks are chunks behind the first one, and whether a scan is enough for them.
var scannedChunks = []struct {
	chunk   string
	scanned bool
}{
	{`{"choices":[{"index":0,"delta":{"content":"a\n\u00e4\ud83d\ude00"},"finish_reason":null}]}`, true},
	{` { "id" : "x" , "choices" : [ { "delta" : { "role" : "assistant" , "content" : "a" , "refusal" : null } , "logprobs" : { "content" : [ ] } } ] , "usage" : null } `, true},
	{`{"service_tier":"flex","error":null,"choices":[{"delta":{"reasoning":"a","content":null}}]}`, true},
	{`{"service_tier":null,"choices":[{"delta":{"reasoning_content":"a","reasoning":null,"content":"b"},"stop_reason":null}]}`, true},
	{`{"choices":[{"delta":{"reasoning_content":"","content":"b","reasoning_details":null}}]}`, true},
	{`{"choices":[{"delta":{"content":"a","tool_calls":null}}]}`, true},
	{`{"choices":[{"delta":{"content":"a","tool_calls":[]}}]}`, true},
	{`{"choices":[{"delta":{"content":null,"tool_calls":[{"index":0,"function":{"arguments":"1"}}]}}]}`, true},
	{`{"choices":[{"delta":{"content":"","tool_calls":[{"type":"function","id":null,"function":{"name":"","arguments":""},"index":0}]}}]}`, true},
	{`{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"}"}}]}}]}`, true},
	{`{"choices":[{"delta":{"tool_calls":[{"index":1,"id":"","function":{"arguments":"1"}}]}}]}`, true},
	{`{"choices":[{"delta":{}}]}`, true},
	{`{"choices":[{"delta":{"content":null,"content":"b"}}]}`, true},

	{`{"choices":[{"delta":{"content":"a","content":null}}]}`, false},
	{`{"choices":[{"delta":{"content":"a","content":"b"}}]}`, false},
	{`{"choices":[{"delta":{"content":[{"type":"text","text":"a"}]}}]}`, false},
	{`{"choices":[{"delta":{"content":1}}]}`, false},
	{`{"choices":[{"delta":{"reasoning_content":"","reasoning":"b"}}]}`, false},
	{`{"choices":[{"delta":{"content":"a","\u0063ontent":"b"}}]}`, false},
	{`{"choices":[{"delta":{"content":"a","refusal":"b"}}]}`, false},
	{`{"choices":[{"delta":{"content":"a","tool_calls":[{"index":0,"function":{"arguments":"1"}}]}}]}`, false},
	{`{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"1"}}]}}]}`, false},
	{`{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{}}]}}]}`, false},
	{`{"choices":[{"delta":{"tool_calls":[{"index":0,"function":null}]}}]}`, false},
	{`{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":null}}]}}]}`, false},
	{`{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":{}}}]}}]}`, false},
	{`{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"1"},"function":{"arguments":"2"}}]}}]}`, false},
	{`{"choices":[{"delta":{"tool_calls":[{"index":0,"index":1,"function":{"arguments":"1"}}]}}]}`, false},
	{`{"choices":[{"delta":{"tool_calls":[{"index":10,"function":{"arguments":"1"}}]}}]}`, false},
	{`{"choices":[{"delta":{"tool_calls":[{"index":-1,"function":{"arguments":"1"}}]}}]}`, false},
	{`{"choices":[{"delta":{"tool_calls":[{"index":"0","function":{"arguments":"1"}}]}}]}`, false},
	{`{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"A","function":{"arguments":"1"}}]}}]}`, false},
	{`{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"g","arguments":"{}"}}]}}]}`, false},
	{`{"choices":[{"delta":{"tool_calls":[{"index":0,"extra_content":{},"function":{"arguments":"1"}}]}}]}`, false},
	{`{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"1"}},{"index":1,"function":{"arguments":"2"}}]}}]}`, false},
	{`{"choices":[{"delta":{"tool_calls":{"index":0,"function":{"arguments":"1"}}}}]}`, false},
	{`{"choices":[{"delta":{"content":"a","extra_content":null}}]}`, false},
	{`{"choices":[{"delta":{"reasoning":"a","reasoning_details":[{"type":"reasoning.text","text":"a","index":0}]}}]}`, false},
	{`{"choices":[{"delta":{"content":"a"},"delta":{"content":"b"}}]}`, false},
	{`{"choices":[{"delta":{"content":"a"},"message":{"content":"b"}}]}`, false},
	{`{"choices":[{"delta":{"content":"a"},"message":null}]}`, false},
	{`{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}`, false},
	{`{"choices":[{"delta":{"content":"a"},"stop_reason":"x"}]}`, false},
	{`{"choices":[{"index":1,"delta":{"content":"a"}}]}`, false},
	{`{"choices":[{"index":0.0,"delta":{"content":"a"}}]}`, false},
	{`{"choices":[{"delta":null}]}`, false},
	{`{"choices":[{"delta":{"content":"a"}},{"delta":{"content":"b"}}]}`, false},
	{`{"choices":[{"delta":{"content":"a"}}],"choices":[]}`, true},
	{`{"choices":[{"delta":{"content":"a"}}],"choices":[{"delta":{"content":"b"}}]}`, false},
	{`{"choices":[]}`, false},
	{`{"choices":null}`, false},
	{`{"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":1}}`, false},
	{`{"choices":[{"delta":{"content":"a"}}],"error":"x"}`, false},
	{`{"choices":[{"delta":{"content":"a"}}],"service_tier":"\u0066lex"}`, false},
	{`{"choices":[{"delta":{"content":"a"}}],"\u0065rror":"x"}`, false},
	{`{"choices":[{"delta":{"content":"a"}}]`, false},
	{`{"choices":[{"delta":{"content":"a"}}]}}`, false},
	{`[{"choices":[{"delta":{"content":"a"}}]}]`, false},
	{`"a"`, false},
}

// scannedStream is a stream of text with a chunk in its middle.
func scannedStream(chunk string) string {
	return chunks(`{"content":"first"}`) + "data: " + chunk + "\n\n" + chunks(`{"content":"last"}`, "=stop", "[DONE]")
}

// scannedCall is a stream of two calls with a chunk in the middle of the first.
func scannedCall(chunk string) string {
	return chunks(toolStart("0", "A", "f", "{"), toolStart("1", "B", "f", "{")) + "data: " + chunk + "\n\n" +
		chunks(toolMore("0", "}"), toolMore("1", "}"), `{"content":"last"}`, "=tool_calls", "[DONE]")
}

// unscanned translates a stream whose chunks are all read in full.
func unscanned(t *testing.T, p Pair, text string, cause error) string {
	t.Helper()
	s := newTranslation(t, p, Options{Provider: "vllm"}).Stream()
	s.(*stream).to.(*chatEvents).scan = new(chatScan) // which takes no chunk
	out, err := s.Write(nil, []byte(text))
	if err == nil {
		out, _ = s.Close(out, cause)
	}
	return string(out)
}

func TestScannedChunksAreAsThoseReadInFull(t *testing.T) {
	scan := newChatScan()
	for _, c := range scannedChunks {
		require.Equal(t, c.scanned, scan.read([]byte(c.chunk)), c.chunk)
		for _, p := range []Pair{messagesOnChatPair, responsesToChatPair} {
			for _, text := range []string{scannedStream(c.chunk), scannedCall(c.chunk)} {
				got, _ := through(t, newTranslation(t, p, Options{Provider: "vllm"}), text, len(text), nil)
				require.Equal(t, unscanned(t, p, text, nil), got, c.chunk)
			}
		}
	}
}
