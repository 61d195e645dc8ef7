package e2e

// translatedBills are calls whose answers come in another API than the caller's. The amounts are worked out by hand from the prices
// written here and what the upstream reports; told is the usage that the caller gets, in its own API.
func translatedBills() map[string]bill {
	const (
		ofClaude = "price cache_read 0.3\nprice cache_write_5m 3.75\nprice cache_write_1h 6\nprice reasoning 20\ntranslate"
		ofChat   = "price cache_read 0.3\nprice cache_write 3.75\nprice reasoning 20\ntranslate {\ncalls messages responses\n}"

		claudeHead  = `{"id":"msg_1","type":"message","role":"assistant","model":"up","stop_sequence":null,`
		claudeCache = `"input_tokens":100,"cache_creation_input_tokens":60,"cache_read_input_tokens":40,"cache_creation":{"ephemeral_5m_input_tokens":20,"ephemeral_1h_input_tokens":40},`
		claudeOut   = `"output_tokens":30,"output_tokens_details":{"thinking_tokens":12}`
		chatUsed    = `{"prompt_tokens":100,"completion_tokens":30,"total_tokens":130,"prompt_tokens_details":{"cached_tokens":40,"cache_write_tokens":20},"completion_tokens_details":{"reasoning_tokens":12}}`
		chatChunk   = `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"up",`

		toldByChat      = `{"prompt_tokens":200,"completion_tokens":30,"total_tokens":230,"prompt_tokens_details":{"cached_tokens":40,"cache_write_tokens":60},"completion_tokens_details":{"reasoning_tokens":12}}`
		toldByResponses = `{"input_tokens":200,"input_tokens_details":{"cached_tokens":40,"cache_write_tokens":60},"output_tokens":30,"output_tokens_details":{"reasoning_tokens":12},"total_tokens":230}`

		askChat      = `{"model":"m","max_tokens":4000,"messages":[{"role":"user","content":"x"}]`
		askMessages  = askChat
		askResponses = `{"model":"m","max_output_tokens":4000,"input":"x","store":false`
		streamed     = `,"stream":true`
	)
	claude := claudeHead + `"content":[{"type":"text","text":"word"}],"stop_reason":"end_turn","usage":{` + claudeCache + claudeOut + `}}`
	claudeStream := eventsOf(
		`{"type":"message_start","message":`+claudeHead+`"content":[],"stop_reason":null,"usage":{`+claudeCache+`"output_tokens":1}}}`,
		`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`,
		`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"word"}}`,
		`{"type":"content_block_stop","index":0}`,
		`{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{`+claudeOut+`}}`,
		`{"type":"message_stop"}`,
	)
	chat := func(usage string) string {
		return `{"id":"c","object":"chat.completion","created":1,"model":"up","choices":[{"index":0,"message":{"role":"assistant","content":"word"},"finish_reason":"stop"}],"usage":` + usage + `}`
	}
	chatStream := func(usage string) string {
		return chatChunk + `"choices":[{"index":0,"delta":{"role":"assistant","content":"word"},"finish_reason":null}]}` + "\n\n" +
			chatChunk + `"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n" + chatChunk + `"choices":[],"usage":` + usage + "}\n\ndata: [DONE]\n\n"
	}
	messagesTold := func(input, written, read, output, thinking string) string {
		if thinking != "" {
			thinking = `,"output_tokens_details":{"thinking_tokens":` + thinking + `}`
		}
		return `"usage":{"input_tokens":` + input + `,"cache_creation_input_tokens":` + written + `,"cache_read_input_tokens":` + read + `,"output_tokens":` + output + thinking + `}`
	}
	responsesTold := `"usage":{"input_tokens":100,"input_tokens_details":{"cached_tokens":40,"cache_write_tokens":20},"output_tokens":30,"output_tokens_details":{"reasoning_tokens":12},"total_tokens":130}`

	// 100 x 3 + 40 read x 0.3 + 20 written for five minutes x 3.75 + 40 for an hour x 6 + 18 x 15 + 12 of thinking x 20.
	onClaude := bill{
		backend: "anthropic", prices: ofClaude, cost: "0.001137",
		quantities: map[string]string{"total_tokens": "230", "cached_input_tokens": "40", "cache_write_5m_tokens": "20", "cache_write_1h_tokens": "40", "reasoning_tokens": "12"},
	}
	// 40 x 3 + 40 read x 0.3 + 20 written x 3.75 + 18 x 15 + 12 of reasoning x 20.
	onChat := bill{
		backend: "openai", prices: ofChat, cost: "0.000717",
		quantities: map[string]string{"total_tokens": "130", "cached_input_tokens": "40", "cache_creation_tokens": "20", "reasoning_tokens": "12"},
	}
	with := func(b bill, path, body, answer, kind, told string) bill {
		b.path, b.body, b.answer, b.kind, b.told = path, body+"}", answer, kind, told
		return b
	}
	const events = "text/event-stream"
	bills := map[string]bill{
		"chat on Messages":                with(onClaude, "/v1/chat/completions", askChat, claude, "", `"usage":`+toldByChat),
		"chat on Messages, streamed":      with(onClaude, "/v1/chat/completions", askChat+streamed+`,"stream_options":{"include_usage":true}`, claudeStream, events, `"usage":`+toldByChat),
		"Responses on Messages":           with(onClaude, "/v1/responses", askResponses, claude, "", `"usage":`+toldByResponses),
		"Responses on Messages, streamed": with(onClaude, "/v1/responses", askResponses+streamed, claudeStream, events, `"usage":`+toldByResponses),
		"Messages on chat":                with(onChat, "/v1/messages", askMessages, chat(chatUsed), "", messagesTold("40", "20", "40", "30", "12")),
		"Messages on chat, streamed":      with(onChat, "/v1/messages", askMessages+streamed, chatStream(chatUsed), events, messagesTold("40", "20", "40", "30", "12")),
		"Responses on chat":               with(onChat, "/v1/responses", askResponses, chat(chatUsed), "", responsesTold),
		"Responses on chat, streamed":     with(onChat, "/v1/responses", askResponses+streamed, chatStream(chatUsed), events, responsesTold),
	}
	// Providers whose usage is not as OpenAI's own: the caller is told what the bill is made of.
	for name, c := range map[string]struct{ url, backend, model, usage, cost, told string }{
		// By Google's list, 100 x 0.3 + 110 x 2.5: the thoughts are in the total alone.
		"Gemini's thoughts": {
			"https://generativelanguage.googleapis.com/%d/v1beta/openai", "openai", "gemini-2.5-flash",
			`{"prompt_tokens":100,"completion_tokens":10,"total_tokens":210}`, "0.000305", messagesTold("100", "0", "0", "110", "100"),
		},
		// By Moonshot's list, 60 x 3 + 40 from the cache x 0.3 + 10 x 15.
		"Moonshot's cache": {
			"https://api.moonshot.ai/%d/v1", "openai", "kimi-k3",
			`{"prompt_tokens":100,"completion_tokens":10,"total_tokens":110,"cached_tokens":40}`, "0.000342", messagesTold("60", "0", "40", "10", ""),
		},
		// By Alibaba's list, 50 x 1.2 + 50 written for five minutes x 1.5 + 10 x 6.
		"Qwen's cache": {
			"https://dashscope-intl.aliyuncs.com/%d/compatible-mode/v1", "openai", "qwen3-max",
			`{"prompt_tokens":100,"completion_tokens":10,"total_tokens":110,"prompt_tokens_details":{"cached_tokens":0,"cache_creation_input_tokens":50,"cache_type":"ephemeral","cache_creation":{"ephemeral_5m_input_tokens":50}}}`,
			"0.000195", messagesTold("50", "50", "0", "10", ""),
		},
		// 60 x 3 + 40 from the cache x 0.3 + 10 x 15 + 20 of reasoning, which xAI counts beside the completion, x 15.
		"xAI's cache and reasoning": {
			"", "xai", "grok-4",
			`{"prompt_tokens":100,"completion_tokens":10,"total_tokens":130,"prompt_tokens_details":{"cached_tokens":40},"completion_tokens_details":{"reasoning_tokens":20}}`,
			"0.000642", messagesTold("60", "0", "40", "30", "20"),
		},
		// 60 x 3 + 40 from the cache x 0.3 + 10 x 15.
		"Mistral's cache": {
			"", "mistral", "mistral-large-latest",
			`{"prompt_tokens":100,"completion_tokens":10,"total_tokens":110,"num_cached_tokens":40}`, "0.000342", messagesTold("60", "0", "40", "10", ""),
		},
	} {
		b := bill{path: "/v1/messages", backend: c.backend, url: c.url, cost: c.cost, told: c.told, prices: "model " + c.model + "\ntranslate", body: askMessages + "}", answer: chat(c.usage)}
		if c.url == "" {
			b.prices += "\nprice cache_read 0.3"
		}
		bills["Messages on chat: "+name] = b
		b.body, b.answer, b.kind = askMessages+streamed+"}", chatStream(c.usage), events
		bills["Messages on chat: "+name+", streamed"] = b
	}
	return bills
}
