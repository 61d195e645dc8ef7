package llmroute

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPiecesAsTheyCome reads the header with the first piece of an answer, and each piece before its provider sends the next.
func TestPiecesAsTheyCome(t *testing.T) {
	for _, media := range []string{"text/event-stream", "application/x-ndjson", "application/json"} {
		t.Run(media, func(t *testing.T) {
			pieces := make(chan string, 1)
			u := newUpstream(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", media)
				flusher := w.(http.Flusher)
				flusher.Flush()
				for piece := range pieces {
					_, _ = io.WriteString(w, piece)
					flusher.Flush()
				}
			})
			defer func() {
				if pieces != nil {
					close(pieces)
				}
			}()
			g := start(t, "llmroute {\nmodel m {\nbackend openai "+u.URL+" {\napi_key k\n}\n}\n}")
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.URL+"/v1/chat/completions", strings.NewReader(chat))
			require.NoError(t, err)
			req.Header.Set("Content-Type", "application/json")
			sent := []string{"data: {}\n\n", "data: a longer one\n\n", "x"}
			pieces <- sent[0]
			resp, err := http.DefaultTransport.RoundTrip(req)
			require.NoError(t, err)
			for i, piece := range sent {
				if i > 0 {
					pieces <- piece
				}
				got := make([]byte, len(piece))
				_, err := io.ReadFull(resp.Body, got)
				require.NoError(t, err)
				require.Equal(t, piece, string(got))
			}
			require.False(t, g.last().Attempt().AnswerRead())
			close(pieces)
			pieces = nil
			rest, err := io.ReadAll(resp.Body)
			require.NoError(t, errors.Join(err, resp.Body.Close()))
			require.Empty(t, rest)
			require.True(t, g.last().Attempt().AnswerRead())
		})
	}
}
