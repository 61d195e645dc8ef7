package llmroute

import (
	"bytes"
	"fmt"
	"io"
	mime "mime/multipart"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// formOf makes a form of fields, given as name and value; a name that begins with @ is a file's.
func formOf(t testing.TB, fields ...string) (contentType, text string) {
	t.Helper()
	var b bytes.Buffer
	w := mime.NewWriter(&b)
	for i := 0; i < len(fields); i += 2 {
		if name, ok := strings.CutPrefix(fields[i], "@"); ok {
			f, err := w.CreateFormFile(name, "speech.wav")
			require.NoError(t, err)
			_, err = io.WriteString(f, fields[i+1])
			require.NoError(t, err)
			continue
		}
		require.NoError(t, w.WriteField(fields[i], fields[i+1]))
	}
	require.NoError(t, w.Close())
	return w.FormDataContentType(), b.String()
}

const formGateway = `llmroute {
	max_body 64MB
	model m {
		backend openai %s/v1 {
			api_key one
			model upstream-one
		}
		backend openai %s/v1 {
			order 2
			api_key two
			model upstream-two
		}
	}
}`

// TestFormsAreRouted sends forms to each endpoint that takes them, whatever the order of their parts.
func TestFormsAreRouted(t *testing.T) {
	u := newUpstream(t, respond(200, `{"text":"hi"}`))
	g := start(t, fmt.Sprintf(formGateway, u.URL, u.URL))
	for i, path := range []string{
		"/v1/audio/transcriptions", "/audio/translations", "/v1/images/edits", "/images/variations", "/openai/deployments/m/audio/transcriptions",
	} {
		for _, fields := range [][]string{
			{"model", "m", "user", "u", "stream", "true", "@file", "bytes\r\n"},
			{"@file", "bytes\r\n", "model", "m", "stream", "true", "user", "u"},
		} {
			contentType, text := formOf(t, fields...)
			resp, _ := g.do(t, http.MethodPost, path, text, "Content-Type", contentType)
			require.Equal(t, 200, resp.StatusCode)
			got := u.requests()[len(u.requests())-1]
			require.Equal(t, strings.Replace(text, "\r\nm\r\n", "\r\nupstream-one\r\n", 1), got.body)
			require.Equal(t, contentType, got.header.Get("Content-Type"))
			require.Equal(t, fmt.Sprint(len(got.body)), got.header.Get("Content-Length"))
			require.Equal(t, "Bearer one", got.header.Get("Authorization"))
			call := g.last()
			require.Equal(t, []any{"m", "u", true}, []any{call.Request.Asked, call.Request.User, call.Request.Stream}, i)
		}
	}
	contentType, text := formOf(t, "@file", "bytes")
	resp, _ := g.do(t, http.MethodPost, "/openai/deployments/m/audio/transcriptions", text, "Content-Type", contentType)
	require.Equal(t, 200, resp.StatusCode, "the path names the model")
	require.Contains(t, u.requests()[len(u.requests())-1].body, "name=\"model\"\r\n\r\nupstream-one\r\n--")
	contentType, text = formOf(t, "model", "m", "model", "n")
	resp, body := g.do(t, http.MethodPost, "/v1/images/edits", text, "Content-Type", contentType)
	require.Equal(t, 400, resp.StatusCode, body)
	require.Contains(t, body, `"param":"model"`)
	contentType, text = formOf(t, "@image", "x")
	resp, body = g.do(t, http.MethodPost, "/v1/images/edits", text, "Content-Type", contentType)
	require.Equal(t, 404, resp.StatusCode)
	require.Contains(t, body, "dall-e-2", "the provider's default")
	contentType, text = formOf(t, "@file", "x")
	resp, body = g.do(t, http.MethodPost, "/v1/audio/transcriptions", text, "Content-Type", contentType)
	require.Equal(t, 400, resp.StatusCode)
	require.Contains(t, body, "names no model")
	contentType, text = formOf(t, "model", "m", "@file", strings.Repeat("x", 65<<20))
	resp, _ = g.do(t, http.MethodPost, "/v1/images/edits", text, "Content-Type", contentType)
	require.Equal(t, 413, resp.StatusCode)
}

// TestFormsAreNotHeld shows that the upstream has a file's bytes while the client still holds back the rest.
func TestFormsAreNotHeld(t *testing.T) {
	begun := make(chan string)
	u := newUpstream(t, respond(200, `{"text":"hi"}`))
	u.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head := make([]byte, 2<<20)
		_, err := io.ReadFull(r.Body, head)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		begun <- string(head)
		rest, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		begun <- string(rest)
		respond(200, `{"text":"hi"}`)(w, r)
	})
	g := start(t, fmt.Sprintf(formGateway, u.URL, u.URL))
	contentType, text := formOf(t, "model", "m", "@file", strings.Repeat("0123456789abcdef", 1<<18), "language", "en")
	for _, length := range []int64{int64(len(text)), -1} {
		r, w := io.Pipe()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.URL+"/v1/audio/transcriptions", r)
		require.NoError(t, err)
		req.Header.Set("Content-Type", contentType)
		req.ContentLength = length
		done := make(chan int)
		go func() {
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				done <- 0
				return
			}
			_ = resp.Body.Close()
			done <- resp.StatusCode
		}()
		_, err = io.WriteString(w, text[:3<<20])
		require.NoError(t, err)
		want := strings.Replace(text, "\r\nm\r\n", "\r\nupstream-one\r\n", 1)
		require.True(t, <-begun == want[:2<<20], "the file passes as it comes")
		_, err = io.WriteString(w, text[3<<20:])
		require.NoError(t, err)
		require.NoError(t, w.Close())
		require.True(t, <-begun == want[2<<20:])
		require.Equal(t, 200, <-done)
	}
}

// TestFormsFailOver goes on to the next backend as long as nothing of the file has been sent.
func TestFormsFailOver(t *testing.T) {
	bad, good := newUpstream(t, respond(503, `{"error":{}}`)), newUpstream(t, respond(200, `{"text":"hi"}`))
	dead := newUpstream(t, respond(200, ``))
	dead.Close()
	g := start(t, fmt.Sprintf(formGateway, bad.URL, good.URL))
	contentType, small := formOf(t, "model", "m", "@file", "bytes")
	resp, _ := g.do(t, http.MethodPost, "/v1/audio/transcriptions", small, "Content-Type", contentType)
	require.Equal(t, 200, resp.StatusCode, "a small form is at hand whole")
	require.Contains(t, good.only(t).body, "upstream-two")

	largeType, large := formOf(t, "model", "m", "@file", strings.Repeat("x", 8<<20))
	resp, _ = g.do(t, http.MethodPost, "/v1/audio/transcriptions", large, "Content-Type", largeType)
	require.Equal(t, 503, resp.StatusCode, "a file that was sent cannot be sent again")
	require.Len(t, good.requests(), 1)
	require.Equal(t, 1, g.last().Attempts())

	breaking := newUpstream(t, nil)
	breaking.Config.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.CopyN(io.Discard, r.Body, 2<<20)
		panic(http.ErrAbortHandler)
	})
	g = start(t, fmt.Sprintf(formGateway, breaking.URL, good.URL))
	resp, _ = g.do(t, http.MethodPost, "/v1/audio/transcriptions", large, "Content-Type", largeType)
	require.Equal(t, 502, resp.StatusCode, "the backend broke off with part of the file")
	require.Len(t, good.requests(), 1)
	require.Equal(t, 1, g.last().Attempts())

	g = start(t, fmt.Sprintf(formGateway, dead.URL, good.URL))
	resp, _ = g.do(t, http.MethodPost, "/v1/audio/transcriptions", large, "Content-Type", largeType)
	require.Equal(t, 200, resp.StatusCode, "nobody was there to read it")
	require.Len(t, good.requests(), 2)
	require.True(t, good.requests()[1].body == strings.Replace(large, "\r\nm\r\n", "\r\nupstream-two\r\n", 1))
}

// TestFormsThatTurnOutWrong refuses a form whose fault comes after its file began to pass; no provider gets it whole.
func TestFormsThatTurnOutWrong(t *testing.T) {
	u := newUpstream(t, respond(200, `{"text":"hi"}`))
	g := start(t, fmt.Sprintf(formGateway, u.URL, u.URL))
	for param, fields := range map[string][]string{
		"model": {"model", "m", "@file", strings.Repeat("x", 4<<20), "model", "other"},
		"user":  {"model", "m", "@file", strings.Repeat("x", 4<<20), "user", "somebody"},
	} {
		contentType, text := formOf(t, fields...)
		resp, body := g.do(t, http.MethodPost, "/v1/audio/transcriptions", text, "Content-Type", contentType)
		require.Equal(t, 400, resp.StatusCode, body)
		require.Contains(t, body, `"param":"`+param+`"`)
	}
	require.Empty(t, u.requests())
}

// TestRefusedStreamOptions asks once more without stream_options where they are refused, and remembers it.
func TestRefusedStreamOptions(t *testing.T) {
	const stream = `{"model":"m","stream":true}`
	for _, status := range []int{400, 422} {
		u := newUpstream(t, nil)
		u.answer = func(w http.ResponseWriter, r *http.Request) {
			got := u.requests()
			if strings.Contains(got[len(got)-1].body, "stream_options") {
				respond(status, `{"error":{"message":"Unknown parameter: 'stream_options'."}}`)(w, r)
				return
			}
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: [DONE]\n\n")
		}
		g := start(t, fmt.Sprintf("llmroute {\nmodel m n {\nretries 3\nbackend openai %s {\napi_key x\n}\n}\n}", u.URL))
		resp, body := g.post(t, "/v1/chat/completions", stream)
		require.Equal(t, 200, resp.StatusCode)
		require.Equal(t, "data: [DONE]\n\n", body)
		require.Len(t, u.requests(), 2)
		require.Equal(t, stream, u.requests()[1].body)
		require.Equal(t, "Bearer x", u.requests()[1].header.Get("Authorization"))
		require.Equal(t, 1, g.last().Attempts(), "no further attempt for the bill")
		require.False(t, g.last().Attempt().UsageInjected())
		_, _ = g.post(t, "/v1/chat/completions", stream)
		require.Len(t, u.requests(), 3, "it is remembered")
		_, _ = g.post(t, "/v1/chat/completions", strings.Replace(stream, `"m"`, `"n"`, 1))
		require.Len(t, u.requests(), 5, "for that model")
		asked := `{"model":"m","stream":true,"stream_options":{"include_usage":true}}`
		resp, body = g.post(t, "/v1/chat/completions", asked)
		require.Equal(t, status, resp.StatusCode, "the client asked for it itself")
		require.Contains(t, body, "Unknown parameter")
	}
	u := newUpstream(t, respond(400, `{"error":{"message":"no"}}`))
	g := start(t, fmt.Sprintf("llmroute {\nmodel m {\nbackend openai %s {\napi_key x\n}\n}\n}", u.URL))
	resp, body := g.post(t, "/v1/chat/completions", stream)
	require.Equal(t, 400, resp.StatusCode)
	require.Equal(t, `{"error":{"message":"no"}}`, body, "another error passes as it is")
	require.Len(t, u.requests(), 1)
}
