package session

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate-llm/tollgate/internal/keys"
)

// signIn begins a session and returns a request with its cookie.
func signIn(t *testing.T, key string, now time.Time) *http.Request {
	t.Helper()
	w := httptest.NewRecorder()
	Begin(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, Path, http.NoBody), keys.DigestOf(key), now)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, Path, http.NoBody)
	for _, c := range w.Result().Cookies() {
		r.AddCookie(c)
	}
	return r
}

// TestSessionsEnd shows when a session is over: after half an hour without a request, where pages that load themselves do not
// count, and after eight hours in any case.
func TestSessionsEnd(t *testing.T) {
	begun := time.Now()
	r := signIn(t, "a", begun)
	for _, at := range []time.Duration{0, 29 * time.Minute, 58 * time.Minute} {
		s, ok := Find(r, begun.Add(at))
		require.True(t, ok, at)
		require.Equal(t, keys.DigestOf("a"), s.Key)
	}
	live := r.Clone(t.Context())
	live.Header.Set(liveHeader, "1")
	_, ok := Find(live, begun.Add(87*time.Minute))
	require.True(t, ok)
	_, ok = Find(live, begun.Add(88*time.Minute))
	require.False(t, ok, "half an hour without a request of its user")

	r = signIn(t, "b", begun)
	for at := time.Duration(0); at < 8*time.Hour; at += 10 * time.Minute {
		_, ok := Find(r, begun.Add(at))
		require.True(t, ok, at)
	}
	_, ok = Find(r, begun.Add(8*time.Hour))
	require.False(t, ok)
}

// TestSessionsAreBounded shows that the session that was used least recently makes room for the next.
func TestSessionsAreBounded(t *testing.T) {
	now := time.Now()
	first := signIn(t, "first", now)
	second := signIn(t, "second", now.Add(time.Millisecond))
	_, ok := Find(first, now.Add(2*time.Millisecond))
	require.True(t, ok)
	for range maxSessions - 1 {
		signIn(t, "other", now.Add(time.Second))
	}
	require.Len(t, sessions.byID, maxSessions)
	_, ok = Find(second, now.Add(time.Second))
	require.False(t, ok)
	_, ok = Find(first, now.Add(time.Second))
	require.True(t, ok)
}
