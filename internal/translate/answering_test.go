package translate

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What the bytes of an answer are in is used again for another one, but never for two at a time, even where an answer is closed twice.
func TestAnswersShareNoBytes(t *testing.T) {
	piece := []byte(scannedStream(`{"choices":[{"delta":{"content":"a"}}]}`))
	for range 20 {
		var answers [3]*Answering
		var got [3][]byte
		for i := range answers {
			options := Options{Model: strings.Repeat("m", i+1)}
			answer, ok := New(messagesOnChatPair, options)
			require.True(t, ok)
			answers[i] = answer.Begin(http.StatusOK, eventsType)
			var err error
			got[i], err = answers[i].Write(piece)
			require.NoError(t, err)
		}
		for i, answer := range answers {
			require.Contains(t, string(got[i]), `"model":"`+strings.Repeat("m", i+1)+`"`)
			answer.Close()
			answer.Close()
		}
	}
}
