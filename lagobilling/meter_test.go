package lagobilling

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/internal/record"
	"github.com/tollgate-llm/tollgate/internal/usage"
)

func itoa(n int) string { return strconv.Itoa(n) }

const (
	jsonAnswer = `{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-4o-2024-08-06","choices":[{"index":0,"message":{"role":"assistant",` +
		`"content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1000,"completion_tokens":50,"total_tokens":1050,` +
		`"prompt_tokens_details":{"cached_tokens":400}}}` + "\n"

	sseStart = `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","model":"gpt-4o","choices":[{"index":0,"delta":{"role":"assistant","content":"Hel"}}]}` + "\n\n" +
		`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","model":"gpt-4o","choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":"stop"}]}` + "\n\n"
	sseUsage = `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","model":"gpt-4o","choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":50,"total_tokens":1050}}` + "\n\n"
	sseDone  = "data: [DONE]\n\n"
	stream   = "text/event-stream; charset=utf-8"
)

// watch is the client's side of a meter: it looks, at each write, whether the call is settled.
type watch struct {
	http.ResponseWriter
	got     bytes.Buffer
	settled func() bool
	at      int // bytes that had gone out when the call was first seen settled; -1 while it was not
}

func (w *watch) Write(p []byte) (int, error) {
	if w.at < 0 && w.settled() {
		w.at = w.got.Len()
	}
	w.got.Write(p)
	return w.ResponseWriter.Write(p)
}

func (w *watch) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// cut2 is body in two pieces.
func cut2(body string, at int) []string { return []string{body[:at], body[at:]} }

func TestSettledBeforeTheLastBytes(t *testing.T) {
	cases := []struct {
		name  string
		body  string
		last  int // the bytes before this one do not make a whole answer
		route func(body string, at int) route
	}{
		{
			"json of stated length", jsonAnswer, len(jsonAnswer) - 1,
			func(body string, at int) route {
				return chatRoute(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", "application/json")
					w.Header().Set("Content-Length", itoa(len(body)))
					for _, p := range cut2(body, at) {
						_, _ = io.WriteString(w, p)
					}
				})
			},
		},
		{
			"json without a length", jsonAnswer, strings.LastIndexByte(jsonAnswer, '}'),
			func(body string, at int) route { return chatRoute(chunked("application/json", cut2(body, at)...)) },
		},
		{
			"binary of stated length", "RIFFxxxx", 7,
			func(body string, at int) route {
				rt := chatRoute(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", "audio/wav")
					w.Header().Set("Content-Length", itoa(len(body)))
					for _, p := range cut2(body, at) {
						_, _ = io.WriteString(w, p)
					}
				})
				rt.endpoint = llm.Endpoint{Name: "audio/speech", API: llm.OpenAI, Reader: usage.OpenAISpeech}
				return rt
			},
		},
		{
			"stream", sseStart + sseUsage + sseDone, strings.LastIndex(sseStart+sseUsage+sseDone, "\n\n"),
			func(body string, at int) route { return chatRoute(chunked(stream, cut2(body, at)...)) },
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, &Handler{})
			for at := range len(c.body) {
				var w *watch
				before := b.account.Spool().Stats().Finished
				b.wrap = func(rw http.ResponseWriter) http.ResponseWriter {
					w = &watch{ResponseWriter: rw, at: -1, settled: func() bool { return b.account.Spool().Stats().Finished == before+1 }}
					return w
				}
				_, body, err := b.post(c.route(c.body, at))
				require.NoError(t, err)
				b.wait()
				require.Equal(t, c.body, body, "cut at %d", at)
				require.GreaterOrEqual(t, w.at, 0, "cut at %d: the whole answer went out before the record was settled", at)
				require.LessOrEqual(t, w.at, c.last, "cut at %d: the answer's end went out before the record was settled", at)
			}
		})
	}
}

func TestNoEndWithoutARecord(t *testing.T) {
	gone := func(answer http.HandlerFunc, b **bench) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			require.NoError(t, (*b).account.Spool().Close())
			answer(w, r)
		}
	}
	for name, answer := range map[string]http.HandlerFunc{
		"json of stated length":   plain("application/json", jsonAnswer),
		"json without a length":   chunked("application/json", jsonAnswer[:40], jsonAnswer[40:]),
		"stream":                  chunked(stream, sseStart, sseUsage, sseDone),
		"binary without a length": chunked("audio/wav", "RIFF", "xxxx"),
		"no body": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "0")
			w.WriteHeader(http.StatusOK)
		},
	} {
		for version, start := range map[string]func(*testing.T, *Handler) *bench{"1.1": newBench, "2": newBench2, "3": newBench3} {
			t.Run(name+", HTTP/"+version, func(t *testing.T) {
				b := start(t, &Handler{})
				_, body, err := b.post(chatRoute(gone(answer, &b)))
				require.Error(t, err, "the connection is cut, so that the client cannot take the answer for a whole one")
				require.NotContains(t, body, "[DONE]")
				require.False(t, json.Valid([]byte(body)), "the client has the whole body")
				b.wait()
			})
		}
	}
}

func TestUsageIsRecorded(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"json":                    plain("application/json", jsonAnswer),
		"json, chunked":           chunked("application/json", jsonAnswer[:40], jsonAnswer[40:]),
		"json, longer than a buf": plain("application/json", strings.Replace(jsonAnswer, "Hello", strings.Repeat("x", 3*maxWhole), 1)),
		"json, via ReadFrom": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader(jsonAnswer))
			require.NoError(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, &Handler{})
			res, _, err := b.post(chatRoute(answer))
			require.NoError(t, err)
			e := b.only()
			require.Equal(t, res.Header.Get("x-litellm-call-id"), e.ID)
			require.Equal(t, "done", e.State, "without a Lago the ledger has it and nothing is sent")
			require.Equal(t, record.OutcomeCompleted, e.Outcome)
			require.Equal(t, usage.Reported, e.Source)
			require.EqualValues(t, 600, e.Counts.N(usage.Input))
			require.EqualValues(t, 400, e.Counts.N(usage.CacheRead))
			require.EqualValues(t, 50, e.Counts.N(usage.Output))
			require.Equal(t, "sub-1", e.Payer)
			require.Equal(t, "gpt-4o", e.Upstream)
			require.Equal(t, "gpt-4o-2024-08-06", e.ResponseModel)
			require.Len(t, e.Events, 1)
		})
	}
}

func TestExtraUsageChunkIsKeptFromTheClient(t *testing.T) {
	whole := sseStart + sseUsage + sseDone
	b := newBench(t, &Handler{})
	for at := range len(whole) {
		rt := chatRoute(chunked(stream, cut2(whole, at)...))
		rt.injected = true
		_, body, err := b.post(rt)
		require.NoError(t, err)
		require.Equal(t, sseStart+sseDone, body, "cut at %d", at)
		b.wait()
	}
	for _, e := range b.records() {
		require.EqualValues(t, 1050, e.Counts.InputTokens()+e.Counts.OutputTokens())
		require.Equal(t, usage.Reported, e.Source)
	}
	// The client that asked for it gets it.
	_, body, err := b.post(chatRoute(chunked(stream, whole)))
	require.NoError(t, err)
	require.Equal(t, whole, body)
	b.wait()
	// A stated length would be wrong for what is left.
	rt := chatRoute(plain(stream, whole))
	rt.injected = true
	res, body, err := b.post(rt)
	require.NoError(t, err)
	require.Equal(t, sseStart+sseDone, body)
	require.NotEqualValues(t, len(whole), res.ContentLength)
}

func TestCostHeader(t *testing.T) {
	b := newBench(t, &Handler{Markup: []Percent{{Percent: "10"}}})
	for name, answer := range map[string]http.HandlerFunc{
		"one piece": plain("application/json", jsonAnswer),
		"many": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", itoa(len(jsonAnswer)))
			for i := range len(jsonAnswer) {
				_, _ = w.Write([]byte{jsonAnswer[i]})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			res, body, err := b.post(chatRoute(answer))
			require.NoError(t, err)
			require.Equal(t, jsonAnswer, body)
			b.wait()
			all := b.records()
			require.NotEmpty(t, all[len(all)-1].Cost)
			require.Equal(t, all[len(all)-1].Cost, res.Header.Get("x-litellm-response-cost"))
		})
	}
	// Most providers state no length, and the proxy then flushes at every write.
	for name, pieces := range map[string][]string{
		"one piece": {jsonAnswer}, "two": cut2(jsonAnswer, 40), "last byte": cut2(jsonAnswer, len(jsonAnswer)-2), "empty": {"", jsonAnswer},
	} {
		t.Run("unstated length, "+name, func(t *testing.T) {
			res, body, err := b.post(chatRoute(chunked("application/json", pieces...)))
			require.NoError(t, err)
			require.Equal(t, jsonAnswer, body)
			b.wait()
			all := b.records()
			require.NotEmpty(t, all[len(all)-1].Cost)
			require.Equal(t, all[len(all)-1].Cost, res.Header.Get("x-litellm-response-cost"))
		})
	}
	// White space keeps the client's connection alive, a long answer does not fit, and a stream is one: none is kept back.
	long := strings.Replace(jsonAnswer, "Hello", strings.Repeat("x", maxWhole), 1)
	streamed := chatRoute(chunked("application/json", jsonAnswer))
	streamed.request.Stream = true
	for name, rt := range map[string]route{
		"white space": chatRoute(chunked("application/json", "\n", jsonAnswer)),
		"long":        chatRoute(chunked("application/json", long[:100], long[100:len(long)-10], long[len(long)-10:])),
		"stream":      streamed,
	} {
		t.Run("not kept back, "+name, func(t *testing.T) {
			res, body, err := b.post(rt)
			require.NoError(t, err)
			require.True(t, strings.HasSuffix(body, jsonAnswer[len(jsonAnswer)-100:]))
			require.Empty(t, res.Header.Get("x-litellm-response-cost"))
			b.wait()
		})
	}
	// A flush means now: the header goes without the cost.
	res, body, err := b.post(chatRoute(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", itoa(len(jsonAnswer)))
		_, _ = io.WriteString(w, jsonAnswer[:10])
		require.NoError(t, http.NewResponseController(w).Flush())
		_, _ = io.WriteString(w, jsonAnswer[10:])
	}))
	require.NoError(t, err)
	require.Equal(t, jsonAnswer, body)
	require.Empty(t, res.Header.Get("x-litellm-response-cost"))
}

func TestOutcomes(t *testing.T) {
	cases := []struct {
		name      string
		route     route
		outcome   string
		source    usage.Source
		notBilled string
		broken    bool // the client sees the connection cut
	}{
		{name: "provider error", outcome: record.OutcomeError, notBilled: record.NotBilledError, route: chatRoute(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w, `{"error":{"message":"slow down"},"usage":{"prompt_tokens":5,"completion_tokens":5}}`)
		})},
		{name: "redirect", outcome: record.OutcomeError, notBilled: record.NotBilledError, route: chatRoute(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "0")
			w.WriteHeader(http.StatusNotModified)
		})},
		{name: "cut stream", outcome: record.OutcomeCut, source: usage.Estimated, broken: true, route: chatRoute(func(w http.ResponseWriter, r *http.Request) {
			chunked(stream, sseStart)(w, r)
			panic(http.ErrAbortHandler)
		})},
		{name: "stream without its end", outcome: record.OutcomeCut, source: usage.Estimated, route: chatRoute(chunked(stream, sseStart))},
		{name: "empty answer of stated length", outcome: record.OutcomeError, source: usage.Estimated, notBilled: record.NotBilledError, route: chatRoute(plain("", ""))},
		{name: "empty answer without a length", outcome: record.OutcomeError, source: usage.Estimated, notBilled: record.NotBilledError, route: chatRoute(chunked(""))},
		{name: "stream cut after its usage", outcome: record.OutcomeCut, source: usage.Reported, broken: true, route: chatRoute(func(w http.ResponseWriter, r *http.Request) {
			chunked(stream, sseStart, sseUsage)(w, r)
			panic(http.ErrAbortHandler)
		})},
		{name: "no usage", outcome: record.OutcomeCompleted, source: usage.Estimated, route: chatRoute(plain("application/json", `{"choices":[{"message":{"content":"Hi"}}]}`))},
		{name: "compressed", outcome: record.OutcomeCompleted, source: usage.Estimated, route: chatRoute(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", "br")
			_, _ = io.WriteString(w, "\x01\x02\x03")
		})},
		{name: "free endpoint", outcome: record.OutcomeCompleted, notBilled: record.NotBilledFree, route: func() route {
			rt := chatRoute(plain("application/json", `{"input_tokens":12}`))
			rt.endpoint = llm.Endpoint{Name: "messages/count_tokens", API: llm.Anthropic, Reader: usage.NotBillable, Billing: llm.Free}
			return rt
		}()},
		{name: "panic before the answer", outcome: record.OutcomeError, notBilled: record.NotBilledError, broken: true, route: chatRoute(func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		})},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, &Handler{})
			_, _, err := b.post(c.route)
			if c.broken {
				require.Error(t, err)
			} else {
				require.NoError(t, err)
			}
			e := b.only()
			require.Equal(t, c.outcome, e.Outcome)
			require.Equal(t, c.source, e.Source)
			require.Equal(t, c.notBilled, e.NotBilled)
			if c.notBilled != "" {
				require.Empty(t, e.Events)
				require.Empty(t, e.Cost, "what is not billed has no cost")
				return
			}
			require.Len(t, e.Events, 1)
			require.Positive(t, e.Counts.InputTokens())
			if c.source == usage.Estimated {
				require.NotEmpty(t, e.How)
				require.EqualValues(t, 8, e.Counts.N(usage.Input), "7,400 thousandths of a token")
			}
		})
	}
}

func TestInformationalAnswersAreNotFinal(t *testing.T) {
	b := newBench(t, &Handler{})
	res, body, err := b.post(chatRoute(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</x>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		plain("application/json", jsonAnswer)(w, r)
	}))
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.Equal(t, jsonAnswer, body)
	require.Equal(t, http.StatusOK, b.only().Status)
}

func TestTrailersPass(t *testing.T) {
	b := newBench(t, &Handler{})
	res, _, err := b.post(chatRoute(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		chunked("application/json", jsonAnswer)(w, r)
		w.Header().Set("X-Sum", "1")
	}))
	require.NoError(t, err)
	require.Equal(t, "1", res.Trailer.Get("X-Sum"))
	require.Equal(t, record.OutcomeCompleted, b.only().Outcome)
}

func TestCallsThatAreNotModelCallsPass(t *testing.T) {
	b := newBench(t, &Handler{})
	res, body, err := b.post(route{endpoint: llm.Endpoint{Name: "models", Billing: llm.Local}, answer: plain("text/html", "<p>hi")})
	require.NoError(t, err)
	require.Equal(t, "<p>hi", body)
	require.NotEmpty(t, res.Header.Get("x-litellm-call-id"))
	b.wait()
	require.Empty(t, b.records())
}

func TestRefusedWhileTheSpoolIsFull(t *testing.T) {
	b := newBench(t, &Handler{SpoolMax: "64KiB"})
	rt := chatRoute(plain("application/json", jsonAnswer))
	for range 500 {
		res, body, err := b.post(rt)
		require.NoError(t, err)
		b.wait()
		if res.StatusCode == http.StatusOK {
			continue
		}
		require.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
		require.NotEmpty(t, res.Header.Get("Retry-After"))
		require.Contains(t, body, `"error"`)
		return
	}
	t.Fatal("a full spool refused nothing")
}

// TestEachPieceAtOnce reads each piece of a stream before the upstream sends the next, without the usage chunk that only the
// gateway asked for.
func TestEachPieceAtOnce(t *testing.T) {
	for _, c := range []struct {
		name           string
		injected, read bool // the usage chunk was asked for by the gateway; the last piece comes with the answer's end
	}{
		{"as it comes", false, false}, {"a usage chunk that is kept", true, false}, {"the end with the last piece", false, true}, {"both", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, &Handler{})
			got := make(chan struct{})
			rt := chatRoute(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", stream)
				for _, p := range []string{sseStart, sseUsage, sseDone} {
					if c.read && p == sseDone {
						llm.FromContext(r.Context()).Attempt().SetAnswerRead()
					}
					_, _ = io.WriteString(w, p)
					_ = http.NewResponseController(w).Flush()
					if p == sseStart || p == sseUsage && !c.injected || p == sseDone && !c.read {
						<-got
					}
				}
			})
			rt.injected = c.injected
			b.use(rt)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+"/v1/chat/completions", http.NoBody)
			require.NoError(t, err)
			res, err := b.client.Do(req)
			require.NoError(t, err)
			for _, p := range []string{sseStart, sseUsage, sseDone} {
				if p == sseUsage && c.injected {
					continue
				}
				piece := make([]byte, len(p))
				_, err := io.ReadFull(res.Body, piece)
				require.NoError(t, err)
				require.Equal(t, p, string(piece))
				if p != sseDone || !c.read {
					got <- struct{}{}
				}
			}
			rest, err := io.ReadAll(res.Body)
			require.NoError(t, errors.Join(err, res.Body.Close()))
			require.Empty(t, rest)
			b.wait()
		})
	}
}

// TestOnSettleIsForDurableRecords holds that who counts settled calls hears of those whose record was written, once, and of no
// other.
func TestOnSettleIsForDurableRecords(t *testing.T) {
	for name, want := range map[string]int32{"written": 1, "not written": 0} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, &Handler{})
			var settled atomic.Int32
			_, _, err := b.post(chatRoute(func(w http.ResponseWriter, r *http.Request) {
				llm.FromContext(r.Context()).OnSettle(func(*llm.Settlement) { settled.Add(1) })
				if want == 0 {
					require.NoError(t, b.account.Spool().Close())
				}
				chunked(stream, sseStart, sseUsage, sseDone)(w, r)
			}))
			require.Equal(t, want == 0, err != nil)
			b.wait()
			require.Equal(t, want, settled.Load())
		})
	}
}

func TestTheEndIsFlushedWhileTheUpstreamHoldsOn(t *testing.T) {
	b := newBench(t, &Handler{})
	seen := make(chan struct{})
	b.use(chatRoute(func(w http.ResponseWriter, r *http.Request) {
		chunked(stream, sseStart, sseUsage, sseDone)(w, r)
		<-seen // an upstream that keeps its connection open after the last event
	}))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+"/v1/chat/completions", http.NoBody)
	require.NoError(t, err)
	res, err := b.client.Do(req)
	require.NoError(t, err)
	got := make([]byte, len(sseStart+sseUsage+sseDone))
	_, err = io.ReadFull(res.Body, got)
	close(seen)
	require.NoError(t, err)
	require.Equal(t, sseStart+sseUsage+sseDone, string(got))
	require.NoError(t, res.Body.Close())
	b.wait()
}

func TestTrailersPassWhenTheAnswerWasRead(t *testing.T) {
	b := newBench(t, &Handler{})
	res, body, err := b.post(chatRoute(func(w http.ResponseWriter, r *http.Request) {
		llm.FromContext(r.Context()).Attempt().SetAnswerRead()
		chunked(stream, sseStart+sseUsage+sseDone)(w, r)
		w.Header().Set(http.TrailerPrefix+"X-Sum", "1")
	}))
	require.NoError(t, err)
	require.Equal(t, sseStart+sseUsage+sseDone, body)
	require.Equal(t, "1", res.Trailer.Get("X-Sum"))
}
