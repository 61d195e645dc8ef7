package fakeprovider_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakeprovider"
)

const providerKey = "sk-provider"

// ask sends a call as a client of the real API would.
func ask(t *testing.T, p *fakeprovider.Server, path, body string, header ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.URL+path, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+providerKey)
	if strings.Contains(path, "/messages") {
		req.Header.Del("Authorization")
		req.Header.Set("X-Api-Key", providerKey)
		req.Header.Set("Anthropic-Version", "2023-06-01")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := p.Client().Do(req)
	require.NoError(t, err)
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func read(t *testing.T, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return string(b)
}

// done waits until the provider has recorded the outcome of its calls.
func done(t *testing.T, p *fakeprovider.Server) []fakeprovider.Call {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	require.NoError(t, p.Await(ctx, func() bool { return p.Open() == 0 }))
	return p.Calls()
}

const plan = "tokens=in:12,out:34,cached:5,write:2,reasoning:4 chunks=3 bytes=64"

func TestProviderAnswersEachAPIAndReportsWhatItSays(t *testing.T) {
	const chat, message = `"messages":[{"role":"user","content":"` + plan + `"}]`, `"max_tokens":9,"messages":[{"role":"user","content":"` + plan + `"}]`
	for name, c := range map[string]struct {
		path, body    string
		events        int    // in a stream; 0 for a body
		usage, answer string // gjson paths of usage in the event or body that has it, and its expected text
	}{
		"chat": {
			"/v1/chat/completions", chat, 0, "usage",
			`{"completion_tokens":34,"completion_tokens_details":{"accepted_prediction_tokens":0,"audio_tokens":0,"reasoning_tokens":4,"rejected_prediction_tokens":0},"prompt_tokens":12,"prompt_tokens_details":{"audio_tokens":0,"cache_write_tokens":2,"cached_tokens":5},"total_tokens":46}`,
		},
		"chat stream": {
			"/v1/chat/completions", chat + `,"stream":true,"stream_options":{"include_usage":true}`, 1 + 3 + 1 + 1 + 1,
			"usage.total_tokens", "46",
		},
		"completions":        {"/v1/completions", `"prompt":"` + plan + `"`, 0, "usage.total_tokens", "46"},
		"completions stream": {"/v1/completions", `"prompt":"` + plan + `","stream":true,"stream_options":{"include_usage":true}`, 3 + 1 + 1 + 1, "usage.total_tokens", "46"},
		"embeddings":         {"/v1/embeddings", `"input":["` + plan + `","b"]`, 0, "usage", `{"prompt_tokens":12,"total_tokens":12}`},
		"responses":          {"/v1/responses", `"input":"` + plan + `"`, 0, "usage.output_tokens", "34"},
		"responses stream":   {"/v1/responses", `"input":"` + plan + `","stream":true`, 4 + 3 + 3 + 1, "response.usage.input_tokens", "12"},
		"compact":            {"/v1/responses/compact", `"input":"` + plan + `"`, 0, "usage.total_tokens", "46"},
		"messages":           {"/v1/messages", message, 0, "usage.input_tokens", "5"},
		"messages stream":    {"/v1/messages", message + `,"stream":true`, 3 + 3 + 3, "usage.output_tokens", "34"},
	} {
		t.Run(name, func(t *testing.T) {
			p := fakeprovider.New(t, fakeprovider.Options{Key: providerKey, Snapshots: map[string]string{"m": "m-2026"}})
			res := ask(t, p, c.path, `{"model":"m",`+c.body+`}`)
			text := read(t, res)
			require.Equal(t, 200, res.StatusCode, text)
			documents := []string{text}
			if c.events > 0 {
				assert.Equal(t, "text/event-stream; charset=utf-8", res.Header.Get("Content-Type"))
				events := strings.SplitAfter(text, "\n\n")
				assert.Len(t, events, c.events+1)
				documents = nil
				for _, e := range events {
					_, data, _ := strings.Cut(e, "data: ")
					documents = append(documents, data)
				}
			}
			found := ""
			for _, d := range documents {
				if d := strings.TrimSpace(d); d != "" && d != "[DONE]" {
					require.True(t, gjson.Valid(d), d)
					if v := gjson.Get(d, c.usage); v.Exists() && v.Type != gjson.Null {
						found = v.Raw
					}
				}
			}
			assert.Equal(t, c.answer, found)
			if name != "compact" { // which names no model
				assert.Contains(t, text, `"model":"m-2026"`)
			}

			calls := done(t, p)
			require.Len(t, calls, 1)
			call := calls[0]
			assert.Equal(t, res.Header.Get("X-Request-Id"), call.ID)
			if name != "embeddings" {
				assert.Contains(t, text, call.ID, "the answer's own id")
			}
			assert.NotContains(t, text, "~~", "no placeholder is left")
			assert.True(t, call.Whole)
			require.NotNil(t, call.Reported)
			want := fakeprovider.Usage{Input: 12, CacheRead: 5, CacheWrite: 2, Output: 34, Reasoning: 4}
			if name == "embeddings" {
				want.Output, want.Reasoning = 0, 0
			}
			assert.Equal(t, want, *call.Reported)
			assert.Equal(t, map[string]fakeprovider.Totals{"m": {Calls: 1, Whole: 1, Reported: want}}, p.Totals())
			assert.Empty(t, p.Violations())
			_, ok := p.Call(call.ID)
			assert.True(t, ok)
		})
	}
}

func TestProviderTellsUsageOfAStreamOnlyWhenAsked(t *testing.T) {
	p := fakeprovider.New(t, fakeprovider.Options{})
	text := read(t, ask(t, p, "/v1/chat/completions", `{"model":"m","stream":true,"messages":[]}`))
	assert.NotContains(t, text, "usage")
	asked := read(t, ask(t, p, "/v1/chat/completions", `{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}`))
	assert.Equal(t, strings.Count(asked, "data: {")-1, strings.Count(asked, `"usage":null`), "all but the last")
	calls := done(t, p)
	assert.Nil(t, calls[0].Reported)
	assert.True(t, calls[0].Whole)
	assert.NotNil(t, calls[1].Reported)
}

func TestProviderRefusesWhatTheRealOnesRefuse(t *testing.T) {
	p := fakeprovider.New(t, fakeprovider.Options{Key: providerKey})
	for _, c := range []struct {
		path, body string
		header     []string
		status     int
		words      string
	}{
		{"/v1/other", `{}`, nil, 404, "Invalid URL"},
		{"/chat/completions", `{}`, nil, 404, "Invalid URL"},
		{"/v1/chat/completions", `{"model":"m","messages":[]}`, []string{"Authorization", "Bearer other"}, 401, "Incorrect API key"},
		{"/v1/chat/completions", `{"model":"m","messages":[],}`, nil, 400, "parse the JSON body"},
		{"/v1/chat/completions", `{"messages":[]}`, nil, 400, "model parameter"},
		{"/v1/chat/completions", `{"model":"m"}`, nil, 400, "'messages'"},
		{"/v1/chat/completions", `{"model":"m","messages":[],"model":"n"}`, nil, 400, "twice"},
		{"/v1/chat/completions", `{"model":"m","messages":[],"stream_options":{"include_usage":true}}`, nil, 400, "only allowed when 'stream'"},
		{"/v1/chat/completions", `{"model":"m","messages":[],"stream":true,"stream_options":{"other":true}}`, nil, 400, "stream_options.other"},
		{"/v1/responses", `{"model":"m","input":"x","stream":true,"stream_options":{"include_usage":true}}`, nil, 400, "include_usage"},
		{"/v1/messages", `{"model":"m","messages":[],"max_tokens":1}`, []string{"Anthropic-Version", ""}, 400, "anthropic-version"},
		{"/v1/messages", `{"model":"m","messages":[]}`, nil, 400, "max_tokens"},
		{"/v1/messages", `{"model":"m","messages":[],"max_tokens":1,"stream_options":{}}`, nil, 400, "stream_options"},
		{"/v1/chat/completions", `{"model":"m","messages":["tokens=inn:3"]}`, nil, 400, "unknown kind of tokens"},
		{"/v1/chat/completions", `{"model":"m","messages":["tokens=in:3,cached:4"]}`, nil, 400, "exceed their total"},
	} {
		res := ask(t, p, c.path, c.body, c.header...)
		text := read(t, res)
		assert.Equal(t, c.status, res.StatusCode, c.body)
		assert.Contains(t, gjson.Get(text, "error.message").String(), c.words, c.body)
	}
	for _, call := range done(t, p) {
		assert.Nil(t, call.Reported)
	}
	ask(t, p, "/v1/messages", `{"model":"m","messages":[],"max_tokens":1}`, "Authorization", "Bearer sk-client", "Cookie", "a=b")
	assert.Len(t, p.Violations(), 3, "the call with the wrong key, and two for this one")
}

func TestProviderFaults(t *testing.T) {
	const body, stream = `{"model":"m","messages":[]}`, `{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}`
	post := func(p *fakeprovider.Server, body string) (status int, text string, err error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.URL+"/v1/chat/completions", strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Accept-Encoding", "identity")
		res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		if err != nil {
			return 0, "", err
		}
		defer func() { _ = res.Body.Close() }()
		b, err := io.ReadAll(res.Body)
		return res.StatusCode, string(b), err
	}
	for name, c := range map[string]struct {
		fault    fakeprovider.Fault
		body     string
		status   int
		broken   bool // the client gets an error
		whole    bool
		reported bool
		has      string
	}{
		"status":          {fakeprovider.FaultStatus(429, "Retry-After", "1"), body, 429, false, true, false, "rate_limit_exceeded"},
		"page":            {fakeprovider.FaultPage(502), body, 502, false, true, false, "nginx"},
		"reset":           {fakeprovider.FaultReset, body, 0, true, false, false, ""},
		"reset in body":   {fakeprovider.FaultResetAfter(1), body, 200, true, false, false, ""},
		"reset in stream": {fakeprovider.FaultResetAfter(2), stream, 200, true, false, false, ""},
		"cut body":        {fakeprovider.FaultCutAfter(1), body, 200, false, false, false, `"choices"`},
		"cut stream":      {fakeprovider.FaultCutAfter(2), stream, 200, false, false, false, "data: "},
		"cut after usage": {fakeprovider.FaultCutAfter(99), stream, 200, false, false, true, "total_tokens"},
		"error event":     {fakeprovider.FaultErrorAfter(2), stream, 200, false, false, false, `data: {"error":`},
		"no error event":  {fakeprovider.FaultErrorAfter(2), body, 500, false, true, false, "server_error"},
		"no usage":        {fakeprovider.FaultNoUsage, body, 200, false, true, false, "finish_reason"},
		"no usage stream": {fakeprovider.FaultNoUsage, stream, 200, false, true, false, "[DONE]"},
		"chunked":         {fakeprovider.FaultChunkedBody, body, 200, false, true, true, "total_tokens"},
		"bytewise":        {fakeprovider.FaultBytewise, stream, 200, false, true, true, "[DONE]"},
		"gzip":            {fakeprovider.FaultGzip, stream, 200, false, true, true, "\x1f\x8b"},
		"long length":     {fakeprovider.FaultLongLength, body, 200, true, false, false, ""},
		"short length":    {fakeprovider.FaultShortLength, body, 200, false, false, false, "choices"},
		"slow":            {fakeprovider.FaultSlow(time.Millisecond), stream, 200, false, true, true, "[DONE]"},
	} {
		t.Run(name, func(t *testing.T) {
			p := fakeprovider.New(t, fakeprovider.Options{})
			p.Next(c.fault)
			status, text, err := post(p, c.body)
			assert.Equal(t, c.status, status)
			assert.Equal(t, c.broken, err != nil, "%v", err)
			assert.Contains(t, text, c.has)
			call := done(t, p)[0]
			assert.Equal(t, c.whole, call.Whole)
			assert.Equal(t, c.reported, call.Reported != nil)
			_, text, err = post(p, c.body)
			require.NoError(t, err, "one fault for one call")
			assert.Contains(t, text, "total_tokens")
		})
	}
}

func TestProviderGateHoldsStreamsUntilATestLetsThemPass(t *testing.T) {
	p := fakeprovider.New(t, fakeprovider.Options{TLS: true})
	g := p.Gate(2, func(c fakeprovider.Call) bool { return c.Stream })
	const body = `{"model":"m","messages":[],"stream":true}`
	res := ask(t, p, "/v1/chat/completions", body)
	assert.Equal(t, "HTTP/2.0", res.Proto)
	gone := ask(t, p, "/v1/chat/completions", body)
	require.NoError(t, g.Await(t.Context(), 2))

	lines := bufio.NewReader(res.Body)
	for range 2 { // everything before the gate has arrived
		_, err := lines.ReadString('\n')
		require.NoError(t, err)
		_, err = lines.ReadString('\n')
		require.NoError(t, err)
	}
	require.NoError(t, gone.Body.Close())
	require.NoError(t, p.Await(t.Context(), func() bool { return p.Open() == 1 }))
	assert.Equal(t, 1, g.Waiting())
	g.Pass(1)
	rest, err := io.ReadAll(lines)
	require.NoError(t, err)
	assert.Contains(t, string(rest), "[DONE]")
	calls := done(t, p)
	whole := 0
	for _, c := range calls {
		if c.Whole {
			whole++
		} else {
			assert.Equal(t, 2, c.Frames)
		}
	}
	assert.Equal(t, 1, whole, "the client that hung up did not stay to the end")
}

func BenchmarkProviderStream(b *testing.B) {
	p := fakeprovider.New(b, fakeprovider.Options{Keep: 1})
	body := `{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{"content":"chunks=20"}]}`
	for b.Loop() {
		res, err := http.Post(p.URL+"/v1/chat/completions", "application/json", strings.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			b.Fatal(err)
		}
		_ = res.Body.Close()
	}
}
