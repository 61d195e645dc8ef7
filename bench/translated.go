package main

// question is what a target is asked for.
type question struct {
	name string // of the target, where it is the gateway and asked for something else than others
	own  string // where the answer is translated: the name of the target that is asked for an untranslated one in the same API
	path string
	body string // with places for the text and for further members
	tail string // how a whole stream ends, in 32 bytes at most
}

const (
	chatPath      = "/v1/chat/completions"
	chatTail      = "data: [DONE]\n\n"
	messagesPath  = "/v1/messages"
	messagesTail  = "data: {\"type\":\"message_stop\"}\n\n"
	responsesPath = "/v1/responses"
	responsesTail = "}\n\n"
)

// asked is what targets are asked for.
var asked = question{path: chatPath, body: `{"model":"gpt-4o","messages":[{"role":"user","content":"%s"}]%s}`, tail: chatTail}

// translations are what the gateway is asked for in the kind of load `translated`, in the order of the report.
var translations = []question{
	{name: "chat completions", path: chatPath, body: messagesOf("chat-only"), tail: chatTail},
	{name: "Messages", path: messagesPath, body: messagesOf("messages-only"), tail: messagesTail},
	{name: "Responses", path: responsesPath, body: inputOf("gpt-4o"), tail: responsesTail},
	{name: "chat completions on Messages", own: "chat completions", path: chatPath, body: messagesOf("messages-only"), tail: chatTail},
	{name: "Messages on chat completions", own: "Messages", path: messagesPath, body: messagesOf("chat-only"), tail: messagesTail},
	{name: "Responses on chat completions", own: "Responses", path: responsesPath, body: inputOf("chat-only"), tail: responsesTail},
	{name: "Responses on Messages", own: "Responses", path: responsesPath, body: inputOf("messages-only"), tail: responsesTail},
}

// messagesOf is a body that chat completions and Messages both take.
func messagesOf(model string) string {
	return `{"model":"` + model + `","max_tokens":4096,"messages":[{"role":"user","content":"%s"}]%s}`
}

func inputOf(model string) string {
	return `{"model":"` + model + `","max_output_tokens":4096,"store":false,"input":"%s"%s}`
}

// translated returns the gateway as a target for each of translations.
func (t *target) translated() []*target {
	all := make([]*target, 0, len(translations))
	for _, q := range translations {
		as := *t
		as.name, as.asks = q.name, q
		all = append(all, &as)
	}
	return all
}
