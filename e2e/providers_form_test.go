package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/fakelago"
	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
	"github.com/tollgate-llm/tollgate/internal/testkit/scripted"
)

// formWorld is a gateway before one upstream of OpenAI's API.
func formWorld(t *testing.T, answer func(n int, c scripted.Call) scripted.Answer) (*gateway.World, *scripted.Server) {
	u := scripted.New(t, answer)
	w := gateway.NewBooks(t, fakelago.Options{})
	w.Gateway = gateway.Start(t, "", w.Routed(t.TempDir(), "", fmt.Sprintf(`
		model speech image chat {
			backend openai %s/v1 {
				api_key %s
				model upstream
			}
		}`, u.URL, gateway.ProviderKey)))
	return w, u
}

// fields reads a form as a provider does.
func fields(t *testing.T, c scripted.Call) map[string]string {
	t.Helper()
	_, params, err := mime.ParseMediaType(c.Header.Get("Content-Type"))
	require.NoError(t, err)
	r := multipart.NewReader(bytes.NewReader(c.Body), params["boundary"])
	out := make(map[string]string)
	for {
		p, err := r.NextPart()
		if err == io.EOF {
			return out
		}
		require.NoError(t, err)
		text, err := io.ReadAll(p)
		require.NoError(t, err)
		out[p.FormName()] = string(text)
	}
}

// TestSDKForms sends files with the official client, which puts them before the model's name, and bills them.
func TestSDKForms(t *testing.T) {
	var next atomic.Pointer[scripted.Answer]
	w, u := formWorld(t, func(int, scripted.Call) scripted.Answer { return *next.Load() })
	golden := func(file, name string) {
		a := scripted.Golden(t, filepath.Join("..", "internal", "usage", "testdata", file+".json"), name)
		next.Store(&a)
	}
	key := w.NewKey(`{"team_id":"` + gateway.Payer + `"}`)
	oa := openai.NewClient(option.WithBaseURL(w.URL("/v1")), option.WithAPIKey(key))
	ctx := gateway.Timeout(t, time.Minute)
	for _, size := range []int{10, 3 << 20} {
		file := strings.Repeat("x", size)
		golden("openai_transcription", "json tokens")
		asked := openai.AudioTranscriptionNewParams{Model: "speech", File: openai.File(strings.NewReader(file), "a.wav", "audio/wav")}
		_, err := oa.Audio.Transcriptions.New(ctx, asked)
		require.NoError(t, err)
		require.Equal(t, map[string]string{"model": "upstream", "file": file}, fields(t, last(u)))

		golden("openai_transcription", "stream")
		asked.File = openai.File(strings.NewReader(file), "a.wav", "audio/wav")
		stream := oa.Audio.Transcriptions.NewStreaming(ctx, asked)
		for stream.Next() { //nolint:revive // read to its end
		}
		require.NoError(t, stream.Err())
		require.Equal(t, map[string]string{"model": "upstream", "file": file, "stream": "true"}, fields(t, last(u)))

		golden("openai_images", "gpt-image")
		_, err = oa.Images.Edit(ctx, openai.ImageEditParams{
			Model: "image", Prompt: "a cat", N: openai.Int(2), User: openai.String("end-user"),
			Image: openai.ImageEditParamsImageUnion{OfFile: openai.File(strings.NewReader(file), "a.png", "image/png")},
		})
		require.NoError(t, err)
		require.Equal(t, map[string]string{"model": "upstream", "image": file, "prompt": "a cat", "n": "2", "user": "end-user"}, fields(t, last(u)))
	}
	w.Settled(6)
	require.Equal(t, fmt.Sprint(2*(59+59+100)), w.Lago.Billed(gateway.Payer, "llm", "total_tokens"))
	require.Empty(t, w.Lago.Violations())
	for _, c := range u.Calls() {
		require.Equal(t, "Bearer "+gateway.ProviderKey, c.Header.Get("Authorization"))
	}
}

func last(u *scripted.Server) scripted.Call {
	calls := u.Calls()
	return calls[len(calls)-1]
}

// TestRefusedStreamOptionsAreBilled calls a provider that refuses stream_options: one call more there, one bill, and what
// it says of its own accord is read.
func TestRefusedStreamOptionsAreBilled(t *testing.T) {
	w, u := formWorld(t, func(_ int, c scripted.Call) scripted.Answer {
		if bytes.Contains(c.Body, []byte("stream_options")) {
			return scripted.Answer{
				Status: http.StatusUnprocessableEntity, ContentType: "application/json", Length: true,
				Body: []byte(`{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"]}]}`),
			}
		}
		return scripted.Golden(t, filepath.Join("..", "internal", "usage", "testdata", "providers.json"), "mistral: usage on the last chunk, with choices")
	})
	key := w.NewKey(`{"team_id":"` + gateway.Payer + `"}`)
	for range 2 {
		a := w.Must(http.StatusOK, http.MethodPost, "/v1/chat/completions", key, `{"model":"chat","stream":true}`)
		require.Contains(t, a.Body, `"usage"`, "nothing is kept from the client that was not asked for")
	}
	require.Len(t, u.Calls(), 3)
	w.Settled(2)
	require.Equal(t, "22", w.Lago.Billed(gateway.Payer, "llm", "total_tokens"))
	ledger, err := (&gateway.Gateway{T: t, Addr: w.Admin}).Do(http.MethodGet, "/tollgate/billing/events", "", "")
	require.NoError(t, err)
	require.Equal(t, 2, strings.Count(ledger.Body, `"attempts":1`))
}

// TestHangUps hangs up in the middle of a stream: where the provider bills on, the answer is read to its end and billed to
// the token; elsewhere it is cancelled and billed as far as it came.
func TestHangUps(t *testing.T) {
	for provider, drained := range map[string]bool{"openai": false, "gemini": true} {
		t.Run(provider, func(t *testing.T) {
			hold := make(chan struct{})
			u := scripted.New(t, func(int, scripted.Call) scripted.Answer {
				a := scripted.Golden(t, filepath.Join("..", "internal", "usage", "testdata", "openai_chat.json"), "stream with usage asked for")
				if drained {
					a = scripted.Golden(t, filepath.Join("..", "internal", "usage", "testdata", "gemini.json"), "stream running totals")
				}
				a.Hold = hold
				return a
			})
			w := gateway.NewBooks(t, fakelago.Options{})
			w.Gateway = gateway.Start(t, "", w.Routed(t.TempDir(), "", fmt.Sprintf(`
				model m {
					backend %s %s {
						api_key %s
					}
				}`, provider, u.URL, gateway.ProviderKey)))
			key := w.NewKey(`{"team_id":"` + gateway.Payer + `"}`)
			path, body := "/v1/chat/completions", gateway.Chat("m", "hello there", true)
			if drained {
				path, body = "/v1beta/models/m:streamGenerateContent?alt=sse", `{}`
			}
			ctx, hangUp := context.WithCancel(gateway.Timeout(t, time.Minute))
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL(path), strings.NewReader(body))
			require.NoError(t, err)
			req.Header.Set("X-Goog-Api-Key", key)
			resp, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, resp.StatusCode)
			hangUp()
			require.NoError(t, resp.Body.Close())
			if drained {
				admin := &gateway.Gateway{T: t, Addr: w.Admin}
				require.Eventually(t, func() bool {
					status, err := admin.Do(http.MethodGet, "/tollgate/billing", "", "")
					return err == nil && strings.Contains(status.Body, `"drains":1`)
				}, 10*time.Second, 5*time.Millisecond, "the answer is read on")
				close(hold)
			}
			w.Settled(1)
			e := w.Lago.Events()[0]
			if drained {
				require.Equal(t, []string{"52", "reported"}, []string{e.Property("total_tokens"), e.Property("usage")})
				return
			}
			require.NotEqual(t, "reported", e.Property("usage"))
			require.NotEqual(t, "11", e.Property("total_tokens"), "the provider stopped before its end")
		})
	}
}

// TestTranscriptionWithoutALength asks for plain text from a model that is priced by the minute: the upload's header has the
// length that the answer leaves out. 11 seconds of 0.006 a minute are 0.0011.
func TestTranscriptionWithoutALength(t *testing.T) {
	u := scripted.New(t, func(int, scripted.Call) scripted.Answer {
		return scripted.Answer{ContentType: "text/plain; charset=utf-8", Body: []byte("these are the words\n")}
	})
	w := gateway.NewBooks(t, fakelago.Options{})
	w.Gateway = gateway.Start(t, "", w.Routed(t.TempDir(), "", fmt.Sprintf(`
		model whisper-1 {
			backend openai %s/v1 {
				api_key %s
				price audio_minutes 0.006
			}
		}`, u.URL, gateway.ProviderKey)))
	key := w.NewKey(`{"team_id":"` + gateway.Payer + `"}`)
	wav := "RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x40\x1f\x00\x00\x01\x00\x08\x00data\xff\xff\xff\xff" +
		strings.Repeat("\x80", 88_000)
	oa := openai.NewClient(option.WithBaseURL(w.URL("/v1")), option.WithAPIKey(key))
	_, err := oa.Audio.Transcriptions.New(gateway.Timeout(t, time.Minute), openai.AudioTranscriptionNewParams{
		Model: "whisper-1", File: openai.File(strings.NewReader(wav), "a.wav", "audio/wav"), ResponseFormat: openai.AudioResponseFormatText,
	})
	require.Error(t, err, "the client expects JSON") //nolint:testifylint // what it makes of the text does not matter
	w.Settled(1)
	require.Equal(t, "0.0011", w.Lago.Billed(gateway.Payer, "llm", "response_cost"))
	require.Equal(t, "11", w.Lago.Billed(gateway.Payer, "llm", "audio_seconds"))
}
