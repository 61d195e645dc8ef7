package translate

// responsesOnChat is calls of the Responses API on chat completions.
var responsesOnChat = &pair{
	request: responsesToChat,
	answer: func(t *Translation, body []byte) ([]byte, error) {
		w := responsesFrom(t)
		w.keep = true
		r := chatReader{t: t, to: w}
		err := r.whole(body)
		return w.whole, err
	},
	stream: func(t *Translation) events { return newChatEvents(chatReader{t: t, to: responsesFrom(t)}) },
}

// responsesFrom returns the writer of the answer to the request that was translated.
func responsesFrom(t *Translation) *responsesWriter {
	r, _ := t.request.(*responsesRequest)
	return newResponsesWriter(t, r)
}

// responsesToChat returns the body of a chat completion for one of the Responses API.
func responsesToChat(t *Translation, body []byte) ([]byte, error) {
	r, err := readResponses(t, body)
	if err != nil {
		return nil, err
	}
	t.Streamed, t.request = r.streamed, r
	b := newChatBody(t)
	if r.streamed {
		b.member("stream", "true")
	}
	if len(r.turns) == 0 {
		return nil, invalid("input", "must hold an item")
	}
	if err := b.messages(r.turns); err != nil {
		return nil, err
	}
	r.turns = nil // the answer does not need them
	if err := b.tools(r.tools.list, r.choice, r.parallel); err != nil {
		return nil, err
	}
	b.maxTokens(r.maxTokens)
	b.member("temperature", r.temperature)
	b.member("top_p", r.topP)
	b.text("reasoning_effort", r.effort)
	switch r.format.kind {
	case "json_object":
		b.member("response_format", `{"type":"json_object"}`)
	case "json_schema":
		if r.format.name == "" || r.format.schema == "" {
			return nil, invalid("text.format", "needs name and schema")
		}
		b.schema(r.format.name, r.format.description, r.format.schema, r.format.strict)
	}
	if r.verbosity != "" && r.verbosity != "medium" {
		if err := b.only("text.verbosity", "verbosity", r.verbosity); err != nil {
			return nil, err
		}
	}
	if r.moderation != "" {
		if t.Official {
			b.member("moderation", r.moderation)
		} else if err := t.refuse("moderation", "is taken by OpenAI and Azure alone"); err != nil {
			return nil, err
		}
	}
	switch {
	case !t.Official && t.Provider != "groq" && (r.tier == "auto" || r.tier == "default"):
		t.drop("service_tier")
	case r.tier == "" || t.Provider == "groq":
		b.text("service_tier", r.tier)
	default:
		if err := b.only("service_tier", "service_tier", r.tier); err != nil {
			return nil, err
		}
	}
	if r.user != "" && b.facts.noUser {
		t.drop("user")
	} else {
		b.member("user", r.user)
	}
	b.official("safety_identifier", r.safetyIdentifier, "safety_identifier")
	b.official("metadata", r.metadata, "metadata")
	b.official("prompt_cache_key", r.cacheKey, "prompt_cache_key")
	b.official("prompt_cache_options", r.cacheOptions, "prompt_cache_options")
	b.official("prompt_cache_retention", r.cacheRetention, "prompt_cache_retention")
	return b.end(), nil
}

// only adds a member that is a string and that OpenAI and Azure alone take; elsewhere it refuses the caller's.
func (b *chatBody) only(of, name, value string) error {
	if !b.t.Official {
		return b.t.refuse(of, "is taken by OpenAI and Azure alone")
	}
	b.text(name, value)
	return nil
}
