package main

// question is the request sent to a target.
type question struct {
	name string // name of the target, if it is the gateway with a question of its own
	own  string // for a translated answer: the name of the target asked for an untranslated answer in the same API
	path string
	body string // with placeholders for the text and for further members
	tail string // end of a complete stream, at most 32 bytes
}

const (
	chatPath      = "/v1/chat/completions"
	chatTail      = "data: [DONE]\n\n"
	messagesPath  = "/v1/messages"
	messagesTail  = "data: {\"type\":\"message_stop\"}\n\n"
	responsesPath = "/v1/responses"
	responsesTail = "}\n\n"
)

// asked is the default question.
var asked = question{path: chatPath, body: `{"model":"gpt-4o","messages":[{"role":"user","content":"%s"}]%s}`, tail: chatTail}

// translations are the questions for the gateway in the `translated` load, in the order of the report.
var translations = []question{
	{name: "chat completions", path: chatPath, body: messagesOf("chat-only"), tail: chatTail},
	{name: "Messages", path: messagesPath, body: messagesOf("messages-only"), tail: messagesTail},
	{name: "Responses", path: responsesPath, body: inputOf("gpt-4o"), tail: responsesTail},
	{name: "chat completions on Messages", own: "chat completions", path: chatPath, body: messagesOf("messages-only"), tail: chatTail},
	{name: "Messages on chat completions", own: "Messages", path: messagesPath, body: messagesOf("chat-only"), tail: messagesTail},
	{name: "Responses on chat completions", own: "Responses", path: responsesPath, body: inputOf("chat-only"), tail: responsesTail},
	{name: "Responses on Messages", own: "Responses", path: responsesPath, body: inputOf("messages-only"), tail: responsesTail},
}

// messagesOf returns a body that is valid for both chat completions and Messages.
func messagesOf(model string) string {
	return `{"model":"` + model + `","max_tokens":4096,"messages":[{"role":"user","content":"%s"}]%s}`
}

func inputOf(model string) string {
	return `{"model":"` + model + `","max_output_tokens":4096,"store":false,"input":"%s"%s}`
}

// translated returns the gateway as one target per translation.
func (t *target) translated() []*target {
	all := make([]*target, 0, len(translations))
	for _, q := range translations {
		as := *t
		as.name, as.asks = q.name, q
		all = append(all, &as)
	}
	return all
}
