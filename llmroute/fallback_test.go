package llmroute

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

const (
	refusedLength  = `{"error":{"message":"This model's maximum context length is 8192 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}`
	refusedContent = `{"error":{"message":"The response was filtered","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation"}}}`
)

// modelOf returns the model that a body names.
func modelOf(t testing.TB, text string) string {
	t.Helper()
	var body struct{ Model string }
	require.NoError(t, json.Unmarshal([]byte(text), &body))
	return body.Model
}

// byModel answers by the model that is asked for, and with 200 where nothing is said of it.
func byModel(t *testing.T, answers map[string]http.HandlerFunc) *fakeProvider {
	t.Helper()
	u := newUpstream(t, nil)
	u.answer = func(w http.ResponseWriter, r *http.Request) {
		got := u.requests()
		answer := answers[modelOf(t, got[len(got)-1].body)]
		if answer == nil {
			answer = respond(200, answered)
		}
		answer(w, r)
	}
	return u
}

// TestPromptFallbacks has prompts refused, and looks at the models that are asked in turn.
func TestPromptFallbacks(t *testing.T) {
	long, unwanted, busy := respond(400, refusedLength), respond(400, refusedContent), respond(503, `{"error":"busy"}`)
	u := byModel(t, map[string]http.HandlerFunc{
		"long": long, "long2": long, "longer": long, "unwanted": unwanted, "unwanted2": unwanted, "busy": busy, "bad": respond(400, `{"error":{"message":"bad"}}`),
	})
	g := start(t, fmt.Sprintf(`llmroute {
		model m {
			backend openai %[1]s {
				model long
			}
			backend openai %[1]s {
				model long2
				order 2
			}
			retries 5
			fallback good
			context_fallback forbidden claude longer large
			content_fallback good
		}
		model failing {
			backend openai %[1]s {
				model busy
			}
			fallback longer
			context_fallback longer large
		}
		model both {
			backend openai %[1]s {
				model unwanted
			}
			context_fallback unwanted2 large
			content_fallback longer good
		}
		model tired {
			backend openai %[1]s {
				model long
			}
			context_fallback busy
		}
		model closed {
			backend openai %[1]s {
				model long
			}
			fallback good
			context_fallback forbidden claude
			content_fallback good
		}
		model patterned {
			backend openai %[1]s {
				model unwanted
			}
			content_fallback big
		}
		model bad {
			backend openai %[1]s
			context_fallback good
			content_fallback good
		}
		model forbidden large longer good busy unwanted2 any-* {
			backend openai %[1]s
		}
		model claude {
			backend anthropic %[1]s
		}
		alias big any-large
	}`, u.URL))
	g.prepare = func(c *llm.Call) {
		c.Keyed, c.Metered = true, true
		c.Identity = &llm.Identity{Models: []string{
			"m", "failing", "both", "tired", "closed", "patterned", "bad", "large", "longer", "good", "busy", "unwanted2", "any-*", "claude",
		}}
	}
	for name, tt := range map[string]struct {
		model  string
		asked  []string
		status int
		body   string
	}{
		"the model's other backends are skipped":           {"m", []string{"long", "longer", "large"}, 200, answered},
		"a fallback model that refuses too":                {"failing", []string{"busy", "longer", "large"}, 200, answered},
		"each list is taken once":                          {"both", []string{"unwanted", "longer", "unwanted2"}, 400, refusedContent},
		"the last failure is passed on":                    {"tired", []string{"long", "busy"}, 503, `{"error":"busy"}`},
		"no model that the key may use and speaks the API": {"closed", []string{"long"}, 400, refusedLength},
		"an alias and a pattern":                           {"patterned", []string{"unwanted", "any-large"}, 200, answered},
		"another error":                                    {"bad", []string{"bad"}, 400, `{"error":{"message":"bad"}}`},
	} {
		t.Run(name, func(t *testing.T) {
			u.got = nil
			resp, body := g.post(t, "/v1/chat/completions", `{"model":"`+tt.model+`"}`)
			var asked []string
			for _, r := range u.requests() {
				asked = append(asked, modelOf(t, r.body))
			}
			require.Equal(t, tt.asked, asked)
			require.Equal(t, tt.status, resp.StatusCode)
			require.Equal(t, tt.body, body)
			require.Equal(t, len(tt.asked), g.last().Attempts())
			require.Equal(t, tt.asked[len(tt.asked)-1], g.last().Target().Upstream, "the call is billed for the attempt that served it")
			require.False(t, g.last().Attempt().Failed(), "that attempt's answer was passed on")
		})
	}
}

// TestPromptFallbacksArePriced keeps prompts that were refused away from models that could not be billed.
func TestPromptFallbacksArePriced(t *testing.T) {
	u := byModel(t, map[string]http.HandlerFunc{"m": respond(400, refusedLength), "n": respond(400, refusedLength)})
	g := start(t, fmt.Sprintf(`llmroute {
		model m {
			backend openai %[1]s
			context_fallback unpriced priced
		}
		model n {
			backend openai %[1]s
			context_fallback unpriced
		}
		model priced unpriced {
			backend openai %[1]s
		}
	}`, u.URL))
	g.prepare = func(c *llm.Call) {
		c.Keyed, c.Metered = true, true
		c.Priced = func(_ *llm.Call, t *llm.Target) bool { return t.Model != "unpriced" }
	}
	resp, _ := g.post(t, "/v1/chat/completions", `{"model":"m"}`)
	require.Equal(t, 200, resp.StatusCode)
	require.Equal(t, "priced", g.last().Target().Model)
	resp, body := g.post(t, "/v1/chat/completions", `{"model":"n"}`)
	require.Equal(t, 400, resp.StatusCode)
	require.Equal(t, refusedLength, body)
	require.Equal(t, 1, g.last().Attempts())
}

// TestRefusedPromptsAreNoFailures keeps a backend in use whose prompts were refused.
func TestRefusedPromptsAreNoFailures(t *testing.T) {
	u := byModel(t, map[string]http.HandlerFunc{"m": respond(400, refusedLength)})
	other := newUpstream(t, respond(200, answered))
	g := start(t, fmt.Sprintf(`llmroute {
		model m {
			backend openai %[1]s {
				fail_duration 1h
				unhealthy_status 4xx
			}
			context_fallback n
		}
		model n {
			backend openai %[2]s
		}
	}`, u.URL, other.URL))
	for range 3 {
		resp, body := g.post(t, "/v1/chat/completions", chat)
		require.Equal(t, 200, resp.StatusCode)
		require.JSONEq(t, answered, body)
	}
	require.Len(t, u.requests(), 3)
}

// TestRefusedStream has a stream refused: stream_options that are refused themselves, a refusal by its length, one that is
// too long to be read, and one that breaks off.
func TestRefusedStream(t *testing.T) {
	long := `{"error":{"message":"` + strings.Repeat("x", 128<<10) + `","code":"context_length_exceeded"}}`
	g := (*gateway)(nil)
	u := byModel(t, map[string]http.HandlerFunc{
		"m": func(w http.ResponseWriter, r *http.Request) {
			if g.last().Attempt().UsageInjected() {
				respond(400, `{"error":"Unknown parameter: 'stream_options'"}`)(w, r)
				return
			}
			w.Header().Set("X-From", "m")
			respond(400, refusedLength)(w, r)
		},
		"endless": respond(400, long),
		"broken": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			w.WriteHeader(400)
			_, _ = io.WriteString(w, refusedLength)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
	})
	g = start(t, fmt.Sprintf(`llmroute {
		model m endless broken {
			backend openai %[1]s
			context_fallback n
		}
		model n {
			backend openai %[1]s
		}
	}`, u.URL))
	resp, body := g.post(t, "/v1/chat/completions", `{"model":"m","stream":true}`)
	require.Equal(t, 200, resp.StatusCode)
	require.Equal(t, answered, body)
	require.Empty(t, resp.Header.Get("X-From"))
	var got []string
	for _, r := range u.requests() {
		got = append(got, r.body)
	}
	const asks = `{"stream_options":{"include_usage":true},"model":"`
	require.Equal(t, []string{asks + `m","stream":true}`, `{"model":"m","stream":true}`, asks + `n","stream":true}`}, got)
	require.Equal(t, 2, g.last().Attempts())
	require.True(t, g.last().Attempt().UsageInjected(), "of the attempt that served it")

	resp, body = g.post(t, "/v1/chat/completions", `{"model":"endless","stream":true}`)
	require.Equal(t, 400, resp.StatusCode)
	require.Equal(t, long, body)

	u.got = nil
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.URL+"/v1/chat/completions", strings.NewReader(`{"model":"broken"}`))
	require.NoError(t, err)
	resp, err = http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	require.Equal(t, 400, resp.StatusCode)
	_, err = io.ReadAll(resp.Body)
	require.Error(t, err, "an error that breaks off breaks off at the client too")
	require.NoError(t, resp.Body.Close())
	require.Len(t, u.requests(), 1)
}

// TestFallbackNames names models that cannot be gone to.
func TestFallbackNames(t *testing.T) {
	for name, want := range map[string]string{
		"context_fallback nowhere": "model m: there is no context_fallback model nowhere",
		"content_fallback nowhere": "model m: there is no content_fallback model nowhere",
		"context_fallback m":       "model m: its context_fallback m is the model itself",
	} {
		_, err := provision(t, "llmroute {\nmodel m {\nbackend mock\n"+name+"\n}\n}")
		require.ErrorContains(t, err, want)
	}
}

// TestNoFallbackForAClientThatIsGone has a client hang up while its prompt is refused: the attempt failed, and none follows.
func TestNoFallbackForAClientThatIsGone(t *testing.T) {
	var g *gateway
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		g.last().SetClientGone()
		respond(400, refusedLength)(w, r)
	})
	g = start(t, fmt.Sprintf("llmroute {\nmodel m {\nbackend openai %[1]s\ncontext_fallback n\n}\nmodel n {\nbackend openai %[1]s\n}\n}", u.URL))
	resp, _ := g.post(t, "/v1/chat/completions", chat)
	require.Equal(t, llm.StatusClientGone, resp.StatusCode)
	require.Len(t, u.requests(), 1)
	require.True(t, g.last().Attempt().Failed(), "nothing of its answer was passed on")
}
