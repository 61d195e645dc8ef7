package operator

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
)

func TestWorkReportsProgress(t *testing.T) {
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
	r.Header.Set("Accept", LinesType)
	work := func(_ context.Context, report Report) (any, error) {
		report("records read", 1, 2)
		return map[string]int{"n": 1}, nil
	}
	require.NoError(t, Work(w, r, 0, work))
	require.Equal(t, `{"progress":"records read","done":1,"of":2}`+"\n"+`{"result":{"n":1}}`+"\n", w.Body.String())
	w = httptest.NewRecorder()
	require.NoError(t, Work(w, r, time.Hour, work))
	require.Equal(t, `{"result":{"n":1}}`+"\n", w.Body.String(), "quick work has no progress")
	r.Header.Del("Accept")
	w = httptest.NewRecorder()
	require.NoError(t, Work(w, r, 0, work))
	require.Equal(t, `{"n":1}`+"\n", w.Body.String())
}

// TestLinesThatEndEarly has an answer fail before its first byte, which is a refusal, and after it, which must not look whole.
func TestLinesThatEndEarly(t *testing.T) {
	fault := errors.New("the disk is gone")
	w := httptest.NewRecorder()
	require.ErrorIs(t, WriteLines(w, func(io.Writer) error { return fault }), fault)
	require.Empty(t, w.Header().Get("Content-Type"), "the refusal is JSON")
	require.PanicsWithValue(t, http.ErrAbortHandler, func() {
		err := WriteLines(w, func(out io.Writer) error {
			_, err := out.Write(make([]byte, 1<<20))
			return errors.Join(err, fault)
		})
		t.Error("the answer looks whole", err)
	})
}

func TestRouteRefusesOtherMethods(t *testing.T) {
	route := Route("/tollgate/x", Methods{Get: func(http.ResponseWriter, *http.Request) error { return nil }})
	for method, status := range map[string]int{"GET": 0, "POST": 405, "DELETE": 405} {
		w := httptest.NewRecorder()
		err := route.Handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, "/tollgate/x", http.NoBody))
		refusal, refused := errors.AsType[caddy.APIError](err)
		require.Equal(t, status, refusal.HTTPStatus, method)
		if refused {
			require.Equal(t, "GET", w.Header().Get("Allow"))
		}
	}
}
