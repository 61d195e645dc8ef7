package upstream

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/body"
	"github.com/tollgate-llm/tollgate/internal/endpoint"
	"github.com/tollgate-llm/tollgate/internal/llm"
	"github.com/tollgate-llm/tollgate/llmroute/provider"
)

// TestAClientsUploadIsNoFailureOfTheBackend breaks off the upload of a form while it goes upstream: whatever clients send, the
// backend stays available to others.
func TestAClientsUploadIsNoFailureOfTheBackend(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	t.Cleanup(s.Close)
	const begin = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\n\r\n"
	for name, rest := range map[string]io.Reader{
		"broken off": io.MultiReader(strings.NewReader("more"), failing{io.ErrUnexpectedEOF}),
		"malformed":  strings.NewReader("the last boundary is missing"),
	} {
		t.Run(name, func(t *testing.T) {
			b := backendAt(t, s.URL+"/v1", `{"health_checks":{"passive":{"fail_duration":3600000000000}}}`)
			form, err := body.ParseForm(io.MultiReader(strings.NewReader(begin+strings.Repeat("x", 2<<20)), rest),
				"multipart/form-data; boundary=b", false, -1, 10<<20)
			require.NoError(t, err)
			ep, _ := endpoint.Lookup(&url.URL{Path: "/v1/audio/transcriptions"})
			w := httptest.NewRecorder()
			res := b.Send(w, request(t, w), Attempt{
				Attempt: new(llm.Call).Begin(nil), Call: provider.Call{Endpoint: ep, Body: form, Upstream: "m"}, Metered: true,
			})
			require.Error(t, res.Err)
			require.NotNil(t, form.Fault())
			require.True(t, b.Available())
		})
	}
	b := backendAt(t, s.URL+"/v1", `{"health_checks":{"passive":{"fail_duration":3600000000000}}}`)
	b.Instead = failingTransport{}
	w := httptest.NewRecorder()
	require.Error(t, b.Send(w, request(t, w), attemptWith(t, chat)).Err)
	require.False(t, b.health.OK(), "a backend that fails by itself is down")
}

type failingTransport struct{}

func (failingTransport) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("refused")
}
