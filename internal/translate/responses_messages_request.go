package translate

func init() {
	pairs[Pair{Responses, Messages}] = &pair{request: responsesMessagesRequest, answer: responsesMessagesAnswer, stream: responsesMessagesStream}
}

// responsesMessagesRequest returns the body of a call to Messages for one of Responses.
func responsesMessagesRequest(t *Translation, body []byte) ([]byte, error) {
	r, err := readResponses(t, body)
	if err != nil {
		return nil, err
	}
	t.request, t.Streamed = r, r.streamed
	b := newMessagesBody(t)
	for _, tool := range r.tools.list {
		b.tool(tool, "")
	}
	tier := ""
	if r.tier != "" {
		tier = string(appendString(nil, r.tier))
	}
	for _, set := range []func() error{
		func() error { return b.choose("tool_choice", r.choice, setting{"parallel_tool_calls", r.parallel}) },
		func() error { return b.write(r.turns) },
		func() error { return b.limit(setting{"max_output_tokens", r.maxTokens}) },
		func() error { return b.effort("reasoning.effort", r.effort, r.summary != "") },
		func() error { return b.format("text.format", r.format.kind, r.format.schema) },
		func() error { return b.sample(setting{"temperature", r.temperature}, setting{"top_p", r.topP}) },
		func() error {
			return b.user(setting{"safety_identifier", r.safetyIdentifier}, setting{"user", r.user})
		},
		func() error { return b.tier(setting{"service_tier", tier}) },
	} {
		if err := set(); err != nil {
			return nil, err
		}
	}
	b.version()
	return b.bytes()
}
