package translate

// messagesOnChat is calls of Messages on chat completions.
var messagesOnChat = &pair{
	request: messagesToChat,
	answer: func(t *Translation, body []byte) ([]byte, error) {
		w := messagesFromChat(t)
		w.keep = true
		r := chatReader{t: t, to: w, keep: w.omitted}
		err := r.whole(body)
		return w.whole, err
	},
	stream: func(t *Translation) events {
		w := messagesFromChat(t)
		return newChatEvents(chatReader{t: t, to: w, keep: w.omitted})
	},
}

// messagesFromChat returns the writer of an answer of Messages that comes from chat completions.
func messagesFromChat(t *Translation) *messagesWriter {
	w := &messagesWriter{t: t}
	if r, ok := t.request.(*messagesChat); ok {
		w.hidden, w.omitted, w.stops = r.hidden, r.omitted, r.stops
	}
	return w
}
