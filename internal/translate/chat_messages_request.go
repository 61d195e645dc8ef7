package translate

import "github.com/tidwall/gjson"

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
	effort := gjson.Parse(r.members["reasoning_effort"])
	if effort.Exists() && effort.Str == "" {
		return nil, invalid("reasoning_effort", "must be a word")
	}
	for _, set := range []func() error{
		func() error { return b.choose("tool_choice", r.choice, r.setting("parallel_tool_calls")) },
		func() error { return b.write(r.turns) },
		func() error { return b.limit(r.setting("max_completion_tokens"), r.setting("max_tokens")) },
		func() error { return b.effort("reasoning_effort", effort.Str, false) },
		func() error { return b.format("response_format", r.format, r.schema) },
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
