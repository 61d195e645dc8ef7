package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/testkit/gateway"
	"github.com/tollgate-llm/tollgate/internal/testkit/scripted"
)

// TestSoundOfUnknownLength uploads to models that are priced by the minute what has no readable length. With `unpriced reject` the
// call is refused before it is forwarded where the answer would not tell the length either.
func TestSoundOfUnknownLength(t *testing.T) {
	u := scripted.New(t, func(int, scripted.Call) scripted.Answer {
		return scripted.Answer{ContentType: "application/json", Body: []byte(`{"text":"words","duration":60}`), Length: true}
	})
	g := gateway.Start(t, "", fmt.Sprintf(`
	lagobilling {
		missing_payer default sub-1
		spool %s
		unpriced reject
	}
	llmroute {
		anonymous
		model whisper-1 {
			backend openai %[2]s/v1 {
				price audio_minutes 0.006
			}
		}
		model whisper-large-v3 {
			backend groq %[2]s/openai/v1 {
				price audio_hours 0.111
			}
		}
		model either {
			backend groq %[2]s/openai/v1 {
				price audio_hours 0.111
			}
			backend openai %[2]s/v1 {
				model whisper-1
				price audio_minutes 0.006
				order 2
			}
		}
		model flat {
			backend groq %[2]s/openai/v1 {
				price request 0.01
			}
		}
	}`, t.TempDir(), u.URL))
	const path = "/v1/audio/transcriptions"
	wav := "RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x40\x1f\x00\x00\x01\x00\x08\x00data\x00\x10\x00\x00" + strings.Repeat("\x80", 4096)
	// FLAC that was written to a pipe: its header says 0 samples, which means unknown.
	flac := "fLaC\x00\x00\x00\x22" + strings.Repeat("\x00", 10) + "\x0a\xc4\x40\xf0" + strings.Repeat("\x00", 20) + strings.Repeat("\x55", 500)
	amr := "#!AMR\n" + strings.Repeat("\x3c", 500)
	form := func(file string, fields ...string) (string, string) {
		var b strings.Builder
		for i := 0; i < len(fields); i += 2 {
			fmt.Fprintf(&b, "--b0\r\nContent-Disposition: form-data; name=%q\r\n\r\n%s\r\n", fields[i], fields[i+1])
		}
		if file != "" {
			fmt.Fprintf(&b, "--b0\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\r\n%s\r\n", file)
		}
		return "multipart/form-data; boundary=b0", b.String() + "--b0--\r\n"
	}
	for name, c := range map[string]struct {
		file    string
		fields  []string
		refused bool
		backend string
	}{
		"text":                              {file: amr, fields: []string{"model", "whisper-1", "response_format", "text"}, refused: true},
		"text, a header without a length":   {file: flac, fields: []string{"model", "whisper-1", "response_format", "text"}, refused: true},
		"text, no bytes":                    {file: "", fields: []string{"model", "whisper-1", "response_format", "text"}, refused: true},
		"text, a header with the length":    {file: wav, fields: []string{"model", "whisper-1", "response_format", "text"}},
		"openai's json has a duration":      {file: amr, fields: []string{"model", "whisper-1"}},
		"subtitles end with a time":         {file: amr, fields: []string{"model", "whisper-1", "response_format", "vtt"}},
		"groq's json":                       {file: amr, fields: []string{"model", "whisper-large-v3", "response_format", "json"}, refused: true},
		"groq's default is json":            {file: amr, fields: []string{"model", "whisper-large-v3"}, refused: true},
		"groq fetches the sound itself":     {fields: []string{"model", "whisper-large-v3", "url", "https://example.com/a.mp3"}, refused: true},
		"groq's verbose_json":               {file: amr, fields: []string{"model", "whisper-large-v3", "response_format", "verbose_json"}},
		"the backend whose answer tells it": {file: amr, fields: []string{"model", "either"}, backend: "openai"},
		"a price per call":                  {file: amr, fields: []string{"model", "flat"}},
		"more than is held, text":           {file: amr + strings.Repeat("\x3c", 2<<20), fields: []string{"model", "whisper-1", "response_format", "text"}, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(u.Calls())
			contentType, body := form(c.file, c.fields...)
			if c.refused {
				a := g.Must(http.StatusBadRequest, http.MethodPost, path, "", body, "Content-Type", contentType)
				require.Contains(t, a.Body, "response_format")
				require.Len(t, u.Calls(), before, "nothing was forwarded")
				return
			}
			a := g.Must(http.StatusOK, http.MethodPost, path, "", body, "Content-Type", contentType)
			require.Len(t, u.Calls(), before+1)
			if c.backend != "" {
				require.Equal(t, c.backend, a.Header.Get("X-Tollgate-Backend"))
			}
		})
	}
	t.Run("json bodies", func(t *testing.T) {
		before := len(u.Calls())
		g.Must(http.StatusBadRequest, http.MethodPost, path, "", `{"model":"whisper-large-v3","url":"https://example.com/a.mp3"}`, "Content-Type", "application/json")
		require.Len(t, u.Calls(), before)
		g.Must(http.StatusOK, http.MethodPost, path, "", `{"model":"whisper-large-v3","url":"https://example.com/a.mp3","response_format":"verbose_json"}`, "Content-Type", "application/json")
	})
}
