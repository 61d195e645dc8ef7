package lagobilling

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/translate"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

var messages = llm.Endpoint{Name: "messages", API: llm.Anthropic, Reader: usage.AnthropicMessages}

// askedFor are streams that clients ask for.
var askedFor = map[translate.API][]byte{
	translate.Chat:      []byte(`{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}],"stream":true}`),
	translate.Messages:  []byte(`{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}],"stream":true}`),
	translate.Responses: []byte(`{"model":"m","max_output_tokens":9,"input":"x","store":false,"stream":true}`),
}

const (
	messagesStart = `event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"c","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":11,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

`
	messagesDelta = `event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello"}}

`
	messagesEnd = `event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":7}}

event: message_stop
data: {"type":"message_stop"}

`
)

// translatedStreams are streams of an upstream, and how a translated one ends.
var translatedStreams = []struct {
	caller   translate.API
	endpoint llm.Endpoint
	upstream llm.Endpoint
	body     string
	end      string
}{
	{translate.Chat, chat, messages, messagesStart + messagesDelta + messagesEnd, "data: [DONE]"},
	{translate.Messages, messages, chat, sseStart + sseUsage + sseDone, "event: message_stop"},
	{translate.Responses, llm.Endpoint{Name: "responses", API: llm.OpenAI, Reader: usage.OpenAIResponses}, chat, sseStart + sseUsage + sseDone, "event: response.completed"},
}

func translatedRoute(caller translate.API, endpoint, upstream llm.Endpoint, answer http.HandlerFunc) route {
	rt := chatRoute(answer)
	target := *rt.target
	target.Endpoint, target.API = &upstream, upstream.API
	rt.caller, rt.endpoint, rt.target = caller, endpoint, &target
	return rt
}

// TestTheEndOfATranslatedStreamWaitsForTheRecord cuts streams at every byte: what ends the answer in the caller's API goes out after the
// record is settled.
func TestTheEndOfATranslatedStreamWaitsForTheRecord(t *testing.T) {
	for _, c := range translatedStreams {
		t.Run(string(c.caller), func(t *testing.T) {
			b := newBench(t, &Handler{})
			for at := range len(c.body) {
				var w *watch
				before := b.account.Spool().Stats().Finished
				b.wrap = func(rw http.ResponseWriter) http.ResponseWriter {
					w = &watch{ResponseWriter: rw, at: -1, settled: func() bool { return b.account.Spool().Stats().Finished == before+1 }}
					return w
				}
				_, body, err := b.post(translatedRoute(c.caller, c.endpoint, c.upstream, chunked(stream, cut2(c.body, at)...)))
				require.NoError(t, err)
				b.wait()
				require.Contains(t, body, c.end)
				require.GreaterOrEqual(t, w.at, 0, "cut at %d", at)
				require.LessOrEqual(t, w.at, strings.Index(body, c.end), "cut at %d: the answer's end went out before the record was settled", at)
			}
		})
	}
}

// TestNoTranslatedEndWithoutARecord has the spool fail: the client never gets the end of its answer.
func TestNoTranslatedEndWithoutARecord(t *testing.T) {
	for _, c := range translatedStreams {
		t.Run(string(c.caller), func(t *testing.T) {
			b := newBench(t, &Handler{})
			_, body, err := b.post(translatedRoute(c.caller, c.endpoint, c.upstream, func(w http.ResponseWriter, r *http.Request) {
				require.NoError(t, b.account.Spool().Close())
				chunked(stream, c.body)(w, r)
			}))
			require.Error(t, err)
			require.NotContains(t, body, c.end)
			b.wait()
		})
	}
	t.Run("whole", func(t *testing.T) {
		b := newBench(t, &Handler{})
		_, body, err := b.post(translatedRoute(translate.Messages, messages, chat, func(w http.ResponseWriter, r *http.Request) {
			require.NoError(t, b.account.Spool().Close())
			plain("application/json", jsonAnswer)(w, r)
		}))
		require.Error(t, err)
		require.Empty(t, body)
		b.wait()
	})
}

// TestOddEndsOfTranslatedStreams has upstreams end streams in ways that the meter and the translation might read apart: where either takes
// them for an end, the caller's waits for the record.
func TestOddEndsOfTranslatedStreams(t *testing.T) {
	const stop = `{"type":"message_stop"}`
	for upstream, ends := range map[*llm.Endpoint][]string{
		&messages: {
			"data: " + stop + "\r\r", "data: " + stop + "\r\n\r|\n", "event: bye\ndata: " + stop + "\n\n", "data: {\"type\":\ndata: \"message_stop\"}\n\n",
			`data: {"type":"ping","type":"message_stop"}` + "\n\n", "id: 1\nretry: 3\ndata:  \t" + stop + "  \n\n",
		},
		&chat: {
			"data: [DONE]\r\r", "data: [DONE] bye\n\n", "data:\ndata: [DONE]\n\n", "data: \f[DONE]\n\n", "event: done\ndata:[DONE]\n\n", "data: [DONE]|\n|\n",
			": x\r|data: [DONE]\r|\r", "data: [DONE]", "",
		},
	} {
		for i, end := range ends {
			t.Run(upstream.Name+" "+itoa(i), func(t *testing.T) {
				caller, endpoint, whole, want := translate.Chat, chat, strings.TrimSuffix(messagesStart+messagesDelta+messagesEnd, "event: message_stop\ndata: "+stop+"\n\n"), "[DONE]"
				if upstream == &chat {
					caller, endpoint, whole, want = translate.Messages, messages, sseStart+sseUsage, "message_stop"
				}
				answer := chunked(stream, append([]string{whole}, strings.Split(end, "|")...)...)
				b := newBench(t, &Handler{})
				_, body, err := b.post(translatedRoute(caller, endpoint, *upstream, answer))
				require.NoError(t, err)
				require.Contains(t, body, want, end)
				require.Equal(t, usage.Reported, b.only().Source)

				b = newBench(t, &Handler{})
				_, body, err = b.post(translatedRoute(caller, endpoint, *upstream, func(w http.ResponseWriter, r *http.Request) {
					require.NoError(t, b.account.Spool().Close())
					answer(w, r)
				}))
				require.Error(t, err)
				require.NotContains(t, body, want)
				b.wait()
			})
		}
	}
}

// TestTranslatedByHTTP10 has clients of HTTP/1.0: a whole answer comes with its length, and events that were not asked for do not come and
// are not billed.
func TestTranslatedByHTTP10(t *testing.T) {
	b := newBench(t, &Handler{})
	all := b.post10(translatedRoute(translate.Messages, messages, chat, plain("application/json", jsonAnswer)))
	head, body, _ := strings.Cut(all, "\r\n\r\n")
	require.Contains(t, head, "Content-Length: "+itoa(len(body)))
	require.Contains(t, body, `"type":"message"`)
	require.Len(t, b.only().Events, 1)

	b = newBench(t, &Handler{})
	require.Empty(t, b.post10(translatedRoute(translate.Messages, messages, chat, chunked(stream, sseStart, sseUsage, sseDone))))
	require.Equal(t, record.NotBilledError, b.only().NotBilled)
}
