package translate

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// What the bytes of an answer are in is used again for another one, but never for two at a time, even where an answer is closed twice.
func TestAnswersShareNoBytes(t *testing.T) {
	piece := []byte(scannedStream(`{"choices":[{"delta":{"content":"a"}}]}`))
	for range 20 {
		a := newTranslation(t, messagesOnChatPair, Options{}).Begin(http.StatusOK, eventsType)
		b := newTranslation(t, responsesToChatPair, Options{}).Begin(http.StatusOK, eventsType)
		one, err := a.Write(piece)
		require.NoError(t, err)
		was := string(one)
		two, err := b.Write(piece)
		require.NoError(t, err)
		require.NotEqual(t, was, string(two))
		require.Equal(t, was, string(one))
		for _, answer := range []*Answering{a, b} {
			answer.Close()
			answer.Close()
		}
	}
}
