package translate

// pair is how calls of one API are made on another one.
type pair struct {
	// request returns the upstream's body, which names the model as the upstream does. It adds no stream_options: the gateway asks for
	// usage as it does in calls that are not translated. Errors are of the type *Refusal.
	request func(t *Translation, body []byte) ([]byte, error)
	// answer returns a whole answer in the caller's API. An error is an answer that is none in the upstream's API.
	answer func(t *Translation, body []byte) ([]byte, error)
	// stream returns the translation of a stream's events.
	stream func(t *Translation) events
}

// events translates the events of one stream. What it holds back is bounded: at most one block.
type events interface {
	// event appends what the caller gets of an event of the upstream. name is its `event:`, empty without one. It keeps neither
	// of the two. An error ends the stream: the caller gets what was appended before, and what end appends for it.
	event(dst, name, data []byte) ([]byte, error)
	// ping appends what keeps the caller waiting, when the upstream sent nothing but a comment.
	ping(dst []byte) []byte
	// end appends the end. cause is nil where the upstream's bytes came to their end, and else why they did not: the caller gets
	// an error event of its API, never the end of a complete answer. That is so without a cause too where the upstream's own end
	// was missing. It is called once.
	//
	// The caller's own end ([DONE], message_stop, response.completed) comes with the upstream's own ([DONE], message_stop) or here, and
	// not before: it waits for the usage record, which is written when the upstream's end is seen.
	end(dst []byte, cause error) ([]byte, error)
	// ended reports whether the end was appended, or an error in its place.
	ended() bool
}

// pairs are those that are translated.
var pairs = map[Pair]*pair{
	{Messages, Chat}:  messagesOnChat,
	{Responses, Chat}: responsesOnChat,
}
