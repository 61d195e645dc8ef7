package translate

// chatMessagesAnswer returns a whole answer of Messages as one of chat completions.
func chatMessagesAnswer(t *Translation, body []byte) ([]byte, error) {
	return newMessagesAnswer(t, &chatWhole{t: t}).answer(nil, body)
}

// chatMessagesStream returns the translation of a stream of Messages into one of chat completions.
func chatMessagesStream(t *Translation) events {
	r, ok := t.request.(*chatRequest)
	return newMessagesAnswer(t, &chatStream{t: t, usage: ok && r.usage})
}
