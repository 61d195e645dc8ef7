package upstream

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// goneWriter is a client that takes nothing more.
type goneWriter struct {
	http.ResponseWriter
	err error
}

func (w goneWriter) Write([]byte) (int, error) { return 0, w.err }

// TestClientGoneIsNoEnd holds that an answer that its client took nothing of is not reported as read to its end, whatever the
// client's connection failed with: in reading, an io.EOF would be the end.
func TestClientGoneIsNoEnd(t *testing.T) {
	more := make(chan struct{})
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "piece")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-more:
			_, _ = io.WriteString(w, "another")
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(provider.Close)
	for _, gone := range []error{io.EOF, io.ErrClosedPipe} {
		a := attemptWith(t, chat)
		w := goneWriter{httptest.NewRecorder(), gone}
		func() {
			defer func() { _ = recover() }() // the reverse proxy cuts such a connection
			backendAt(t, provider.URL, `{}`).Send(w, request(t, w), a)
		}()
		require.True(t, a.Answered())
		require.False(t, a.AnswerRead())
	}
	close(more)
	a := attemptWith(t, chat)
	w := httptest.NewRecorder()
	require.NoError(t, backendAt(t, provider.URL, `{}`).Send(w, request(t, w), a).Err)
	require.Equal(t, "pieceanother", w.Body.String())
	require.True(t, a.AnswerRead())
}
