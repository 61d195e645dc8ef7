package upstream

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tollgate-llm/tollgate/internal/translate"
)

// TestWhatTheAccountMayNotDoIsLogged has the log name what the caller of a translated model is not told: where AWS denies an action, its
// text, and no text of another error, which may show a part of a key.
func TestWhatTheAccountMayNotDoIsLogged(t *testing.T) {
	for _, tt := range []struct {
		status     int
		kind, text string
		want       any
	}{
		{http.StatusForbidden, "AccessDeniedException:http://internal.amazon.com/", "User: arn:aws:iam::1:user/u is not authorized", "User: arn:aws:iam::1:user/u is not authorized"},
		{http.StatusForbidden, "InvalidSignatureException", "x-amz-security-token:secret", nil},
		{http.StatusUnauthorized, "", "Incorrect API key provided: sk-o****ator", nil},
		{http.StatusBadRequest, "ValidationException", "no", nil},
	} {
		provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Amzn-Errortype", tt.kind)
			w.WriteHeader(tt.status)
			_, _ = w.Write([]byte(`{"message":"` + tt.text + `"}`))
		}))
		b := backendAt(t, provider.URL, `{}`)
		core, logs := observer.New(zap.WarnLevel)
		b.logger = zap.New(core)
		a := attemptWith(t, chat)
		with, ok := translate.New(translate.Pair{Caller: translate.Messages, Upstream: translate.Chat}, translate.Options{})
		require.True(t, ok)
		a.Translate(with)
		a.Metered = false // else the meter translates
		w := httptest.NewRecorder()
		require.NoError(t, b.Send(w, request(t, w), a).Err)
		provider.Close()
		require.Equal(t, tt.status, w.Code)
		if tt.status == http.StatusBadRequest {
			require.Empty(t, logs.All())
			continue
		}
		require.Len(t, logs.All(), 1)
		require.Equal(t, tt.want, logs.All()[0].ContextMap()["reason"])
		require.NotContains(t, w.Body.String(), tt.text)
	}
}
