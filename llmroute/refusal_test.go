package llmroute

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/tollgate-llm/tollgate/internal/endpoint"
	"github.com/tollgate-llm/tollgate/internal/llm"
)

func TestRefusals(t *testing.T) {
	u := newUpstream(t, respond(200, answered))
	g := start(t, fmt.Sprintf(`llmroute {
		max_body 2KB
		model m {
			backend openai %[1]s
		}
		model claude {
			backend anthropic %[1]s
		}
	}`, u.URL))
	keyed := func(c *llm.Call) { c.Keyed, c.Metered = true, true }
	const post, get = http.MethodPost, http.MethodGet
	for name, tt := range map[string]struct {
		method, path, body string
		headers            []string
		prepare            func(*llm.Call)
		status             int
		kind, param, says  string
	}{
		"unknown path":        {post, "/v1/realtime", "{}", nil, keyed, 404, invalidRequest, "", "unknown path /v1/realtime"},
		"root":                {get, "/", "", nil, keyed, 404, invalidRequest, "", "unknown path /"},
		"below an endpoint":   {post, "/v1/chat/completions/x", chat, nil, keyed, 404, invalidRequest, "", "unknown path"},
		"batches":             {post, "/v1/batches", chat, nil, keyed, 404, invalidRequest, "", "unknown path"},
		"unknown, anthropic":  {post, "/v1/messages/batches", chat, nil, keyed, 404, "not_found_error", "", "unknown path"},
		"method":              {get, "/v1/chat/completions", "", nil, keyed, 405, invalidRequest, "", "called by POST"},
		"method of models":    {post, "/v1/models", "{}", nil, keyed, 405, invalidRequest, "", "called by GET"},
		"websocket":           {get, "/v1/responses", "", []string{"Connection", "Upgrade", "Upgrade", "websocket"}, keyed, 426, invalidRequest, "Upgrade", "upgraded"},
		"no keyauth":          {post, "/v1/chat/completions", chat, nil, func(c *llm.Call) { c.Metered = true }, 401, "auth_error", "", "`keyauth`"},
		"no keyauth, models":  {get, "/v1/models", "", nil, func(c *llm.Call) { c.Metered = true }, 401, "auth_error", "", "`anonymous`"},
		"no lagobilling":      {post, "/v1/chat/completions", chat, nil, func(c *llm.Call) { c.Keyed = true }, 503, "service_unavailable", "", "`lagobilling`"},
		"compressed":          {post, "/v1/chat/completions", chat, []string{"Content-Encoding", "gzip"}, keyed, 415, invalidRequest, "Content-Encoding", "compressed"},
		"form":                {post, "/v1/chat/completions", chat, []string{"Content-Type", "application/x-www-form-urlencoded"}, keyed, 415, invalidRequest, "Content-Type", "application/json"},
		"multipart":           {post, "/v1/audio/transcriptions", chat, []string{"Content-Type", "text/plain"}, keyed, 415, invalidRequest, "Content-Type", "a form or JSON"},
		"form that is none":   {post, "/v1/audio/transcriptions", chat, []string{"Content-Type", "multipart/form-data; boundary=x"}, keyed, 400, invalidRequest, "", "does not begin with its boundary"},
		"no boundary":         {post, "/v1/audio/transcriptions", chat, []string{"Content-Type", "multipart/form-data"}, keyed, 400, invalidRequest, "Content-Type", "boundary"},
		"form at a JSON path": {post, "/v1/chat/completions", chat, []string{"Content-Type", "multipart/form-data; boundary=x"}, keyed, 415, invalidRequest, "Content-Type", "must be JSON"},
		"too large":           {post, "/v1/chat/completions", `{"model":"m","x":"` + strings.Repeat("x", 2000) + `"}`, nil, keyed, 413, invalidRequest, "", "max_body"},
		"empty":               {post, "/v1/chat/completions", "", nil, keyed, 400, invalidRequest, "", "the body is empty"},
		"trailing comma":      {post, "/v1/chat/completions", `{"model":"m","messages":[{"role":"user","content":"hi"}],}`, nil, keyed, 400, invalidRequest, "", "trailing comma before } at line 1, column 57"},
		"array":               {post, "/v1/chat/completions", `[]`, nil, keyed, 400, invalidRequest, "", "a JSON object is expected"},
		"no model":            {post, "/v1/chat/completions", `{"messages":[]}`, nil, keyed, 400, invalidRequest, "model", "names no model"},
		"no model, anthropic": {post, "/v1/messages", `{"messages":[]}`, nil, keyed, 400, invalidRequest, "", "names no model"},
		"two models":          {post, "/v1/chat/completions", `{"model":"m","model":"x"}`, nil, keyed, 400, invalidRequest, "model", "stands twice"},
		"two streams":         {post, "/v1/chat/completions", `{"model":"m","stream":true,"Stream":false}`, nil, keyed, 400, invalidRequest, "stream", "lower case"},
		"background":          {post, "/v1/responses", `{"model":"m","background":true}`, nil, keyed, 400, invalidRequest, "background", "metered"},
		"unknown model":       {post, "/v1/chat/completions", `{"model":"nope"}`, nil, keyed, 404, "model_not_found", "model", "the model nope does not exist"},
		"unknown, messages":   {post, "/v1/messages", `{"model":"nope"}`, nil, keyed, 404, "not_found_error", "", "the model nope does not exist"},
		"other API":           {post, "/v1/messages", `{"model":"m"}`, nil, keyed, 400, invalidRequest, "", "none of its backends speaks that API"},
		"other API too":       {post, "/v1/chat/completions", `{"model":"claude"}`, nil, keyed, 400, invalidRequest, "model", "none of its backends speaks that API"},
	} {
		t.Run(name, func(t *testing.T) {
			g.prepare = tt.prepare
			resp, body := g.do(t, tt.method, tt.path, tt.body, append(tt.headers, "Origin", "https://app.example")...)
			require.Equal(t, tt.status, resp.StatusCode, body)
			require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
			require.Equal(t, "*", resp.Header.Get("Access-Control-Allow-Origin"), "a browser can read why")
			require.Equal(t, tt.status < 500 && tt.status != 426, resp.Header.Get("X-Should-Retry") == "false")
			if tt.status == 426 {
				require.Equal(t, "HTTP/2.0, HTTP/1.1", resp.Header.Get("Upgrade"))
			}
			if tt.status == 405 {
				require.Contains(t, body, "called by "+resp.Header.Get("Allow")+",")
			}
			var answer struct {
				Type  string
				Error struct {
					Type, Message string
					Param         *string
					Code          any
				}
			}
			require.NoError(t, json.Unmarshal([]byte(body), &answer))
			require.Equal(t, tt.kind, answer.Error.Type)
			require.Contains(t, answer.Error.Message, tt.says)
			if strings.HasPrefix(tt.path, "/v1/messages") {
				require.Equal(t, "error", answer.Type)
				return
			}
			require.Equal(t, fmt.Sprint(tt.status), answer.Error.Code)
			if tt.param == "" {
				require.Nil(t, answer.Error.Param)
			} else {
				require.Equal(t, tt.param, *answer.Error.Param)
			}
		})
	}
	require.Empty(t, u.requests(), "nothing is forwarded")
}

func TestAnonymousAndUnmeteredInWords(t *testing.T) {
	u := newUpstream(t, respond(200, answered))
	g := start(t, fmt.Sprintf("llmroute {\n anonymous\n unmetered\n model m {\n backend openai %s\n }\n }", u.URL))
	g.prepare = func(*llm.Call) {}
	resp, _ := g.post(t, "/v1/chat/completions", chat)
	require.Equal(t, 200, resp.StatusCode)
}

func TestAnOfferOfHTTP2IsIgnored(t *testing.T) {
	u := newUpstream(t, respond(200, answered))
	g := start(t, fmt.Sprintf("llmroute {\n model m {\n backend openai %s\n }\n }", u.URL))
	resp, _ := g.post(t, "/v1/chat/completions", chat, "Connection", "Upgrade, HTTP2-Settings", "Upgrade", "h2c", "HTTP2-Settings", "AAMAAABkAAQAAP__")
	require.Equal(t, 200, resp.StatusCode)
	require.Empty(t, u.only(t).header.Get("Upgrade"))
}

func TestBodyBounds(t *testing.T) {
	h, json := &Handler{maxBody: 4 << 20}, &endpoint.Endpoint{}
	at := func(n int64) string { return `{"model":"m","x":"` + strings.Repeat("x", int(n)-20) + `"}` }
	for _, n := range []int64{100, 511, 512, 513, 1 << 20, 1<<20 + 1, 3 << 20, 4<<20 - 1, 4 << 20} {
		for _, known := range []bool{true, false} {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(at(n)))
			if !known {
				r.ContentLength = -1
			}
			b, refused := h.scan(r, json, "")
			require.Nil(t, refused, n)
			require.Equal(t, at(n), string(b.Data))
		}
	}
	for _, known := range []bool{true, false} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(at(4<<20+1)))
		if !known {
			r.ContentLength = -1
		}
		_, refused := h.scan(r, json, "")
		require.Equal(t, http.StatusRequestEntityTooLarge, refused.Status)
	}
	for cause, status := range map[error]int{
		errors.New("broke off"):                                    400,
		caddyhttp.Error(http.StatusRequestEntityTooLarge, nil):     413,
		&http.MaxBytesError{Limit: 7}:                              413,
		caddyhttp.Error(http.StatusRequestTimeout, errors.New("")): 408,
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", iotest.ErrReader(cause))
		_, refused := h.scan(r, json, "")
		require.Equal(t, status, refused.Status)
	}
}

func TestPreflight(t *testing.T) {
	u := newUpstream(t, respond(200, answered))
	g := start(t, fmt.Sprintf("llmroute {\n model m {\n backend openai %s\n }\n }", u.URL))
	g.prepare = func(*llm.Call) {}
	resp, body := g.do(t, http.MethodOptions, "/v1/chat/completions", "",
		"Origin", "https://app.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,x-stainless-os")
	require.Equal(t, 204, resp.StatusCode)
	require.Empty(t, body)
	require.Equal(t, "*", resp.Header.Get("Access-Control-Allow-Origin"))
	require.Equal(t, "authorization,x-stainless-os", resp.Header.Get("Access-Control-Allow-Headers"))
	require.Contains(t, resp.Header.Get("Access-Control-Allow-Methods"), "POST")
	resp, _ = g.do(t, http.MethodOptions, "/v1/chat/completions", "")
	require.Equal(t, 405, resp.StatusCode, "a question that is not a browser's")
	require.Empty(t, u.requests())
}

func TestAnswersToBrowsers(t *testing.T) {
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "https://provider.example")
		w.Header().Set("Set-Cookie", "__cf_bm=x")
		w.Header().Set("Alt-Svc", `h3=":443"; ma=86400`)
		w.Header().Set("Openai-Organization", "the-operator")
		w.Header().Set("X-Litellm-Response-Cost", "9")
		w.Header().Set("X-Request-Id", "req_1")
		respond(200, answered)(w, r)
	})
	g := start(t, fmt.Sprintf("llmroute {\n model m {\n backend openai %s\n }\n }", u.URL))
	resp, _ := g.post(t, "/v1/chat/completions", chat, "Origin", "https://app.example")
	require.Equal(t, []string{"*"}, resp.Header.Values("Access-Control-Allow-Origin"))
	require.Empty(t, resp.Header.Get("Set-Cookie"))
	require.Empty(t, resp.Header.Get("Alt-Svc"), "it would send the client's next calls to the provider's port here")
	require.Empty(t, resp.Header.Get("Openai-Organization"))
	require.Empty(t, resp.Header.Get("X-Litellm-Response-Cost"), "what the operator pays is not for the client")
	require.Equal(t, "req_1", resp.Header.Get("X-Request-Id"))
}
