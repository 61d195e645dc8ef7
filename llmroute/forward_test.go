package llmroute

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/llm"
)

const chat = `{"model":"m","messages":[{"role":"user","content":"hi"}]}`

func TestWhatTheProviderGets(t *testing.T) {
	openai := newUpstream(t, respond(200, answered))
	anthropic := newUpstream(t, respond(200, `{"type":"message","usage":{"input_tokens":1,"output_tokens":1}}`))
	g := start(t, fmt.Sprintf(`llmroute {
		model m {
			backend openai %s/base/v1 {
				api_key sk-openai
				model upstream-model
				header_up X-Extra yes
			}
			backend anthropic %s {
				api_key sk-anthropic
			}
		}
	}`, openai.URL, anthropic.URL))
	for name, tt := range map[string]struct {
		path, body string
		at         *fakeProvider
		uri, want  string
		headers    map[string]string
	}{
		"chat":        {"/v1/chat/completions", chat, openai, "/base/v1/chat/completions", strings.Replace(chat, `"m"`, `"upstream-model"`, 1), nil},
		"without v1":  {"/chat/completions?key=sk-client&x=1", chat, openai, "/base/v1/chat/completions", strings.Replace(chat, `"m"`, `"upstream-model"`, 1), nil},
		"whitespace":  {"/v1/embeddings", " {\n \"input\" : [ 1.50 ] , \"model\" :\"m\" } ", openai, "/base/v1/embeddings", " {\n \"input\" : [ 1.50 ] , \"model\" :\"upstream-model\" } ", nil},
		"responses":   {"/v1/responses", `{"model":"m","stream":true}`, openai, "/base/v1/responses", `{"model":"upstream-model","stream":true}`, nil},
		"compact":     {"/v1/responses/compact", `{"model":"m"}`, openai, "/base/v1/responses/compact", `{"model":"upstream-model"}`, nil},
		"moderations": {"/v1/moderations", `{"model":"m"}`, openai, "/base/v1/moderations", `{"model":"upstream-model"}`, nil},
		"speech":      {"/audio/speech", `{"model":"m"}`, openai, "/base/v1/audio/speech", `{"model":"upstream-model"}`, nil},
		"rerank":      {"/rerank", `{"model":"m"}`, openai, "/base/v1/rerank", `{"model":"upstream-model"}`, nil},
		"stream": {
			"/v1/chat/completions", `{"model":"m","stream":true}`, openai, "/base/v1/chat/completions",
			`{"stream_options":{"include_usage":true},"model":"upstream-model","stream":true}`, nil,
		},
		"messages": {"/v1/messages?beta=true", chat, anthropic, "/v1/messages?beta=true", chat, map[string]string{"Anthropic-Version": "2023-06-01", "Anthropic-Beta": "b1", "Openai-Beta": ""}},
		"count":    {"/v1/messages/count_tokens?key=x", chat, anthropic, "/v1/messages/count_tokens", chat, nil},
	} {
		t.Run(name, func(t *testing.T) {
			openai.got, anthropic.got = nil, nil
			resp, _ := g.post(t, tt.path, tt.body,
				"Authorization", "Bearer sk-client", "X-Api-Key", "sk-client", "Api-Key", "sk-client", "X-Goog-Api-Key", "sk-client", "Cookie", "c=sk-client",
				"Proxy-Authorization", "Basic sk-client", "Openai-Organization", "org", "Openai-Project", "p", "X-Forwarded-For", "198.51.100.7", "Accept-Encoding", "gzip",
				"Idempotency-Key", "idem", "X-Stainless-Lang", "go", "Anthropic-Beta", "b1", "Openai-Beta", "b2", "User-Agent", "sdk/1", "X-Custom", "dropped",
				"X-Session-Id", "s", "X-Session-Affinity", "a", "X-Grok-Conv-Id", "c")
			require.Equal(t, 200, resp.StatusCode)
			got := tt.at.only(t)
			require.Equal(t, tt.uri, got.uri)
			require.Equal(t, tt.want, got.body)
			require.Equal(t, strings.TrimPrefix(tt.at.URL, "http://"), got.host)
			require.Empty(t, append(openai.requests(), anthropic.requests()...)[1:], "one backend is called")
			want := map[string]string{
				"Accept-Encoding": "identity", "Idempotency-Key": "idem", "X-Stainless-Lang": "go", "User-Agent": "sdk/1", "Content-Type": "application/json",
				"Content-Length": fmt.Sprint(len(tt.want)),
			}
			if tt.at == openai {
				want["Authorization"], want["X-Extra"], want["Openai-Beta"] = "Bearer sk-openai", "yes", "b2"
				want["X-Session-Id"], want["X-Session-Affinity"], want["X-Grok-Conv-Id"] = "s", "a", "c"
			} else {
				want["X-Api-Key"], want["Anthropic-Beta"], want["Anthropic-Version"] = "sk-anthropic", "b1", "2023-06-01"
			}
			flat := make(map[string]string)
			for name, values := range got.header {
				require.Len(t, values, 1)
				flat[name] = values[0]
			}
			require.Equal(t, want, flat, "these headers and no others")
		})
	}
}

func TestUsageIsAskedFor(t *testing.T) {
	u := newUpstream(t, respond(200, answered))
	g := start(t, fmt.Sprintf(`llmroute {
		model m {
			backend openai %[1]s
		}
		model mistral {
			backend mistral %[1]s
		}
	}`, u.URL))
	for _, tt := range []struct {
		path, in, want string
		asked          bool
	}{
		{"/chat/completions", `{"model":"m"}`, `{"model":"m"}`, false},
		{"/chat/completions", `{"model":"m","stream":true}`, `{"stream_options":{"include_usage":true},"model":"m","stream":true}`, true},
		{"/completions", `{"model":"m","stream":true,"stream_options":{"include_usage":false,"x":1}}`, `{"model":"m","stream":true,"stream_options":{"include_usage":true,"x":1}}`, true},
		{"/chat/completions", `{"model":"m","stream":true,"stream_options":{"include_usage":true}}`, `{"model":"m","stream":true,"stream_options":{"include_usage":true}}`, false},
		{"/chat/completions", `{"model":"mistral","stream":true}`, `{"model":"mistral","stream":true}`, false},
		{"/responses", `{"model":"m","stream":true}`, `{"model":"m","stream":true}`, false},
	} {
		u.got = nil
		g.post(t, tt.path, tt.in)
		require.Equal(t, tt.want, u.only(t).body)
		require.Equal(t, tt.asked, g.last().Attempt().UsageInjected())
	}
	u.got = nil
	g.handler.Unmetered = true
	g.prepare = func(c *llm.Call) { c.Keyed = true }
	g.post(t, "/chat/completions", `{"model":"m","stream":true}`)
	require.Equal(t, `{"model":"m","stream":true}`, u.only(t).body, "a call that is not metered is not changed")
}

// broken returns the URL of an upstream that fails in a way that has no answer.
func broken(t *testing.T, how string) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	url := "http://" + listener.Addr().String()
	if how == "dial" {
		require.NoError(t, listener.Close())
		return url
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			buf := make([]byte, 1)
			_, _ = conn.Read(buf)
			if how == "reset" {
				_ = conn.(*net.TCPConn).SetLinger(0)
				_ = conn.Close()
			} else {
				t.Cleanup(func() { _ = conn.Close() }) // silent: the header never comes
			}
		}
	}()
	return url
}

func TestFailover(t *testing.T) {
	for _, how := range []string{"dial", "reset", "silent", "408", "429", "500", "502", "503", "529", "101"} {
		t.Run(how, func(t *testing.T) {
			good := newUpstream(t, respond(200, answered))
			var status int
			url := ""
			if _, err := fmt.Sscan(how, &status); err == nil {
				url = newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
					if status == 101 {
						w.Header().Set("Upgrade", "x")
						w.Header().Set("Connection", "Upgrade")
					}
					respond(status, `{"error":"busy"}`)(w, r)
				}).URL
			} else {
				url = broken(t, how)
			}
			g := start(t, fmt.Sprintf(`llmroute {
				model m {
					backend openai %s {
						model first
						order 1
						timeout 50ms
					}
					backend openai %s {
						model second
						order 2
					}
				}
				model alone {
					backend openai %[1]s {
						timeout 50ms
					}
				}
			}`, url, good.URL))
			resp, body := g.post(t, "/v1/chat/completions", chat)
			require.Equal(t, 200, resp.StatusCode)
			require.JSONEq(t, answered, body)
			require.Equal(t, strings.Replace(chat, `"m"`, `"second"`, 1), good.only(t).body)
			require.Equal(t, "openai-2", g.last().Target().Backend, "the call is billed for the attempt that served it")
			require.Equal(t, 2, g.last().Attempts())

			resp, body = g.post(t, "/v1/chat/completions", strings.Replace(chat, `"m"`, `"alone"`, 1))
			switch {
			case status == 0 || status == 101:
				require.Contains(t, []int{502, 504}, resp.StatusCode)
				require.Equal(t, how == "silent", resp.StatusCode == 504)
				require.Contains(t, body, `"error":{`)
				require.NotContains(t, body, strings.TrimPrefix(url, "http://"), "addresses stay inside")
			default:
				require.Equal(t, status, resp.StatusCode, "the last failure is passed on as it came")
				require.Equal(t, `{"error":"busy"}`, body)
			}
		})
	}
}

func TestWhatIsNotRetried(t *testing.T) {
	for _, status := range []int{400, 401, 403, 404, 422, 200, 307} {
		first, second := newUpstream(t, respond(status, `{}`)), newUpstream(t, respond(200, `{}`))
		g := start(t, fmt.Sprintf(`llmroute {
			model m {
				backend openai %s {
					order 1
				}
				backend openai %s {
					order 2
				}
			}
		}`, first.URL, second.URL))
		resp, _ := g.post(t, "/v1/chat/completions", chat)
		require.Equal(t, status, resp.StatusCode)
		require.Len(t, first.requests(), 1)
		require.Empty(t, second.requests())
	}
}

// TestRefusedKeys goes to the next backend where a provider refuses a backend's key and retry_on names the status, and counts it.
func TestRefusedKeys(t *testing.T) {
	for _, status := range []int{401, 402, 403} {
		first, second := newUpstream(t, respond(status, `{"error":"no credit"}`)), newUpstream(t, respond(200, answered))
		g := start(t, fmt.Sprintf(`llmroute {
			model m {
				backend openai %[1]s {
					order 1
					retry_on %[3]d
				}
				backend openai %[2]s {
					order 2
				}
			}
			model alone {
				backend openai %[1]s {
					retry_on 401 402
					retry_on 403
				}
			}
		}`, first.URL, second.URL, status))
		counted := func(model string) float64 {
			registry := prometheus.NewRegistry()
			require.NoError(t, registerMetrics(registry))
			families, err := registry.Gather()
			require.NoError(t, err)
			for _, f := range families {
				for _, m := range f.GetMetric() {
					if labels := m.GetLabel(); labels[1].GetValue() == model && labels[2].GetValue() == strconv.Itoa(status) {
						return m.GetCounter().GetValue()
					}
				}
			}
			return 0
		}
		before, beforeAlone := counted("m"), counted("alone")
		resp, body := g.post(t, "/v1/chat/completions", chat)
		require.Equal(t, 200, resp.StatusCode)
		require.JSONEq(t, answered, body)
		require.Equal(t, "openai-2", g.last().Target().Backend)
		resp, body = g.post(t, "/v1/chat/completions", `{"model":"alone"}`)
		require.Equal(t, status, resp.StatusCode, "the last failure is passed on as it came")
		require.JSONEq(t, `{"error":"no credit"}`, body)
		require.Equal(t, []float64{before + 1, beforeAlone + 1}, []float64{counted("m"), counted("alone")})
	}
}

func TestRetriesAndFallback(t *testing.T) {
	bad, good := newUpstream(t, respond(503, `{"from":"bad"}`)), newUpstream(t, respond(200, answered))
	g := start(t, fmt.Sprintf(`llmroute {
		model m {
			backend openai %[1]s {
				model first
			}
			backend openai %[1]s {
				model second
				order 2
			}
			retries 4
			fallback forbidden claude other
		}
		model forbidden other {
			backend openai %[2]s
		}
		model claude {
			backend anthropic %[2]s
		}
		model few {
			backend openai %[1]s
			backend openai %[1]s
			retries 0
		}
	}`, bad.URL, good.URL))
	g.prepare = func(c *llm.Call) {
		c.Keyed, c.Metered = true, true
		c.Identity = &llm.Identity{Models: []string{"m", "few", "other", "claude"}}
	}
	resp, _ := g.post(t, "/v1/chat/completions", `{"model":"m"}`)
	require.Equal(t, 200, resp.StatusCode)
	var names []string
	for _, r := range bad.requests() {
		names = append(names, r.body)
	}
	require.Equal(t, []string{`{"model":"first"}`, `{"model":"second"}`, `{"model":"first"}`, `{"model":"second"}`, `{"model":"first"}`}, names)
	require.Equal(t, `{"model":"other"}`, good.only(t).body, "a model that the key may not use is no fallback, nor one of another API")
	require.Equal(t, "other", g.last().Target().Model)
	require.Equal(t, 6, g.last().Attempts())

	bad.got = nil
	resp, body := g.post(t, "/v1/chat/completions", `{"model":"few"}`)
	require.Equal(t, 503, resp.StatusCode)
	require.JSONEq(t, `{"from":"bad"}`, body)
	require.Len(t, bad.requests(), 1, "no retries")
}

func TestSharing(t *testing.T) {
	u := newUpstream(t, respond(200, `{}`))
	g := start(t, fmt.Sprintf(`llmroute {
		model m {
			backend openai %[1]s {
				model heavy
				weight 9
			}
			backend openai %[1]s {
				model light
			}
			backend openai %[1]s {
				model later
				order 2
				weight 1000
			}
		}
	}`, u.URL))
	first := make(map[string]int)
	for range 2000 {
		attempts := plan(nil, g.handler.catalog.find("m"), "m", endpointAt(t, "/chat/completions"), nil)
		require.Len(t, attempts, 3)
		require.Equal(t, "later", attempts[2].target().Upstream)
		require.NotEqual(t, attempts[0].backend, attempts[1].backend)
		first[attempts[0].target().Upstream]++
	}
	require.InDelta(t, 1800, first["heavy"], 120)
	require.InDelta(t, 200, first["light"], 120)
}

func TestStreamPassesAtOnce(t *testing.T) {
	release := make(chan struct{})
	u := newUpstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\n\n")
		_ = http.NewResponseController(w).Flush()
		<-release
		_, _ = io.WriteString(w, "data: [DONE]\n\n")
	})
	g := start(t, fmt.Sprintf("llmroute {\n model m {\n backend openai %s\n }\n }", u.URL))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.URL+"/v1/chat/completions", strings.NewReader(`{"model":"m","stream":true}`))
	require.NoError(t, err)
	resp, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	buf := make([]byte, 9)
	_, err = io.ReadFull(resp.Body, buf)
	require.NoError(t, err)
	require.Equal(t, "data: 1\n\n", string(buf))
	close(release)
	rest, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "data: [DONE]\n\n", string(rest))
	require.NoError(t, resp.Body.Close())
}

func TestNothingIsTriedForAClientThatIsGone(t *testing.T) {
	second := newUpstream(t, respond(200, `{}`))
	var g *gateway
	first := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		g.last().SetClientGone()
		respond(503, `{}`)(w, r)
	})
	g = start(t, fmt.Sprintf(`llmroute {
		model m {
			backend openai %s
			backend openai %s {
				order 2
			}
		}
	}`, first.URL, second.URL))
	resp, _ := g.post(t, "/v1/chat/completions", chat)
	require.Equal(t, llm.StatusClientGone, resp.StatusCode)
	require.Empty(t, second.requests())
}

func TestAdmitAndOpenComeBeforeAnythingIsForwarded(t *testing.T) {
	u := newUpstream(t, respond(200, `{}`))
	g := start(t, fmt.Sprintf("llmroute {\n model m {\n backend openai %s\n }\n }", u.URL))
	var steps []string
	refuse := ""
	g.prepare = func(c *llm.Call) {
		c.Keyed, c.Metered = true, true
		step := func(name string) func(context.Context, *llm.Call) *llm.Error {
			return func(_ context.Context, c *llm.Call) *llm.Error {
				steps = append(steps, name+" "+c.Target().Upstream+" "+c.Request.User+" "+c.Endpoint.Name)
				if refuse == name {
					return &llm.Error{Status: http.StatusForbidden, Type: "denied", Message: name}
				}
				return nil
			}
		}
		c.OnAdmit(step("admit"))
		c.Open = step("open")
	}
	for _, tt := range []struct {
		refuse        string
		status, steps int
	}{{"admit", 403, 1}, {"open", 403, 2}, {"", 200, 2}} {
		steps, refuse = nil, tt.refuse
		resp, _ := g.post(t, "/v1/chat/completions", `{"model":"m","user":"u1"}`)
		require.Equal(t, tt.status, resp.StatusCode)
		require.Equal(t, []string{"admit m u1 chat/completions", "open m u1 chat/completions"}[:tt.steps], steps)
	}
	require.Len(t, u.requests(), 1)
}

func TestPassiveHealth(t *testing.T) {
	bad, good := newUpstream(t, respond(500, `{}`)), newUpstream(t, respond(200, answered))
	g := start(t, fmt.Sprintf(`llmroute {
		model m {
			backend openai %[1]s {
				fail_duration 1h
			}
			backend openai %[2]s {
				order 2
			}
		}
		model alone {
			backend openai %[1]s {
				fail_duration 1h
			}
		}
	}`, bad.URL, good.URL))
	for range 3 {
		resp, _ := g.post(t, "/v1/chat/completions", chat)
		require.Equal(t, 200, resp.StatusCode)
	}
	require.Len(t, bad.requests(), 1, "a backend that failed is left alone for fail_duration")
	resp, body := g.post(t, "/v1/chat/completions", `{"model":"alone"}`)
	require.Equal(t, 503, resp.StatusCode, "health is kept by address")
	require.Equal(t, "1", resp.Header.Get("Retry-After"))
	require.Contains(t, body, "service_unavailable")
	require.Len(t, bad.requests(), 1)
}

func TestHeaderUpHasTheLastWord(t *testing.T) {
	u := newUpstream(t, respond(200, answered))
	g := start(t, fmt.Sprintf(`llmroute {
		model m {
			backend openai %s {
				header_up Host models.internal
				header_up Authorization "Token abc"
				header_up X-Forwarded-For {http.request.remote.host}
				header_up Via gateway
			}
		}
	}`, u.URL))
	resp, _ := g.post(t, "/v1/chat/completions", chat)
	require.Equal(t, 200, resp.StatusCode)
	got := u.only(t)
	require.Equal(t, "models.internal", got.host)
	require.Equal(t, "Token abc", got.header.Get("Authorization"))
	require.Equal(t, "127.0.0.1", got.header.Get("X-Forwarded-For"))
	require.Equal(t, "gateway", got.header.Get("Via"))
}

func TestHealthChecksCarryNoKey(t *testing.T) {
	checked := make(chan http.Header, 100)
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" {
			select {
			case checked <- r.Header:
			default:
			}
		}
		respond(200, answered)(w, r)
	})
	g := start(t, fmt.Sprintf(`llmroute {
		model m {
			backend openai %s/v1 {
				api_key sk-secret
				health_uri /health
				health_interval 1ms
			}
		}
	}`, u.URL))
	resp, _ := g.post(t, "/v1/chat/completions", chat)
	require.Equal(t, 200, resp.StatusCode)
	require.Empty(t, (<-checked).Get("Authorization"))
}

// TestRetryAfterIsHeeded asks a backend again no sooner than it said.
func TestRetryAfterIsHeeded(t *testing.T) {
	var asked []time.Time
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, time.Now())
		if len(asked) == 1 {
			w.Header().Set("Retry-After", "1")
			respond(429, `{}`)(w, r)
			return
		}
		respond(200, answered)(w, r)
	})
	g := start(t, fmt.Sprintf("llmroute {\nmodel m {\nretries 1\nbackend openai %s\n}\n}", u.URL))
	resp, _ := g.post(t, "/v1/chat/completions", chat)
	require.Equal(t, 200, resp.StatusCode)
	require.Len(t, asked, 2)
	require.GreaterOrEqual(t, asked[1].Sub(asked[0]), time.Second)
}
