package translate

import (
	"regexp"
	"strings"
)

// chatFacts are what is known of a provider that speaks chat completions beyond the API. The zero value is that of a provider that is
// not known: the strict side.
type chatFacts struct {
	lateSystem   bool // takes system messages behind the first user message
	topK         bool // takes top_k
	noUser       bool // refuses `user`
	needsThought bool // wants reasoning_content in each message with calls
	shortIDs     bool // wants ids of calls of nine letters and digits
	signsCalls   bool // refuses a call, the first of its message, that comes back without its thought signature
}

// unsigned is the extra_content of a call that has lost its signature, or was never made by Gemini. The text makes Gemini skip the
// validation (ai.google.dev/gemini-api/docs/thought-signatures, FAQs).
const unsigned = `{"google":{"thought_signature":"skip_thought_signature_validator"}}`

// signless are Gemini's models that made calls before there were signatures, or do not validate them.
var signless = regexp.MustCompile(`(^|/)gemini-[12]([.-]|$)`)

var providersOfChat = map[string]chatFacts{
	"azure":      {lateSystem: true},
	"deepseek":   {lateSystem: true, needsThought: true},
	"fireworks":  {topK: true},
	"gemini":     {noUser: true},
	"mistral":    {noUser: true, shortIDs: true},
	"openrouter": {topK: true},
	"together":   {topK: true},
	"vllm":       {topK: true},
	"xai":        {lateSystem: true},
}

// chatFactsOf returns what is known of a translation's provider.
func chatFactsOf(t *Translation) chatFacts {
	if t.Official {
		return providersOfChat["azure"]
	}
	if t.Google {
		f := providersOfChat["gemini"]
		f.signsCalls = strings.Contains(t.Upstream, "gemini") && !signless.MatchString(t.Upstream)
		return f
	}
	return providersOfChat[t.Provider]
}

// takesNone are OpenAI's models that take the effort none.
var takesNone = regexp.MustCompile(`(^|[/.])gpt-(5\.[1-9]|[6-9])`)
