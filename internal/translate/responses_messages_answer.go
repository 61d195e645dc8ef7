package translate

// responsesMessagesAnswer returns a whole answer of Messages as one of Responses.
func responsesMessagesAnswer(t *Translation, body []byte) ([]byte, error) {
	r, _ := t.request.(*responsesRequest)
	w := newResponsesWriter(t, r)
	w.keep = true
	if _, err := newMessagesAnswer(t, w).answer(nil, body); err != nil {
		return nil, err
	}
	return w.whole, nil
}

// responsesMessagesStream returns the translation of a stream of Messages into one of Responses.
func responsesMessagesStream(t *Translation) events {
	r, _ := t.request.(*responsesRequest)
	return newMessagesAnswer(t, newResponsesWriter(t, r))
}
