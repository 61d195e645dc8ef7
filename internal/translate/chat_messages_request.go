package translate

func init() {
	pairs[Pair{Chat, Messages}] = &pair{request: chatMessagesRequest, answer: chatMessagesAnswer, stream: chatMessagesStream}
}

// chatMessagesRequest returns the body of a call to Messages for one of chat completions.
func chatMessagesRequest(t *Translation, body []byte) ([]byte, error) {
	r, err := readChat(t, body)
	if err != nil {
		return nil, err
	}
	t.request = r
	b := newMessagesBody(t)
	for _, tool := range r.tools {
		b.tool(tool.tool, tool.cache)
	}
	if err := b.choose("tool_choice", r.choice, r.setting("parallel_tool_calls")); err != nil {
		return nil, err
	}
	if err := b.write(r.turns); err != nil {
		return nil, err
	}
	if err := b.limit(r.setting("max_completion_tokens"), r.setting("max_tokens")); err != nil {
		return nil, err
	}
	if err := b.effort(r.setting("reasoning_effort")); err != nil {
		return nil, err
	}
	if r.schema != "" {
		b.format(r.schema)
	}
	for _, set := range []func() error{
		func() error { return b.sample(r.setting("temperature"), r.setting("top_p")) },
		func() error { return b.stop(r.setting("stop")) },
		func() error { return b.user(r.setting("safety_identifier"), r.setting("user")) },
		func() error { return b.tier(r.setting("service_tier")) },
	} {
		if err := set(); err != nil {
			return nil, err
		}
	}
	b.version()
	return b.bytes()
}
